//! Where records go.

use crate::{Error, Record};

/// Something that records are written to.
///
/// A sink blocks while the receiving side is slow, so a host runs it on a thread of its own. A record counts as written
/// only when [`finish`](Self::finish) has returned `Ok`, or [`commit`](Self::commit) for its epoch: before that it may
/// lie in a buffer.
///
/// # Epochs
///
/// A host that keeps checkpoints divides the records into epochs, numbered from 1, and ends each of them in four steps:
///
/// 1. `prepare(e)`: what was written so far is safe where a crash cannot take it, or ready in the transaction of a
///    database. The text it returns is all that is needed to continue from here.
/// 2. The host writes the checkpoint of `e`: the positions of its sources, what it still holds, and that text.
/// 3. `commit(e)`: what was prepared counts.
/// 4. Only now records of the next epoch are written. After the last epoch `finish` comes in their place.
///
/// To continue after a crash, the host opens the sink as the newest checkpoint *that counts* says, sets its sources
/// back to the positions in it, and goes on. What counts depends on who decides:
///
/// - **The checkpoint decides** ([`decided`](Self::decided) is `None`), as for files: the newest one on disk. `prepare`
///   made what it covers durable before it was there, so nothing is lost. What was written after it, the sink takes
///   back when it is opened with the text, and the sources bring it again: nothing is doubled. A crash before 2 goes
///   back to the checkpoint before; one after 2 goes forward, as `commit` has nothing to do that opening would not do.
/// - **The sink decides** (`decided` is `Some`), as for databases: the checkpoint of the epoch it names, and a newer one
///   was never there. The records of `e` and the number `e` are in one transaction that `commit` ends. A crash before 3
///   leaves neither: the epoch before counts, whose checkpoint is still there as the host keeps several. A crash in 3
///   leaves both or neither. A crash after 3 finds both, and the checkpoint of `e` is there, as 2 came before 3.
///
/// Sinks that can do neither, such as stdout, are [`Guarantee::AtLeastOnce`]: records written after the checkpoint that
/// counts come once more.
pub trait Sink: Send {
    /// Writes one record after those written before.
    ///
    /// # Errors
    ///
    /// When the record does not fit the format, or the output cannot be written: [`ClosedPipe`] when the reader has
    /// gone, [`DiskFull`] when there is no room. An error of the output is final: the sink returns it from every later
    /// call, unless it can be [renewed](Self::renew). Because of buffers it may belong to an earlier record.
    ///
    /// [`ClosedPipe`]: crate::ErrorKind::ClosedPipe
    /// [`DiskFull`]: crate::ErrorKind::DiskFull
    fn write(&mut self, record: &Record) -> Result<(), Error>;

    /// As [`write`](Self::write), of a record that would come again from the same place of its source. A sink that can tell
    /// by that which records it has already does; the default takes all.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn write_from(&mut self, origin: Origin<'_>, record: &Record) -> Result<(), Error> {
        let _ = origin;
        self.write(record)
    }

    /// Hands what is buffered to the operating system, so that a reader sees all records written so far. A sink that
    /// shows only whole epochs does nothing.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn flush(&mut self) -> Result<(), Error>;

    /// Makes what was written so far safe, and returns what is needed to continue from here: a text of the sink's own,
    /// to be kept in the checkpoint.
    ///
    /// The default flushes, which is all that a sink can do which delivers at least once.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write). Then there must be no checkpoint of this epoch.
    fn prepare(&mut self, epoch: u64) -> Result<String, Error> {
        let _ = epoch;
        self.flush()?;
        Ok(String::new())
    }

    /// Lets count what was prepared as `epoch`; called when the checkpoint of the epoch is durable, and before more is
    /// written. To commit an epoch again changes nothing.
    ///
    /// The default does nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be told that the epoch counts. The host then ends, and [`decided`](Self::decided) will tell.
    fn commit(&mut self, epoch: u64) -> Result<(), Error> {
        let _ = epoch;
        Ok(())
    }

    /// What a reader of the output can rely on when a run is continued after a crash. The default is
    /// [`Guarantee::AtLeastOnce`].
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    /// For sinks whose own transaction decides whether an epoch counts: the last one that does, 0 before the first.
    /// `None`, the default, for all others.
    ///
    /// # Errors
    ///
    /// When the sink cannot be asked.
    fn decided(&mut self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// After an error that goes by ([`Error::is_retryable`]), or after a commit that is in doubt
    /// ([`ErrorKind::Undecided`](crate::ErrorKind::Undecided)): connects to the server anew, and writes again what was written
    /// since the last commit, the record of the call that failed included. Then the host goes on: with the next record, or
    /// with the same `flush`, `prepare` or `commit` once more, which does nothing if it turned out to count.
    ///
    /// False from sinks that cannot, which is the default: their error is final.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached yet ([`Error::is_retryable`]: the host may try again), or refuses.
    fn renew(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    /// Writes what is left and closes the output, the only way to end it well. Dropping a sink instead leaves the
    /// output unfinished, as a crash would. With epochs it follows the commit of the last one, and to finish once more
    /// after a crash changes nothing.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); also any error that an earlier call returned.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}

/// The place of a record in its source. No two records have the same, and one that comes again has the one it had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin<'a> {
    /// What the partition of the source is called.
    pub partition: &'a str,
    /// Which of its records it is, from 1.
    pub number: u64,
}

/// Whose epochs a sink commits that decides whether they count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Epochs {
    /// The name of the output: two sinks of one database need different ones.
    pub pipeline: String,
    /// The number of the run, higher than that of every run before.
    pub generation: u64,
}

impl Epochs {
    /// Of the output called `pipeline`, in the run numbered `generation`.
    pub fn new(pipeline: impl Into<String>, generation: u64) -> Self {
        Self { pipeline: pipeline.into(), generation }
    }
}

/// What a reader of a [`Sink`]'s output can rely on when a run is continued after a crash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Guarantee {
    /// Each record is there once.
    ExactlyOnce,
    /// No record is missing; those written after the last checkpoint may come once more.
    AtLeastOnce,
}
