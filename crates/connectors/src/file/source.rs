//! Records from a file or from stdin.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::config::is_standard;
use super::input::{Input, read_error};
use super::position::{Beginning, Fingerprint, Place, Reached, changed, columns_crc};
use super::{Compression, Csv, CsvOptions, FileSourceConfig, Format, JsonLines};
use crate::{Error, ErrorKind, Position, Progress, Record, Source};

/// The records of a file or of stdin.
///
/// See [`Source`] for an example.
pub struct FileSource {
    name: PathBuf,
    records: Records,
    /// Kept so that a source that has failed stays failed.
    failure: Option<Error>,
    /// With the last record delivered.
    reached: Reached,
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
    beginning: Option<Beginning>,
    compression: Compression,
}

enum Records {
    JsonLines(JsonLines<Box<dyn Read + Send>>),
    Csv(Box<Csv<Box<dyn Read + Send>>>),
}

impl FileSource {
    /// Opens the file that `config` names. For CSV this reads the header, and so waits for it if the input is stdin.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense or names several files, the file cannot be opened, or its CSV header
    /// is wrong.
    pub fn open(config: &FileSourceConfig) -> Result<Self, Error> {
        config.check()?;
        let config = config.only_partition()?;
        Self::new(Input::open(&config.path, config.compression())?, &config)
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
        Self::new(Input::new(reader, name.as_ref(), config.compression()), config)
    }

    /// Opens what `config` names to go on at `position`, which a source of the same configuration told. A plain file is
    /// entered there; a gzip file is unpacked up to there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); also when stdin or a pipe is named, which cannot be read again, or the file is not the
    /// one that it was ([`ErrorKind::Changed`]): it is shorter, it begins otherwise, its columns are others, or a last
    /// line that had no end has been continued. That it has grown is no error.
    pub fn open_at(config: &FileSourceConfig, position: &Position) -> Result<Self, Error> {
        config.check()?;
        let config = config.only_partition()?;
        let name = if is_standard(&config.path) { Path::new("stdin") } else { &config.path };
        Self::go_on(&config, position).map_err(|error| error.in_file(name))
    }

    fn new(input: Input, config: &FileSourceConfig) -> Result<Self, Error> {
        let Input { reader, name, bytes_read, bytes_total, beginning } = input;
        let records = match config.format()? {
            Format::JsonLines => Records::JsonLines(JsonLines::new(reader, config.max_line_bytes)),
            Format::Csv => {
                let rows = Csv::new(reader, &csv_options(config)).map_err(|error| error.in_file(&name))?;
                Records::Csv(Box::new(rows))
            }
        };
        let (failure, reached, compression) = (None, Reached::default(), config.compression());
        Ok(Self { name, records, failure, reached, bytes_read, bytes_total, beginning, compression })
    }

    fn go_on(config: &FileSourceConfig, position: &Position) -> Result<Self, Error> {
        let not_again = "this cannot be read again from the middle; start anew without the checkpoint, or read a file";
        let not_again = || Error::new(ErrorKind::Config, not_again);
        if is_standard(&config.path) {
            return Err(not_again());
        }
        // The header of a CSV file is read in any case.
        let mut source = Self::open(config)?;
        let place = Place::of(position)?;
        let (Some(beginning), Some(then)) = (&source.beginning, &place.beginning) else {
            return Err(not_again());
        };
        beginning.check(then)?;
        if source.columns() != then.columns {
            return Err(changed("its columns are others"));
        }
        // Where nothing was read yet, it stands right.
        if place.offset > 0 {
            let Place { offset, line, .. } = place;
            source.enter(config, Reached { offset, line, record: position.record })?;
        }
        source.skip(position.skip)?;
        Ok(source)
    }

    fn enter(&mut self, config: &FileSourceConfig, at: Reached) -> Result<(), Error> {
        let (mut input, last) = Input::open_at(&config.path, config.compression(), at.offset)?;
        let within_line = !matches!(last, b'\n' | b'\r');
        if within_line && input.reader.read(&mut [0]).map_err(read_error)? > 0 {
            return Err(changed("the line that was its last has been continued"));
        }
        match &mut self.records {
            Records::JsonLines(lines) => *lines = JsonLines::continued(input.reader, config.max_line_bytes, at),
            Records::Csv(rows) => rows.continue_with(input.reader, at, last == b'\r'),
        }
        self.reached = at;
        self.bytes_read = input.bytes_read;
        Ok(())
    }

    fn skip(&mut self, records: u64) -> Result<(), Error> {
        for _ in 0..records {
            match self.records.next() {
                Some(record) => drop(record?),
                None => return Err(changed("it has fewer records")),
            }
            self.reached = self.records.reached();
        }
        Ok(())
    }

    fn columns(&self) -> Option<u32> {
        match &self.records {
            Records::JsonLines(_) => None,
            Records::Csv(rows) => Some(columns_crc(rows.header())),
        }
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        // What is packed has no bytes of which it is known that they have been read.
        let most = if self.compression == Compression::None { self.reached.offset } else { u64::MAX };
        self.beginning.as_ref().map(|beginning| beginning.fingerprint(most, self.columns()))
    }
}

impl Source for FileSource {
    fn read_batch(&mut self, max: usize, into: &mut Vec<Record>) -> Result<usize, Error> {
        let mut count = 0;
        while self.failure.is_none() && count < max.max(1) && (count == 0 || self.records.is_ready()) {
            match self.records.next() {
                Some(Ok(record)) => {
                    into.push(record);
                    self.reached = self.records.reached();
                }
                Some(Err(error)) => {
                    self.failure = Some(error.in_file(&self.name));
                    break;
                }
                None => break,
            }
            count += 1;
        }
        match &self.failure {
            Some(error) if count == 0 => Err(error.clone()),
            _ => Ok(count),
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            records: self.reached.record,
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
        }
    }

    fn position(&self) -> Position {
        self.reached.position(self.fingerprint())
    }
}

impl Records {
    fn next(&mut self) -> Option<Result<Record, Error>> {
        match self {
            Self::JsonLines(lines) => lines.next(),
            Self::Csv(rows) => rows.next(),
        }
    }

    fn reached(&self) -> Reached {
        match self {
            Self::JsonLines(lines) => lines.reached(),
            Self::Csv(rows) => rows.reached(),
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
