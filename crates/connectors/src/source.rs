//! Where records come from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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

    /// Where the source stands: right after the last record that [`read_batch`](Self::read_batch) delivered, whatever
    /// was read ahead. A source opened there goes on with the next one.
    ///
    /// A host that wants to go on in the middle of a batch asks before it reads the batch, and
    /// [skips](Position::skipping) the records of it that are done.
    fn position(&self) -> Position;
}

/// How far a [`Source`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records delivered by [`Source::read_batch`], those before the position where the source was opened included.
    pub records: u64,
    /// Bytes taken from the input, read-ahead included. For gzip these are compressed bytes, so that they can be
    /// compared with [`bytes_total`](Self::bytes_total).
    pub bytes_read: u64,
    /// Length of the input, if it is known: that of a regular file when it was opened.
    pub bytes_total: Option<u64>,
}

/// Where a [`Source`] stands, to be kept in a checkpoint: enough to go on exactly with the record that comes next, and
/// for later errors to name the right line and record.
///
/// ```
/// use inflight_connectors::file::{FileSource, FileSourceConfig};
/// use inflight_connectors::Source;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("orders.csv");
/// std::fs::write(&path, "id\n1\n2\n3\n4\n")?;
/// let config = FileSourceConfig::new(&path);
/// let mut source = FileSource::open(&config)?;
/// let mut batch = Vec::new();
/// source.read_batch(1, &mut batch)?;
/// let before = source.position();
/// source.read_batch(3, &mut batch)?; // 2, 3 and 4, of which 2 is done when the process dies
/// let kept = serde_json::to_string(&before.skipping(1))?;
///
/// let mut source = FileSource::open_at(&config, &serde_json::from_str(&kept)?)?;
/// source.read_batch(1, &mut batch)?;
/// assert_eq!(batch.last().unwrap()["id"], "3");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Position {
    /// Records before the next one.
    pub record: u64,
    /// Records that are done besides, counted from there.
    pub skip: u64,
    /// Where the next one lies, in terms of the source's own. Null at the start.
    #[serde(default)]
    pub at: Value,
}

impl Position {
    /// The position `records` records later.
    pub fn skipping(&self, records: u64) -> Self {
        Self { skip: self.skip.saturating_add(records), ..self.clone() }
    }

    /// Records that are done, in all.
    pub const fn records(&self) -> u64 {
        self.record.saturating_add(self.skip)
    }
}

/// A source that remembers by itself how far it was read, as a consumer group does. What was read counts there only
/// when it is told so; from any thread.
///
/// A host asks [`take`](Self::take) for every record that it takes over, divides the records into epochs as for a
/// [`Sink`](crate::Sink), and when everything of an epoch has been written, ends it in four steps: the sinks
/// `prepare`; [`prepare`](Self::prepare); the sinks `commit`; [`acknowledge`](Self::acknowledge). After a crash the
/// records that were not acknowledged come again: at least once, unless a sink puts what `prepare` told into the
/// transaction that `commit` ends.
pub trait Acknowledge: Send + Sync {
    /// Whether the host may take over the record with this number of a partition. False when the partition has gone to
    /// another reader: the host drops what it has of it and has not taken. `assignment` is that of the
    /// [`Message`](crate::Message).
    fn take(&self, partition: u32, assignment: u64, number: u64) -> bool {
        let _ = (partition, assignment, number);
        true
    }

    /// What a partition is called that the host has given no name to. The default knows none.
    fn name(&self, partition: u32) -> Option<String> {
        let _ = partition;
        None
    }

    /// The sinks are about to commit everything before these positions. The default does nothing.
    ///
    /// # Errors
    ///
    /// When these records belong to another reader by now. Then nothing must be committed.
    fn prepare(&self, read: &[(u32, Position)]) -> Result<(), Error> {
        let _ = read;
        Ok(())
    }

    /// Everything before these positions counts: none of it needs to come again. To acknowledge once more changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// When the source cannot be told.
    fn acknowledge(&self, read: &[(u32, Position)]) -> Result<(), Error>;

    /// The run ends, and nothing more will be acknowledged: whoever waits for that stops to wait. The default does
    /// nothing.
    fn abandon(&self) {}
}
