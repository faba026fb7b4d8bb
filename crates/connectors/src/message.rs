//! Records from systems that keep messages: several partitions at a time, each message with a place of its own.

use std::time::Duration;

use crate::{Error, Record};

/// Something that messages are read from, of several partitions at a time, in the order of each.
///
/// It waits for input only as long as it is told, so that a host can stop it, and keeps in touch with its server while
/// the host has no room.
pub trait Messages: Send {
    /// Appends up to `max` events, as soon as there is one, and at most after `wait`; false means that nothing more
    /// will come, as all partitions have ended. With a `max` of 0 it only keeps in touch with its server, for about
    /// `wait`.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached for good, or refuses. That is final.
    fn poll(&mut self, max: usize, wait: Duration, into: &mut Vec<Event>) -> Result<bool, Error>;

    /// Messages that are there and have not come out yet, as far as that is known: nobody is asked for it, so it may be
    /// as old as a second. The default knows nothing.
    fn behind(&self) -> Option<u64> {
        None
    }
}

/// What comes out of [`Messages`].
#[derive(Debug)]
pub enum Event {
    /// The next message of its partition.
    Message(Message),
    /// The partition has been read to its end, and will not be read on.
    Ended {
        /// As in [`Message::partition`].
        partition: u32,
    },
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// Which partition of the source it is from: the index that the host gave it, or one that the source chose.
    pub partition: u32,
    /// Counts how often the partition has come to this reader; see [`Acknowledge::take`](crate::Acknowledge::take).
    pub assignment: u64,
    /// Its own place, as its system tells it to people: an offset of Kafka, a sequence of a stream.
    pub offset: u64,
    /// The place behind it, where to go on after it: [`Position::at`](crate::Position::at) as a number.
    pub after: u64,
    /// What is in it.
    pub content: Result<Record, Malformed>,
}

/// A message that is no record.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// Why not, and where it lies.
    pub error: Error,
    /// What there is of it, to be looked at: its text, its key, its place.
    pub original: Record,
}
