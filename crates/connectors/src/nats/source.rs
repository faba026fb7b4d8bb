//! A stream read from a position that the reader keeps.

use std::time::Duration;

use async_nats::jetstream::Message;
use serde_json::{Value, json};

use super::connect::{Connection, jetstream_error};
use super::pull::{Pull, Pulled, record};
use super::{NatsSourceConfig, Start, Until};
use crate::{Error, ErrorKind, Event, Malformed, Messages, Position, Progress, Record, Source};

/// How long one look for a message takes, when there is none.
const LOOK: Duration = Duration::from_secs(1);

/// Messages of a stream, in its order, each a JSON object. Its [positions](Position::at) are sequences of the stream.
///
/// ```no_run
/// use inflight_connectors::Source;
/// use inflight_connectors::nats::{NatsSource, NatsSourceConfig};
///
/// # fn main() -> Result<(), inflight_connectors::Error> {
/// let config = NatsSourceConfig::new("nats://localhost:4222", "ORDERS");
/// let mut orders = NatsSource::open(&config)?;
/// let mut batch = Vec::new();
/// orders.read_batch(100, &mut batch)?;
/// let kept = orders.position();
/// // After a crash:
/// let orders = NatsSource::open_at(&config, &kept)?;
/// # Ok(())
/// # }
/// ```
///
/// It outlives servers that restart and connections that break; one that cannot be reached for about a minute is an error.
pub struct NatsSource {
    pull: Pull,
    stream: String,
    /// The field of the records that tells of their messages.
    metadata: Option<String>,
    /// Messages delivered, those before where it was opened included.
    records: u64,
    /// Messages that are done besides.
    skip: u64,
    /// What its messages say they are from.
    partition: u32,
    bytes: u64,
    /// The sequence of the last message that was taken.
    after: u64,
    /// The last message to be read; none if it goes on.
    last: Option<u64>,
    ended: bool,
    told_end: bool,
    failure: Option<Error>,
}

impl NatsSource {
    /// Begins where `config` says.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense, there is no such stream, or the server cannot be reached or refuses.
    pub fn open(config: &NatsSourceConfig) -> Result<Self, Error> {
        Self::connect(config, None)
    }

    /// Goes on where a source stood.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); when the stream is another one, or has lost messages that come next
    /// ([`ErrorKind::Changed`]).
    pub fn open_at(config: &NatsSourceConfig, position: &Position) -> Result<Self, Error> {
        Self::connect(config, Some(position))
    }

    fn connect(config: &NatsSourceConfig, position: Option<&Position>) -> Result<Self, Error> {
        config.check()?;
        let connection = Connection::open(&config.server)?;
        let config = &connection.with_stream(config)?;
        let named = |error: Error| error.in_file(connection.name());
        let stream = connection.wait(connection.context.get_stream(&config.stream))?;
        let stream = stream.map_err(|error| jetstream_error(&format!("stream {}", config.stream), &error));
        let stream = stream.map_err(named)?;
        let state = &stream.cached_info().state;
        let after = match (position.map(|position| &position.at), config.start) {
            (None | Some(Value::Null), Start::Earliest) => 0,
            (None | Some(Value::Null), Start::Latest) => state.last_sequence,
            (Some(at), _) => check_place(config, at, state.first_sequence, state.last_sequence).map_err(named)?,
        };
        let last = config.until.map(|Until::End| state.last_sequence);
        Ok(Self {
            pull: Pull::new(std::sync::Arc::clone(&connection), config, after),
            stream: config.stream.clone(),
            metadata: config.metadata.clone(),
            records: position.map_or(0, |position| position.record),
            skip: position.map_or(0, |position| position.skip),
            partition: 0,
            bytes: 0,
            after,
            last,
            ended: last.is_some_and(|last| after >= last),
            told_end: false,
            failure: None,
        })
    }

    /// As one of [`Messages`]: of the partition with this index.
    #[must_use]
    pub fn of_partition(self, partition: u32) -> Self {
        Self { partition, ..self }
    }

    /// What comes within `wait`, and of what is there already up to `max`.
    fn read(&mut self, max: usize, wait: Duration) -> Result<Vec<Read>, Error> {
        let mut read = Vec::new();
        let connection = std::sync::Arc::clone(&self.pull.connection);
        while !self.ended && read.len() < max {
            let wait = if read.is_empty() { wait } else { Duration::ZERO };
            match connection.wait(self.pull.next(wait))?? {
                // Of another subject was the last, and this came since.
                Pulled::Message(_) if self.last.is_some_and(|last| self.pull.after > last) => self.ended = true,
                Pulled::Message(message) => read.extend(self.take(&message)),
                Pulled::Idle(info) => {
                    self.ended = self.last.is_some() && info.num_pending == 0;
                    break;
                }
                Pulled::Nothing => break,
            }
        }
        Ok(read)
    }

    fn take(&mut self, message: &Message) -> Option<Read> {
        let after = self.pull.after;
        self.after = after;
        self.ended = self.last.is_some_and(|last| after >= last);
        self.bytes += message.payload.len() as u64;
        self.records += 1;
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(Read {
            after,
            content: record(self.pull.connection.name(), &self.stream, after, message, self.metadata.as_deref()),
        })
    }
}

/// A message that was read.
struct Read {
    after: u64,
    content: Result<Record, Malformed>,
}

impl Messages for NatsSource {
    fn poll(&mut self, max: usize, wait: Duration, into: &mut Vec<Event>) -> Result<bool, Error> {
        if max == 0 {
            self.pull.connection.wait(async { tokio::time::sleep(wait).await })?;
            return Ok(true);
        }
        if self.told_end {
            return Ok(false);
        }
        let partition = self.partition;
        for Read { after, content } in self.read(max, wait)? {
            into.push(Event::Message(crate::Message { partition, assignment: 0, offset: after, after, content }));
        }
        if self.ended {
            self.told_end = true;
            into.push(Event::Ended { partition });
        }
        Ok(true)
    }

    fn behind(&self) -> Option<u64> {
        if self.told_end { Some(0) } else { self.pull.behind }
    }
}

impl Source for NatsSource {
    fn read_batch(&mut self, max: usize, into: &mut Vec<Record>) -> Result<usize, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let before = into.len();
        while !self.ended && into.len() == before {
            let read = self.read(max.max(1), LOOK).inspect_err(|error| self.failure = Some(error.clone()))?;
            for Read { content, .. } in read {
                match content {
                    Ok(record) => into.push(record),
                    Err(malformed) => {
                        self.failure = Some(malformed.error.clone());
                        return if into.len() > before { Ok(into.len() - before) } else { Err(malformed.error) };
                    }
                }
            }
        }
        Ok(into.len() - before)
    }

    fn progress(&self) -> Progress {
        Progress { records: self.records, bytes_read: self.bytes, bytes_total: None }
    }

    fn position(&self) -> Position {
        Position { record: self.records, skip: self.skip, at: json!(self.after) }
    }
}

/// The sequence to go on behind, if the stream still has what follows.
fn check_place(config: &NatsSourceConfig, at: &Value, first: u64, last: u64) -> Result<u64, Error> {
    let changed = |why: String| {
        let message = format!("stream {}: {why}; start anew without the checkpoint", config.stream);
        Err(Error::new(ErrorKind::Changed, message))
    };
    let Some(after) = at.as_u64() else {
        return changed("the checkpoint has a place that is none in a stream".to_owned());
    };
    if after > last {
        return changed(format!("it ends with message {last}, and the checkpoint has read {after}: it is another one"));
    }
    if first > after + 1 {
        let gone = first - 1;
        return changed(format!("messages {} to {gone} were removed before they were read", after + 1));
    }
    Ok(after)
}

impl std::fmt::Debug for NatsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsSource")
            .field("stream", &self.stream)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_not_as_it_was_is_noticed() {
        let config = NatsSourceConfig::new("nats://localhost", "ORDERS");
        let check = |at: Value, first, last| check_place(&config, &at, first, last).map_err(|error| error.to_string());
        assert_eq!(check(json!(7), 1, 9), Ok(7));
        assert_eq!(check(json!(7), 8, 7), Ok(7)); // all of it read, and removed
        assert!(check(json!(7), 9, 20).unwrap_err().contains("messages 8 to 8 were removed before they were read"));
        assert!(check(json!(7), 1, 6).unwrap_err().contains("it is another one"));
        assert!(check(json!({ "offset": 7 }), 1, 9).unwrap_err().contains("none in a stream"));
    }
}
