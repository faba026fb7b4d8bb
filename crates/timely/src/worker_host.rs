//! The driver's life on a worker: its input are the batches of a dataflow edge, its output the records of the next.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::vec::IntoIter;

use inflight::host::{Holdings, Host, Incoming, Outgoing, Request, Tagged};
use inflight::{Completed, Element, Stats, Timestamp};
use timely::container::buffer::default_capacity;
use timely::dataflow::operators::Capability;
use timely::order::TotalOrder;
use timely::progress::Timestamp as Time;

use crate::monitor::Monitor;

/// Records that may go out in one round of the driver. Timely's edges have no limit; this only bounds a turn.
const ROOM: usize = 1024;

/// A capability shared by the records of one batch: one per record would be an update of the progress tracker each.
pub(crate) type Shared<T> = Rc<Capability<T>>;

/// Records of the same time that go out together.
pub(crate) struct Run<T: Time, R> {
    pub(crate) capability: Shared<T>,
    pub(crate) records: Vec<R>,
}

/// Where operator and driver meet: `D` comes in, `R` goes out.
pub(crate) struct Port<T: Time, D, R> {
    /// None is empty.
    batches: VecDeque<(Shared<T>, IntoIter<D>)>,
    ended: bool,
    /// By time, since timely's operators look at earlier times first, and must not be left to sort many messages of equal times: they
    /// would mix them up.
    pub(crate) out: Vec<Run<T, R>>,
    /// The latest time that anything went out at.
    latest: T,
}

impl<T: Time + TotalOrder, D, R> Port<T, D, R> {
    pub(crate) fn new() -> Self {
        Self { batches: VecDeque::new(), ended: false, out: Vec::new(), latest: T::minimum() }
    }

    pub(crate) fn push(&mut self, capability: Capability<T>, batch: Vec<D>) {
        if !batch.is_empty() {
            self.batches.push_back((Rc::new(capability), batch.into_iter()));
        }
    }

    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }

    fn next(&mut self) -> Option<(Shared<T>, D)> {
        let (capability, batch) = self.batches.front_mut()?;
        let item = batch.next()?;
        if batch.len() > 0 {
            return Some((Rc::clone(capability), item));
        }
        self.batches.pop_front().map(|(capability, _)| (capability, item))
    }

    /// Where a record goes that leaves under this capability.
    #[inline]
    fn place(&mut self, capability: &Shared<T>) -> &mut Vec<R> {
        let last = self
            .out
            .last()
            .is_some_and(|run| Rc::ptr_eq(&run.capability, capability) || run.capability.time() == capability.time());
        let index = if last { self.out.len() - 1 } else { self.find(capability) };
        &mut self.out[index].records
    }

    fn find(&mut self, capability: &Shared<T>) -> usize {
        let time = capability.time();
        if self.latest < *time {
            self.latest.clone_from(time);
        }
        self.out.binary_search_by(|run| run.capability.time().cmp(time)).unwrap_or_else(|index| {
            let records = Vec::with_capacity(default_capacity::<R>());
            self.out.insert(index, Run { capability: Rc::clone(capability), records });
            index
        })
    }
}

/// `take` and `give` say how what flows on the edges is an [`Element`]; `None` does not go out.
pub(crate) struct WorkerHost<T: Time, D, R, E, Take, Give> {
    port: Rc<RefCell<Port<T, D, R>>>,
    take: Take,
    give: Give,
    /// Capabilities of the watermarks and idle statuses in the queue, in order; the queue knows nothing of them.
    controls: VecDeque<Shared<T>>,
    /// The last watermark. One that does not advance is dropped by the queue, and must not leave a capability behind.
    watermark: Option<Timestamp>,
    monitor: Monitor<E>,
}

impl<T: Time + TotalOrder, D, R, E, Take, Give> WorkerHost<T, D, R, E, Take, Give> {
    pub(crate) fn new(port: Rc<RefCell<Port<T, D, R>>>, take: Take, give: Give, monitor: Monitor<E>) -> Self {
        Self { port, take, give, controls: VecDeque::new(), watermark: None, monitor }
    }

    /// The capability of the next watermark or idle status to leave: not earlier than what left before it, or it would be seen first.
    fn next_control(&mut self) -> Option<Shared<T>> {
        let capability = self.controls.pop_front()?;
        let latest = &self.port.borrow().latest;
        Some(if capability.time() < latest { Rc::new(capability.delayed(latest)) } else { capability })
    }
}

impl<T, D, R, I, O, E, Take, Give> Host<I, O, E> for WorkerHost<T, D, R, E, Take, Give>
where
    T: Time + TotalOrder,
    Take: Fn(D) -> Element<I>,
    Give: Fn(Element<Completed<I, O, E>>) -> Option<R>,
{
    type Tag = Shared<T>;

    #[inline]
    fn poll_input(&mut self, _: &mut Context<'_>) -> Poll<Incoming<I, Shared<T>, O, E>> {
        let mut port = self.port.borrow_mut();
        let Some((tag, item)) = port.next() else {
            return if port.ended { Poll::Ready(Incoming::End) } else { Poll::Pending };
        };
        Poll::Ready(match (self.take)(item) {
            Element::Record { value, timestamp } => {
                Incoming::Record { input: Tagged { value, tag }, timestamp, progress: None }
            }
            Element::Watermark(at) => {
                if self.watermark.is_none_or(|last| last < at) {
                    self.watermark = Some(at);
                    self.controls.push_back(tag);
                }
                Incoming::Watermark(at)
            }
            Element::Idle => {
                self.controls.push_back(tag);
                Incoming::Idle
            }
        })
    }

    fn request(&mut self) -> Option<Request> {
        None
    }

    fn room(&mut self) -> usize {
        ROOM
    }

    // Results are large: each function they do not pass is a copy less.
    #[inline(always)]
    fn emit(&mut self, outgoing: Outgoing<I, Shared<T>, O, E>) {
        let (capability, element) = match outgoing {
            Outgoing::Record { tag, completed } => {
                let timestamp = completed.timestamp;
                (Some(tag), Element::Record { value: completed, timestamp })
            }
            Outgoing::Watermark(at) => (self.next_control(), Element::Watermark(at)),
            Outgoing::Idle => (self.next_control(), Element::Idle),
        };
        if let (Some(capability), Some(record)) = (capability, (self.give)(element)) {
            self.port.borrow_mut().place(&capability).push(record);
        }
    }

    fn flush(&mut self, stats: Stats) {
        self.monitor.set_stats(stats);
    }

    fn sleep(&mut self, _: &Waker) -> bool {
        // The operator polls the driver whenever there is input.
        true
    }

    fn snapshot(&mut self, _: Holdings<'_, I, Shared<T>, O, E>) {}
}
