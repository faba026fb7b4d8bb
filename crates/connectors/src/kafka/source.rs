//! Messages of topics.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::connect::{ANSWERS_WITHIN, partitions_of, reader};
use super::content::content;
use super::error::{kafka_error, passes};
use super::group::{Group, Member};
use super::lag::{Lag, TOLD_EVERY_MS};
use super::{KafkaSourceConfig, Start, Until};
use crate::{Acknowledge, Error, ErrorKind, Event, Message, Messages, Position};

/// The group that a reader names whose partitions are assigned; nothing is ever committed to it.
const NO_GROUP: &str = "inflight";
/// How long reports that are there already may take.
const GLANCE: Duration = Duration::from_millis(20);
/// After so long without room, nothing more is fetched, and the brokers are only kept in touch with.
const PAUSED_AFTER: Duration = Duration::from_secs(1);
/// How long a reader that leaves waits until what was handed over counts.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// The partitions of the topics, as `topic/3`.
///
/// # Errors
///
/// When the brokers do not answer, or a topic is not there.
pub fn partitions(config: &KafkaSourceConfig) -> Result<Vec<String>, Error> {
    config.check()?;
    let consumer = consumer(config, NO_GROUP, None)?;
    let mut names = Vec::new();
    for topic in config.topics() {
        // Nothing is assigned, so no message is lost by it.
        let listen = || while consumer.poll(GLANCE).is_some() {};
        let found = partitions_of(consumer.client(), topic, &consumer.context().reports, listen)?;
        names.extend(found.into_iter().map(|partition| format!("{topic}/{partition}")));
    }
    Ok(names)
}

/// Reads messages of several partitions at a time, as records.
///
/// ```no_run
/// use std::time::Duration;
///
/// use inflight_connectors::kafka::{KafkaSource, KafkaSourceConfig, Until, partitions};
/// use inflight_connectors::{Event, Messages};
///
/// # fn main() -> Result<(), inflight_connectors::Error> {
/// let config = KafkaSourceConfig { until: Some(Until::End), ..KafkaSourceConfig::new("localhost:9092", "orders") };
/// let all = (0..).zip(partitions(&config)?).map(|(index, name)| (index, name, None));
/// let mut source = KafkaSource::assign(&config, &all.collect::<Vec<_>>())?;
/// let mut events = Vec::new();
/// while source.poll(100, Duration::from_secs(1), &mut events)? {
///     for event in events.drain(..) {
///         println!("{event:?}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct KafkaSource {
    consumer: Arc<BaseConsumer<Member>>,
    metadata: Option<String>,
    reading: Reading,
    /// Since when there was no room.
    no_room: Option<Instant>,
    paused: bool,
    /// What came though it was paused.
    early: Vec<Event>,
    lag: Lag,
}

enum Reading {
    Assigned(Vec<Assigned>),
    Group(Arc<Group>),
}

/// A partition that is read because the host said so.
struct Assigned {
    index: u32,
    topic: String,
    partition: i32,
    /// Behind the last message to be read, if that is known.
    end: Option<i64>,
    ended: bool,
}

impl KafkaSource {
    /// Reads these partitions, of which each has an index, the name that [`partitions`] gives it, and where to go on.
    ///
    /// # Errors
    ///
    /// When the brokers do not answer, or a name or position is none.
    pub fn assign(config: &KafkaSourceConfig, all: &[(u32, String, Option<Position>)]) -> Result<Self, Error> {
        config.check()?;
        let consumer = consumer(config, config.group.as_deref().unwrap_or(NO_GROUP), None)?;
        let mut list = TopicPartitionList::new();
        let mut assigned = Vec::new();
        for (index, name, position) in all {
            let wrong = |what: &str| Error::new(ErrorKind::Changed, what).in_file(Path::new(name));
            let (topic, partition) = parsed(name).ok_or_else(|| wrong("this is no partition of a topic"))?;
            let at = position.as_ref().map(|position| &position.at).filter(|at| !at.is_null());
            let at = at.map(|at| at.as_i64().ok_or_else(|| wrong("the position in the checkpoint is no offset")));
            let offset = match (at.transpose()?, config.start) {
                (Some(at), _) => Offset::Offset(at),
                (None, Start::Earliest) => Offset::Beginning,
                (None, Start::Latest) => Offset::End,
            };
            let end = config.until.map(|Until::End| end(&consumer, topic, partition)).transpose()?;
            let ended = match (end, offset) {
                (Some((first, end)), Offset::Beginning) => first >= end,
                (Some((_, end)), Offset::Offset(at)) => at >= end,
                (Some(_), _) => true,
                (None, _) => false,
            };
            list.add_partition_offset(topic, partition, offset)
                .map_err(|error| kafka_error("a partition cannot be read", error).in_file(Path::new(name)))?;
            let (topic, end) = (topic.to_owned(), end.map(|(_, end)| end));
            assigned.push(Assigned { index: *index, topic, partition, end, ended });
        }
        consumer.assign(&list).map_err(|error| kafka_error("the partitions cannot be read", error))?;
        let early = assigned.iter().filter(|at| at.ended).map(|at| Event::Ended { partition: at.index }).collect();
        Ok(Self::new(consumer, config, Reading::Assigned(assigned), early))
    }

    /// Joins the group that the configuration names, and reads what falls to it. The [`Group`] has to be told what
    /// counts.
    ///
    /// # Errors
    ///
    /// When the brokers do not answer, a topic is not there, or no group is named.
    pub fn join(config: &KafkaSourceConfig) -> Result<(Self, Arc<Group>), Error> {
        let no_group = || Error::new(ErrorKind::Config, "to be a member of a `group`, it has to have a name");
        let name = config.group.as_deref().ok_or_else(no_group)?;
        partitions(config)?;
        let group = Group::new(name, config.start);
        let consumer = consumer(config, name, Some(Arc::clone(&group)))?;
        group.is(&consumer);
        let joined = consumer.subscribe(&config.topics());
        joined.map_err(|error| kafka_error(&format!("group {name} cannot be joined"), error))?;
        Ok((Self::new(consumer, config, Reading::Group(Arc::clone(&group)), Vec::new()), group))
    }

    fn new(
        consumer: Arc<BaseConsumer<Member>>,
        config: &KafkaSourceConfig,
        reading: Reading,
        early: Vec<Event>,
    ) -> Self {
        let metadata = config.metadata.clone();
        Self { consumer, metadata, reading, no_room: None, paused: false, early, lag: Lag::default() }
    }

    /// Lets no time pass without a sign of life, but fetches nothing once it has had no room for a while.
    fn keep_in_touch(&mut self, wait: Duration) -> Result<(), Error> {
        let since = *self.no_room.get_or_insert_with(Instant::now);
        if since.elapsed() < PAUSED_AFTER {
            std::thread::sleep(wait);
            return Ok(());
        }
        self.pause(true)?;
        let early = self.next(wait)?;
        self.early.extend(early);
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> Result<(), Error> {
        let change = |list: TopicPartitionList| match paused {
            true => self.consumer.pause(&list),
            false => self.consumer.resume(&list),
        };
        // Partitions that came meanwhile are not paused yet.
        if paused || self.paused {
            let changed = self.consumer.assignment().and_then(change);
            changed.map_err(|error| kafka_error("the partitions cannot be paused", error))?;
        }
        self.paused = paused;
        Ok(())
    }

    /// The next event, if one comes.
    fn next(&mut self, wait: Duration) -> Result<Option<Event>, Error> {
        let polled = self.consumer.poll(wait);
        if let Reading::Group(group) = &self.reading
            && let Some(failure) = group.failure()
        {
            return Err(failure);
        }
        match polled {
            None => Ok(None),
            Some(Ok(message)) => Ok(received(&mut self.reading, &mut self.lag, &message, self.metadata.as_deref())),
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(self.reading.end_reached(partition)),
            // It goes on when the brokers answer again.
            Some(Err(error)) if passes(&error) => Ok(None),
            Some(Err(error)) => Err(kafka_error("the topic cannot be read on", error)),
        }
    }

    fn is_over(&self) -> bool {
        match &self.reading {
            Reading::Assigned(assigned) => assigned.iter().all(|at| at.ended) && self.early.is_empty(),
            Reading::Group(_) => false,
        }
    }
}

/// The event of a message; none if it is not to be read.
fn received(
    reading: &mut Reading,
    lag: &mut Lag,
    message: &BorrowedMessage<'_>,
    metadata: Option<&str>,
) -> Option<Event> {
    let offset = u64::try_from(message.offset()).ok()?;
    let (partition, assignment) = match reading {
        Reading::Group(group) => group.index(message.topic(), message.partition())?,
        Reading::Assigned(assigned) => {
            let is_of = |at: &&mut Assigned| at.partition == message.partition() && at.topic == message.topic();
            let at = assigned.iter_mut().find(is_of)?;
            if at.ended {
                return None;
            }
            if at.end.is_some_and(|end| message.offset() >= end) {
                at.ended = true;
                return Some(Event::Ended { partition: at.index });
            }
            (at.index, 0)
        }
    };
    lag.handed_over(partition, message.offset() + 1);
    let content = content(message, metadata);
    Some(Event::Message(Message { partition, assignment, offset, after: offset + 1, content }))
}

impl Reading {
    /// The index of a partition that is being read.
    fn index(&self, topic: &str, partition: i32) -> Option<u32> {
        match self {
            Self::Group(group) => group.index(topic, partition).map(|(index, _)| index),
            Self::Assigned(assigned) => {
                assigned.iter().find(|at| at.partition == partition && at.topic == topic).map(|at| at.index)
            }
        }
    }

    /// Whether a partition has been read to where it was to be.
    fn has_ended(&self, index: u32) -> bool {
        match self {
            Self::Group(_) => false,
            Self::Assigned(assigned) => assigned.iter().any(|at| at.index == index && at.ended),
        }
    }

    /// There is nothing more in a partition now. Only asked of a single topic.
    fn end_reached(&mut self, partition: i32) -> Option<Event> {
        let Self::Assigned(assigned) = self else { return None };
        let at = assigned.iter_mut().find(|at| at.partition == partition && at.end.is_some() && !at.ended)?;
        at.ended = true;
        Some(Event::Ended { partition: at.index })
    }
}

impl Messages for KafkaSource {
    fn poll(&mut self, max: usize, wait: Duration, into: &mut Vec<Event>) -> Result<bool, Error> {
        if max == 0 {
            self.keep_in_touch(wait)?;
            return Ok(true);
        }
        self.no_room = None;
        self.pause(false)?;
        let before = into.len();
        into.append(&mut self.early);
        if let Some(told) = self.consumer.context().take_told() {
            let of_ours =
                told.into_iter().filter_map(|told| Some((self.reading.index(&told.topic, told.partition)?, told)));
            self.lag.is_told(of_ours.collect());
        }
        let begun = Instant::now();
        while into.len() - before < max && !self.is_over() {
            let left = if into.len() > before { Duration::ZERO } else { wait.saturating_sub(begun.elapsed()) };
            match self.next(left)? {
                Some(event) => into.push(event),
                None if into.len() > before => break,
                None if begun.elapsed() >= wait => {
                    self.lag.is_idle();
                    break;
                }
                None => {}
            }
        }
        Ok(into.len() > before || !self.is_over())
    }

    fn behind(&self) -> Option<u64> {
        self.lag.behind(|index| self.reading.has_ended(index))
    }
}

impl Drop for KafkaSource {
    /// A group is left when everything that was handed over counts, so that others go on at once and with nothing twice.
    fn drop(&mut self) {
        if let Reading::Group(group) = &self.reading {
            group.settle(SETTLED_WITHIN);
            group.abandon();
        }
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("paused", &self.paused).finish_non_exhaustive()
    }
}

/// Offsets for tools that show lag: where checkpoints say how far a group's topics were read, nothing depends on them.
pub(super) struct Shown {
    consumer: Arc<BaseConsumer<Member>>,
    names: Vec<String>,
}

impl KafkaSource {
    /// What commits the positions of partitions, which have these names, to the group of the configuration, if it names
    /// one; for tools that show lag.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense.
    pub fn shown(config: &KafkaSourceConfig, names: Vec<String>) -> Result<Option<Arc<dyn Acknowledge>>, Error> {
        let Some(group) = &config.group else { return Ok(None) };
        Ok(Some(Arc::new(Shown { consumer: consumer(config, group, None)?, names })))
    }
}

impl Acknowledge for Shown {
    fn acknowledge(&self, read: &[(u32, Position)]) -> Result<(), Error> {
        let mut offsets = TopicPartitionList::new();
        for (index, position) in read {
            let name = self.names.get(*index as usize).and_then(|name| parsed(name));
            let (Some((topic, partition)), Some(offset)) = (name, position.at.as_i64()) else { continue };
            // Whatever is wrong with it: the checkpoint has the position.
            drop(offsets.add_partition_offset(topic, partition, Offset::Offset(offset)));
        }
        if offsets.count() > 0 {
            drop(self.consumer.commit(&offsets, CommitMode::Async));
        }
        Ok(())
    }
}

fn consumer(
    config: &KafkaSourceConfig,
    group: &str,
    member: Option<Arc<Group>>,
) -> Result<Arc<BaseConsumer<Member>>, Error> {
    let mut settings = reader(&config.server, group)?;
    settings.set("enable.partition.eof", if config.until.is_some() { "true" } else { "false" });
    settings.set("statistics.interval.ms", TOLD_EVERY_MS);
    let context = Member { group: member, ..Member::default() };
    let consumer = settings.create_with_context(context);
    consumer.map(Arc::new).map_err(|error| kafka_error("Kafka cannot be read", error))
}

fn parsed(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.rsplit_once('/')?;
    Some((topic, partition.parse().ok()?))
}

/// The oldest offset of a partition, and that behind its last message.
fn end(consumer: &BaseConsumer<Member>, topic: &str, partition: i32) -> Result<(i64, i64), Error> {
    let watermarks = consumer.fetch_watermarks(topic, partition, ANSWERS_WITHIN);
    watermarks.map_err(|error| kafka_error("its end cannot be told", error).in_file(Path::new(topic)))
}
