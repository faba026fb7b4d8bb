//! Where records go.

use crate::{Error, Record};

/// Something that records are written to.
///
/// A sink blocks while the receiving side is slow, so a host runs it on a thread of its own. A record counts as written
/// only when [`finish`](Self::finish) has returned `Ok`: before that it may lie in a buffer.
pub trait Sink: Send {
    /// Writes one record after those written before.
    ///
    /// # Errors
    ///
    /// When the record does not fit the format, or the output cannot be written: [`ClosedPipe`] when the reader has
    /// gone, [`DiskFull`] when there is no room. An error of the output is final: the sink returns it from every later
    /// call. Because of buffers it may belong to an earlier record.
    ///
    /// [`ClosedPipe`]: crate::ErrorKind::ClosedPipe
    /// [`DiskFull`]: crate::ErrorKind::DiskFull
    fn write(&mut self, record: &Record) -> Result<(), Error>;

    /// Hands what is buffered to the operating system, so that a reader sees all records written so far.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn flush(&mut self) -> Result<(), Error>;

    /// Writes what is left and closes the output, the only way to end it well. Dropping a sink instead leaves the
    /// output unfinished, as a crash would.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); also any error that an earlier call returned.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}
