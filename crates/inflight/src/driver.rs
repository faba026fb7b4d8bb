//! The driver: polls the futures of all calls, in place, and steps the queue.
//!
//! ```text
//!            poll_input                     start, poll                   emit
//!  Host  ---------------->  Queue (core)  <------------->  Slots<Fut>   -------->  Host
//!                             ^     |                          ^
//!                     timers  |     | Call, Cancel             | wakers
//!                             clock                          Woken
//! ```
//! One driver is one task (or one dataflow operator), and never runs in the consumer's poll: a consumer that takes its time stops
//! neither calls nor clocks.

mod hearing;
mod judge;

use std::future::{Future, poll_fn};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use inflight_core::{
    Action, CallId, Completion, Config, ConfigError, Emit, Emitted, Held, Open, Outcome, Queue, Snapshot, Time,
    Timestamp, Verdict,
};
use tokio::time::Sleep;

use self::hearing::Hearing;
use self::judge::{Tally, is_too_slow};
use crate::blocking::panic_message;
use crate::clock::Clock;
use crate::destination::{Destination, Wire};
use crate::failure::{Cause, Completed};
use crate::function::{Cancellation, Function};
use crate::host::{Holdings, Host, Incoming, Outgoing, Request, Tagged};
use crate::options::{Judge, Options};
use crate::reactor::Reactor;
use crate::slots::{Ended, Slots};
use crate::woken::Woken;

/// Elements taken in, or results heard of, between two looks at the clock and at what was woken.
const ELEMENTS_PER_ROUND: usize = 64;
/// Rounds before other tasks get a turn.
const ROUNDS_PER_TURN: usize = 32;
/// Time before other tasks get a turn: they send the calls made in this one, and servers are not to run out of work meanwhile.
const TURN: Duration = Duration::from_micros(200);

/// An operator's set-up: its options and its order, checked.
pub struct Setup<I, O, E> {
    config: Config,
    judge: Judge<O, E>,
    key: Option<Key<I>>,
    watermark: Option<Timestamp>,
    destination: Option<Destination>,
}

/// The number that stands for a record's key; equal keys give equal numbers.
pub type Key<I> = Box<dyn Fn(&I) -> u64 + Send + Sync>;

/// The number that stands for a key that can be hashed. It is the same within one process only.
pub fn hashed<I, K: Hash>(key: impl Fn(&I) -> K + Send + Sync + 'static) -> Key<I> {
    Box::new(move |record| {
        let mut hasher = DefaultHasher::new();
        key(record).hash(&mut hasher);
        hasher.finish()
    })
}

impl<I, O, E> Setup<I, O, E> {
    /// Checks the options. `watermark` is the last one that left, after a restore; the elements of a snapshot are handed in by the host.
    ///
    /// # Errors
    /// As [`Options::check`].
    pub fn new(
        order: inflight_core::Order,
        key: Option<Key<I>>,
        watermark: Option<Timestamp>,
        options: Options<I, O, E>,
    ) -> Result<Self, ConfigError> {
        options.check()?;
        let config = options.config(order);
        Ok(Self { config, judge: options.judge, key, watermark, destination: options.destination })
    }
}

/// Why a driver stopped before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped<E> {
    /// The function could not be opened.
    Open(E),
    /// The function could not be closed; all results are out.
    Close(E),
}

/// Runs an operator until its input has ended and everything has gone out.
///
/// Poll it without tokio's cooperative budget (`tokio::task::unconstrained`): it bounds its own turns, and past the budget every
/// timer and socket would answer "pending" in vain. It needs tokio's time driver.
///
/// # Errors
/// If the function cannot be opened or closed.
///
/// # Cancel safety
/// Dropping it drops all calls on the wire, and what the queue holds.
pub async fn drive<I, Shape, F, H>(
    mut function: F,
    mut setup: Setup<I, F::Output, F::Error>,
    host: &mut H,
) -> Result<(), Stopped<F::Error>>
where
    I: Clone,
    F: Function<I, Shape>,
    H: Host<I, F::Output, F::Error>,
{
    let mut drain = None;
    attend(function.set_up(), host, &mut drain).await.map_err(Stopped::Open)?;
    {
        let call = |inputs| function.call(inputs);
        match setup.destination.take().map(|destination| destination.member()) {
            None => Driver::<I, Shape, F, H::Tag, _, _, _>::new(&function, call, setup, Open).run(host, drain).await,
            Some(member) => Driver::new(&function, call, setup, member).run(host, drain).await,
        }
    }
    attend(function.tear_down(), host, &mut drain).await.map_err(Stopped::Close)
}

/// Opens or closes the function, and attends to the host meanwhile: the queue is empty, and a snapshot must not wait. A drain comes later.
async fn attend<T, I, O, E, H: Host<I, O, E>>(
    doors: impl Future<Output = T>,
    host: &mut H,
    drain: &mut Option<Duration>,
) -> T {
    let mut doors = pin!(doors);
    poll_fn(|cx| {
        while let Some(request) = host.request() {
            match request {
                Request::Snapshot => host.snapshot(Snapshot { watermark: None, elements: Vec::new() }),
                Request::Drain(limit) => *drain = Some(limit),
            }
        }
        if !host.sleep(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        doors.as_mut().poll(cx)
    })
    .await
}

/// What the queue holds of a result: already as it goes out, so that nothing is taken apart on the way.
type Answer<O, E> = Result<O, Cause<E>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Others run first: tasks, and the reactor, so that what is ready is heard of before any clock runs out.
    Again,
    Over,
}

struct Driver<'f, I, Shape, F: Function<I, Shape>, T, Call, Fut, W> {
    function: &'f F,
    call: Call,
    queue: Queue<Tagged<I, T>, Answer<F::Output, F::Error>>,
    slots: Slots<Fut>,
    hearing: Hearing,
    /// After the slots: calls are dropped before it is told.
    wire: W,
    judge: Judge<F::Output, F::Error>,
    /// Of one call, while somebody looks at them.
    judged: Vec<Completion<Answer<F::Output, F::Error>>>,
    key: Option<Key<I>>,
    clock: Clock,
    sleep: Option<(Time, Pin<Box<Sleep>>)>,
    input_open: bool,
    over: bool,
}

impl<'f, I, Shape, F, T, Call, Fut, W> Driver<'f, I, Shape, F, T, Call, Fut, W>
where
    W: Wire,
    I: Clone,
    F: Function<I, Shape>,
    Call: Fn(F::Inputs) -> Fut,
    Fut: Future<Output = F::Answers>,
{
    fn new(function: &'f F, call: Call, setup: Setup<I, F::Output, F::Error>, wire: W) -> Self {
        let woken = Arc::new(Woken::default());
        let hearing = Hearing::new(Arc::clone(&woken), ELEMENTS_PER_ROUND.div_ceil(setup.config.batch.size.max(1)));
        let queue = Queue::resume(setup.config, setup.watermark);
        Self {
            function,
            call,
            queue: queue.unwrap_or_else(|error| unreachable!("Setup has checked the configuration: {error}")),
            slots: Slots::new(woken),
            hearing,
            clock: wire.clock().unwrap_or_else(Clock::start),
            wire,
            judge: setup.judge,
            judged: Vec::new(),
            key: setup.key,
            sleep: None,
            input_open: true,
            over: false,
        }
    }

    async fn run<H: Host<I, F::Output, F::Error, Tag = T>>(mut self, host: &mut H, drain: Option<Duration>) {
        let reactor = Reactor::new();
        self.restore(host, drain);
        while poll_fn(|cx| self.poll_turn(host, cx)).await == Turn::Again {
            let begun = self.clock.now();
            reactor.turn().await;
            self.hearing.turned(begun);
        }
    }

    fn poll_turn<H: Host<I, F::Output, F::Error, Tag = T>>(
        &mut self,
        host: &mut H,
        cx: &mut Context<'_>,
    ) -> Poll<Turn> {
        let mut now = self.clock.now();
        let until = now + TURN;
        for _ in 0..ROUNDS_PER_TURN {
            if let Some((stood, still)) = self.wire.begin(now) {
                self.queue.handle_standing(stood, still);
            }
            let mut busy = self.poll_woken(now) | self.accept(now, host, cx);
            let wake_at = self.do_actions(now);
            busy |= self.emit(host);
            if self.over {
                host.flush(self.queue.stats());
                return Poll::Ready(Turn::Over);
            }
            if !busy {
                host.flush(self.queue.stats());
                let idle = wake_at.is_none_or(|at| at > now) && self.sleep_until(wake_at, cx) && host.sleep(cx.waker());
                let idle = idle && self.wire.sleep(now, cx.waker()) && self.hearing.sleep(cx.waker());
                return if idle { Poll::Pending } else { Poll::Ready(Turn::Again) };
            }
            now = self.clock.now();
            if now >= until {
                break;
            }
        }
        host.flush(self.queue.stats());
        Poll::Ready(Turn::Again)
    }

    /// Polls a round's worth of the futures that were woken.
    fn poll_woken(&mut self, now: Time) -> bool {
        let any = self.hearing.listen(now);
        while let Some((index, woken)) = self.hearing.next() {
            if let Some((call, Poll::Ready(ended))) = self.slots.poll(index) {
                self.complete(now, woken, call, ended);
            }
        }
        any
    }

    /// Takes in what there is room for, up to a round's worth, and what else the host wants.
    fn accept<H: Host<I, F::Output, F::Error, Tag = T>>(
        &mut self,
        now: Time,
        host: &mut H,
        cx: &mut Context<'_>,
    ) -> bool {
        while let Some(request) = host.request() {
            match request {
                Request::Snapshot => host.snapshot(self.holdings(now)),
                Request::Drain(limit) => self.drain(now, limit),
            }
        }
        let mut any = false;
        for _ in 0..ELEMENTS_PER_ROUND {
            if !self.input_open || !self.queue.has_room() {
                break;
            }
            let Poll::Ready(incoming) = host.poll_input(cx) else { break };
            any = true;
            self.take_in(now, incoming);
        }
        any
    }

    /// Takes in what another operator held, and only then looks at the input.
    fn restore<H: Host<I, F::Output, F::Error, Tag = T>>(&mut self, host: &mut H, drain: Option<Duration>) {
        let now = self.clock.now();
        while let Some(incoming) = host.restored() {
            self.take_in(now, incoming);
        }
        if let Some(limit) = drain {
            self.drain(now, limit);
        }
    }

    fn drain(&mut self, now: Time, limit: Duration) {
        self.input_open = false;
        self.queue.handle_drain(now, limit);
    }

    fn take_in(&mut self, now: Time, incoming: Incoming<I, T, F::Output, F::Error>) {
        match incoming {
            Incoming::Record { input, timestamp, progress } => {
                let key = self.key_of(&input.value);
                let progress = progress.unwrap_or_default();
                match known(self.function, &input.value) {
                    None => drop(self.queue.handle_restored(now, key, timestamp, input, progress)),
                    Some(answer) => {
                        let (outcome, attempts) = (Outcome::Done(answer), progress.attempts);
                        self.queue.handle_decided(now, key, timestamp, input, outcome, attempts, Duration::ZERO);
                    }
                }
            }
            Incoming::Decided { input, timestamp, result, attempts, elapsed } => {
                let key = self.key_of(&input.value);
                self.queue.handle_decided(now, key, timestamp, input, Outcome::Done(result), attempts, elapsed);
            }
            Incoming::Watermark(at) => self.queue.handle_watermark(at),
            Incoming::Idle => self.queue.handle_idle(),
            Incoming::End => {
                self.input_open = false;
                self.queue.handle_end();
            }
        }
    }

    fn key_of(&self, record: &I) -> u64 {
        self.key.as_ref().map_or(0, |key| key(record))
    }

    /// What the queue holds. Results are made now that would be made on the way out, so that what is stored is what goes out.
    fn holdings(&mut self, now: Time) -> Holdings<'_, I, T, F::Output, F::Error> {
        let function = self.function;
        self.queue.map_outcomes(|input, outcome| Outcome::Done(result_of(function, &input.value, outcome)));
        let Snapshot { watermark, elements } = self.queue.snapshot(now);
        let elements = elements.into_iter().map(|element| match element {
            Held::Record { input, timestamp, progress } => Held::Record { input, timestamp, progress },
            Held::Decided { input, timestamp, outcome: Outcome::Done(outcome), attempts, elapsed } => {
                Held::Decided { input, timestamp, outcome, attempts, elapsed }
            }
            Held::Decided { .. } => unreachable!("all outcomes have just been made into results"),
            Held::Watermark(at) => Held::Watermark(at),
            Held::Idle => Held::Idle,
        });
        Snapshot { watermark, elements: elements.collect() }
    }

    /// Does what the queue says until it is idle; until when, if it knows.
    fn do_actions(&mut self, now: Time) -> Option<Time> {
        let heard = self.hearing.heard();
        loop {
            match self.queue.poll_heard(now, heard, &mut self.wire) {
                Action::Call(call) => self.start(now, call),
                Action::Cancel(call) => {
                    let config = self.queue.config();
                    self.wire.given_up(now, call, |took| is_too_slow(config, took));
                    if self.function.given_up() == Cancellation::Drop {
                        self.slots.cancel(call);
                        self.queue.handle_cancelled(now, call);
                        self.wire.ended(now, call, Verdict::Unjudged, 0);
                    }
                }
                Action::Forget(call) => {
                    self.slots.cancel(call);
                    self.wire.ended(now, call, Verdict::Unjudged, 0);
                }
                Action::Idle { wake_at } => {
                    self.wire.end(now);
                    return [wake_at, self.wire.wake_at()].into_iter().flatten().min();
                }
            }
        }
    }

    #[inline]
    fn start(&mut self, now: Time, call: CallId) {
        let inputs = F::gather(self.queue.inputs(call).map(|input| &input.value));
        self.wire.started(call);
        let Some(inputs) = inputs else {
            self.wire.ended(now, call, Verdict::Unjudged, 0);
            return self.queue.handle_completion(now, call, []);
        };
        if let Poll::Ready(ended) = self.slots.start(call, || (self.call)(inputs)) {
            self.complete(now, now, call, ended);
        }
    }

    /// `woken`: until when the call took, for the destination.
    #[inline]
    fn complete(&mut self, now: Time, woken: Time, call: CallId, ended: Ended<F::Answers>) {
        let judge = &self.judge;
        match ended {
            Ok(answers) if W::LISTENS => self.complete_before_all(now, woken, call, answers),
            Ok(answers) => {
                self.queue.handle_completion(now, call, answers.into_iter().map(|result| judge.judge(result)));
            }
            Err(message) => {
                self.wire.ended(woken, call, Verdict::Unjudged, 0);
                let panicked = || Some(Completion::Done(Err(Cause::Panicked(message.clone()))));
                self.queue.handle_completion(now, call, std::iter::from_fn(panicked));
            }
        }
    }

    /// The destination hears of it first: if it turns out to be failing, that failure too costs no record a retry.
    fn complete_before_all(&mut self, now: Time, woken: Time, call: CallId, answers: F::Answers) {
        let mut tally = Tally::default();
        for result in answers {
            let (completion, verdict) = self.judge.judge_for_all(result);
            tally.add(verdict);
            self.judged.push(completion);
        }
        self.wire.ended(woken, call, tally.verdict(), tally.good);
        self.queue.handle_answers(now, call, self.judged.drain(..), &mut self.wire);
    }

    fn emit<H: Host<I, F::Output, F::Error, Tag = T>>(&mut self, host: &mut H) -> bool {
        let mut any = false;
        for _ in 0..host.room() {
            match self.queue.emit() {
                Some(Emit::Record(record)) => host.emit(self.outgoing(record)),
                Some(Emit::Watermark(at)) => host.emit(Outgoing::Watermark(at)),
                Some(Emit::Idle) => host.emit(Outgoing::Idle),
                Some(Emit::End) => {
                    self.over = true;
                    break;
                }
                None => break,
            }
            any = true;
        }
        any
    }

    fn outgoing(
        &self,
        record: Emitted<Tagged<I, T>, Answer<F::Output, F::Error>>,
    ) -> Outgoing<I, T, F::Output, F::Error> {
        let Tagged { value, tag } = record.input;
        let result = result_of(self.function, &value, record.outcome);
        let elapsed = record.decided.since(record.admitted);
        let (timestamp, attempts) = (record.timestamp, record.attempts);
        Outgoing::Record { tag, completed: Completed { input: value, timestamp, result, attempts, elapsed } }
    }

    /// Arranges to be woken at `wake_at`. A timer armed earlier stays: resetting it costs more than one wake too many.
    fn sleep_until(&mut self, wake_at: Option<Time>, cx: &mut Context<'_>) -> bool {
        let Some(at) = wake_at else { return true };
        let (armed, sleep) = self.sleep.get_or_insert_with(|| (at, Box::pin(self.clock.sleep_until(at))));
        if at < *armed {
            *armed = at;
            sleep.as_mut().reset(self.clock.instant(at));
        }
        if sleep.as_mut().poll(cx).is_pending() {
            return true;
        }
        *armed = Time::NEVER;
        false
    }
}

/// What is known of a record without a call.
#[inline(always)]
fn known<I, Shape, F: Function<I, Shape>>(function: &F, input: &I) -> Option<Answer<F::Output, F::Error>> {
    match catch_unwind(AssertUnwindSafe(|| function.known(input))) {
        Ok(known) => known.map(Ok),
        Err(panic) => Some(Err(Cause::Panicked(panic_message(&*panic)))),
    }
}

/// What a record goes out with.
#[inline(always)]
fn result_of<I: Clone, Shape, F: Function<I, Shape>>(
    function: &F,
    input: &I,
    outcome: Outcome<Answer<F::Output, F::Error>>,
) -> Answer<F::Output, F::Error> {
    match outcome {
        Outcome::Done(answer) => answer,
        Outcome::Unanswered => Err(Cause::Unanswered),
        Outcome::TimedOut { clock, last } => {
            let fallback = catch_unwind(AssertUnwindSafe(|| function.fall_back(input.clone())));
            match fallback {
                Ok(Some(result)) => result.map_err(Cause::Error),
                Ok(None) => Err(Cause::TimedOut { clock, last: last.and_then(of_attempt) }),
                Err(panic) => Err(Cause::Panicked(panic_message(&*panic))),
            }
        }
    }
}

/// The error of an attempt that was not the last.
fn of_attempt<O, E>(answer: Answer<O, E>) -> Option<E> {
    match answer {
        Err(Cause::Error(error)) => Some(error),
        _ => None,
    }
}
