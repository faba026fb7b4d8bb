//! The in-flight queue.

mod mutations;
mod standing;
mod transitions;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use self::standing::Standing;
use self::transitions::Turn;
use crate::calls::{CallId, CallState, Calls};
use crate::config::{Config, ConfigError, Order};
use crate::entry::{Entries, EntryId, NONE, State};
use crate::fences::{Control, Exit};
use crate::gate::{Gate, Open};
use crate::mutant::Mutant;
use crate::order::{Departures, controls_count};
use crate::outcome::{Completion, Emit, Outcome};
use crate::snapshot::{Progress, Snapshot};
use crate::stats::Stats;
use crate::time::{Time, Timestamp};
use crate::timers::{Timer, Timers};

/// What the host does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make this call, for [`Queue::inputs`], and report its end to [`Queue::handle_completion`].
    Call(CallId),
    /// Nobody waits for this call any more: stop it, and report to [`Queue::handle_cancelled`] when it has stopped. It counts as on
    /// the wire until then.
    Cancel(CallId),
    /// This call was to be cancelled, did not stop, and its grace time is over: it no longer counts. Let go of it.
    Forget(CallId),
    /// Nothing to do before `wake_at`, or before something is handed in.
    Idle {
        /// When to call again at the latest; `None`: no timer is armed.
        wake_at: Option<Time>,
    },
}

/// The asynchronous-I/O operator as a state machine: inputs `I` wait in it while calls are made for them, and leave with outputs `O`.
///
/// It has no clock, no tasks and no randomness of its own. See the [crate documentation](crate) for how to drive it.
#[derive(Debug)]
pub struct Queue<I, O> {
    config: Config,
    serial: bool,
    entries: Entries<I, O>,
    calls: Calls,
    departures: Departures,
    timers: Timers,
    /// Records that may start, first to start first; those that timed out meanwhile are passed over.
    line: VecDeque<EntryId>,
    /// How many of them have not timed out.
    in_line: usize,
    cancels: VecDeque<Action>,
    /// Records whose backoff is over and that wait for a token, with the attempt that failed.
    unpaid: VecDeque<(EntryId, u32)>,
    standing: Standing,
    sequence: u64,
    watermark_left: Option<Timestamp>,
    input: Input,
    stats: Stats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    Ended,
    /// Ended, and what is not decided by then never will be.
    Draining(Time),
    /// [`Emit::End`] has been given out.
    Over,
}

impl<I, O> Queue<I, O> {
    /// An empty queue.
    ///
    /// # Errors
    /// If [`Config::check`] refuses `config`.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::resume(config, None)
    }

    /// An empty queue that goes on where another left off: `watermark` is the last one that left it
    /// ([`Snapshot::watermark`]). Then hand in what that one held, with [`handle_restored`](Self::handle_restored) and
    /// [`handle_decided`](Self::handle_decided).
    ///
    /// # Errors
    /// If [`Config::check`] refuses `config`.
    pub fn resume(config: Config, watermark: Option<Timestamp>) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            serial: config.order == Order::KeySerial,
            departures: Departures::new(&config, watermark),
            config,
            entries: Entries::new(),
            calls: Calls::new(),
            timers: Timers::new(),
            line: VecDeque::new(),
            in_line: 0,
            cancels: VecDeque::new(),
            unpaid: VecDeque::new(),
            standing: Standing::default(),
            sequence: 0,
            watermark_left: watermark,
            input: Input::Open,
            stats: Stats::default(),
        })
    }

    /// Whether another record, watermark or idle status may be handed in. It changes only with [`emit`](Self::emit).
    #[must_use]
    #[inline]
    pub fn has_room(&self) -> bool {
        let controls = self.departures.controls_held();
        let held = self.stats.held;
        let capacity = self.config.capacity;
        if controls_count(&self.config) { held + controls < capacity } else { held < capacity && controls < capacity }
    }

    /// Accepts a record. `key` matters to the keyed orders only: equal keys must give equal numbers (a hash will do: keys that
    /// collide merely wait for each other).
    ///
    /// # Panics
    /// If there is no [room](Self::has_room), or the input has ended.
    #[inline]
    pub fn handle_record(&mut self, now: Time, key: u64, timestamp: Option<Timestamp>, input: I) -> EntryId {
        assert!(self.has_room(), "a record was handed in without room: ask has_room() first");
        self.handle_restored(now, key, timestamp, input, Progress::default())
    }

    /// Accepts a record from a [`Snapshot`]. Room does not matter here: a snapshot may hold more than the capacity is now (S82).
    ///
    /// # Panics
    /// If the input has ended.
    #[inline]
    pub fn handle_restored(
        &mut self,
        now: Time,
        key: u64,
        timestamp: Option<Timestamp>,
        input: I,
        progress: Progress,
    ) -> EntryId {
        let index = self.admit(now, key, timestamp, input);
        let id = self.entries.id(index);
        let entry = self.entries.at_mut(index);
        entry.attempts = progress.attempts;
        if let Some(time) = self.config.deadline {
            let deadline = now + progress.remaining.unwrap_or(time);
            entry.deadline = self.standing.clock(deadline);
            self.arm(deadline, Timer::Deadline(id));
        }
        if self.stats.held <= self.config.capacity || !self.config.has(Mutant::B4) {
            self.line_up(index, Turn::Last);
        }
        id
    }

    /// Accepts a record from a [`Snapshot`] that was decided when that was taken: it is never called again, and leaves with this very
    /// outcome when it is its turn. Room does not matter here, but it takes up room as any record held.
    ///
    /// It [leaves](crate::Emitted) with these `attempts`, and was decided `elapsed` after it was admitted: as long before `now` as
    /// that, if the clock goes back so far.
    ///
    /// # Panics
    /// If the input has ended.
    #[allow(clippy::too_many_arguments, reason = "they are the fields of what a snapshot holds")]
    pub fn handle_decided(
        &mut self,
        now: Time,
        key: u64,
        timestamp: Option<Timestamp>,
        input: I,
        outcome: Outcome<O>,
        attempts: u32,
        elapsed: Duration,
    ) -> EntryId {
        if self.config.has(Mutant::S83) {
            return self.handle_restored(now, key, timestamp, input, Progress::default());
        }
        let admitted = now.back(elapsed);
        let index = self.admit(admitted, key, timestamp, input);
        self.entries.at_mut(index).attempts = attempts;
        self.decide(admitted + elapsed, index, outcome);
        self.entries.id(index)
    }

    /// Changes what came of those that are decided and have not left: for a host that makes something else of it on the way out,
    /// and wants the same in a snapshot.
    pub fn map_outcomes(&mut self, mut change: impl FnMut(&I, Outcome<O>) -> Outcome<O>) {
        for entry in self.entries.iter_mut() {
            if let Some(input) = &entry.input {
                entry.outcome = entry.outcome.take().map(|outcome| change(input, outcome));
            }
        }
    }

    /// Accepts a watermark. One that does not advance event time tells nothing new and is dropped.
    ///
    /// # Panics
    /// If the input has ended.
    pub fn handle_watermark(&mut self, at: Timestamp) {
        self.handle_control(Control::Watermark(at));
    }

    /// Accepts an idle status: the input is idle until the next record or watermark.
    ///
    /// # Panics
    /// If the input has ended.
    pub fn handle_idle(&mut self) {
        self.handle_control(Control::Idle);
    }

    /// The input has ended: what is held is finished as usual, retries included, then [`Emit::End`] leaves.
    pub fn handle_end(&mut self) {
        if self.input == Input::Open {
            self.input = Input::Ended;
            self.force_retries();
        }
    }

    /// The input has ended, and there is only `limit` left: what is not decided by then times out by [`Clock::Drain`](crate::Clock::Drain).
    pub fn handle_drain(&mut self, now: Time, limit: Duration) {
        if self.input != Input::Over {
            self.input = Input::Draining(now + limit);
        }
    }

    /// A call has ended with a completion for each of its [inputs](Self::inputs), in their order. Completions that are missing make
    /// their records [`Outcome::Unanswered`](crate::Outcome::Unanswered); a call that has ended before is ignored, and counted as a straggler.
    #[inline]
    pub fn handle_completion(&mut self, now: Time, call: CallId, completions: impl IntoIterator<Item = Completion<O>>) {
        self.handle_answers(now, call, completions, &mut Open);
    }

    /// As [`handle_completion`](Self::handle_completion), for calls behind a gate.
    #[inline]
    pub fn handle_answers(
        &mut self,
        now: Time,
        call: CallId,
        completions: impl IntoIterator<Item = Completion<O>>,
        gate: &mut impl Gate,
    ) {
        let call = if self.config.has(Mutant::S60) { self.calls.id(call.index) } else { call };
        let Some(state) = self.calls.find(call).map(|call| call.state).filter(|state| *state != CallState::Free) else {
            self.stats.stragglers += 1;
            return;
        };
        if state == CallState::GivenUp {
            self.stats.stragglers += 1;
        }
        let mut completions = completions.into_iter();
        let mut index = self.take_records(call.index);
        while index != NONE {
            let entry = self.entries.at_mut(index);
            let next = entry.next_in_call;
            let mine = entry.call == call.index;
            let open = entry.state == State::Calling || (entry.state == State::Decided && self.config.has(Mutant::S22));
            let waits = open && mine && state == CallState::OnWire;
            let completion = if waits || !self.config.has(Mutant::B30) { completions.next() } else { None };
            if mine {
                entry.call = NONE;
            }
            if waits {
                self.settle(now, index, completion, gate);
            } else if mine {
                self.let_go(index);
            }
            index = next;
        }
        self.end_call(now, call);
    }

    /// A call that was to be cancelled has stopped.
    pub fn handle_cancelled(&mut self, now: Time, call: CallId) {
        if self.calls.find(call).is_some_and(|call| call.state == CallState::GivenUp) {
            self.end_call(now, call);
        }
    }

    /// Changes how many calls may be on the wire. Calls on the wire are not cancelled by it.
    ///
    /// # Panics
    /// If `concurrency` is zero.
    pub fn set_concurrency(&mut self, concurrency: usize) {
        assert!(concurrency > 0, "concurrency must be at least 1");
        self.config.concurrency = concurrency;
    }

    /// The next thing to do. Call it until it says [`Action::Idle`]. Completions that are at hand go in before: a result that is
    /// ready when its deadline is looked at wins over the deadline.
    pub fn poll(&mut self, now: Time) -> Action {
        self.poll_heard(now, now, &mut Open)
    }

    /// As [`poll`](Self::poll), for a host that has heard only of completions up to `heard`, earlier than now: timers that fell due
    /// since then wait until it knows more, so that a busy host makes no false timeouts. And for calls behind a `gate`: when it
    /// refuses, whoever keeps it knows when to poll again.
    #[inline]
    pub fn poll_heard(&mut self, now: Time, heard: Time, gate: &mut impl Gate) -> Action {
        while let Some(timer) = self.timers.pop(heard) {
            if !self.is_early(heard, timer) {
                self.fire(now, timer, gate);
            }
        }
        self.pay(now, gate);
        if let Input::Draining(limit) = self.input
            && limit <= heard
        {
            self.give_up_all(now);
        }
        if let Some(cancel) = self.next_cancel() {
            return cancel;
        }
        let too_late = matches!(self.input, Input::Draining(limit) if limit <= now);
        if self.in_line > 0
            && !too_late
            && self.calls.on_wire() < self.config.concurrency
            && let Some(call) = self.start_call(now, gate)
        {
            return Action::Call(call);
        }
        Action::Idle { wake_at: self.wake_at(now) }
    }

    /// The next thing to leave, if something may. Apart from [`poll`](Self::poll), so that a slow consumer stops neither calls nor clocks.
    #[inline]
    pub fn emit(&mut self) -> Option<Emit<I, O>> {
        if self.config.has(Mutant::B23)
            && let Some(end) = self.end()
        {
            return Some(end);
        }
        match self.departures.next() {
            Some(Exit::Record(index)) => self.leave(index),
            Some(Exit::Control(Control::Watermark(at))) => {
                self.watermark_left = Some(at);
                Some(Emit::Watermark(at))
            }
            Some(Exit::Control(Control::Idle)) => Some(Emit::Idle),
            None => self.end(),
        }
    }

    /// The inputs of a call on the wire: more than one only with batches; none for a call that has ended. Take them when it starts:
    /// those whose time runs out before it ends may leave, and are then missing here, though completions count them still.
    pub fn inputs(&self, call: CallId) -> impl Iterator<Item = &I> {
        let mut index = self.calls.find(call).map_or(NONE, |call| call.first);
        let records = core::iter::from_fn(move || {
            let entry = (index != NONE).then(|| self.entries.at(index))?;
            index = entry.next_in_call;
            Some(entry)
        });
        records.filter_map(|entry| entry.input.as_ref())
    }

    /// What is held now. O(n log n) in the records held; waits for nothing.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> Snapshot<&I, &Outcome<O>> {
        let controls = self.departures.controls().into_iter().map(|(at, control)| (at, control.into()));
        let clock = self.standing.clock(now);
        let records = self.entries.iter().filter_map(|entry| Some((entry.sequence, entry.held(clock)?)));
        let mut elements: Vec<_> = controls.chain(records).collect();
        if self.config.has(Mutant::B26) {
            elements.extend(elements.clone().into_iter().filter(|(at, _)| at % 3 == 0));
        }
        if !self.config.has(Mutant::B32) {
            elements.sort_unstable_by_key(|(sequence, _)| *sequence);
        }
        let elements = elements.into_iter().map(|(_, element)| element).collect();
        Snapshot { watermark: self.watermark_left, elements }
    }

    /// What the queue is doing and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            on_wire: self.calls.on_wire(),
            given_up: self.calls.given_up,
            controls: self.departures.controls_held(),
            timers: self.timers.len(),
            ..self.stats
        }
    }

    /// What the queue was told when it was made.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }
}

#[cfg(test)]
mod tests;
