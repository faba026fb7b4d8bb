use super::*;
use serde_json::json;

fn read_with(bytes: &[u8], options: &CsvOptions) -> (Vec<Value>, Option<Error>) {
    let mut records = Vec::new();
    let rows = match Csv::new(bytes, options) {
        Ok(rows) => rows,
        Err(error) => return (records, Some(error)),
    };
    for next in rows {
        match next {
            Ok(record) => records.push(Value::Object(record)),
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}

fn read(bytes: &[u8]) -> (Vec<Value>, Option<Error>) {
    read_with(bytes, &CsvOptions::default())
}

#[test]
fn rows_are_records_with_the_names_of_the_header() {
    let (records, error) = read(b"id,name\n1,Ada\n2,\"a \"\"b\"\", c\"\n");
    assert!(error.is_none());
    assert_eq!(records, [json!({"id": "1", "name": "Ada"}), json!({"id": "2", "name": "a \"b\", c"})]);
}

#[test]
fn the_last_line_needs_no_line_end() {
    for text in ["a,b\n1,2", "a,b\r\n1,2", "a,b\n1,\"2\"", "a,b\n1,2\n", "a,b\n1,2\r\n\r\n", "a,b\n1,2\r"] {
        let (records, error) = read(text.as_bytes());
        assert!(error.is_none(), "{text:?}: {error:?}");
        assert_eq!(records, [json!({"a": "1", "b": "2"})], "{text:?}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(read(b"\xEF\xBB\xBFa\n1\n").0, [json!({"a": "1"})]);
}

#[test]
fn types_and_nulls_are_applied() {
    let options = CsvOptions {
        delimiter: b';',
        null: vec!["NA".into(), String::new()],
        columns: [("i".into(), ColumnType::Int), ("f".into(), ColumnType::Float), ("b".into(), ColumnType::Bool)]
            .into(),
        ..CsvOptions::default()
    };
    let (records, error) = read_with(b"t;i;f;b\nx,y;1;1.5;true\nNA;NA;;NA\n", &options);
    assert!(error.is_none());
    let nothing = json!({"t": null, "i": null, "f": null, "b": null});
    assert_eq!(records, [json!({"t": "x,y", "i": 1, "f": 1.5, "b": true}), nothing]);
}

#[test]
fn a_value_of_the_wrong_type_is_an_error_with_line_column_and_value() {
    let options = CsvOptions { columns: [("b".into(), ColumnType::Int)].into(), ..CsvOptions::default() };
    let (records, error) = read_with(b"a,b\n1,2\nx,y\n", &options);
    assert_eq!(records.len(), 1);
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().starts_with("line 3, column \"b\", record 2: \"y\" is not an int"), "{error}");
}

#[test]
fn a_row_with_the_wrong_number_of_fields_is_an_error_with_its_line() {
    for (row, count) in [("1", "1 fields"), ("1,2,3", "3 fields")] {
        let (records, error) = read(format!("a,b\n1,2\n{row}\n3,4\n").as_bytes());
        assert_eq!(records.len(), 1);
        let error = error.unwrap();
        assert_eq!((error.place().line, error.place().record), (Some(3), Some(2)));
        assert!(error.to_string().contains(count), "{error}");
    }
}

#[test]
fn lines_are_counted_through_blank_lines_crlf_and_quotes() {
    for (text, line) in [
        ("a,b\n\n\n1,2\n\nbad\n", 6),
        ("a,b\r\n1,2\r\nbad\r\n", 3),
        ("a,b\r\n\r\n1,2\r\n\r\nbad\r\n", 5),
        ("a,b\n1,\"x\ny\nz\"\nbad\n", 5),
        ("a,b\n\"x\n\ny\",\"z\n\"\n\n\nbad", 8),
        ("\n\na,b\nbad\n", 4),
    ] {
        assert_eq!(read(text.as_bytes()).1.unwrap().place().line, Some(line), "{text:?}");
    }
}

#[test]
fn invalid_utf8_is_an_error_with_line_and_column() {
    let error = read(b"a,b\n1,caf\xE9\n").1.unwrap();
    assert_eq!(
        error.to_string().split(';').next(),
        Some("line 2, column \"b\", record 1: byte 0xE9 is not valid UTF-8")
    );
    assert_eq!(read(b"a,\xFF\n").1.unwrap().place().line, Some(1));
}

#[test]
fn an_empty_file_has_no_header() {
    for text in ["", "\n\n"] {
        let error = read(text.as_bytes()).1.unwrap();
        assert!(error.to_string().contains("names its columns"), "{error}");
    }
    assert_eq!(read(b"a,b\n").0, [] as [Value; 0]);
}

#[test]
fn a_column_named_twice_is_refused() {
    let error = read(b"id,name,id\n").1.unwrap();
    assert!(error.to_string().contains("column \"id\" twice"), "{error}");
}

#[test]
fn a_typed_column_that_does_not_exist_is_refused_with_a_suggestion() {
    let options = CsvOptions { columns: [("dep_tim".into(), ColumnType::Int)].into(), ..CsvOptions::default() };
    let error = read_with(b"origin,dep_time\n", &options).1.unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("did you mean \"dep_time\"?"), "{error}");
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_on_the_line_where_it_opens() {
    for tail in ["", "\n", "\n3,4\n5,6\n", "\n3,4\n5,6", "\"\""] {
        let (records, error) = read(format!("a,b\n1,2\n3,\"open{tail}").as_bytes());
        assert_eq!(records.len(), 1);
        let error = error.unwrap();
        assert_eq!((error.kind(), error.place().line), (ErrorKind::Truncated, Some(3)), "{tail:?}");
    }
}

#[test]
fn the_limit_counts_the_whole_record_without_its_end() {
    let text = b"a,b\n1,2\n3,\"\n\"\n";
    let options = |limit| CsvOptions { max_line_bytes: limit, ..CsvOptions::default() };
    assert_eq!(read_with(text, &options(5)).0.len(), 2);
    let (records, error) = read_with(text, &options(4));
    assert_eq!(records.len(), 1);
    let error = error.unwrap();
    assert_eq!((error.kind(), error.place().line), (ErrorKind::TooLong, Some(3)));
}

#[test]
fn blank_lines_do_not_count_towards_the_limit() {
    let options = CsvOptions { max_line_bytes: 3, ..CsvOptions::default() };
    let text = format!("a,b\n{}1,2\r\n\r\n3,4\n", "\n".repeat(1000));
    let (records, error) = read_with(text.as_bytes(), &options);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records.len(), 2);
}

#[test]
fn a_reader_that_trickles_gives_the_same_records() {
    struct Trickle<R>(R);
    impl<R: Read> Read for Trickle<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(1);
            self.0.read(&mut into[..length])
        }
    }
    let text = &b"a,b\r\n1,\"x\r\ny\"\r\n\r\n2,z"[..];
    let rows = Csv::new(Trickle(text), &CsvOptions::default()).unwrap();
    let records: Vec<_> = rows.map(|row| Value::Object(row.unwrap())).collect();
    assert_eq!(records, read(text).0);
    assert_eq!(records, [json!({"a": "1", "b": "x\r\ny"}), json!({"a": "2", "b": "z"})]);
}

#[test]
fn a_field_of_100_mb_is_refused_without_being_held() {
    let limit = 1024 * 1024;
    for opening in ["a,b\n1,2\n", "a,b\n1,2\n\"", "a,b\n1,2\n1,\"x\n"] {
        let endless = io::repeat(b'x').take(100_000_000);
        let options = CsvOptions { max_line_bytes: limit, ..CsvOptions::default() };
        let mut rows = Csv::new(opening.as_bytes().chain(endless), &options).unwrap();
        assert!(rows.next().unwrap().is_ok());
        let error = rows.next().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.place().line), (ErrorKind::TooLong, Some(3)));
        let unread = rows.rows.into_inner().reader.into_inner().into_inner().1.limit();
        assert!(unread > 98_000_000, "the reader went on reading: {unread} left");
    }
}

#[test]
fn an_interrupted_read_is_taken_up_again() {
    struct Interrupted<R>(R, bool);
    impl<R: Read> Read for Interrupted<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(into) }
        }
    }
    let rows = Csv::new(Interrupted(&b"a\n1\n2\n"[..], false), &CsvOptions::default()).unwrap();
    assert_eq!(rows.map(Result::unwrap).count(), 2);
}

#[test]
fn after_an_error_there_is_no_more() {
    let mut rows = Csv::new(&b"a,b\nbad\n1,2\n"[..], &CsvOptions::default()).unwrap();
    assert!(rows.next().unwrap().is_err());
    assert!(rows.next().is_none());
}

/// The rows of a text, by a plain automaton: for each the line it begins on, and whether a quote is left open.
fn oracle(text: &[u8]) -> (Vec<u64>, bool) {
    #[derive(PartialEq)]
    enum State {
        Between,
        FieldStart,
        Field,
        Quoted,
        QuoteInQuoted,
    }
    let (mut state, mut line, mut starts) = (State::Between, 1, Vec::new());
    for byte in text {
        if state == State::Between && !matches!(byte, b'\r' | b'\n') {
            starts.push(line);
            state = State::FieldStart;
        }
        state = match (state, byte) {
            (State::Quoted, b'"') => State::QuoteInQuoted,
            (State::FieldStart | State::QuoteInQuoted, b'"') | (State::Quoted, _) => State::Quoted,
            (_, b'\r' | b'\n') => State::Between,
            (_, b',') => State::FieldStart,
            _ => State::Field,
        };
        line += u64::from(*byte == b'\n');
    }
    (starts, state == State::Quoted)
}

/// What the parser underneath reads when nobody checks anything.
fn unchecked(text: &[u8]) -> Vec<Vec<String>> {
    let rows = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text).into_records();
    rows.map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn check_text(text: &[u8]) {
    let shown = String::from_utf8_lossy(text).into_owned();
    let (starts, open) = oracle(text);
    let rows = unchecked(text);
    assert_eq!(rows.len(), starts.len(), "{shown:?}: the oracle");
    let mut csv = match Csv::new(text, &CsvOptions::default()) {
        Ok(csv) => csv,
        Err(error) if error.kind() == ErrorKind::Truncated => {
            return assert!(open && rows.len() == 1, "{shown:?}: {error}");
        }
        Err(error) => {
            let twice =
                rows.first().is_some_and(|header| (1..header.len()).any(|at| header[..at].contains(&header[at])));
            return assert!(rows.is_empty() || twice, "{shown:?}: {error}");
        }
    };
    assert!(csv.header().eq(&rows[0]), "{shown:?}");
    for (index, row) in rows.iter().enumerate().skip(1) {
        match csv.next().unwrap() {
            Ok(record) => assert!(record.values().eq(row.iter().map(String::as_str)), "{shown:?}: row {index}"),
            Err(error) => {
                // The parser notices a wrong number of fields before anybody can ask about the quote.
                let open = open && index == rows.len() - 1 && row.len() == rows[0].len();
                let expected = if open { ErrorKind::Truncated } else { ErrorKind::Malformed };
                assert_eq!(error.kind(), expected, "{shown:?}: {error}");
                assert!(open || row.len() != rows[0].len(), "{shown:?}: {error}");
                assert_eq!(error.place().line, Some(starts[index]), "{shown:?}: {error}");
                return;
            }
        }
    }
    assert!(csv.next().is_none() && !open, "{shown:?}: a quote is open");
}

#[test]
fn every_short_text_is_read_as_it_is_or_refused_at_its_line() {
    const LONGEST: u32 = 6;
    let alphabet = b"a,\"\n\r";
    for length in 0..=LONGEST {
        for number in 0..alphabet.len().pow(length) {
            let letter = |place| alphabet[number / alphabet.len().pow(place) % alphabet.len()];
            check_text(&(0..length).map(letter).collect::<Vec<u8>>());
        }
    }
}
