//! Records from a file or from stdin.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::input::Input;
use super::{Csv, CsvOptions, FileSourceConfig, Format, JsonLines};
use crate::{Error, Progress, Record, Source};

/// The records of a file or of stdin.
///
/// See [`Source`] for an example.
pub struct FileSource {
    name: PathBuf,
    records: Records,
    /// Kept so that a source that has failed stays failed.
    failure: Option<Error>,
    delivered: u64,
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
}

enum Records {
    JsonLines(JsonLines<Box<dyn Read + Send>>),
    Csv(Csv<Box<dyn Read + Send>>),
}

impl FileSource {
    /// Opens what `config` names. For CSV this reads the header, and so waits for it if the input is stdin.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense, the file cannot be opened, or its CSV header is wrong.
    pub fn open(config: &FileSourceConfig) -> Result<Self, Error> {
        config.check()?;
        Self::new(Input::open(&config.path, config.compression())?, config)
    }

    /// Reads from `reader` in place of the path in `config`; `name` is the file name in errors.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn from_reader(
        reader: impl Read + Send + 'static,
        name: impl AsRef<Path>,
        config: &FileSourceConfig,
    ) -> Result<Self, Error> {
        config.check()?;
        Self::new(Input::new(reader, name.as_ref(), config.compression(), None), config)
    }

    fn new(input: Input, config: &FileSourceConfig) -> Result<Self, Error> {
        let Input { reader, name, bytes_read, bytes_total } = input;
        let records = match config.format()? {
            Format::JsonLines => Records::JsonLines(JsonLines::new(reader, config.max_line_bytes)),
            Format::Csv => Records::Csv(Csv::new(reader, &csv_options(config)).map_err(|error| error.in_file(&name))?),
        };
        Ok(Self { name, records, failure: None, delivered: 0, bytes_read, bytes_total })
    }
}

impl Source for FileSource {
    fn read_batch(&mut self, max: usize, into: &mut Vec<Record>) -> Result<usize, Error> {
        let mut count = 0;
        while self.failure.is_none() && count < max.max(1) && (count == 0 || self.records.is_ready()) {
            match self.records.next() {
                Some(Ok(record)) => into.push(record),
                Some(Err(error)) => {
                    self.failure = Some(error.in_file(&self.name));
                    break;
                }
                None => break,
            }
            count += 1;
        }
        self.delivered += count as u64;
        match &self.failure {
            Some(error) if count == 0 => Err(error.clone()),
            _ => Ok(count),
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            records: self.delivered,
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
        }
    }
}

impl Records {
    fn next(&mut self) -> Option<Result<Record, Error>> {
        match self {
            Self::JsonLines(lines) => lines.next(),
            Self::Csv(rows) => rows.next(),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::JsonLines(lines) => lines.is_ready(),
            Self::Csv(rows) => rows.is_ready(),
        }
    }
}

pub(crate) fn csv_options(config: &FileSourceConfig) -> CsvOptions {
    CsvOptions {
        delimiter: config.delimiter() as u8, // checked to be ASCII
        null: config.null.clone(),
        columns: config.columns.clone(),
        max_line_bytes: config.max_line_bytes,
    }
}

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSource").field("name", &self.name).field("progress", &self.progress()).finish()
    }
}
