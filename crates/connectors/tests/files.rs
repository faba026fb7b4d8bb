//! Files as a pipeline meets them: sources and sinks on real files, pipes and devices.

#![allow(clippy::unwrap_used)] // clippy knows test functions, but not the functions they call

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use inflight_connectors::file::{
    ColumnType, Compression, FileSink, FileSinkConfig, FileSource, FileSourceConfig, Format,
};
use inflight_connectors::{Error, ErrorKind, Record, Sink, Source};
use serde_json::{Value, json};
use tempfile::TempDir;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// All records up to the end or the first error.
fn read(config: &FileSourceConfig) -> (Vec<Value>, Option<Error>) {
    let mut records = Vec::new();
    let error = match FileSource::open(config) {
        Ok(mut source) => loop {
            match source.read_batch(7, &mut records) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        },
        Err(error) => Some(error),
    };
    (records.into_iter().map(Value::Object).collect(), error)
}

fn read_file(path: &Path) -> (Vec<Value>, Option<Error>) {
    read(&FileSourceConfig::new(path))
}

fn record(value: Value) -> Record {
    value.as_object().unwrap().clone()
}

fn write(config: &FileSinkConfig, records: &[Value]) -> Result<(), Error> {
    let mut sink = Box::new(FileSink::create(config)?);
    for value in records {
        sink.write(&record(value.clone()))?;
    }
    sink.finish()
}

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|id| json!({ "id": id, "text": format!("number {id}") })).collect()
}

#[test]
fn what_a_sink_writes_a_source_reads() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz", "a.tsv"] {
        let path = folder.path().join(name);
        write(&FileSinkConfig::new(&path), &numbered(10_000)).unwrap();
        let mut config = FileSourceConfig::new(&path);
        if config.format().unwrap() == Format::Csv {
            config.columns.insert("id".to_owned(), ColumnType::Int);
        }
        let (records, error) = read(&config);
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!(records, numbered(10_000), "{name}");
        let magic: [u8; 2] = fs::read(&path).unwrap()[..2].try_into().unwrap();
        assert_eq!(magic == [0x1f, 0x8b], name.ends_with(".gz"), "{name}");
    }
}

#[test]
fn progress_reaches_the_length_of_the_file() {
    let text: Vec<u8> = (0..20_000).flat_map(|n| format!("{{\"id\":{n}}}\n").into_bytes()).collect();
    for (name, bytes) in [("a.jsonl", text.clone()), ("a.jsonl.gz", gzip(&text))] {
        let (_folder, path) = file(name, &bytes);
        let mut source = FileSource::open(&FileSourceConfig::new(&path)).unwrap();
        let mut batch = Vec::new();
        source.read_batch(10, &mut batch).unwrap();
        let early = source.progress();
        assert_eq!((early.records, early.bytes_total), (10, Some(bytes.len() as u64)));
        while source.read_batch(1000, &mut batch).unwrap() > 0 {}
        let end = source.progress();
        assert_eq!((end.records, end.bytes_read), (20_000, bytes.len() as u64), "{name}");
        assert!(early.bytes_read < end.bytes_read, "{name}");
    }
}

#[test]
fn records_before_an_error_are_delivered_and_the_error_stays() {
    let (_folder, path) = file("a.jsonl", b"{\"id\":1}\n{\"id\":2}\nbroken\n{\"id\":4}\n");
    let mut source = FileSource::open(&FileSourceConfig::new(&path)).unwrap();
    let mut batch = vec![record(json!({"id": 0}))];
    assert_eq!(source.read_batch(100, &mut batch).unwrap(), 2);
    for _ in 0..2 {
        let error = source.read_batch(100, &mut batch).unwrap_err();
        let expected = format!("{}, line 3, column 1, record 3: expected one JSON object per line", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    assert_eq!(batch.len(), 3);
    assert_eq!(source.progress().records, 2);
}

#[test]
fn a_batch_is_never_longer_than_asked_and_never_empty_before_the_end() {
    let (_folder, path) = file("a.csv", b"id\n1\n2\n3");
    let mut source = FileSource::open(&FileSourceConfig::new(&path)).unwrap();
    let mut batch = Vec::new();
    let counts: Vec<_> = [0, 1, 100, 100, 100].map(|max| source.read_batch(max, &mut batch).unwrap()).into();
    assert_eq!(counts, [1, 1, 1, 0, 0]);
}

#[test]
fn a_batch_does_not_wait_for_records_that_are_still_to_come() {
    for (format, start) in [(Format::JsonLines, "{\"id\":1}\n{\"id\":2}\n{\"id"), (Format::Csv, "id\n1\n2\n3")] {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(start.as_bytes()).unwrap();
        let config = FileSourceConfig { format: Some(format), ..FileSourceConfig::new("-") };
        let mut source = FileSource::from_reader(reader, "pipe", &config).unwrap();
        let mut batch = Vec::new();
        // The writer is still open and the third record is half there: waiting for it would never end.
        assert_eq!(source.read_batch(100, &mut batch).unwrap(), 2, "{format:?}");
        drop(writer);
    }
}

#[test]
fn a_gzip_file_of_several_members_is_read_to_its_end() {
    let bytes = [gzip(b"{\"id\":1}\n{\"i"), gzip(b""), gzip(b"d\":2}\n")].concat();
    let (_folder, path) = file("a.jsonl.gz", &bytes);
    let (records, error) = read_file(&path);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(records, [json!({"id": 1}), json!({"id": 2})]);
}

#[test]
fn a_gzip_file_that_is_cut_off_is_an_error_after_the_records_before_it() {
    let text: Vec<u8> = (0..50_000u64).flat_map(|n| format!("{},{}\n", n, n.wrapping_mul(n)).into_bytes()).collect();
    let whole = gzip(&[b"id,square\n", text.as_slice()].concat());
    for kept in [whole.len() / 2, whole.len() - 1] {
        let (_folder, path) = file("a.csv.gz", &whole[..kept]);
        let (records, error) = read_file(&path);
        let error = error.unwrap();
        assert!(!records.is_empty());
        assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
        assert!(error.place().line > Some(1) && error.to_string().contains("cut off"), "{error}");
    }
}

#[test]
fn a_damaged_gzip_file_is_corrupt() {
    let mut bytes = gzip(&b"{\"id\":1}\n".repeat(1000));
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 0xff;
    let (_folder, path) = file("a.jsonl.gz", &bytes);
    assert_eq!(read_file(&path).1.unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_plain_file_named_gz_is_corrupt_unless_told_otherwise() {
    let (_folder, path) = file("a.jsonl.gz", b"{\"id\": 123456}\n");
    let error = read_file(&path).1.unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("not gzip at all"), "{error}");
    let config = FileSourceConfig { compression: Some(Compression::None), ..FileSourceConfig::new(&path) };
    assert_eq!(read(&config).0, [json!({"id": 123456})]);
}

#[test]
fn an_empty_file_named_gz_is_cut_off_and_not_an_empty_input() {
    let (_folder, path) = file("a.jsonl.gz", b"");
    assert_eq!(read_file(&path).1.unwrap().kind(), ErrorKind::Truncated);
}

#[test]
fn bytes_after_the_gzip_stream_are_an_error() {
    let (_folder, path) = file("a.jsonl.gz", &[gzip(b"{\"id\":1}\n"), b"more".to_vec()].concat());
    let (records, error) = read_file(&path);
    assert_eq!(records.len(), 1);
    assert!(error.is_some());
}

#[test]
fn a_file_that_does_not_exist_and_a_folder_are_errors_that_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.jsonl");
    let error = read_file(&path).1.unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");

    let path = folder.path().join("folder.jsonl");
    fs::create_dir(&path).unwrap();
    assert!(read_file(&path).1.unwrap().to_string().contains("this is a folder"));
    assert!(write(&FileSinkConfig::new(&path), &[]).unwrap_err().to_string().contains("this is a folder"));
}

#[test]
fn a_broken_csv_line_names_file_line_and_record() {
    let (_folder, path) = file("a.csv", b"id,name\n1,Ada\n2\n3,Bob\n");
    let (records, error) = read_file(&path);
    assert_eq!(records.len(), 1);
    let expected = format!("{}, line 3, record 2: 1 fields, but the header names 2 columns", path.display());
    assert!(error.unwrap().to_string().starts_with(&expected));
}

#[test]
fn an_output_file_gets_its_name_when_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    fs::write(&path, "old").unwrap();
    let mut sink = Box::new(FileSink::create(&FileSinkConfig::new(&path)).unwrap());
    sink.write(&record(json!({"id": 1}))).unwrap();
    sink.flush().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_to_string(folder.path().join("out.jsonl.partial")).unwrap(), "{\"id\":1}\n");
    sink.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"id\":1}\n");
}

#[test]
fn a_sink_that_is_dropped_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    fs::write(&path, "old").unwrap();
    let mut sink = FileSink::create(&FileSinkConfig::new(&path)).unwrap();
    sink.write(&record(json!({"id": 1}))).unwrap();
    drop(sink);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
}

#[test]
fn two_sinks_cannot_write_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = FileSinkConfig::new(folder.path().join("out.jsonl"));
    let _first = FileSink::create(&config).unwrap();
    assert_eq!(FileSink::create(&config).unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn flushed_records_can_be_read_while_the_sink_is_open() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut sink = Box::new(FileSink::to_writer(writer, "pipe", &FileSinkConfig::new("-")).unwrap());
    sink.write(&record(json!({"id": 1}))).unwrap();
    sink.flush().unwrap();
    let mut line = [0; 9];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"{\"id\":1}\n");
    sink.finish().unwrap();
}

#[test]
fn a_closed_pipe_is_an_error_of_its_own_kind_and_stays() {
    let (reader, writer) = io::pipe().unwrap();
    let mut sink = Box::new(FileSink::to_writer(writer, "stdout", &FileSinkConfig::new("-")).unwrap());
    drop(reader);
    let error = numbered(100_000).into_iter().find_map(|value| sink.write(&record(value)).err()).unwrap();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::ClosedPipe, false));
    assert!(error.to_string().starts_with("stdout: the reading side closed the pipe"), "{error}");
    assert_eq!(sink.flush().unwrap_err().kind(), ErrorKind::ClosedPipe);
    assert_eq!(sink.finish().unwrap_err().kind(), ErrorKind::ClosedPipe);
}

#[test]
fn a_closed_pipe_is_noticed_at_the_latest_when_the_sink_finishes() {
    for config in
        [FileSinkConfig::new("-"), FileSinkConfig { compression: Some(Compression::Gzip), ..FileSinkConfig::new("-") }]
    {
        let (reader, writer) = io::pipe().unwrap();
        let mut sink = Box::new(FileSink::to_writer(writer, "stdout", &config).unwrap());
        drop(reader);
        sink.write(&record(json!({"id": 1}))).unwrap();
        assert_eq!(sink.finish().unwrap_err().kind(), ErrorKind::ClosedPipe);
    }
}

#[test]
fn an_output_that_has_failed_once_stays_failed() {
    /// A disk that is full for one write, as when somebody makes room at that moment.
    struct FullOnce(bool);
    impl Write for FullOnce {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) { Ok(bytes.len()) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Box::new(FileSink::to_writer(FullOnce(false), "disk", &FileSinkConfig::new("-")).unwrap());
    sink.write(&record(json!({"id": 1}))).unwrap();
    assert_eq!(sink.flush().unwrap_err().kind(), ErrorKind::DiskFull);
    assert_eq!(sink.write(&record(json!({"id": 2}))).unwrap_err().kind(), ErrorKind::DiskFull);
    assert_eq!(sink.finish().unwrap_err().kind(), ErrorKind::DiskFull);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_of_its_own_kind_that_names_the_path() {
    for compression in [Compression::None, Compression::Gzip] {
        let config = FileSinkConfig {
            format: Some(Format::JsonLines),
            compression: Some(compression),
            ..FileSinkConfig::new("/dev/full")
        };
        let error = write(&config, &numbered(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DiskFull);
        assert!(error.to_string().starts_with("/dev/full: cannot write: the disk is full"), "{error}");

        let mut sink = FileSink::create(&config).unwrap();
        let error = numbered(100_000).into_iter().find_map(|value| sink.write(&record(value)).err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::DiskFull, "in the middle");
    }
}

#[test]
fn a_csv_record_with_other_fields_is_refused_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let mut sink = Box::new(FileSink::create(&FileSinkConfig::new(&path)).unwrap());
    sink.write(&record(json!({"id": 1}))).unwrap();
    let error = sink.write(&record(json!({"id": 2, "name": "Ada"}))).unwrap_err();
    let expected = format!("{}, record 2: the first record decides", path.display());
    assert!(error.to_string().starts_with(&expected) && error.to_string().contains("adds \"name\""), "{error}");
    sink.write(&record(json!({"id": 3}))).unwrap();
    sink.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "id\n1\n3\n");
}

#[test]
fn a_folder_that_does_not_exist_is_an_error_when_the_sink_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let error = FileSink::create(&FileSinkConfig::new(folder.path().join("none/out.jsonl"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("none/out.jsonl"), "{error}");
}

#[cfg(unix)]
#[test]
fn named_pipes_are_read_and_written_directly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reading = {
        let path = path.clone();
        std::thread::spawn(move || read_file(&path))
    };
    write(&FileSinkConfig::new(&path), &numbered(1000)).unwrap();
    let (records, error) = reading.join().unwrap();
    assert!(error.is_none());
    assert_eq!(records, numbered(1000));
}

#[test]
fn sources_and_sinks_can_move_to_another_thread() {
    fn send<T: Send>() {}
    send::<Box<dyn Source>>();
    send::<Box<dyn Sink>>();
    send::<FileSource>();
    send::<FileSink>();
    send::<Error>();
}
