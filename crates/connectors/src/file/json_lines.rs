//! Reading JSON lines: one object per line.

use std::io::{BufRead, BufReader, Read};

use serde_json::error::Category;

use super::input::read_error;
use super::position::Reached;
use crate::{Error, ErrorKind, Record};

const BUFFER_BYTES: usize = 64 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The records of a text with one JSON object per line. Blank lines are skipped. After an error there is no more.
///
/// When an object names a field twice, the last value counts. Integers beyond 64 bits become floats.
///
/// ```
/// use inflight_connectors::file::{JsonLines, MAX_LINE_BYTES};
///
/// let mut lines = JsonLines::new(&b"{\"id\":1}\n\n[2]\n"[..], MAX_LINE_BYTES);
/// assert_eq!(lines.next().unwrap().unwrap()["id"], 1);
/// let error = lines.next().unwrap().unwrap_err();
/// assert_eq!((error.place().line, error.place().record), (Some(3), Some(2)));
/// assert!(error.to_string().contains("found a list"));
/// ```
#[derive(Debug)]
pub struct JsonLines<R> {
    reader: BufReader<R>,
    max_line_bytes: usize,
    line: Vec<u8>,
    /// The record in `line` included.
    reached: Reached,
    ended: bool,
}

impl<R: Read> JsonLines<R> {
    /// Reads from `reader`, which need not be buffered. Lines of more than `max_line_bytes` (their end not counted)
    /// are an error; no more than that is ever held.
    pub fn new(reader: R, max_line_bytes: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            max_line_bytes,
            line: Vec::new(),
            reached: Reached::default(),
            ended: false,
        }
    }

    /// Goes on with a text of which so much has been read; `reader` begins with what comes next.
    pub(super) fn continued(reader: R, max_line_bytes: usize, reached: Reached) -> Self {
        Self { reached, ..Self::new(reader, max_line_bytes) }
    }

    /// How much has been read when a record has just been returned.
    pub(super) fn reached(&self) -> Reached {
        self.reached
    }

    /// Whether the next record can be read without waiting for input.
    pub(crate) fn is_ready(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    fn next_record(&mut self) -> Result<Option<Record>, Error> {
        while self.read_line()? {
            if !self.line.trim_ascii().is_empty() {
                let record = parse(&self.line)?;
                self.reached.record += 1;
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Reads the next line into `self.line`; false at the end.
    fn read_line(&mut self) -> Result<bool, Error> {
        self.line.clear();
        let room = (self.max_line_bytes as u64).saturating_add(1); // the line and its end
        self.reached.line += 1;
        let count = self.reader.by_ref().take(room).read_until(b'\n', &mut self.line).map_err(read_error)?;
        if count == 0 {
            return Ok(false);
        }
        self.reached.offset += count as u64;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        if self.line.len() > self.max_line_bytes {
            let limit = self.max_line_bytes;
            let message = format!("the line is longer than {limit} bytes; if it is right, raise `max_line_bytes`");
            return Err(Error::new(ErrorKind::TooLong, message));
        }
        if self.reached.line == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(true)
    }
}

impl<R: Read> Iterator for JsonLines<R> {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_record();
        self.ended = !matches!(next, Ok(Some(_)));
        let (line, record) = (self.reached.line, self.reached.record + 1);
        next.map_err(|error| error.at_line(line).in_record(record)).transpose()
    }
}

fn parse(line: &[u8]) -> Result<Record, Error> {
    let text = std::str::from_utf8(line).map_err(|error| {
        let column = error.valid_up_to();
        let byte = line.get(column).copied().unwrap_or_default();
        let message = format!("byte 0x{byte:02X} is not valid UTF-8; convert the file to UTF-8");
        Error::new(ErrorKind::Malformed, message).at_column(column as u64 + 1)
    })?;
    serde_json::from_str(text).map_err(|error| {
        let message = match found_instead(text) {
            Some(found) => format!("expected one JSON object per line, as in {{\"id\": 1}}, but found {found}"),
            None if error.classify() == Category::Eof => "the line ends inside its JSON object".to_owned(),
            None => format!("this is not valid JSON: {}", without_place(&error)),
        };
        Error::new(ErrorKind::Malformed, message).at_column(error.column() as u64).caused_by(error)
    })
}

/// What the line begins with, if that is not an object.
fn found_instead(text: &str) -> Option<&'static str> {
    match text.trim_start().chars().next()? {
        '{' => None,
        '[' => Some("a list; write its elements one per line, without the brackets and the commas between them"),
        '"' => Some("a string"),
        't' | 'f' => Some("a bool or bare word"),
        'n' => Some("null or a bare word"),
        '-' | '0'..='9' => Some("a number"),
        _ => Some("something that is not JSON"),
    }
}

/// The error of serde_json without its own line and column, which are those of a one-line text.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::MAX_LINE_BYTES;
    use serde_json::{Value, json};

    fn read(bytes: &[u8]) -> (Vec<Value>, Option<Error>) {
        let mut records = Vec::new();
        for next in JsonLines::new(bytes, MAX_LINE_BYTES) {
            match next {
                Ok(record) => records.push(Value::Object(record)),
                Err(error) => return (records, Some(error)),
            }
        }
        (records, None)
    }

    /// The error after one good record on line 1.
    fn error_on_line_two(line: &[u8]) -> Error {
        let (records, error) = read(&[b"{\"id\":1}\n", line].concat());
        assert_eq!(records, [json!({"id": 1})]);
        let error = error.unwrap();
        assert_eq!((error.place().line, error.place().record), (Some(2), Some(2)), "{error}");
        error
    }

    #[test]
    fn lines_are_records_and_blank_lines_are_not() {
        let (records, error) = read(b"\n{\"a\":1}\r\n  \t\n{\"b\":[null,{}]}");
        assert!(error.is_none());
        assert_eq!(records, [json!({"a": 1}), json!({"b": [null, {}]})]);
    }

    #[test]
    fn fields_keep_their_order() {
        let (records, _) = read(b"{\"z\":1,\"a\":2,\"m\":3}");
        let names: Vec<_> = records[0].as_object().unwrap().keys().collect();
        assert_eq!(names, ["z", "a", "m"]);
    }

    #[test]
    fn an_empty_input_has_no_records() {
        assert_eq!(read(b"").0, [] as [Value; 0]);
        assert_eq!(read(b"\n\n").0, [] as [Value; 0]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read(b"\xEF\xBB\xBF{\"a\":1}\n").0, [json!({"a": 1})]);
    }

    #[test]
    fn broken_json_is_an_error_with_line_column_and_record() {
        let error = error_on_line_two(b"{\"id\": x}\n{\"id\":3}\n");
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(error.place().column, Some(8));
        assert_eq!(error.to_string(), "line 2, column 8, record 2: this is not valid JSON: expected value");
    }

    #[test]
    fn an_object_that_is_cut_off_is_an_error() {
        assert!(error_on_line_two(b"{\"id\": 2").to_string().contains("ends inside its JSON object"));
    }

    #[test]
    fn a_line_that_is_no_object_is_an_error_that_says_what_was_found() {
        for (line, found) in [
            (&b"[1]"[..], "a list"),
            (b"\"x\"", "a string"),
            (b"12", "a number"),
            (b"null", "null"),
            (b"id,total", "not JSON"),
        ] {
            let error = error_on_line_two(line);
            assert!(error.to_string().contains(found), "{error}");
        }
        assert!(error_on_line_two(b"{} {}").to_string().contains("trailing characters"));
    }

    #[test]
    fn invalid_utf8_is_an_error_that_names_the_byte() {
        let error = error_on_line_two(b"{\"a\":\"caf\xE9\"}\n");
        assert_eq!((error.kind(), error.place().column), (ErrorKind::Malformed, Some(10)));
        assert!(error.to_string().contains("0xE9"), "{error}");
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        let line = [b"{\"a\":".as_slice(), &b"[".repeat(100_000)].concat();
        assert_eq!(error_on_line_two(&line).kind(), ErrorKind::Malformed);
    }

    #[test]
    fn the_limit_counts_the_line_without_its_end() {
        let line = b"{\"a\":1}\n{\"a\":2}";
        assert_eq!(JsonLines::new(&line[..], 7).filter_map(Result::ok).count(), 2);
        let error = JsonLines::new(&line[..], 6).next().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.place().line), (ErrorKind::TooLong, Some(1)));
        assert!(error.to_string().contains("`max_line_bytes`"));
    }

    #[test]
    fn a_line_of_100_mb_is_refused_without_being_held() {
        let endless = std::io::repeat(b'x').take(100_000_000);
        let limit = 1024 * 1024;
        let mut lines = JsonLines::new(b"{\"id\":1}\n".chain(endless), limit);
        assert!(lines.next().unwrap().is_ok());
        let error = lines.next().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.place().line), (ErrorKind::TooLong, Some(2)));
        assert!(lines.line.capacity() <= 2 * limit + BUFFER_BYTES, "{}", lines.line.capacity());
        let unread = lines.reader.into_inner().into_inner().1.limit();
        assert!(unread > 98_000_000, "the reader went on reading: {unread} left");
    }

    #[test]
    fn after_an_error_there_is_no_more() {
        let mut lines = JsonLines::new(&b"x\n{\"id\":1}\n"[..], MAX_LINE_BYTES);
        assert!(lines.next().unwrap().is_err());
        assert!(lines.next().is_none());
    }
}
