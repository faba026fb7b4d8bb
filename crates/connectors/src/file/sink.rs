//! Records into a file or to stdout.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::config::{is_regular, is_standard};
use super::encode::Encoder;
use super::output::{Output, Target};
use super::{Compression, Csv, CsvOptions, FileSinkConfig, Format};
use crate::partial::{Kept, Left, PartialFile, WholeFile};
use crate::{Error, ErrorKind, Guarantee, Record, Sink};

/// Writes records to a file or to stdout.
///
/// A file is written as `<path>.partial`; [`finish`](Sink::finish) makes it durable and renames it, so a crash leaves
/// no half file under the final name, and a file that was there before stays until then. Devices and named pipes are
/// written directly, as is stdout.
///
/// ```
/// use inflight_connectors::file::{FileSink, FileSinkConfig};
/// use inflight_connectors::Sink;
/// use serde_json::json;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("users.csv");
/// let mut sink = Box::new(FileSink::create(&FileSinkConfig::new(&path))?);
/// sink.write(json!({ "id": 7, "name": "Ada" }).as_object().unwrap())?;
/// sink.finish()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "id,name\n7,Ada\n");
/// # Ok(())
/// # }
/// ```
pub struct FileSink {
    name: PathBuf,
    encoder: Encoder,
    stage: Stage,
    line: Vec<u8>,
    records: u64,
    /// Kept so that an output that has failed stays failed, and a half file never gets its name.
    failure: Option<Error>,
}

enum Stage {
    Open(Output),
    /// A crash came after the file had got its name: there is nothing left to write.
    Complete(WholeFile, Kept),
}

/// What a checkpoint knows of a file.
#[derive(Debug, Default, Deserialize, Serialize)]
struct State {
    #[serde(flatten)]
    kept: Kept,
    records: u64,
    columns: Option<Vec<String>>,
}

impl FileSink {
    /// Opens what `config` names for writing.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense, the file cannot be created, or another process is writing it.
    pub fn create(config: &FileSinkConfig) -> Result<Self, Error> {
        if is_standard(&config.path) {
            return Self::to_writer(io::stdout(), "stdout", config);
        }
        config.check()?;
        let target = target(&config.path).map_err(|error| error.in_file(&config.path))?;
        Self::new(target, &config.path, config)
    }

    /// Writes to `writer` in place of the path in `config`; `name` is the file name in errors.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense.
    pub fn to_writer(
        writer: impl Write + Send + 'static,
        name: impl AsRef<Path>,
        config: &FileSinkConfig,
    ) -> Result<Self, Error> {
        config.check()?;
        Self::new(Target::Stream(Box::new(writer)), name.as_ref(), config)
    }

    /// As [`create`](Self::create), behind what is in the file already: that is copied into the `.partial` file first, so
    /// until the end the file stays as it is, and then it has everything.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create); also when what is there is not in the format of `config`.
    pub fn append(config: &FileSinkConfig) -> Result<Self, Error> {
        let is_there = fs::metadata(&config.path).is_ok_and(|there| there.is_file() && there.len() > 0);
        if is_standard(&config.path) || !is_there {
            return Self::create(config);
        }
        config.check()?;
        Self::behind(config).map_err(|error| error.in_file(&config.path))
    }

    /// Opens what `config` names to go on where [`prepare`](Sink::prepare) returned `state`; what was written later is
    /// taken back. If the file had got its name before the crash, [`finish`](Sink::finish) is all that is left to do.
    ///
    /// Stdout, devices and named pipes are opened as by [`create`](Self::create): what has gone there cannot be taken
    /// back.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create); also when the file is not the one that it was ([`ErrorKind::Changed`]): it is not
    /// there, or shorter, or another.
    pub fn resume(config: &FileSinkConfig, state: &str) -> Result<Self, Error> {
        if !is_regular(&config.path) {
            return Self::create(config);
        }
        config.check()?;
        Self::go_on(config, state).map_err(|error| error.in_file(&config.path))
    }

    fn new(target: Target, name: &Path, config: &FileSinkConfig) -> Result<Self, Error> {
        let output = Output::new(target, config.compression(), true);
        Self::at(Stage::Open(output), name, config, State::default())
    }

    fn go_on(config: &FileSinkConfig, state: &str) -> Result<Self, Error> {
        let unfit = |why: &dyn std::fmt::Display| {
            let message = format!("the checkpoint cannot continue this file ({why}); start anew without it");
            Error::new(ErrorKind::Changed, message)
        };
        let state: State = serde_json::from_str(state).map_err(|error| unfit(&error))?;
        let has_rows = !state.kept.is_empty();
        if (config.format()? == Format::Csv && has_rows) != state.columns.is_some() {
            return Err(unfit(&"it was of another format"));
        }
        let stage = match PartialFile::resume(&config.path, state.kept)? {
            Left::Partial(file) => Stage::Open(Output::new(Target::File(file), config.compression(), !has_rows)),
            Left::Whole(file) => Stage::Complete(file, state.kept),
        };
        Self::at(stage, &config.path, config, state)
    }

    fn behind(config: &FileSinkConfig) -> Result<Self, Error> {
        let columns = match config.format()? {
            Format::JsonLines => None,
            Format::Csv => Some(header(config)?),
        };
        let failed = |error| Error::io("cannot copy what is there", error);
        let mut partial = PartialFile::create(&config.path)?;
        let mut there = File::open(&config.path).map_err(failed)?;
        io::copy(&mut there, &mut partial).map_err(failed)?;
        if config.compression() == Compression::None && !ends_its_line(&mut there).map_err(failed)? {
            partial.write_all(b"\n").map_err(failed)?;
        }
        let stage = Stage::Open(Output::new(Target::File(partial), config.compression(), false));
        Self::at(stage, &config.path, config, State { columns, ..State::default() })
    }

    fn at(stage: Stage, name: &Path, config: &FileSinkConfig, state: State) -> Result<Self, Error> {
        let State { records, columns, .. } = state;
        let encoder = Encoder::new(config, columns)?;
        Ok(Self { name: name.to_owned(), encoder, stage, line: Vec::new(), records, failure: None })
    }

    /// Does `work` on the output, with the line at hand, unless it has failed before; remembers when it fails now.
    fn on_output<T: Default>(&mut self, work: impl FnOnce(&mut Output, &[u8]) -> io::Result<T>) -> Result<T, Error> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        let Stage::Open(output) = &mut self.stage else { return Ok(T::default()) };
        work(output, &self.line).map_err(|error| {
            let error = Error::io("cannot write", error).in_file(&self.name);
            self.failure.insert(error).clone()
        })
    }
}

impl Sink for FileSink {
    fn write(&mut self, record: &Record) -> Result<(), Error> {
        if let Stage::Complete(..) = self.stage {
            let message = "the file was complete when the run was cut short, and now there are more records; start \
                           anew without the checkpoint";
            return Err(Error::new(ErrorKind::Changed, message).in_file(&self.name));
        }
        self.line.clear();
        self.encoder
            .encode(record, &mut self.line)
            .map_err(|error| error.in_record(self.records + 1).in_file(&self.name))?;
        self.on_output(|output, line| output.write(line))?;
        self.records += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.on_output(|output, _| output.flush())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<String, Error> {
        let kept = match &self.stage {
            Stage::Complete(_, kept) => Some(*kept),
            Stage::Open(_) => self.on_output(|output, _| output.keep())?,
        };
        let Some(kept) = kept else { return Ok(String::new()) };
        let state = State { kept, records: self.records, columns: self.encoder.columns().map(<[String]>::to_vec) };
        serde_json::to_string(&state).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
    }

    fn guarantee(&self) -> Guarantee {
        match &self.stage {
            Stage::Open(output) if !output.is_file() => Guarantee::AtLeastOnce,
            Stage::Open(_) | Stage::Complete(..) => Guarantee::ExactlyOnce,
        }
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        let Self { name, stage, failure, .. } = *self;
        if let Some(error) = failure {
            return Err(error);
        }
        match stage {
            Stage::Open(output) => output.finish(),
            Stage::Complete(file, _) => file.commit(),
        }
        .map_err(|error| error.in_file(&name))
    }
}

/// The columns of a CSV file.
fn header(config: &FileSinkConfig) -> Result<Vec<String>, Error> {
    let file = File::open(&config.path).map_err(|error| Error::io("cannot open", error))?;
    let content: Box<dyn Read> = match config.compression() {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
    };
    let options = CsvOptions { delimiter: config.delimiter() as u8, ..CsvOptions::default() }; // checked to be ASCII
    Ok(Csv::new(content, &options)?.header().map(str::to_owned).collect())
}

/// Whether the last byte of a file, which has one, ends a line.
fn ends_its_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn target(path: &Path) -> Result<Target, Error> {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(Error::new(ErrorKind::Config, "this is a folder; name a file in it")),
        Ok(there) if !there.is_file() => {
            let stream = OpenOptions::new().write(true).open(path).map_err(|error| Error::io("cannot open", error))?;
            Ok(Target::Stream(Box::new(stream)))
        }
        _ => PartialFile::create(path).map(Target::File),
    }
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink").field("name", &self.name).field("records", &self.records).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(sink: Result<FileSink, Error>, ids: std::ops::Range<u64>) -> Result<(), Error> {
        let mut sink = Box::new(sink?);
        ids.into_iter().try_for_each(|id| sink.write(json!({ "id": id, "a": "x" }).as_object().unwrap()))?;
        sink.finish()
    }

    #[test]
    fn what_is_appended_comes_behind_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["out.jsonl", "out.csv", "out.jsonl.gz", "out.csv.gz"] {
            let config = FileSinkConfig::new(folder.path().join(name));
            written(FileSink::append(&config), 0..2).unwrap();
            written(FileSink::append(&config), 2..2).unwrap();
            // Until the end, the file is as it was.
            let before = fs::read(&config.path).unwrap();
            let mut open = FileSink::append(&config).unwrap();
            open.write(json!({ "a": "y", "id": 9 }).as_object().unwrap()).unwrap();
            open.prepare(1).unwrap();
            drop(open);
            assert!(fs::read(&config.path).unwrap() == before, "{name}");
            written(FileSink::append(&config), 2..4).unwrap();
            let all = FileSinkConfig::new(folder.path().join(format!("all-{name}")));
            written(FileSink::create(&all), 0..4).unwrap();
            let text = |config: &FileSinkConfig| {
                let mut text = String::new();
                let file = File::open(&config.path).unwrap();
                match config.compression() {
                    Compression::None => Box::new(file) as Box<dyn Read>,
                    Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
                }
                .read_to_string(&mut text)
                .unwrap();
                text
            };
            assert_eq!(text(&config), text(&all), "{name}");
        }
    }

    #[test]
    fn a_line_that_nobody_ended_is_ended_first() {
        let folder = tempfile::tempdir().unwrap();
        let config = FileSinkConfig::new(folder.path().join("out.jsonl"));
        fs::write(&config.path, "{}").unwrap();
        written(FileSink::append(&config), 0..1).unwrap();
        assert_eq!(fs::read_to_string(&config.path).unwrap(), "{}\n{\"id\":0,\"a\":\"x\"}\n");
    }

    #[test]
    fn rows_of_other_columns_are_not_appended() {
        let folder = tempfile::tempdir().unwrap();
        let config = FileSinkConfig::new(folder.path().join("out.csv"));
        fs::write(&config.path, "id,b\n1,2\n").unwrap();
        let refused = written(FileSink::append(&config), 0..1).unwrap_err().to_string();
        assert!(refused.contains("out.csv, record 1: ") && refused.contains("\"b\""), "{refused}");
        assert_eq!(fs::read_to_string(&config.path).unwrap(), "id,b\n1,2\n");
    }
}
