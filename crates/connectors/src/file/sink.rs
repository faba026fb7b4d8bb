//! Records into a file or to stdout.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::{is_regular, is_standard};
use super::encode::Encoder;
use super::output::{Output, Target};
use super::{FileSinkConfig, Format};
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
