//! A stream read through a durable consumer, which remembers by itself what was read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::consumer::Info;
use futures_util::FutureExt as _;
use tokio::time::{Interval, MissedTickBehavior};

use super::connect::{Connection, Patience, jetstream_error};
use super::pull::{Pull, Pulled, record};
use super::{NatsSourceConfig, Until};
use crate::{Acknowledge, Error, ErrorKind, Event, Message, Messages, Position};

const ACK: &str = "+ACK";
const IN_PROGRESS: &str = "+WPI";
const GIVE_BACK: &str = "-NAK";

/// How long the end of a reader may take to be told.
const TELLS_WITHIN: Duration = Duration::from_secs(1);

/// Messages of a stream through a durable consumer that several readers may share: each message goes to one of them, and
/// to another one when it is not acknowledged in time. There is one partition, 0; the places in it count what came to
/// this reader, as sequences of the stream come again and again.
pub struct NatsConsumer {
    pull: Pull,
    stream: String,
    /// The field of the records that tells of their messages.
    metadata: Option<String>,
    held: Arc<Held>,
    /// Messages that came to this reader.
    count: u64,
    until: Option<Until>,
    last: u64,
    ended: bool,
    /// When the server is asked for more time.
    ticks: Interval,
}

/// The other end: what tells the server that messages are done.
pub struct NatsAcks {
    connection: Arc<Connection>,
    stream: String,
    held: Arc<Held>,
}

/// Where the server hears of the messages that are not acknowledged, by their count.
#[derive(Default)]
struct Held(Mutex<VecDeque<(u64, Subject)>>);

impl NatsConsumer {
    /// Connects, and finds or makes the consumer.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense or names no consumer, there is no such stream, or the server cannot be
    /// reached or refuses.
    pub fn open(config: &NatsSourceConfig) -> Result<(Self, NatsAcks), Error> {
        config.check()?;
        if config.consumer.is_none() {
            let message = "no `consumer` is named, so nobody would remember what was read";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let connection = Connection::open(&config.server)?;
        let config = &connection.with_stream(config)?;
        let stream = connection.wait(connection.context.get_stream(&config.stream))?;
        let stream = stream.map_err(|error| {
            jetstream_error(&format!("stream {}", config.stream), &error).in_file(connection.name())
        })?;
        let last = stream.cached_info().state.last_sequence;
        let held = Arc::<Held>::default();
        let ticks = connection.wait(async {
            let mut ticks = tokio::time::interval(config.ack_wait / 3);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        })?;
        let acks = NatsAcks { connection: Arc::clone(&connection), stream: config.name(), held: Arc::clone(&held) };
        let consumer = Self {
            pull: Pull::new(connection, config, 0),
            stream: config.stream.clone(),
            metadata: config.metadata.clone(),
            held,
            count: 0,
            until: config.until,
            last,
            ended: false,
            ticks,
        };
        Ok((consumer, acks))
    }

    /// Whether everything up to the end has been acknowledged, by whomever.
    fn is_done(&self, info: &Info) -> bool {
        let Some(Until::End) = self.until else { return false };
        info.ack_floor.stream_sequence >= self.last || (info.num_pending == 0 && info.num_ack_pending == 0)
    }

    /// Asks for more time for all that is held, now and then.
    async fn keep(&mut self) {
        if self.ticks.tick().now_or_never().is_none() {
            return;
        }
        let held: Vec<Subject> = self.held.lock().iter().map(|(_, reply)| reply.clone()).collect();
        for reply in held {
            // One that does not arrive makes a message come again, as a lost connection would.
            drop(self.pull.connection.client.publish(reply, IN_PROGRESS.into()).await);
        }
    }

    async fn read(&mut self, max: usize, wait: Duration, into: &mut Vec<Event>) -> Result<bool, Error> {
        self.keep().await;
        if max == 0 {
            tokio::time::sleep(wait).await;
            return Ok(true);
        }
        let before = into.len();
        while into.len() - before < max {
            let wait = if into.len() == before { wait } else { Duration::ZERO };
            match self.pull.next(wait).await? {
                Pulled::Message(mut message) => {
                    self.count += 1;
                    let content = record(
                        self.pull.connection.name(),
                        &self.stream,
                        self.pull.after,
                        &message,
                        self.metadata.as_deref(),
                    );
                    if let Some(reply) = message.message.reply.take() {
                        self.held.lock().push_back((self.count, reply));
                    }
                    let (offset, after) = (self.pull.after, self.count);
                    into.push(Event::Message(Message { partition: 0, assignment: 0, offset, after, content }));
                }
                Pulled::Idle(info) if self.is_done(&info) => {
                    self.ended = true;
                    into.push(Event::Ended { partition: 0 });
                    break;
                }
                Pulled::Idle(_) | Pulled::Nothing => break,
            }
        }
        Ok(true)
    }
}

impl Messages for NatsConsumer {
    fn poll(&mut self, max: usize, wait: Duration, into: &mut Vec<Event>) -> Result<bool, Error> {
        if self.ended && max > 0 {
            return Ok(false);
        }
        let connection = Arc::clone(&self.pull.connection);
        connection.wait(self.read(max, wait, into))?
    }

    /// Of all its readers together.
    fn behind(&self) -> Option<u64> {
        self.pull.behind
    }
}

impl Acknowledge for NatsAcks {
    fn name(&self, _partition: u32) -> Option<String> {
        Some(self.stream.clone())
    }

    /// The server has heard of all of them when it returns.
    fn acknowledge(&self, read: &[(u32, Position)]) -> Result<(), Error> {
        for (_, position) in read {
            let upto = position.at.as_u64().unwrap_or_default() + position.skip;
            self.connection.wait(self.acknowledge_to(upto))??;
        }
        Ok(())
    }

    /// What is still held goes to another reader at once.
    fn abandon(&self) {
        let held: Vec<Subject> = self.held.lock().drain(..).map(|(_, reply)| reply).collect();
        let give_back = async {
            for reply in held {
                drop(self.connection.client.publish(reply, GIVE_BACK.into()).await);
            }
            drop(self.connection.client.flush().await);
        };
        // If it cannot be told, the server gives them away when their time is up.
        drop(self.connection.wait(async { tokio::time::timeout(TELLS_WITHIN, give_back).await }));
    }
}

impl NatsAcks {
    /// Messages leave what is held when the server has confirmed the last of them: those before it came first.
    async fn acknowledge_to(&self, upto: u64) -> Result<(), Error> {
        let done: Vec<Subject> =
            self.held.lock().iter().take_while(|(count, _)| *count <= upto).map(|(_, reply)| reply.clone()).collect();
        let Some((last, before)) = done.split_last() else { return Ok(()) };
        let client = &self.connection.client;
        let mut patience = Patience::default();
        loop {
            for reply in before {
                drop(client.publish(reply.clone(), ACK.into()).await);
            }
            match client.request(last.clone(), ACK.into()).await {
                Ok(_) => break,
                Err(error) => {
                    let lost = jetstream_error("cannot acknowledge messages", &error);
                    let lost = Error::new(ErrorKind::Unavailable, lost.to_string());
                    patience.lose(lost.in_file(self.connection.name())).await?;
                }
            }
        }
        self.held.lock().drain(..done.len());
        Ok(())
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Subject)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for NatsConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsConsumer").field("stream", &self.stream).field("count", &self.count).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NatsAcks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsAcks").field("server", &self.connection.name()).finish_non_exhaustive()
    }
}
