//! What is fuzzed: everything that reads what strangers wrote. Whatever the bytes, none of this may panic, and what an
//! answer promises must hold.
//!
//! Two callers share this file: the targets of cargo-fuzz beside it, and `xtask/tests/fuzz_smoke.rs`, which runs it on
//! stable Rust with every test run.

#![forbid(unsafe_code)]

use inflight_cli::explain::explain;
use inflight_cli::file;
use inflight_cli::pipeline::Pipeline;
use inflight_connectors::file::{ColumnType, Csv, CsvOptions, JsonLines};
use inflight_connectors::{Error, FieldPath, Record, duration};

/// Longest line the readers take here: short enough for the limit to be met.
const MAX_LINE_BYTES: usize = 200;

/// A pipeline file is refused with places, or accepted, and then it can be explained.
pub fn pipeline_file(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    match file::parse("p.yaml", text).and_then(Pipeline::check) {
        Ok(pipeline) => assert!(explain(&pipeline).is_ok(), "a pipeline that is accepted can be explained"),
        Err(faults) => assert!(!faults.is_empty() && faults.to_string().starts_with("error: "), "{faults}"),
    }
}

/// JSON lines: a record per line, until the first error, which has its line.
pub fn json_lines(data: &[u8]) {
    read(JsonLines::new(data, MAX_LINE_BYTES), data);
}

/// CSV, with another delimiter, types and words for null.
pub fn csv(data: &[u8]) {
    let options = CsvOptions { max_line_bytes: MAX_LINE_BYTES, ..CsvOptions::default() };
    let typed = CsvOptions {
        delimiter: b';',
        null: vec!["NA".to_owned(), String::new()],
        columns: [("a", ColumnType::Int), ("b", ColumnType::Float)].map(|(name, of)| (name.to_owned(), of)).into(),
        ..options.clone()
    };
    for options in [options, typed] {
        match Csv::new(data, &options) {
            Ok(rows) => read(rows, data),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn read(records: impl Iterator<Item = Result<Record, Error>>, data: &[u8]) {
    let mut failed = false;
    for record in records {
        assert!(!failed, "nothing comes after an error");
        match record {
            Ok(record) => assert!(serde_json::to_string(&record).is_ok(), "what was read can be written"),
            Err(error) => {
                failed = true;
                let line = error.place().line.expect("an error in a text has a line");
                assert!(line >= 1 && line <= 1 + line_ends(data), "line {line}: {error}");
            }
        }
    }
}

fn line_ends(data: &[u8]) -> u64 {
    data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64
}

/// A field path is written as it is read.
pub fn field_path(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    match text.parse::<FieldPath>() {
        Ok(path) => {
            assert!(!path.names().is_empty() && path.find(&Record::new()).is_none());
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        Err(error) => assert!(error.to_string().contains("is not a field path"), "{error}"),
    }
}

/// A duration is written as it is read, and a text that is none is refused with a sentence.
pub fn duration(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    match duration::parse(text) {
        Ok(read) => assert_eq!(duration::parse(&duration::format(&read)), Ok(read)),
        Err(why) => assert!(why.contains("duration") || why.contains("too long"), "{why}"),
    }
}
