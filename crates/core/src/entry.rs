//! The records held, each in a slot, and the state each of them is in.

use alloc::vec::Vec;

use crate::outcome::Outcome;
use crate::snapshot::{Held, Progress};
use crate::time::{Time, Timestamp};

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// A record while it is held. The generation tells a later record in the same slot apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What a record waits for. Every held record is in exactly one state.
///
/// ```text
///              +-------------------- retry due -------------------+
///              v                                                  |
///  accept -> Waiting -- call --> Calling -- retryable failure -> BackingOff
///              |                    |                             |
///              +-- deadline --+-----+---- answer, deadline -------+
///                             v
///                          Decided -- its turn --> Left -- its call has ended --> (slot free)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    /// For a call: for its key's turn, for a batch, for concurrency.
    Waiting,
    /// For the answer of the call it is in.
    Calling,
    /// For the next attempt.
    BackingOff,
    /// For its turn to leave.
    Decided,
    /// It has left; its slot waits for a call that is still on the wire.
    Left,
}

#[derive(Debug)]
pub(crate) struct Entry<I, O> {
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// In the line of records that may start.
    pub(crate) in_line: bool,
    /// Attempts started.
    pub(crate) attempts: u32,
    /// Those of them that failed with everything else, and are not counted against it.
    pub(crate) forgiven: u32,
    /// The last attempt is one of these.
    pub(crate) last_forgiven: bool,
    /// It failed, other calls were good, and it failed again.
    pub(crate) to_blame: bool,
    /// It may be the reason why everything fails: others go first.
    pub(crate) suspect: bool,
    /// When the first attempt failed, and when the last did.
    pub(crate) failing_since: Time,
    pub(crate) failed: Time,
    /// The call on the wire that this record is part of, and its neighbour there.
    pub(crate) call: u32,
    pub(crate) next_in_call: u32,
    /// Place among all records and watermarks accepted.
    pub(crate) sequence: u64,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) admitted: Time,
    /// Since when it could have been called: what a batch's linger counts from.
    pub(crate) since: Time,
    /// By the clock of the records, which may stand still.
    pub(crate) deadline: Time,
    pub(crate) decided: Time,
    pub(crate) input: Option<I>,
    /// The result of the last attempt, while another is hoped for.
    pub(crate) last: Option<O>,
    pub(crate) outcome: Option<Outcome<O>>,
}

impl<I, O> Entry<I, O> {
    /// What a snapshot keeps of the record, by the clock of the records; nothing when it has left.
    pub(crate) fn held(&self, now: Time) -> Option<Held<&I, &Outcome<O>>> {
        // Both are taken out when it leaves.
        let (input, timestamp) = (self.input.as_ref()?, self.timestamp);
        Some(match &self.outcome {
            Some(outcome) => {
                let elapsed = self.decided.since(self.admitted);
                Held::Decided { input, timestamp, outcome, attempts: self.attempts, elapsed }
            }
            None => Held::Record { input, timestamp, progress: self.progress(now) },
        })
    }

    fn progress(&self, now: Time) -> Progress {
        let uncounted = self.forgiven + u32::from(self.state == State::Calling);
        let remaining = (self.deadline != Time::NEVER).then(|| self.deadline.since(now));
        Progress { attempts: self.attempts.saturating_sub(uncounted), remaining }
    }
}

/// All slots. They grow to the most ever used and are reused from then on.
#[derive(Debug)]
pub(crate) struct Entries<I, O> {
    slots: Vec<Entry<I, O>>,
    free: Vec<u32>,
}

impl<I, O> Entries<I, O> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Takes a slot for a record that waits.
    #[inline]
    pub(crate) fn insert(&mut self, now: Time, sequence: u64, timestamp: Option<Timestamp>, input: I) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let entry = self.at_mut(index);
        entry.state = State::Waiting;
        entry.in_line = false;
        entry.attempts = 0;
        entry.forgiven = 0;
        entry.last_forgiven = false;
        entry.to_blame = false;
        entry.suspect = false;
        entry.failing_since = Time::NEVER;
        entry.failed = Time::NEVER;
        entry.call = NONE;
        entry.sequence = sequence;
        entry.timestamp = timestamp;
        entry.admitted = now;
        entry.since = now;
        entry.deadline = Time::NEVER;
        entry.input = Some(input);
        entry.last = None;
        index
    }

    #[inline]
    pub(crate) fn free(&mut self, index: u32) {
        let entry = self.at_mut(index);
        debug_assert_eq!(entry.state, State::Left);
        entry.state = State::Free;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(index);
    }

    #[inline]
    pub(crate) fn at(&self, index: u32) -> &Entry<I, O> {
        &self.slots[index as usize]
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> &mut Entry<I, O> {
        &mut self.slots[index as usize]
    }

    #[inline]
    pub(crate) fn id(&self, index: u32) -> EntryId {
        EntryId { index, generation: self.at(index).generation }
    }

    /// The record that `id` was given to, unless its slot has been freed since.
    #[inline]
    pub(crate) fn find(&self, id: EntryId) -> Option<&Entry<I, O>> {
        self.slots.get(id.index as usize).filter(|entry| entry.generation == id.generation)
    }

    /// Every slot, free ones too.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<I, O>> {
        self.slots.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<I, O>> {
        self.slots.iter_mut()
    }

    /// Slots, free ones too.
    pub(crate) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    fn grow(&mut self) -> u32 {
        let index = u32::try_from(self.slots.len()).unwrap_or(NONE);
        assert!(index != NONE, "slots are bounded by capacity + concurrency * batch size");
        self.slots.push(Entry {
            generation: 0,
            state: State::Free,
            in_line: false,
            attempts: 0,
            forgiven: 0,
            last_forgiven: false,
            to_blame: false,
            suspect: false,
            failing_since: Time::NEVER,
            failed: Time::NEVER,
            call: NONE,
            next_in_call: NONE,
            sequence: 0,
            timestamp: None,
            admitted: Time::ZERO,
            since: Time::ZERO,
            deadline: Time::NEVER,
            decided: Time::ZERO,
            input: None,
            last: None,
            outcome: None,
        });
        index
    }
}
