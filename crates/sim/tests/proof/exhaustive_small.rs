//! Every interleaving of small cases: four records and a watermark or an idle status, room for two, and at any moment a call may answer, fail, run
//! out of time, answer too late, stop, or the process may die and go on from a snapshot. No seed is needed where all can be tried.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

use inflight_core::{CallId, Completion, Config, Emit, EventTime, Order, Retry, Time, Timestamp};
use inflight_sim::{Element, Input, Observed, Options, Output, Restore, Step, Violation};

use crate::threads;

/// So many things may go wrong in one story; each more multiplies the stories by about twenty.
const MISHAPS: usize = if cfg!(debug_assertions) { 1 } else { 2 };
/// And so many with an idle status in place of the watermark.
const MISHAPS_IDLE: usize = 1;

#[test]
fn every_story_of_four_records_is_right() {
    let cases = cases();
    let (next, stories) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    stories.fetch_add(tell_all(case), Ordering::Relaxed);
                }
            });
        }
    });
    let stories = stories.into_inner();
    println!("{stories} stories of {} cases, each with up to {MISHAPS} mishaps", cases.len());
    assert!(stories > 10_000, "only {stories} stories: something keeps the rest from being told");
}

#[derive(Clone, Debug)]
struct Case {
    config: Config,
    source: Vec<Element>,
    mishaps: usize,
}

/// Each order, each rule, the watermark in each place; with and without a deadline over all attempts; and pairs in one call.
fn cases() -> Vec<Case> {
    let records =
        [(0, 1), (0, 4), (1, 2), (0, 5)].map(|(key, at)| Element::Record { key, timestamp: Some(Timestamp(at)) });
    let mut cases = Vec::new();
    for order in Order::ALL {
        for event_time in [EventTime::Frontier, EventTime::Strict] {
            for place in 0..=records.len() {
                let mut source = records.to_vec();
                source.insert(place, Element::Watermark(Timestamp(3)));
                let mut config = Config::new(order, 2);
                config.event_time = event_time;
                config.timeout = Some(Duration::from_nanos(10));
                config.retry = Some(Retry::fixed(1, Duration::from_nanos(4)));
                cases.push(Case { config: config.clone(), source: source.clone(), mishaps: MISHAPS });
                config.deadline = Some(Duration::from_nanos(12));
                config.grace = Some(Duration::from_nanos(3));
                config.batch.size = 1 + place % 2;
                cases.push(Case { config: config.clone(), source: source.clone(), mishaps: MISHAPS });
                source[place] = Element::Idle;
                cases.push(Case { config, source, mishaps: MISHAPS_IDLE });
            }
        }
    }
    cases
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Arrive,
    Answer(usize),
    Fail(usize),
    Stop(usize),
    /// A call that has stopped answers all the same.
    AnswerAnyway(usize),
    TimePasses(Time),
    Die,
}

/// The choices of one story, and how many there were each time.
#[derive(Default)]
struct Choices {
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    fn choose(&mut self, count: usize) -> usize {
        if self.next == self.made.len() {
            self.made.push((0, count));
        }
        let (chosen, of) = self.made[self.next];
        assert_eq!(of, count, "the same choices lead to the same place");
        self.next += 1;
        chosen
    }

    /// On to the next story. False if all are told.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((chosen, count)) = self.made.pop() {
            if chosen + 1 < count {
                self.made.push((chosen + 1, count));
                return true;
            }
        }
        false
    }
}

fn tell_all(case: &Case) -> u64 {
    let mut choices = Choices::default();
    let mut stories = 0;
    loop {
        stories += 1;
        let mut turns = Vec::new();
        if let Err(violation) = Story::new(case).and_then(|mut story| story.tell(&mut choices, &mut turns)) {
            panic!("rule \"{}\": {}\n{case:?}\n{turns:?}", violation.rule, violation.what);
        }
        if !choices.advance() {
            return stories;
        }
    }
}

struct Story<'a> {
    case: &'a Case,
    observed: Observed,
    now: Time,
    position: usize,
    ended: bool,
    over: bool,
    calls: Vec<Call>,
    mishaps: usize,
    died: bool,
    wake_at: Option<Time>,
    left: Vec<Input>,
}

struct Call {
    id: CallId,
    number: u64,
    inputs: Vec<Input>,
    state: CallState,
}

#[derive(Clone, Copy, PartialEq)]
enum CallState {
    OnWire,
    Cancelled,
    Stopped,
    Done,
}

impl<'a> Story<'a> {
    fn new(case: &'a Case) -> Result<Self, Violation> {
        Ok(Self {
            case,
            observed: Observed::new(case.config.clone(), Options::default())?,
            now: Time::ZERO,
            position: 0,
            ended: false,
            over: false,
            calls: Vec::new(),
            mishaps: case.mishaps,
            died: false,
            wake_at: None,
            left: Vec::new(),
        })
    }

    fn tell(&mut self, choices: &mut Choices, turns: &mut Vec<Turn>) -> Result<(), Violation> {
        choices.next = 0;
        loop {
            self.settle()?;
            let possible = self.possible();
            if possible.is_empty() {
                break;
            }
            let turn = possible[choices.choose(possible.len())];
            turns.push(turn);
            self.take(turn)?;
        }
        self.left.sort_unstable();
        let records =
            (0..self.case.source.len()).filter(|place| matches!(self.case.source[*place], Element::Record { .. }));
        assert!(self.over && self.left.iter().copied().eq(records.map(|place| place as Input)), "{:?}", self.left);
        Ok(())
    }

    /// Does all there is to do, until only the world can go on.
    fn settle(&mut self) -> Result<(), Violation> {
        loop {
            if self.position == self.case.source.len() && !self.ended {
                self.ended = true;
                self.observed.end(self.now)?;
            }
            while self.take_output()? {}
            match self.observed.poll(self.now, self.now)? {
                Step::Call { id, number, inputs } => {
                    self.calls.push(Call { id, number, inputs, state: CallState::OnWire })
                }
                Step::Cancel(id) => self.mark(id, CallState::Cancelled),
                Step::Forget(id) => self.mark(id, CallState::Stopped),
                Step::Idle(wake_at) => {
                    self.wake_at = wake_at;
                    if !self.take_output()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn take_output(&mut self) -> Result<bool, Violation> {
        let emit = self.observed.emit(self.now)?;
        match &emit {
            Some(Emit::Record(emitted)) => self.left.push(emitted.input),
            Some(Emit::End) => self.over = true,
            _ => {}
        }
        Ok(emit.is_some())
    }

    fn mark(&mut self, id: CallId, state: CallState) {
        self.calls.iter_mut().filter(|call| call.id == id).for_each(|call| call.state = state);
    }

    fn possible(&self) -> Vec<Turn> {
        let mut possible = Vec::new();
        let more = self.mishaps > 0;
        if self.position < self.case.source.len() && self.observed.has_room() {
            possible.push(Turn::Arrive);
        }
        for (place, call) in self.calls.iter().enumerate() {
            match call.state {
                CallState::OnWire => {
                    possible.push(Turn::Answer(place));
                    if more {
                        possible.push(Turn::Fail(place));
                    }
                }
                CallState::Cancelled => possible.extend([Turn::Answer(place), Turn::Stop(place)]),
                CallState::Stopped if more => possible.push(Turn::AnswerAnyway(place)),
                _ => {}
            }
        }
        if let Some(at) = self.wake_at
            && (more || possible.is_empty())
        {
            possible.push(Turn::TimePasses(at));
        }
        if more && !self.died && !self.over {
            possible.push(Turn::Die);
        }
        possible
    }

    fn take(&mut self, turn: Turn) -> Result<(), Violation> {
        match turn {
            Turn::Arrive => {
                let input = self.position as Input;
                match self.case.source[self.position] {
                    Element::Record { key, timestamp } => self.observed.record(self.now, key, timestamp, input)?,
                    Element::Watermark(at) => self.observed.watermark(self.now, at)?,
                    Element::Idle => self.observed.idle(self.now)?,
                }
                self.position += 1;
            }
            Turn::Answer(place) => self.answer(place, false)?,
            Turn::Fail(place) => {
                self.mishaps -= 1;
                self.answer(place, true)?;
            }
            Turn::AnswerAnyway(place) => {
                self.mishaps -= 1;
                self.answer(place, false)?;
            }
            Turn::Stop(place) => {
                self.calls[place].state = CallState::Stopped;
                self.observed.cancelled(self.now, self.calls[place].id)?;
            }
            Turn::TimePasses(at) => {
                self.mishaps = self.mishaps.saturating_sub(1);
                self.now = at;
            }
            Turn::Die => {
                self.mishaps -= 1;
                self.died = true;
                let saved = self.observed.snapshot(self.now)?;
                let case = self.case;
                let key =
                    |input: Input| if let Element::Record { key, .. } = case.source[input as usize] { key } else { 0 };
                self.observed.crash(self.now, saved, case.config.clone(), Restore::default(), key)?;
                self.calls.clear();
                self.ended = false;
            }
        }
        Ok(())
    }

    fn answer(&mut self, place: usize, fails: bool) -> Result<(), Violation> {
        let Call { id, number, inputs, state } = &mut self.calls[place];
        *state = CallState::Done;
        let completion = |&input: &Input| {
            let output = Output { input, call: *number };
            if fails { Completion::Retry { last: output, after: None } } else { Completion::Done(output) }
        };
        let completions: Vec<_> = inputs.iter().map(completion).collect();
        self.observed.completion(self.now, *id, &completions)
    }
}
