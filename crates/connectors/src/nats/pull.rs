//! Messages pulled from a consumer, whatever becomes of the connection meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, PullConsumer};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::about::about;
use super::connect::{Connection, Patience, jetstream_error, words};
use super::{NatsSourceConfig, Start};
use crate::{Error, ErrorKind, Malformed, Record};

/// Messages of one request.
const PULLED: usize = 500;
/// A request that has not brought as many ends by itself.
const EXPIRES: Duration = Duration::from_secs(2);
/// So much longer it may take until the reader knows.
const LATE: Duration = Duration::from_secs(2);
/// A consumer that is nobody's any more is forgotten by the server.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// One request after the other, of one consumer after the other if need be.
pub(super) struct Pull {
    pub(super) connection: Arc<Connection>,
    config: NatsSourceConfig,
    consumer: Option<PullConsumer>,
    batch: Option<Batch>,
    /// How long this request has been waited for since it last brought something.
    waited: Duration,
    patience: Patience,
    /// The sequence in the stream of the last message.
    pub(super) after: u64,
    /// That in the consumer, which has no gaps.
    delivered: u64,
    /// Messages that the consumer has not handed out, as the server last said.
    pub(super) behind: Option<u64>,
}

/// What there is when it has been waited for.
#[allow(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub(super) enum Pulled {
    Message(Message),
    /// A request has ended, and nothing came: this is how the consumer stands.
    Idle(Box<Info>),
    Nothing,
}

impl Pull {
    /// To begin behind the message with this sequence; a durable consumer knows that by itself.
    pub(super) fn new(connection: Arc<Connection>, config: &NatsSourceConfig, after: u64) -> Self {
        Self {
            connection,
            config: config.clone(),
            consumer: None,
            batch: None,
            waited: Duration::ZERO,
            patience: Patience::default(),
            after,
            delivered: 0,
            behind: None,
        }
    }

    /// The next message, if there is one soon. It may take longer when the server does not answer.
    ///
    /// # Errors
    ///
    /// When it does not for about a minute, or refuses.
    pub(super) async fn next(&mut self, wait: Duration) -> Result<Pulled, Error> {
        if let Err(error) = self.request().await {
            self.rebuild();
            self.patience.lose(error.in_file(self.connection.name())).await?;
            return Ok(Pulled::Nothing);
        }
        let Some(batch) = &mut self.batch else { return Ok(Pulled::Nothing) };
        match timeout(wait, batch.next()).await {
            Ok(Some(Ok(message))) => {
                (self.waited, self.patience) = (Duration::ZERO, Patience::default());
                Ok(self.is_next(&message)?.then_some(message).map_or(Pulled::Nothing, Pulled::Message))
            }
            Ok(Some(Err(error))) => {
                self.rebuild();
                let refused = jetstream_error("cannot pull messages", &*error).in_file(self.connection.name());
                // The server ends requests when it stops, and when a consumer is deleted: whatever it is, it is asked again.
                self.patience.lose(Error::new(ErrorKind::Unavailable, refused.to_string())).await?;
                Ok(Pulled::Nothing)
            }
            Ok(None) => {
                self.batch = None;
                self.waited = Duration::ZERO;
                self.stands().await
            }
            Err(_) => {
                self.waited += wait;
                if self.waited > EXPIRES + LATE {
                    // It would have ended: whoever knew of it is gone.
                    self.rebuild();
                }
                Ok(Pulled::Nothing)
            }
        }
    }

    /// Sees to it that a request is on its way.
    async fn request(&mut self) -> Result<(), Error> {
        if self.batch.is_some() {
            return Ok(());
        }
        let consumer = match &self.consumer {
            Some(consumer) => consumer,
            None => {
                let consumer = self.find().await?;
                self.delivered = 0;
                self.consumer.insert(consumer)
            }
        };
        let batch = consumer.batch().max_messages(PULLED).expires(EXPIRES).messages().await;
        self.batch = Some(batch.map_err(|error| jetstream_error("cannot pull messages", &error))?);
        Ok(())
    }

    /// The durable consumer, or one of our own for what comes next.
    async fn find(&self) -> Result<PullConsumer, Error> {
        let NatsSourceConfig { stream, subject, consumer, start, ack_wait, max_ack_pending, .. } = &self.config;
        let found = self.connection.context.get_stream_no_info(stream).await;
        let found = found.map_err(|error| jetstream_error(&format!("stream {stream}"), &error))?;
        let common = Config { filter_subject: subject.clone().unwrap_or_default(), ..Config::default() };
        let made = match consumer {
            Some(name) => {
                let config = Config {
                    durable_name: Some(name.clone()),
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: *ack_wait,
                    max_ack_pending: i64::from(*max_ack_pending),
                    deliver_policy: match start {
                        Start::Earliest => DeliverPolicy::All,
                        Start::Latest => DeliverPolicy::New,
                    },
                    ..common
                };
                found.get_or_create_consumer(name, config).await.map_err(|error| (error, format!("consumer {name}")))
            }
            None => {
                let config = Config {
                    ack_policy: AckPolicy::None,
                    deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.after + 1 },
                    inactive_threshold: FORGOTTEN_AFTER,
                    memory_storage: true,
                    ..common
                };
                found.create_consumer(config).await.map_err(|error| (error, "a consumer".to_owned()))
            }
        };
        made.map_err(|(error, what)| jetstream_error(&format!("stream {stream}, {what}"), &error))
    }

    /// Whether it is the message to be delivered now: of a consumer of our own, none may be missing before it.
    fn is_next(&mut self, message: &Message) -> Result<bool, Error> {
        let info = message.info().map_err(|error| {
            let message = format!("a message does not say where it lies in the stream: {error}");
            Error::new(ErrorKind::Malformed, message).in_file(self.connection.name())
        })?;
        if self.config.consumer.is_none() {
            if info.consumer_sequence != self.delivered + 1 || info.stream_sequence <= self.after {
                self.rebuild();
                return Ok(false);
            }
            self.delivered = info.consumer_sequence;
        }
        self.after = info.stream_sequence;
        self.behind = Some(info.pending);
        Ok(true)
    }

    async fn stands(&mut self) -> Result<Pulled, Error> {
        let Some(consumer) = &self.consumer else { return Ok(Pulled::Nothing) };
        match consumer.get_info().await {
            Ok(info) => {
                self.patience.renew();
                self.behind = Some(info.num_pending);
                Ok(Pulled::Idle(Box::new(info)))
            }
            Err(error) => {
                self.rebuild();
                let error = Error::new(ErrorKind::Unavailable, format!("the consumer is gone: {}", words(&error)));
                self.patience.lose(error.in_file(self.connection.name())).await?;
                Ok(Pulled::Nothing)
            }
        }
    }

    fn rebuild(&mut self) {
        (self.consumer, self.batch, self.waited) = (None, None, Duration::ZERO);
    }
}

/// The record in a message. With `metadata`, that field of it tells of the message.
pub(super) fn record(
    server: &Path,
    stream: &str,
    sequence: u64,
    message: &Message,
    metadata: Option<&str>,
) -> Result<Record, Malformed> {
    let read = serde_json::from_slice::<Record>(&message.payload).map(|mut record| {
        if let Some(field) = metadata {
            record.insert(field.to_owned(), Value::Object(about(stream, message)));
        }
        record
    });
    read.map_err(|error| {
        let subject = &message.subject;
        let message_at = format!("stream {stream}, message {sequence} ({subject}): it is no JSON object: {error}");
        let mut original = Record::new();
        original.insert("stream".to_owned(), stream.into());
        original.insert("sequence".to_owned(), json!(sequence));
        original.insert("subject".to_owned(), subject.as_str().into());
        original.insert("text".to_owned(), Value::from(String::from_utf8_lossy(&message.payload)));
        Malformed { error: Error::new(ErrorKind::Malformed, message_at).in_file(server), original }
    })
}
