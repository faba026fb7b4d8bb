//! The driver's life on a worker: its input are the batches of a dataflow edge, its output the records of the next.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::vec::IntoIter;

use inflight::host::{Holdings, Host, Incoming, Outgoing, Request, Tagged};
use inflight::{Completed, Element, Stats, Timestamp};
use inflight_core::Progress;
use timely::container::buffer::default_capacity;
use timely::dataflow::operators::Capability;
use timely::order::TotalOrder;
use timely::progress::Timestamp as Time;

use crate::carried::{Done, Held};
use crate::carry::{Batch, Carry, Shared};
use crate::monitor::Monitor;

/// Records that may go out in one round of the driver. Timely's edges have no limit; this only bounds a turn.
const ROOM: usize = 1024;

/// Records of the same time that go out together. Their time is what it was when they left: the batch they came in may move on.
pub(crate) struct Run<T: Time, R> {
    pub(crate) capability: Capability<T>,
    pub(crate) records: Vec<R>,
}

/// Where operator and driver meet: `D` comes in, `R` goes out.
pub(crate) struct Port<T: Time, D, R, I, O, E> {
    /// None is empty.
    batches: VecDeque<(Shared<T>, IntoIter<D>)>,
    ended: bool,
    /// By time, since timely's operators look at earlier times first, and must not be left to sort many messages of equal times: they
    /// would mix them up.
    pub(crate) out: Vec<Run<T, R>>,
    /// The latest time that anything went out at.
    latest: T,
    /// For checkpoints.
    pub(crate) carry: Option<Carry<T, I, O, E>>,
}

/// What is next to be taken in.
enum Next<T: Time, D, I, O, E> {
    Restored(Shared<T>, Held<I, O, E>),
    Fresh(Shared<T>, D),
    Nothing,
    End,
}

impl<T: Time + TotalOrder, D, R, I, O, E> Port<T, D, R, I, O, E> {
    pub(crate) fn new(carry: Option<Carry<T, I, O, E>>) -> Self {
        Self { batches: VecDeque::new(), ended: false, out: Vec::new(), latest: T::minimum(), carry }
    }

    pub(crate) fn push(&mut self, capability: Capability<T>, records: Vec<D>) {
        if records.is_empty() {
            return;
        }
        let batch = Batch::new(capability);
        if let Some(carry) = &mut self.carry {
            carry.watch(&batch);
        }
        self.batches.push_back((batch, records.into_iter()));
    }

    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }

    #[inline]
    fn next(&mut self) -> Next<T, D, I, O, E> {
        if let Some(carry) = &mut self.carry {
            if let Some((batch, held)) = carry.next_restored() {
                return Next::Restored(batch, held);
            }
            if carry.restoring {
                return Next::Nothing;
            }
        }
        let Some((batch, records)) = self.batches.front_mut() else {
            return if self.ended { Next::End } else { Next::Nothing };
        };
        let Some(record) = records.next() else { return Next::Nothing };
        let batch = Rc::clone(batch);
        if records.len() == 0 {
            self.batches.pop_front();
        }
        Next::Fresh(batch, record)
    }

    /// Where a record goes that leaves under this capability.
    #[inline]
    fn place(&mut self, batch: &Batch<T>) -> &mut Vec<R> {
        let capability = &*batch.capability();
        let last = self.out.last().is_some_and(|run| run.capability.time() == capability.time());
        let index = if last { self.out.len() - 1 } else { self.find(capability) };
        &mut self.out[index].records
    }

    fn find(&mut self, capability: &Capability<T>) -> usize {
        let time = capability.time();
        if self.latest < *time {
            self.latest.clone_from(time);
        }
        self.out.binary_search_by(|run| run.capability.time().cmp(time)).unwrap_or_else(|index| {
            let records = Vec::with_capacity(default_capacity::<R>());
            self.out.insert(index, Run { capability: capability.clone(), records });
            index
        })
    }
}

/// `take` and `give` say how what flows on the edges is an [`Element`]; `None` does not go out.
pub(crate) struct WorkerHost<T: Time, D, R, I, O, E, Take, Give> {
    port: Rc<RefCell<Port<T, D, R, I, O, E>>>,
    take: Take,
    give: Give,
    /// Capabilities of the watermarks and idle statuses in the queue, in order; the queue knows nothing of them.
    controls: VecDeque<Shared<T>>,
    /// The last watermark. One that does not advance is dropped by the queue, and must not leave a capability behind.
    watermark: Option<Timestamp>,
    monitor: Monitor<E>,
}

impl<T: Time + TotalOrder, D, R, I, O, E, Take, Give> WorkerHost<T, D, R, I, O, E, Take, Give> {
    pub(crate) fn new(port: Rc<RefCell<Port<T, D, R, I, O, E>>>, take: Take, give: Give, monitor: Monitor<E>) -> Self {
        Self { port, take, give, controls: VecDeque::new(), watermark: None, monitor }
    }

    /// The capability of the next watermark or idle status to leave: not earlier than what left before it, or it would be seen first.
    fn next_control(&mut self) -> Option<Shared<T>> {
        let batch = self.controls.pop_front()?;
        let latest = &self.port.borrow().latest;
        Some(if batch.is_before(latest) { Batch::new(batch.capability().delayed(latest)) } else { batch })
    }

    fn fresh(&mut self, batch: Shared<T>, element: Element<I>) -> Incoming<I, Shared<T>, O, E> {
        match element {
            Element::Record { value, timestamp } => {
                Incoming::Record { input: Tagged { value, tag: batch }, timestamp, progress: None }
            }
            Element::Watermark(at) => {
                if self.watermark.is_none_or(|last| last < at) {
                    self.watermark = Some(at);
                    self.controls.push_back(batch);
                }
                Incoming::Watermark(at)
            }
            Element::Idle => {
                self.controls.push_back(batch);
                Incoming::Idle
            }
        }
    }

    fn restored(&mut self, batch: Shared<T>, held: Held<I, O, E>) -> Incoming<I, Shared<T>, O, E> {
        match held {
            Held::Record { input, timestamp, attempts, remaining } => Incoming::Record {
                input: Tagged { value: input, tag: batch },
                timestamp: timestamp.map(Timestamp),
                progress: Some(Progress { attempts, remaining }),
            },
            Held::Done(done) => {
                let Completed { input, timestamp, result, attempts, elapsed } = done.into();
                Incoming::Decided { input: Tagged { value: input, tag: batch }, timestamp, result, attempts, elapsed }
            }
            Held::Watermark(at) => self.fresh(batch, Element::Watermark(Timestamp(at))),
            Held::Idle => self.fresh(batch, Element::Idle),
        }
    }
}

impl<T, D, R, I, O, E, Take, Give> Host<I, O, E> for WorkerHost<T, D, R, I, O, E, Take, Give>
where
    T: Time + TotalOrder,
    D: Clone,
    I: Clone,
    Take: Fn(D) -> Element<I>,
    Give: Fn(Element<Completed<I, O, E>>) -> Option<R>,
{
    type Tag = Shared<T>;

    #[inline]
    fn poll_input(&mut self, _: &mut Context<'_>) -> Poll<Incoming<I, Shared<T>, O, E>> {
        let next = self.port.borrow_mut().next();
        Poll::Ready(match next {
            Next::Fresh(batch, item) => {
                let element = (self.take)(item);
                self.fresh(batch, element)
            }
            Next::Restored(batch, held) => self.restored(batch, held),
            Next::Nothing => return Poll::Pending,
            Next::End => Incoming::End,
        })
    }

    fn request(&mut self) -> Option<Request> {
        let wanted = self.port.borrow().carry.as_ref().is_some_and(|carry| carry.to.is_some());
        wanted.then_some(Request::Snapshot)
    }

    fn room(&mut self) -> usize {
        ROOM
    }

    // Results are large: each function they do not pass is a copy less.
    #[inline(always)]
    fn emit(&mut self, outgoing: Outgoing<I, Shared<T>, O, E>) {
        let (batch, element) = match outgoing {
            Outgoing::Record { tag, completed } => {
                let timestamp = completed.timestamp;
                (Some(tag), Element::Record { value: completed, timestamp })
            }
            Outgoing::Watermark(at) => (self.next_control(), Element::Watermark(at)),
            Outgoing::Idle => (self.next_control(), Element::Idle),
        };
        if let (Some(batch), Some(record)) = (batch, (self.give)(element)) {
            self.port.borrow_mut().place(&batch).push(record);
        }
    }

    fn flush(&mut self, stats: Stats) {
        self.monitor.set_stats(stats);
    }

    fn sleep(&mut self, _: &Waker) -> bool {
        // The operator polls the driver whenever there is input.
        true
    }

    /// Notes what is held of the epochs that have closed, here and in the queue, and moves it on to the one that is open.
    fn snapshot(&mut self, holdings: Holdings<'_, I, Shared<T>, O, E>) {
        let port = &mut *self.port.borrow_mut();
        let Some((carry, to)) = port.carry.as_mut().and_then(|carry| carry.to.take().map(|to| (carry, to))) else {
            return;
        };
        let mut controls = self.controls.iter();
        let mut control = |held| controls.next().filter(|batch| batch.is_before(&to)).map(|_| held);
        let copy_result = carry.copy_result;
        let queued = holdings.elements.into_iter().filter_map(|held| match held {
            inflight_core::Held::Record { input: Tagged { value, tag }, timestamp, progress } => {
                tag.is_before(&to).then(|| Held::record(value.clone(), timestamp, progress))
            }
            inflight_core::Held::Decided { input: Tagged { value, tag }, timestamp, outcome, attempts, elapsed } => {
                let done = || {
                    let (input, result) = (value.clone(), copy_result(outcome));
                    Done::from(Completed { input, timestamp, result, attempts, elapsed })
                };
                tag.is_before(&to).then(|| Held::Done(done()))
            }
            inflight_core::Held::Watermark(at) => control(Held::Watermark(at.0)),
            inflight_core::Held::Idle => control(Held::Idle),
        });
        carry.notes.extend(queued);
        carry.note_restored(&to);
        let waiting = port.batches.iter().filter(|(batch, _)| batch.is_before(&to));
        let waiting = waiting.flat_map(|(_, records)| records.as_slice()).cloned().map(&self.take);
        carry.notes.extend(waiting.map(|element| match element {
            Element::Record { value, timestamp } => Held::record(value, timestamp, Progress::default()),
            Element::Watermark(at) => Held::Watermark(at.0),
            Element::Idle => Held::Idle,
        }));
        carry.move_on(&to);
    }
}
