//! A member of a consumer group: which partitions it has, what of them was handed over, and what counts.
//!
//! ```text
//!   reading thread               host                           writing thread
//!   KafkaSource::poll --------> take: may it go on? --> ... --> prepare, (the sink's transaction), acknowledge
//!        |                        ^                                |
//!        | partitions go:         | no, once they go               | everything taken counts
//!        +--- waits ------------------------------------------<----+
//! ```

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata, RebalanceProtocol,
};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::Start;
use super::connect::Reports;
use super::error::{kafka_error, passes};
use super::lag::{self, Told};
use crate::{Acknowledge, Error, ErrorKind, Position};

/// How long partitions are held on to that are to go to another reader, until what was handed over of them counts. It
/// has to be less than `max.poll.interval.ms`, 5 minutes unless it is set.
pub const REVOKED_WITHIN: Duration = Duration::from_secs(120);

/// How long a commit of offsets is tried again while the brokers do not answer.
const COMMITTED_WITHIN: Duration = Duration::from_secs(60);
/// How long the brokers may take to say what a group has committed.
const OFFSETS_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// Membership in a consumer group, shared by who reads, who hands over and who writes.
pub struct Group {
    name: String,
    start: Start,
    state: Mutex<State>,
    changed: Condvar,
    consumer: OnceLock<Weak<BaseConsumer<Member>>>,
}

#[derive(Default)]
struct State {
    /// By the index that the host knows them by: partitions keep theirs when they go and come again.
    parts: Vec<Part>,
    /// What the sinks are about to commit: partition, record, offset.
    prepared: Vec<(usize, u64, i64)>,
    /// That was in the transaction of a sink.
    transacted: bool,
    /// Nothing more will be acknowledged.
    abandoned: bool,
    failure: Option<Error>,
}

struct Part {
    topic: String,
    partition: i32,
    /// How often it has come.
    assignment: u64,
    held: Held,
    /// Numbers of records: the last one that was handed over, and the last one that counts.
    taken: u64,
    done: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// It is ours.
    Yes,
    /// It is ours until what was taken counts.
    Going,
    No,
}

impl Group {
    pub(super) fn new(name: &str, start: Start) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            start,
            state: Mutex::default(),
            changed: Condvar::new(),
            consumer: OnceLock::new(),
        })
    }

    /// The consumer that is the member.
    pub(super) fn is(&self, consumer: &Arc<BaseConsumer<Member>>) {
        // Only ever told once.
        let _ = self.consumer.set(Arc::downgrade(consumer));
    }

    /// Index and assignment of a partition whose message has come; `None` when it is not ours.
    pub(super) fn index(&self, topic: &str, partition: i32) -> Option<(u32, u64)> {
        let state = self.state();
        let at = state.parts.iter().position(|part| part.partition == partition && part.topic == topic)?;
        let part = &state.parts[at];
        (part.held != Held::No).then_some((u32::try_from(at).ok()?, part.assignment))
    }

    pub(super) fn failure(&self) -> Option<Error> {
        self.state().failure.clone()
    }

    /// Waits until everything that was taken counts, or nothing will any more.
    pub(super) fn settle(&self, within: Duration) {
        let unsettled = |state: &mut State| !state.is_over() && state.parts.iter().any(Part::is_outstanding);
        drop(self.changed.wait_timeout_while(self.state(), within, unsettled).unwrap_or_else(PoisonError::into_inner));
    }

    /// What the sink is about to commit, for its transaction, and who is the member that commits it. After that,
    /// [`acknowledge`](Acknowledge::acknowledge) needs to tell nobody.
    pub(super) fn transact(&self) -> Result<(TopicPartitionList, Option<ConsumerGroupMetadata>), Error> {
        // In this order: who has come back as a new member had lost its partitions before, and whoever loses them from here on is no
        // longer the member that commits.
        let member = self.consumer().map(|consumer| consumer.group_metadata());
        let mut state = self.state();
        self.still_ours(&state)?;
        state.transacted = true;
        Ok((state.offsets()?, member?))
    }

    /// Whether what was prepared may be committed: nobody else has read it since.
    fn still_ours(&self, state: &State) -> Result<(), Error> {
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None if state.prepared.iter().any(|(at, ..)| state.parts[*at].held == Held::No) => Err(self.lost()),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn consumer(&self) -> Result<Arc<BaseConsumer<Member>>, Error> {
        self.consumer.get().and_then(Weak::upgrade).ok_or_else(|| {
            Error::new(ErrorKind::Changed, format!("group {}: the reader has left it already", self.name))
        })
    }

    fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Partitions come. They begin where the group has committed, or where the configuration says.
    fn come(&self, consumer: &BaseConsumer<Member>, list: &mut TopicPartitionList) -> Result<(), Error> {
        let what = format!("group {}: what it has committed cannot be read", self.name);
        let committed = consumer.committed_offsets(list.clone(), OFFSETS_WITHIN);
        let committed = committed.map_err(|error| kafka_error(&what, error))?;
        for element in committed.elements() {
            element.error().map_err(|error| kafka_error(&what, error))?;
            let offset = match (element.offset(), self.start) {
                (Offset::Offset(offset), _) => Offset::Offset(offset),
                (_, Start::Earliest) => Offset::Beginning,
                (_, Start::Latest) => Offset::End,
            };
            let set = list.set_partition_offset(element.topic(), element.partition(), offset);
            set.map_err(|error| kafka_error(&what, error))?;
        }
        let mut state = self.state();
        for element in list.elements() {
            let part = state.part(element.topic(), element.partition());
            part.assignment += 1;
            (part.held, part.done) = (Held::Yes, part.taken);
        }
        Ok(())
    }

    /// Partitions go. With `lost`, another reader may have them already.
    fn go(&self, list: &TopicPartitionList, lost: bool) -> Result<(), Error> {
        let mut state = self.state();
        let going: Vec<usize> = list.elements().iter().map(|at| state.at(at.topic(), at.partition())).collect();
        let settled = if lost { Held::No } else { Held::Going };
        going.iter().for_each(|at| state.parts[*at].held = settled);
        let outstanding =
            |state: &mut State| !state.is_over() && going.iter().any(|at| state.parts[*at].is_outstanding());
        if lost {
            return if outstanding(&mut state) { Err(self.lost()) } else { Ok(()) };
        }
        let waited = self.changed.wait_timeout_while(state, REVOKED_WITHIN, outstanding);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        going.iter().for_each(|at| state.parts[*at].held = Held::No);
        if waited.timed_out() {
            let message = format!(
                "group {}: partitions go to another reader, and what was read of them was not written within {} s; \
                 it comes again there",
                self.name,
                REVOKED_WITHIN.as_secs()
            );
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        Ok(())
    }

    fn lost(&self) -> Error {
        let message = format!(
            "group {}: this process was too slow, or out of touch, and has lost its partitions before what it had read \
             of them was committed; start it again, it goes on from what the group has committed",
            self.name
        );
        Error::new(ErrorKind::Changed, message)
    }

    /// Waits as long as the brokers do not answer; refusals are final.
    fn commit(&self, offsets: &TopicPartitionList) -> Result<(), Error> {
        let consumer = self.consumer()?;
        let begun = Instant::now();
        loop {
            match consumer.commit(offsets, CommitMode::Sync) {
                Ok(()) => return Ok(()),
                Err(error) if passes(&error) && begun.elapsed() < COMMITTED_WITHIN => thread::sleep(PAUSE),
                Err(error) => return Err(kafka_error(&format!("group {}: cannot commit offsets", self.name), error)),
            }
        }
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.abandoned || self.failure.is_some()
    }

    fn at(&mut self, topic: &str, partition: i32) -> usize {
        let found = self.parts.iter().position(|part| part.partition == partition && part.topic == topic);
        found.unwrap_or_else(|| {
            let (topic, held) = (topic.to_owned(), Held::No);
            self.parts.push(Part { topic, partition, assignment: 0, held, taken: 0, done: 0 });
            self.parts.len() - 1
        })
    }

    fn part(&mut self, topic: &str, partition: i32) -> &mut Part {
        let at = self.at(topic, partition);
        &mut self.parts[at]
    }

    /// What is prepared, in the form of the library.
    fn offsets(&self) -> Result<TopicPartitionList, Error> {
        let mut offsets = TopicPartitionList::new();
        for (at, _, offset) in &self.prepared {
            let part = &self.parts[*at];
            offsets
                .add_partition_offset(&part.topic, part.partition, Offset::Offset(*offset))
                .map_err(|error| kafka_error("an offset cannot be committed", error))?;
        }
        Ok(offsets)
    }
}

impl Part {
    const fn is_outstanding(&self) -> bool {
        self.taken > self.done
    }
}

impl Acknowledge for Group {
    fn take(&self, partition: u32, assignment: u64, number: u64) -> bool {
        let mut state = self.state();
        let Some(part) = state.parts.get_mut(partition as usize) else { return false };
        let is_ours = part.held == Held::Yes && part.assignment == assignment;
        if is_ours {
            part.taken = number;
        }
        is_ours
    }

    fn name(&self, partition: u32) -> Option<String> {
        let state = self.state();
        state.parts.get(partition as usize).map(|part| format!("{}/{}", part.topic, part.partition))
    }

    fn prepare(&self, read: &[(u32, Position)]) -> Result<(), Error> {
        let mut state = self.state();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let mut prepared = Vec::new();
        for (index, position) in read {
            let at = *index as usize;
            let (Some(part), Some(offset)) = (state.parts.get(at), position.at.as_i64()) else { continue };
            if position.record <= part.done {
                continue;
            }
            if part.held == Held::No {
                return Err(self.lost());
            }
            prepared.push((at, position.record, offset));
        }
        (state.prepared, state.transacted) = (prepared, false);
        Ok(())
    }

    fn acknowledge(&self, _: &[(u32, Position)]) -> Result<(), Error> {
        let state = self.state();
        let is_told = state.transacted || state.prepared.is_empty();
        let offsets = if is_told { None } else { Some(self.still_ours(&state).and_then(|()| state.offsets())?) };
        drop(state);
        offsets.map_or(Ok(()), |offsets| self.commit(&offsets))?;
        let mut state = self.state();
        for (at, record, _) in std::mem::take(&mut state.prepared) {
            let part = &mut state.parts[at];
            part.done = part.done.max(record);
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn abandon(&self) {
        self.state().abandoned = true;
        self.changed.notify_all();
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the library calls back: from [`BaseConsumer::poll`], so on the reading thread.
#[derive(Default)]
pub(super) struct Member {
    pub(super) reports: Reports,
    /// None for a reader whose partitions were assigned.
    pub(super) group: Option<Arc<Group>>,
    /// How the partitions stand, when it was told last.
    pub(super) told: Mutex<Option<Vec<Told>>>,
}

impl Member {
    pub(super) fn take_told(&self) -> Option<Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Member {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reports.note(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = lag::read(statistics);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let Some(group) = &self.group else { return };
        let comes = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let done = if comes { group.come(consumer, list) } else { group.go(list, consumer.assignment_lost()) };
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        // The library waits for this in any case. What failed to come has nothing to be read.
        let changed = match (comes && done.is_ok(), cooperative) {
            (true, true) => consumer.incremental_assign(list),
            (true, false) => consumer.assign(list),
            (false, true) if !comes => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        };
        let changed = changed.map_err(|error| kafka_error("the partitions cannot be changed", error));
        if let Err(error) = done.and(changed) {
            group.fail(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group that has the partitions 0 and 1 of `t`, in their first assignment.
    fn group() -> Arc<Group> {
        let group = Group::new("g", Start::Earliest);
        for partition in [0, 1] {
            let mut state = group.state();
            let part = state.part("t", partition);
            (part.held, part.assignment) = (Held::Yes, 1);
        }
        group
    }

    fn list(partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition("t", *partition);
        }
        list
    }

    fn read(partition: u32, record: u64, offset: u64) -> (u32, Position) {
        (partition, Position { record, skip: 0, at: offset.into() })
    }

    /// As a sink does whose transaction has the offsets.
    fn commit(group: &Group, read: &[(u32, Position)]) -> Vec<(i32, Offset)> {
        group.prepare(read).unwrap();
        let mut state = group.state();
        state.transacted = true;
        let offsets = state.offsets().unwrap();
        drop(state);
        group.acknowledge(read).unwrap();
        offsets.elements().iter().map(|at| (at.partition(), at.offset())).collect()
    }

    #[test]
    fn only_what_is_ours_now_may_be_taken() {
        let group = group();
        assert!(group.take(0, 1, 1) && !group.take(0, 2, 2) && !group.take(7, 1, 1));
        assert_eq!((group.index("t", 1), group.index("u", 1)), (Some((1, 1)), None));
        assert_eq!(group.name(1).as_deref(), Some("t/1"));
    }

    #[test]
    fn only_what_is_new_is_committed() {
        let group = group();
        assert!(group.take(0, 1, 1) && group.take(0, 1, 2) && group.take(1, 1, 1));
        assert_eq!(commit(&group, &[read(0, 2, 17), read(1, 0, 0)]), [(0, Offset::Offset(17))]);
        assert_eq!(commit(&group, &[read(0, 2, 17), read(1, 1, 5)]), [(1, Offset::Offset(5))]);
        assert_eq!(commit(&group, &[read(0, 2, 17), read(1, 1, 5)]), []);
    }

    #[test]
    fn partitions_that_go_are_held_until_what_was_taken_of_them_counts() {
        let group = group();
        assert!(group.take(0, 1, 1) && group.take(1, 1, 1));
        let going = Arc::clone(&group);
        let goes = thread::spawn(move || going.go(&list(&[0]), false));
        while group.state().parts[0].held == Held::Yes {
            thread::yield_now();
        }
        assert!(!group.take(0, 1, 2) && group.take(1, 1, 2), "the one goes, the other stays");
        assert!(!goes.is_finished());
        assert_eq!(commit(&group, &[read(0, 1, 9), read(1, 0, 0)]), [(0, Offset::Offset(9))]);
        goes.join().unwrap().unwrap();
        assert_eq!(group.index("t", 0), None);
        // Its old position is told for ever, and never committed again.
        assert_eq!(commit(&group, &[read(0, 1, 9), read(1, 2, 4)]), [(1, Offset::Offset(4))]);
    }

    #[test]
    fn who_ends_waits_for_nothing() {
        let group = group();
        assert!(group.take(0, 1, 1));
        let going = Arc::clone(&group);
        let goes = thread::spawn(move || going.go(&list(&[0, 1]), false));
        group.abandon();
        goes.join().unwrap().unwrap();
        group.settle(REVOKED_WITHIN);
    }

    #[test]
    fn to_lose_a_partition_matters_only_if_something_of_it_is_not_committed() {
        let group = group();
        assert!(group.take(0, 1, 1));
        commit(&group, &[read(0, 1, 3)]);
        group.go(&list(&[0]), true).unwrap();
        assert!(group.take(1, 1, 1));
        let error = group.go(&list(&[1]), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed);
        assert!(group.prepare(&[read(1, 1, 1)]).is_err(), "it may be another's by now");
    }

    #[test]
    fn what_is_lost_between_preparing_and_committing_is_not_committed() {
        let group = group();
        assert!(group.take(0, 1, 1));
        group.prepare(&[read(0, 1, 3)]).unwrap();
        assert!(group.go(&list(&[0]), true).is_err());
        let refused = |error: Error| assert!(error.to_string().contains("has lost its partitions"), "{error}");
        refused(group.transact().map(drop).unwrap_err());
        refused(group.acknowledge(&[read(0, 1, 3)]).unwrap_err());

        // The same as a member that has come back, and has got the partition again.
        group.fail(group.lost());
        group.state().parts[0].held = Held::Yes;
        refused(group.transact().map(drop).unwrap_err());
    }
}
