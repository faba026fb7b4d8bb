//! The driver's life as a task: its input is a stream, its output the handover to the consumer.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_core::Stream;
use inflight_core::{Clock, Progress, Stats};
use tokio::task::unconstrained;

use crate::blocking::panic_message;
use crate::driver::{Setup, Stopped, drive};
use crate::element::Element;
use crate::failure::{Cause, Failure};
use crate::function::Function;
use crate::handover::{HANDOVER_LIMIT, Handover};
use crate::host::{Holdings, Host, Incoming, Outgoing, Request, Tagged};
use crate::input::Input;
use crate::snapshot::{Clocks, Held, Snapshot};

/// What goes over to the consumer; an error is the last.
pub(crate) type Delivery<I, O, E> = Result<Outgoing<I, (), O, E>, Failure<I, E>>;
/// What is held, and how many elements were taken from the input.
type Account<I> = (Vec<Held<I>>, u64);
pub(crate) type Shared<I, O, E> = Handover<Delivery<I, O, E>, Account<I>, (Stats, u64)>;

/// The task.
pub(crate) async fn run<S, F, Shape>(
    input: S,
    function: F,
    setup: Setup<S::Record, F::Output, F::Error>,
    resume: Option<(Snapshot<S::Record>, Clocks)>,
    shared: Arc<Shared<S::Record, F::Output, F::Error>>,
) where
    S: Input,
    F: Function<S::Record, Shape>,
{
    let mut ending = Ending { shared: Arc::clone(&shared), last: Some(Failure::Died(DIED.into())) };
    let (snapshot, clocks) =
        resume.map_or((Vec::new(), Clocks::Keep), |(snapshot, clocks)| (snapshot.elements, clocks));
    let mut host = StreamHost::<S, _, _> {
        input: Box::pin(input.into_stream()),
        resumed: snapshot.into(),
        clocks,
        taken: 0,
        out: VecDeque::new(),
        waiting: 0,
        starved: false,
        shared,
    };
    ending.last = match unconstrained(caught(drive(function, setup, &mut host))).await {
        Ok(Ok(())) => None,
        Ok(Err(Stopped::Open(error))) => Some(Failure::Open(error)),
        Ok(Err(Stopped::Close(error))) => Some(Failure::Close(error)),
        Err(panic) => Some(Failure::Died(format!("it panicked: {panic}"))),
    };
}

const DIED: &str = "its runtime was shut down";

/// The future, and what its panic says: the calls' own panics never get here, but those of the input, the key, `open` and `close` do.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
    })
    .await
}

/// Tells the consumer that the task has ended, however it ends.
struct Ending<I, O, E> {
    shared: Arc<Shared<I, O, E>>,
    last: Option<Failure<I, E>>,
}

impl<I, O, E> Drop for Ending<I, O, E> {
    fn drop(&mut self) {
        let lost = matches!(self.last, Some(Failure::Died(_) | Failure::Open(_)));
        self.shared.end(self.last.take().map(Err), lost);
    }
}

struct StreamHost<S: Input, O, E> {
    input: Pin<Box<S::Stream>>,
    /// What another operator held, until it is taken in.
    resumed: VecDeque<Held<S::Record>>,
    clocks: Clocks,
    taken: u64,
    /// Emitted, and not yet handed over.
    out: VecDeque<Delivery<S::Record, O, E>>,
    /// Handed over, and at the last look not yet taken.
    waiting: usize,
    /// There was no room at the last look.
    starved: bool,
    shared: Arc<Shared<S::Record, O, E>>,
}

impl<S: Input, O, E> Host<S::Record, O, E> for StreamHost<S, O, E> {
    type Tag = ();

    fn restored(&mut self) -> Option<Incoming<S::Record, (), O, E>> {
        self.resumed.pop_front().map(|held| resume(held, self.clocks))
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Incoming<S::Record, (), O, E>> {
        let item = ready!(self.input.as_mut().poll_next(cx));
        self.taken += u64::from(item.is_some());
        Poll::Ready(match item.map(S::element) {
            Some(Element::Record { value, timestamp }) => {
                Incoming::Record { input: Tagged { value, tag: () }, timestamp, progress: None }
            }
            Some(Element::Watermark(at)) => Incoming::Watermark(at),
            Some(Element::Idle) => Incoming::Idle,
            None => Incoming::End,
        })
    }

    fn request(&mut self) -> Option<Request> {
        self.shared.take_request()
    }

    fn room(&mut self) -> usize {
        if self.waiting + self.out.len() >= HANDOVER_LIMIT {
            self.waiting = self.shared.look(VecDeque::len);
        }
        let room = HANDOVER_LIMIT.saturating_sub(self.waiting + self.out.len());
        self.starved = room == 0;
        room
    }

    fn emit(&mut self, outgoing: Outgoing<S::Record, (), O, E>) {
        self.out.push_back(Ok(outgoing));
    }

    fn flush(&mut self, stats: Stats) {
        self.waiting = self.shared.push(&mut self.out, (stats, self.taken));
    }

    fn sleep(&mut self, waker: &Waker) -> bool {
        self.shared.sleep(self.starved, waker)
    }

    fn snapshot(&mut self, holdings: Holdings<'_, S::Record, (), O, E>) {
        let queued = holdings.elements.into_iter().map(|element| match element {
            inflight_core::Held::Record { input, timestamp, progress } => {
                Held::Record { input: input.value.clone(), timestamp, progress }
            }
            inflight_core::Held::Decided { input, timestamp, outcome, attempts, .. } => {
                Held::Record { input: input.value.clone(), timestamp, progress: undecided(attempts, outcome) }
            }
            inflight_core::Held::Watermark(at) => Held::Watermark(at),
            inflight_core::Held::Idle => Held::Idle,
        });
        let (out, resumed, taken) = (&self.out, &self.resumed, self.taken);
        self.shared.answer(|waiting| {
            let on_its_way = waiting.iter().chain(out).filter_map(held);
            (on_its_way.chain(queued).chain(resumed.iter().cloned()).collect(), taken)
        });
    }
}

/// What a snapshot keeps of something that was on its way to the consumer.
pub(crate) fn held<I: Clone, O, E>(delivery: &Delivery<I, O, E>) -> Option<Held<I>> {
    match delivery.as_ref().ok()? {
        Outgoing::Record { completed, .. } => {
            let progress = undecided(completed.attempts, &completed.result);
            Some(Held::Record { input: completed.input.clone(), timestamp: completed.timestamp, progress })
        }
        Outgoing::Watermark(at) => Some(Held::Watermark(*at)),
        Outgoing::Idle => Some(Held::Idle),
    }
}

/// How far a record was before it was decided: results are not kept, so the last attempt counts as cut short.
fn undecided<O, E>(attempts: u32, result: &Result<O, Cause<E>>) -> Progress {
    let too_late = matches!(result, Err(Cause::TimedOut { clock: Clock::Deadline, .. }));
    Progress { attempts: attempts.saturating_sub(1), remaining: too_late.then_some(Duration::ZERO) }
}

fn resume<I, O, E>(held: Held<I>, clocks: Clocks) -> Incoming<I, (), O, E> {
    match held {
        Held::Record { input, timestamp, progress } => {
            let input = Tagged { value: input, tag: () };
            Incoming::Record { input, timestamp, progress: Some(clocks.apply(progress)) }
        }
        Held::Watermark(at) => Incoming::Watermark(at),
        Held::Idle => Incoming::Idle,
    }
}
