//! The driver's life on a worker: its input are the batches of a dataflow edge, its output the records of the next.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::vec::IntoIter;

use inflight::host::{Host, Incoming, Outgoing, Request, Tagged};
use inflight::{Completed, Element, Stats, Timestamp};
use timely::dataflow::operators::Capability;
use timely::progress::Timestamp as Time;

use crate::monitor::Monitor;

/// Records that may go out in one round of the driver. Timely's edges have no limit; this only bounds a turn.
const ROOM: usize = 1024;

/// A capability shared by the records of one batch: one per record would be an update of the progress tracker each.
pub(crate) type Shared<T> = Rc<Capability<T>>;

/// What goes out: a record, or what stood between records, with the capability it came under.
pub(crate) type Out<T, I, O, E> = (Shared<T>, Element<Completed<I, O, E>>);

/// Where operator and driver meet.
pub(crate) struct Port<T: Time, I, O, E> {
    batches: VecDeque<(Shared<T>, IntoIter<Element<I>>)>,
    ended: bool,
    pub(crate) out: Vec<Out<T, I, O, E>>,
    /// Capabilities of the watermarks and idle statuses in the queue, in order; the queue knows nothing of them.
    controls: VecDeque<Shared<T>>,
    /// The last watermark. One that does not advance is dropped by the queue, and must not leave a capability behind.
    watermark: Option<Timestamp>,
}

impl<T: Time, I, O, E> Port<T, I, O, E> {
    pub(crate) const fn new() -> Self {
        Self { batches: VecDeque::new(), ended: false, out: Vec::new(), controls: VecDeque::new(), watermark: None }
    }

    pub(crate) fn push(&mut self, capability: Capability<T>, batch: Vec<Element<I>>) {
        self.batches.push_back((Rc::new(capability), batch.into_iter()));
    }

    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }

    fn next(&mut self) -> Option<(Shared<T>, Element<I>)> {
        while let Some((capability, batch)) = self.batches.front_mut() {
            if let Some(element) = batch.next() {
                return Some((Rc::clone(capability), element));
            }
            self.batches.pop_front();
        }
        None
    }

    fn control<X>(&mut self, control: Element<X>) -> Option<(Shared<T>, Element<X>)> {
        self.controls.pop_front().map(|tag| (tag, control))
    }
}

pub(crate) struct WorkerHost<T: Time, I, O, E> {
    pub(crate) port: Rc<RefCell<Port<T, I, O, E>>>,
    pub(crate) monitor: Monitor<E>,
}

impl<T: Time, I, O, E> Host<I, O, E> for WorkerHost<T, I, O, E> {
    type Tag = Shared<T>;

    fn poll_input(&mut self, _: &mut Context<'_>) -> Poll<Incoming<I, Shared<T>>> {
        let mut port = self.port.borrow_mut();
        let Some((tag, element)) = port.next() else {
            return if port.ended { Poll::Ready(Incoming::End) } else { Poll::Pending };
        };
        Poll::Ready(match element {
            Element::Record { value, timestamp } => {
                Incoming::Record { input: Tagged { value, tag }, timestamp, progress: None }
            }
            Element::Watermark(at) => {
                if port.watermark.is_none_or(|last| last < at) {
                    port.watermark = Some(at);
                    port.controls.push_back(tag);
                }
                Incoming::Watermark(at)
            }
            Element::Idle => {
                port.controls.push_back(tag);
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

    fn emit(&mut self, outgoing: Outgoing<I, Shared<T>, O, E>) {
        let mut port = self.port.borrow_mut();
        let out = match outgoing {
            Outgoing::Record { tag, completed } => {
                let timestamp = completed.timestamp;
                Some((tag, Element::Record { value: completed, timestamp }))
            }
            Outgoing::Watermark(at) => port.control(Element::Watermark(at)),
            Outgoing::Idle => port.control(Element::Idle),
        };
        port.out.extend(out);
    }

    fn flush(&mut self, stats: Stats) {
        self.monitor.set_stats(stats);
    }

    fn sleep(&mut self, _: &Waker) -> bool {
        // The operator polls the driver whenever there is input.
        true
    }

    fn snapshot(&mut self, _: inflight_core::Snapshot<&Tagged<I, Shared<T>>>) {}
}
