//! What can go wrong outside, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// A failure of a source, a sink or a lookup.
///
/// Its text is one sentence for people: place, problem, remedy. Programs look at [`kind`](Self::kind),
/// [`is_retryable`](Self::is_retryable) and [`place`](Self::place). The wording is not promised.
///
/// It can be kept in a checkpoint: read back it says the same, and its causes are known by their words alone.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Error(Box<Parts>);

#[derive(Clone, Deserialize, Serialize)]
struct Parts {
    kind: ErrorKind,
    message: String,
    place: Place,
    /// The pause that whoever failed asks for.
    #[serde(default)]
    retry_after: Option<Duration>,
    #[serde(with = "causes")]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Somebody else holds the database, or the system asks to be asked later. Worth another attempt.
    Busy,
    /// What a checkpoint relies on is not as it was: a file is another one, or a newer run has taken over.
    Changed,
    /// The reading side of a pipe has gone, as when the output goes to `head`.
    ClosedPipe,
    /// The configuration does not make sense, or does not fit what it names: an unknown column, a missing table.
    Config,
    /// The content is damaged: a gzip stream with a wrong checksum, a file that is not a database.
    Corrupt,
    /// There is no room left on the disk.
    DiskFull,
    /// Any other failure of the operating system.
    Io,
    /// A record is not what its format or its column types demand.
    Malformed,
    /// The file does not exist.
    NotFound,
    /// The operating system does not allow it.
    Permission,
    /// The database refused the statement.
    Query,
    /// The server did not answer in time, or the request was cancelled. Worth another attempt.
    Timeout,
    /// A line, or an answer, is longer than the limit.
    TooLong,
    /// The input ends too early: a gzip stream without its end, a quote that is never closed.
    Truncated,
    /// The server cannot be reached, or closed the connection. Worth another attempt.
    Unavailable,
    /// The connection was lost while a transaction was being committed: it may count or not.
    Undecided,
}

/// Where an [`Error`] happened, as far as that is known. Lines, columns and records count from 1.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Place {
    /// The file or database; stdin and stdout are called so.
    #[serde(serialize_with = "in_words")]
    pub file: Option<PathBuf>,
    /// The line in the (decompressed) file. For a CSV record that spans lines, its first.
    pub line: Option<u64>,
    /// The byte in the line.
    pub column: Option<u64>,
    /// The name of the field, for formats that have columns with names.
    pub field: Option<String>,
    /// The record in its file, blank lines and headers not counted.
    pub record: Option<u64>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            message: message.into(),
            place: Place::default(),
            retry_after: None,
            source: None,
        }))
    }

    /// An error of the operating system while doing `what`, as in "cannot open".
    pub(crate) fn io(what: &str, error: io::Error) -> Self {
        let (kind, message) = match error.kind() {
            io::ErrorKind::BrokenPipe => {
                (ErrorKind::ClosedPipe, "the reading side closed the pipe, so the rest cannot be written".to_owned())
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (ErrorKind::DiskFull, format!("{what}: the disk is full ({error}); make room and run again"))
            }
            io::ErrorKind::NotFound => (ErrorKind::NotFound, format!("{what}: there is no such file or folder")),
            io::ErrorKind::PermissionDenied => (ErrorKind::Permission, format!("{what}: permission denied")),
            _ => (ErrorKind::Io, format!("{what}: {error}")),
        };
        Self::new(kind, message).caused_by(error)
    }

    pub(crate) fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    pub(crate) fn in_file(mut self, file: &Path) -> Self {
        self.0.place.file.get_or_insert_with(|| file.to_owned());
        self
    }

    pub(crate) fn at_line(mut self, line: u64) -> Self {
        self.0.place.line = Some(line);
        self
    }

    pub(crate) fn at_column(mut self, column: u64) -> Self {
        self.0.place.column = Some(column);
        self
    }

    pub(crate) fn in_field(mut self, field: &str) -> Self {
        self.0.place.field = Some(field.to_owned());
        self
    }

    pub(crate) fn in_record(mut self, record: u64) -> Self {
        self.0.place.record = Some(record);
        self
    }

    #[cfg(feature = "http")]
    pub(crate) fn worth_asking_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same request, unchanged, may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Busy | ErrorKind::Timeout | ErrorKind::Unavailable)
    }

    /// How long to wait before asking again, if whoever failed has said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Where it happened.
    pub fn place(&self) -> &Place {
        &self.0.place
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, field, record } = self;
        let mut parts = Vec::new();
        parts.extend(file.as_ref().map(|file| file.display().to_string()));
        parts.extend(line.map(|line| format!("line {line}")));
        parts.extend(column.map(|column| format!("column {column}")));
        parts.extend(field.as_ref().map(|field| format!("column \"{field}\"")));
        parts.extend(record.map(|record| format!("record {record}")));
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.place != Place::default() {
            write!(f, "{}: ", self.0.place)?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { kind, message, place, source, retry_after: _ } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("place", place)
            .field("source", source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// A path that is not valid Unicode is kept as it is shown.
fn in_words<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// The causes of an error as their words, outermost first.
mod causes {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Cause = Arc<dyn std::error::Error + Send + Sync>;

    /// A cause of which only the words are left.
    #[derive(Debug)]
    struct Told {
        words: String,
        cause: Option<Cause>,
    }

    pub(super) fn serialize<S: Serializer>(source: &Option<Cause>, serializer: S) -> Result<S::Ok, S::Error> {
        let outermost = source.as_deref().map(|source| source as &dyn std::error::Error);
        let causes = std::iter::successors(outermost, |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cause>, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        Ok(words.into_iter().rev().fold(None, |cause, words| Some(Arc::new(Told { words, cause }) as Cause)))
    }

    impl std::fmt::Display for Told {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.words)
        }
    }

    impl std::error::Error for Told {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.cause.as_deref().map(|cause| cause as _)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_place_and_message_on_one_line() {
        let error = Error::new(ErrorKind::Malformed, "\"abc\" is not an int");
        assert_eq!(error.to_string(), "\"abc\" is not an int");
        let error = error.in_record(16).in_field("dep_time").at_line(17).in_file(Path::new("flights.csv"));
        let expected = "flights.csv, line 17, column \"dep_time\", record 16: \"abc\" is not an int";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn system_errors_that_people_can_act_on_have_their_own_kind() {
        let kind = |kind: io::ErrorKind| Error::io("cannot write", kind.into()).kind();
        assert_eq!(kind(io::ErrorKind::StorageFull), ErrorKind::DiskFull);
        assert_eq!(kind(io::ErrorKind::BrokenPipe), ErrorKind::ClosedPipe);
        assert_eq!(kind(io::ErrorKind::NotFound), ErrorKind::NotFound);
        assert_eq!(kind(io::ErrorKind::PermissionDenied), ErrorKind::Permission);
        assert_eq!(kind(io::ErrorKind::TimedOut), ErrorKind::Io);
    }

    #[test]
    fn an_error_that_is_written_down_says_the_same_when_it_is_read() {
        let cause = io::Error::other(Error::io("cannot read", io::ErrorKind::TimedOut.into()));
        let error = Error::io("cannot open", cause).at_line(3).at_column(4).in_record(2);
        let error = error.in_field("id").in_file(Path::new("a.csv"));
        let text = serde_json::to_string(&error).unwrap();
        let read: Error = serde_json::from_str(&text).unwrap();
        assert_eq!((read.to_string(), read.kind(), read.place()), (error.to_string(), error.kind(), error.place()));
        let words = |error: &Error| {
            std::iter::successors(std::error::Error::source(error), |error| error.source())
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert!(words(&error).len() >= 2, "{:?}", words(&error));
        assert_eq!(words(&read), words(&error));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_unicode_can_be_written_down() {
        use std::os::unix::ffi::OsStrExt;
        let error = Error::new(ErrorKind::Io, "x").in_file(Path::new(std::ffi::OsStr::from_bytes(b"a\xFF")));
        let read: Error = serde_json::from_str(&serde_json::to_string(&error).unwrap()).unwrap();
        assert_eq!(read.to_string(), error.to_string());
    }

    #[test]
    fn the_cause_is_kept() {
        let error = Error::io("cannot open", io::ErrorKind::NotFound.into());
        assert!(std::error::Error::source(&error).is_some());
    }
}
