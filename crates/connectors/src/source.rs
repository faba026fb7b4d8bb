//! Where records come from.

use crate::{Error, Record};

/// Something that records are read from, a batch at a time, until it ends.
///
/// A source blocks while it waits for input, so a host runs it on a thread of its own.
///
/// ```
/// use inflight_connectors::file::{FileSource, FileSourceConfig, Format};
/// use inflight_connectors::Source;
///
/// # fn main() -> Result<(), inflight_connectors::Error> {
/// let lines = &b"{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n"[..];
/// let config = FileSourceConfig { format: Some(Format::JsonLines), ..FileSourceConfig::new("-") };
/// let mut source = FileSource::from_reader(lines, "three lines", &config)?;
///
/// let mut batch = Vec::new();
/// assert_eq!(source.read_batch(2, &mut batch)?, 2);
/// assert_eq!(source.read_batch(2, &mut batch)?, 1);
/// assert_eq!(source.read_batch(2, &mut batch)?, 0); // the end
/// assert_eq!(batch[2]["id"], 3);
/// # Ok(())
/// # }
/// ```
pub trait Source: Send {
    /// Appends up to `max` records to `into` and says how many; 0 means that the source has ended.
    ///
    /// Returns as soon as it holds one record and the next one would have to be waited for, so a slow stream is not
    /// held up by its batches. Since 0 means the end, a `max` of 0 is taken as 1.
    ///
    /// # Errors
    ///
    /// When the input cannot be read or is malformed. Records read before the error are delivered first, by a call
    /// that succeeds; the next call returns the error, and so does every call after it. `into` keeps what it held.
    fn read_batch(&mut self, max: usize, into: &mut Vec<Record>) -> Result<usize, Error>;

    /// How far the source has come.
    fn progress(&self) -> Progress;
}

/// How far a [`Source`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records delivered by [`Source::read_batch`].
    pub records: u64,
    /// Bytes taken from the input, read-ahead included. For gzip these are compressed bytes, so that they can be
    /// compared with [`bytes_total`](Self::bytes_total).
    pub bytes_read: u64,
    /// Length of the input, if it is known: that of a regular file when it was opened.
    pub bytes_total: Option<u64>,
}
