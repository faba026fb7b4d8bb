//! Records into a file or to stdout.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

use super::config::is_standard;
use super::encode::Encoder;
use super::{Compression, FileSinkConfig};
use crate::partial::PartialFile;
use crate::{Error, ErrorKind, Record, Sink};

const BUFFER_BYTES: usize = 64 * 1024;

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
    output: Output,
    line: Vec<u8>,
    records: u64,
    /// Kept so that an output that has failed stays failed, and a half file never gets its name.
    failure: Option<Error>,
}

enum Output {
    Plain(BufWriter<Target>),
    Gzip(GzEncoder<BufWriter<Target>>),
}

enum Target {
    File(PartialFile),
    Stream(Box<dyn Write + Send>),
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

    fn new(target: Target, name: &Path, config: &FileSinkConfig) -> Result<Self, Error> {
        let buffered = BufWriter::with_capacity(BUFFER_BYTES, target);
        let output = match config.compression() {
            Compression::None => Output::Plain(buffered),
            Compression::Gzip => Output::Gzip(GzEncoder::new(buffered, flate2::Compression::default())),
        };
        let encoder = Encoder::new(config)?;
        Ok(Self { name: name.to_owned(), encoder, output, line: Vec::new(), records: 0, failure: None })
    }

    /// Does `work` on the output unless it has failed before, and remembers when it fails now.
    fn on_output(&mut self, work: impl FnOnce(&mut Output, &[u8]) -> io::Result<()>) -> Result<(), Error> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        work(&mut self.output, &self.line).map_err(|error| {
            let error = Error::io("cannot write", error).in_file(&self.name);
            self.failure.insert(error).clone()
        })
    }
}

impl Sink for FileSink {
    fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.line.clear();
        self.encoder
            .encode(record, &mut self.line)
            .map_err(|error| error.in_record(self.records + 1).in_file(&self.name))?;
        self.on_output(|output, line| output.write_all(line))?;
        self.records += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.on_output(|output, _| output.flush())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.flush()?;
        let Self { name, output, .. } = *self;
        let failed = |error| Error::io("cannot write", error).in_file(&name);
        let buffered = match output {
            Output::Plain(buffered) => buffered,
            Output::Gzip(gzip) => gzip.finish().map_err(failed)?,
        };
        match buffered.into_inner().map_err(|error| failed(error.into_error()))? {
            Target::File(file) => file.commit().map_err(|error| error.in_file(&name)),
            Target::Stream(mut stream) => stream.flush().map_err(failed),
        }
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

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(writer) => writer.write(bytes),
            Self::Gzip(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(writer) => writer.flush(),
            Self::Gzip(writer) => writer.flush(),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink").field("name", &self.name).field("records", &self.records).finish()
    }
}
