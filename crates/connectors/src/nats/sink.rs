//! Records published to a subject.

use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;

use super::about::named;
use super::connect::{Connection, Patience, jetstream_error, words};
use super::{NatsSinkConfig, PUBLISHES_AHEAD};
use crate::{Error, ErrorKind, FieldPath, Origin, Record, Sink};

/// Bytes on their way to the server, at most, whatever their number: 8 MiB.
const BYTES_AHEAD: usize = 8 << 20;

/// Publishes each record as a message, with many of them on their way; the server acknowledges each when it is stored.
///
/// A record [with an origin](Sink::write_from) gets an id made of it, so one that comes again after a crash is dropped by
/// the server, as long as that remembers the id: for the duplicate window of the stream, two minutes unless it says
/// otherwise. So messages are there exactly once if a run goes on within that time, and else at least once.
///
/// Within a run nothing is doubled either: what the server has not confirmed in time is published again with all that
/// came behind it, with the ids it had. Messages are in order unless the server was away: then some of what it had not
/// confirmed comes behind what was sent meanwhile.
pub struct NatsSink {
    connection: Arc<Connection>,
    subject: String,
    name: String,
    headers: Option<FieldPath>,
    /// What no other sink has: for the ids of records without an origin.
    own: String,
    ahead: VecDeque<Ahead>,
    bytes: usize,
    records: u64,
    failure: Option<Error>,
}

/// A message on its way.
struct Ahead {
    message: Outgoing,
    ack: Result<PublishAckFuture, PublishError>,
}

#[derive(Clone)]
struct Outgoing {
    record: u64,
    id: String,
    payload: Vec<u8>,
    headers: Option<HeaderMap>,
}

impl NatsSink {
    /// Connects, and finds the stream that listens to the subject.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense, no stream listens, or the server cannot be reached or refuses.
    pub fn open(config: &NatsSinkConfig) -> Result<Self, Error> {
        config.check()?;
        let connection = Connection::open(&config.server)?;
        connection.stream_of(&config.subject)?;
        let own = connection.client.new_inbox();
        Ok(Self {
            own,
            connection,
            subject: config.subject.clone(),
            name: config.name.clone().unwrap_or_else(|| config.subject.clone()),
            headers: config.headers.clone(),
            ahead: VecDeque::new(),
            bytes: 0,
            records: 0,
            failure: None,
        })
    }

    /// As [`open`](Self::open), to go on where [`prepare`](Sink::prepare) returned `state`: with ids that begin as they did.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn resume(config: &NatsSinkConfig, state: &str) -> Result<Self, Error> {
        Self::open(&NatsSinkConfig { name: Some(state.to_owned()), ..config.clone() })
    }

    fn unless_failed(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        act(self).map_err(|error| {
            let error = error.in_file(self.connection.name());
            self.failure.insert(error).clone()
        })
    }

    fn publish(&mut self, id: String, record: &Record) -> Result<(), Error> {
        self.records += 1;
        let number = self.records;
        let payload = serde_json::to_vec(record).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("the record cannot be written as JSON: {error}")).in_record(number)
        })?;
        let headers = self.headers.as_ref().and_then(|headers| headers.find(record));
        let headers = named(headers).map_err(|error| error.in_record(number))?;
        let message = Outgoing { record: number, id, payload, headers };
        let connection = Arc::clone(&self.connection);
        connection.wait(async {
            self.bytes += message.payload.len();
            let ack = self.send(&message).await;
            self.ahead.push_back(Ahead { message, ack });
            // Half of them, so that the next ones find room.
            if self.ahead.len() >= PUBLISHES_AHEAD || self.bytes >= BYTES_AHEAD {
                return self.settle(self.ahead.len() / 2).await;
            }
            Ok(())
        })?
    }

    async fn send(&self, message: &Outgoing) -> Result<PublishAckFuture, PublishError> {
        let mut publish = PublishMessage::build().payload(message.payload.clone().into());
        if let Some(headers) = &message.headers {
            publish = publish.headers(headers.clone());
        }
        let publish = publish.message_id(&message.id);
        self.connection.context.send_publish(self.subject.clone(), publish).await
    }

    /// Waits for the acknowledgements of all but so many.
    async fn settle(&mut self, leave: usize) -> Result<(), Error> {
        let mut patience = Patience::default();
        while self.ahead.len() > leave {
            let Some(Ahead { message, ack }) = self.ahead.pop_front() else { break };
            self.bytes -= message.payload.len();
            let settled = match ack {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            match settled {
                Ok(_) => patience.renew(),
                Err(error) => {
                    patience.lose(self.refused(&message, &error)).await?;
                    self.bytes += message.payload.len();
                    self.again(message).await;
                }
            }
        }
        Ok(())
    }

    /// Publishes a message and all behind it once more: the answers to them are lost too. By their ids, the server tells
    /// those that had arrived.
    async fn again(&mut self, first: Outgoing) {
        let behind = std::mem::take(&mut self.ahead).into_iter().map(|ahead| ahead.message);
        for message in [first].into_iter().chain(behind) {
            let ack = self.send(&message).await;
            self.ahead.push_back(Ahead { message, ack });
        }
    }

    fn refused(&self, message: &Outgoing, error: &PublishError) -> Error {
        let (kind, advice) = match error.kind() {
            PublishErrorKind::StreamNotFound => (ErrorKind::Unavailable, "check that a stream listens to the subject"),
            PublishErrorKind::MaxPayloadExceeded => (ErrorKind::TooLong, "raise max_payload of the server"),
            PublishErrorKind::Other => return jetstream_error(&format!("subject {}", self.subject), error),
            _ => (ErrorKind::Unavailable, "check that the server runs and can be reached"),
        };
        Error::new(kind, format!("subject {}: {}; {advice}", self.subject, words(error))).in_record(message.record)
    }

    fn arrive(&mut self) -> Result<(), Error> {
        let connection = Arc::clone(&self.connection);
        connection.wait(self.settle(0))?
    }
}

impl Sink for NatsSink {
    fn write(&mut self, record: &Record) -> Result<(), Error> {
        let id = format!("{}/{}", self.own, self.records + 1);
        self.unless_failed(|sink| sink.publish(id, record))
    }

    fn write_from(&mut self, origin: Origin<'_>, record: &Record) -> Result<(), Error> {
        let id = format!("{}/{}/{}", self.name, origin.partition, origin.number);
        self.unless_failed(|sink| sink.publish(id, record))
    }

    /// Everything is stored when it returns.
    fn flush(&mut self) -> Result<(), Error> {
        self.unless_failed(Self::arrive)
    }

    fn prepare(&mut self, _epoch: u64) -> Result<String, Error> {
        self.flush()?;
        Ok(self.name.clone())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.flush()
    }
}

impl std::fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsSink")
            .field("subject", &self.subject)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}
