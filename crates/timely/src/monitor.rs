//! A look at an operator from outside.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use inflight::Stats;
use inflight::driver::Stopped;

/// What an operator is doing, as of its last turn. A clone looks at the same operator.
#[derive(Debug)]
pub struct Monitor<E> {
    inner: Rc<Inner<E>>,
}

#[derive(Debug)]
struct Inner<E> {
    stats: Cell<Stats>,
    stopped: RefCell<Option<Stopped<E>>>,
}

impl<E> Monitor<E> {
    pub(crate) fn new() -> Self {
        Self { inner: Rc::new(Inner { stats: Cell::new(Stats::default()), stopped: RefCell::new(None) }) }
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.stats.get()
    }

    /// Takes the error of a function that could not be opened (the operator then holds its capabilities for ever: stop the
    /// dataflow) or closed (all results are out).
    #[must_use]
    pub fn stopped(&self) -> Option<Stopped<E>> {
        self.inner.stopped.borrow_mut().take()
    }

    pub(crate) fn set_stats(&self, stats: Stats) {
        self.inner.stats.set(stats);
    }

    pub(crate) fn stop(&self, stopped: Stopped<E>) {
        *self.inner.stopped.borrow_mut() = Some(stopped);
    }
}

impl<E> Clone for Monitor<E> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}
