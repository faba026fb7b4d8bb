//! The bytes of a file or of stdin, unpacked and counted.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::Compression;
use super::config::is_standard;
use super::position::{Beginning, changed};
use crate::{Error, ErrorKind};

/// An opened input: unpacked bytes, and a count of the packed ones.
pub(crate) struct Input {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) name: PathBuf,
    pub(crate) bytes_read: Arc<AtomicU64>,
    pub(crate) bytes_total: Option<u64>,
    /// None for what is no regular file.
    pub(super) beginning: Option<Beginning>,
}

impl Input {
    pub(crate) fn open(path: &Path, compression: Compression) -> Result<Self, Error> {
        if is_standard(path) {
            return Ok(Self::new(io::stdin(), Path::new("stdin"), compression));
        }
        let (file, bytes_total, beginning) = open(path).map_err(|error| error.in_file(path))?;
        Ok(Self { bytes_total, beginning, ..Self::new(file, path, compression) })
    }

    /// Opens a file to go on behind its first `offset` (unpacked) bytes, at least one; the last of them comes along.
    pub(super) fn open_at(path: &Path, compression: Compression, offset: u64) -> Result<(Self, u8), Error> {
        let (mut file, bytes_total, beginning) = open(path)?;
        let before = offset.saturating_sub(1);
        let seeks = compression == Compression::None;
        if seeks {
            file.seek(SeekFrom::Start(before)).map_err(read_error)?;
        }
        let mut input = Self { bytes_total, beginning, ..Self::new(file, path, compression) };
        if seeks {
            input.bytes_read.store(before, Ordering::Relaxed);
        } else {
            io::copy(&mut input.reader.by_ref().take(before), &mut io::sink()).map_err(read_error)?;
        }
        let mut last = [0];
        match input.reader.read(&mut last).map_err(read_error)? {
            0 => Err(changed("it has become shorter")),
            _ => Ok((input, last[0])),
        }
    }

    pub(crate) fn new(reader: impl Read + Send + 'static, name: &Path, compression: Compression) -> Self {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = Counted { reader, bytes_read: bytes_read.clone() };
        let reader: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(counted),
            Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(counted))),
        };
        Self { reader, name: name.to_owned(), bytes_read, bytes_total: None, beginning: None }
    }
}

/// Opens a file; a regular one with its length and its beginning.
fn open(path: &Path) -> Result<(File, Option<u64>, Option<Beginning>), Error> {
    let open = || {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let beginning = metadata.is_file().then(|| Beginning::read(&mut file)).transpose()?;
        Ok((file, metadata, beginning))
    };
    let (file, metadata, beginning) = open().map_err(|error| Error::io("cannot open the file", error))?;
    if metadata.is_dir() {
        return Err(Error::new(ErrorKind::Config, "this is a folder; name a file in it"));
    }
    Ok((file, metadata.is_file().then_some(metadata.len()), beginning))
}

/// The error for bytes that could not be read or unpacked. A plain file reports neither a premature end nor invalid
/// data, so those can only come from gzip.
pub(crate) fn read_error(error: io::Error) -> Error {
    let damaged = |kind, message: &str| Error::new(kind, message);
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(
            ErrorKind::Truncated,
            "the gzip stream ends too early, so records may be missing; the file was cut off, or is not gzip: get it again",
        )
        .caused_by(error),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            let message = format!("this is not a sound gzip stream ({error}); the file is damaged or not gzip at all");
            damaged(ErrorKind::Corrupt, &message).caused_by(error)
        }
        _ => Error::io("cannot read", error),
    }
}

struct Counted<R> {
    reader: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed); // a figure for people; nothing hangs on it
        Ok(count)
    }
}
