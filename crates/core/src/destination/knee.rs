//! How many calls a destination works best with, found by trying.
//!
//! What is believed of a destination are two numbers: its *capacity*, the most records it answers in a time, and its *service time*, how
//! long a call takes that need not queue. Both together say how many calls are being worked on when it answers as much as it can
//! (Little's law), which is where more calls begin to do nothing but queue:
//!
//! ```text
//!   knee = capacity x service time                    answers |          ________  capacity
//!                                                    per time |        /
//!   limit:  Fewer      Rest      More                         |      /
//!           a little   at the    half as                      |    /  limit / service time
//!           below      knee      many again                   |__/____________________
//!                                                                        knee     limit
//! ```
//! Three limits take turns. *Rest* is the knee and a little more, most of the time. *Fewer* measures the service time, where nothing
//! queues; *More* finds out whether the capacity has grown. As long as each answers what the two numbers promise, they become more
//! exact. When one clearly does not, the destination is no longer the one it was: everything is forgotten, and the search
//! begins anew: *Up* in large steps while answers follow, or *Down* while they do not.
//!
//! What is compared are answers per time, not latencies: a latency that is measured while calls queue drifts with the limit. Time counts
//! only while the wire is full, so that an idle time, or a source that is slow, says nothing. Records are counted, not calls, so that
//! larger batches do not look like congestion.

use super::mutant::{Bug, DestinationMutant};
use crate::time::Time;

/// Where the search begins.
pub(super) const START: usize = 16;
/// More is half as many again, and so is a step of the search: what comes of it can be told from chance after few calls.
const MORE: f64 = 1.5;
/// Half of what such a step can gain or lose: the root of it.
const HALF: f64 = 1.22;
/// Fewer is a little below the knee, since it costs answers.
const FEWER: f64 = 0.9;
/// Rest is a little above: one call too few costs answers, one too many only waits.
const SPARE: f64 = 1.03;
/// Answers that differ from what was promised by this factor are no chance any more: four standard deviations of a window, if fewer;
/// three, if more.
const CHANGED: f64 = 1.33;
/// What is left of the limit when the destination says that it has too much to do.
pub(super) const OVERLOADED: f64 = 0.7;
/// Calls in a window for each unit of the squared coefficient of variation of how long they take: throughput is then known to 7 %. At
/// least so many round trips.
const CALLS: f64 = 200.0;
const TRIPS: usize = 4;
/// Calls that queue take more alike than they would otherwise, so the variation is not believed to be less than this; and where it is
/// more than that, nothing would ever be found out.
const LEAST_VARIATION: f64 = 1.0;
const MOST_VARIATION: f64 = 8.0;
/// Windows that each of the two numbers is the mean of, which is then known to 2 %; calls that the variation is.
const MEMORY: f64 = 12.0;
const VARIATION_MEMORY: f64 = 1_000.0;

/// Who takes turns once the knee is found. More comes often, so that a capacity that has grown is found soon, but takes less than a
/// third of the time, so that half of all calls need not queue. Fewer is needed least, since only the service time hangs on it.
const TURNS: [Phase; 7] = [Phase::Rest, Phase::More, Phase::Rest, Phase::Rest, Phase::More, Phase::Rest, Phase::Fewer];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    Down,
    Rest,
    More,
    Fewer,
}

/// The search for it.
#[derive(Debug)]
pub(super) struct Knee {
    min: usize,
    max: usize,
    phase: Phase,
    /// Of [`TURNS`], the next.
    turn: usize,
    /// The limit that it rests at.
    rest: usize,
    /// In answers per nanosecond.
    capacity: Mean,
    /// In nanoseconds for an answer.
    service: Mean,
    window: Window,
    variation: Variation,
    /// Since when the wire is full.
    full_since: Option<Time>,
    /// When the latest call ended that counted.
    counted_at: Option<Time>,
    /// Calls that started before then say nothing about the limit since it was cut.
    cut_until: Time,
    cut: bool,
    bug: Bug,
}

/// What has been measured since the limit changed.
#[derive(Debug, Default)]
struct Window {
    /// Calls still to end until only those that started since are left.
    skip: usize,
    calls: usize,
    answers: f64,
    /// How long the wire was full, in nanoseconds.
    full: f64,
}

impl Knee {
    pub(super) fn new(min: usize, max: usize, bug: Bug) -> Self {
        Self {
            min,
            max,
            phase: Phase::Up,
            turn: 0,
            rest: START.clamp(min, max),
            capacity: Mean::default(),
            service: Mean::default(),
            window: Window::default(),
            variation: Variation::default(),
            full_since: None,
            counted_at: None,
            cut_until: Time::ZERO,
            cut: false,
            bug,
        }
    }

    /// Whether the limit was cut and has not been tried out since.
    pub(super) const fn was_cut(&self) -> bool {
        self.cut
    }

    /// The wire is full.
    pub(super) fn was_reached(&mut self, now: Time) {
        self.full_since.get_or_insert(now);
    }

    /// It is full no more, and nobody fills it.
    #[cfg(test)]
    pub(super) const fn empties(&mut self) {
        (self.full_since, self.counted_at) = (None, None);
    }

    /// A call says that there is too much to do. The limit from now on: back to rest if more was being tried, else cut. It takes some
    /// round trips until a cut shows: not before then is there another.
    pub(super) fn overloaded(&mut self, now: Time, started: Time, limit: usize) -> usize {
        self.full_since = None;
        let of_before = started < self.cut_until && !self.bug.is(DestinationMutant::CutsForEach);
        if of_before || self.bug.is(DestinationMutant::IgnoresOverload) {
            return limit;
        }
        self.cut_until = now.plus_nanos((self.variation.mean * TRIPS as f64) as u64);
        self.cut = true;
        match self.phase {
            Phase::More => {}
            Phase::Rest | Phase::Fewer => {
                self.capacity.over *= OVERLOADED;
                self.rest = self.bounded(self.rest as f64 * OVERLOADED);
            }
            Phase::Up | Phase::Down => {
                self.forget();
                self.rest = self.bounded(limit as f64 * OVERLOADED);
            }
        }
        (self.phase, self.turn) = (Phase::Rest, 0);
        self.change(limit, self.rest)
    }

    /// A call has ended. The limit from now on.
    pub(super) fn ended(&mut self, now: Time, started: Time, answered: usize, limit: usize) -> usize {
        self.variation.add(now.nanos_since(started) as f64);
        let full = match (self.full_since.take(), self.counted_at) {
            (Some(since), _) => now.nanos_since(since),
            // One of several that are heard of at once: nobody could call in between.
            (None, Some(at)) if now <= at => 0,
            (None, at) if self.bug.is(DestinationMutant::GrowsWhileIdle) => now.nanos_since(at.unwrap_or(started)),
            _ => return limit,
        };
        self.counted_at = Some(now);
        if self.window.skip > 0 {
            self.window.skip -= 1;
            return limit;
        }
        self.window.full += full as f64;
        self.window.calls += 1;
        self.window.answers += answered as f64;
        if self.window.calls < (TRIPS * limit).max((CALLS * self.variation.squared()) as usize) {
            return limit;
        }
        self.cut = false;
        let window = core::mem::take(&mut self.window);
        let next = self.step(&window, limit);
        self.change(limit, next)
    }

    /// A window is over. The limit of the next.
    fn step(&mut self, window: &Window, limit: usize) -> usize {
        // Of what the two numbers promise: more or less than 1.
        let kept = self.promised(limit).map_or(1.0, |promised| window.rate() / promised);
        let kept = if self.bug.is(DestinationMutant::NeverForgets) { 1.0 } else { kept };
        match self.phase {
            Phase::Up => self.up(window, limit),
            Phase::Down => self.down(window, limit),
            Phase::More if kept > CHANGED => {
                self.forget();
                self.phase = Phase::Up;
                self.up(window, limit)
            }
            _ if kept < 1.0 / CHANGED => {
                self.forget();
                self.phase = Phase::Up;
                self.rest = self.bounded(self.rest as f64 * kept);
                self.rest
            }
            Phase::More => {
                self.capacity.add(&window.capacity());
                self.next_turn()
            }
            Phase::Fewer => {
                self.service.add(&window.service(limit));
                self.next_turn()
            }
            Phase::Rest => {
                if self.promised(limit).is_none() {
                    (self.capacity, self.service) = (window.capacity(), window.service(limit));
                }
                self.next_turn()
            }
        }
    }

    /// More, as long as answers follow; then down to where they surely did.
    fn up(&mut self, window: &Window, limit: usize) -> usize {
        let follows = self.service.value().is_none_or(|service| window.rate() * HALF > limit as f64 / service);
        if self.service.value().is_none() {
            self.service = window.service(limit);
        }
        self.capacity = window.capacity();
        if !follows || window.answers <= 0.0 {
            self.phase = Phase::Down;
            return self.bounded(limit as f64 / (MORE * MORE));
        }
        if limit < self.max { self.more(limit) } else { self.settle() }
    }

    /// Fewer, as long as that costs nothing.
    fn down(&mut self, window: &Window, limit: usize) -> usize {
        self.service = window.service(limit);
        let costs = self.capacity.value().is_none_or(|capacity| window.rate() * HALF < capacity);
        if costs || limit == self.min {
            return self.settle();
        }
        self.capacity.add(&window.capacity());
        self.bounded(limit as f64 / MORE)
    }

    fn settle(&mut self) -> usize {
        self.turn = 0;
        self.next_turn()
    }

    fn next_turn(&mut self) -> usize {
        if let (Some(capacity), Some(service)) = (self.capacity.value(), self.service.value()) {
            self.rest = self.bounded(capacity * service * SPARE);
        }
        self.phase = TURNS[self.turn];
        self.turn = (self.turn + 1) % TURNS.len();
        match self.phase {
            Phase::More => self.more(self.rest),
            Phase::Fewer => self.bounded((self.rest as f64 * FEWER).min(self.rest as f64 - 1.0)),
            _ => self.rest,
        }
    }

    fn promised(&self, limit: usize) -> Option<f64> {
        Some(self.capacity.value()?.min(limit as f64 / self.service.value()?))
    }

    fn forget(&mut self) {
        (self.capacity, self.service) = (Mean::default(), Mean::default());
    }

    fn more(&self, limit: usize) -> usize {
        self.bounded((limit as f64 * MORE).max(limit as f64 + 1.0))
    }

    /// To the next whole number.
    fn bounded(&self, calls: f64) -> usize {
        ((calls + 0.5) as usize).clamp(self.min, self.max)
    }

    fn change(&mut self, from: usize, to: usize) -> usize {
        let skip = if from == to { 0 } else { from.max(to) };
        self.window = Window { skip, ..Window::default() };
        to
    }
}

impl Window {
    fn rate(&self) -> f64 {
        self.answers / self.full.max(1.0)
    }

    const fn capacity(&self) -> Mean {
        Mean { over: self.answers, under: self.full, windows: 1.0 }
    }

    const fn service(&self, limit: usize) -> Mean {
        Mean { over: self.full * limit as f64, under: self.answers, windows: 1.0 }
    }
}

/// A quotient of what was counted in the latest windows.
#[derive(Debug, Default)]
struct Mean {
    over: f64,
    under: f64,
    windows: f64,
}

impl Mean {
    fn add(&mut self, other: &Self) {
        let keeps = if self.windows < MEMORY { 1.0 } else { 1.0 - 1.0 / MEMORY };
        self.over = self.over * keeps + other.over;
        self.under = self.under * keeps + other.under;
        self.windows = self.windows * keeps + other.windows;
    }

    fn value(&self) -> Option<f64> {
        (self.over > 0.0 && self.under > 0.0).then(|| self.over / self.under)
    }
}

/// The squared coefficient of variation of how long calls take: the more it is, the more calls it takes to see anything.
#[derive(Debug, Default)]
struct Variation {
    calls: f64,
    mean: f64,
    square: f64,
}

impl Variation {
    fn add(&mut self, nanos: f64) {
        self.calls = (self.calls + 1.0).min(VARIATION_MEMORY);
        self.mean += (nanos - self.mean) / self.calls;
        self.square += (nanos * nanos - self.square) / self.calls;
    }

    fn squared(&self) -> f64 {
        if self.mean <= 0.0 {
            return LEAST_VARIATION;
        }
        (self.square / (self.mean * self.mean) - 1.0).clamp(LEAST_VARIATION, MOST_VARIATION)
    }
}
