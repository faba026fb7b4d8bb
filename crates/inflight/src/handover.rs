//! Where driver and consumer meet: results go over in batches, requests come back.

#[cfg(all(test, feature = "shuttle"))]
mod model;

use std::collections::VecDeque;
use std::mem::{replace, swap};
use std::task::{Context, Poll, Waker};

use crate::host::Request;
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// Items that wait for the consumer at most; few in model tests, so that it fills up there.
pub(crate) const HANDOVER_LIMIT: usize = if cfg!(feature = "shuttle") { 2 } else { 256 };

/// `T`: what goes over. `S`: what a snapshot says. `X`: what the driver tells of itself.
pub(crate) struct Handover<T, S, X> {
    inner: Mutex<Inner<T, S, X>>,
    /// There is a request: read without the lock.
    requested: AtomicBool,
}

struct Inner<T, S, X> {
    items: VecDeque<T>,
    ended: bool,
    /// It ended before its time, and what it held is lost.
    lost: bool,
    /// The driver stopped for want of room.
    starved: bool,
    driver: Option<Waker>,
    consumer: Option<Waker>,
    requests: VecDeque<Request>,
    snapshot: Option<S>,
    news: X,
}

impl<T, S, X: Clone + Default> Handover<T, S, X> {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            items: VecDeque::new(),
            ended: false,
            lost: false,
            starved: false,
            driver: None,
            consumer: None,
            requests: VecDeque::new(),
            snapshot: None,
            news: X::default(),
        };
        Self { inner: Mutex::new(inner), requested: AtomicBool::new(false) }
    }

    // The driver's side.

    /// Hands `items` over and returns how many wait now.
    pub(crate) fn push(&self, items: &mut VecDeque<T>, news: X) -> usize {
        let (waiting, consumer) = {
            let mut inner = lock(&self.inner);
            inner.news = news;
            let consumer = if items.is_empty() { None } else { inner.consumer.take() };
            if inner.items.is_empty() {
                swap(&mut inner.items, items);
            } else {
                inner.items.append(items);
            }
            (inner.items.len(), consumer)
        };
        wake(consumer);
        waiting
    }

    /// Nothing goes over any more but `last`. `lost`: there would have been more.
    pub(crate) fn end(&self, last: Option<T>, lost: bool) {
        let consumer = {
            let mut inner = lock(&self.inner);
            inner.items.extend(last);
            inner.ended = true;
            inner.lost = lost;
            inner.consumer.take()
        };
        wake(consumer);
    }

    pub(crate) fn take_request(&self) -> Option<Request> {
        if !self.requested.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = lock(&self.inner);
        let request = inner.requests.pop_front();
        self.requested.store(!inner.requests.is_empty(), Ordering::Release);
        request
    }

    /// The driver sleeps until there is a request or, if it is starved, room. False: there is already.
    pub(crate) fn sleep(&self, starved: bool, driver: &Waker) -> bool {
        let mut inner = lock(&self.inner);
        if !inner.requests.is_empty() || (starved && inner.items.len() < HANDOVER_LIMIT) {
            return false;
        }
        inner.starved = starved;
        inner.driver = Some(driver.clone());
        true
    }

    /// Answers a request for a snapshot; `make` sees what waits for the consumer.
    pub(crate) fn answer(&self, make: impl FnOnce(&VecDeque<T>) -> S) {
        let consumer = {
            let mut inner = lock(&self.inner);
            let snapshot = make(&inner.items);
            inner.snapshot = Some(snapshot);
            inner.consumer.take()
        };
        wake(consumer);
    }

    // The consumer's side.

    /// Swaps what waits with `empty`. Ready(false): nothing waits, and nothing will.
    pub(crate) fn poll_take(&self, empty: &mut VecDeque<T>, cx: &mut Context<'_>) -> Poll<bool> {
        let driver = {
            let mut inner = lock(&self.inner);
            if inner.items.is_empty() {
                if inner.ended {
                    return Poll::Ready(false);
                }
                inner.consumer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            swap(&mut inner.items, empty);
            if replace(&mut inner.starved, false) { inner.driver.take() } else { None }
        };
        wake(driver);
        Poll::Ready(true)
    }

    pub(crate) fn request(&self, request: Request) {
        let driver = {
            let mut inner = lock(&self.inner);
            inner.requests.push_back(request);
            inner.snapshot = None;
            self.requested.store(true, Ordering::Release);
            inner.driver.take()
        };
        wake(driver);
    }

    /// The answer to a request for a snapshot. `Ready(None)`: the driver has ended, and what waits is all there is.
    pub(crate) fn poll_snapshot(&self, cx: &mut Context<'_>) -> Poll<Option<S>> {
        let mut inner = lock(&self.inner);
        match inner.snapshot.take() {
            Some(snapshot) => Poll::Ready(Some(snapshot)),
            None if inner.ended => Poll::Ready(None),
            None => {
                inner.consumer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        lock(&self.inner).lost
    }

    /// What waits.
    pub(crate) fn look<R>(&self, at: impl FnOnce(&VecDeque<T>) -> R) -> R {
        at(&lock(&self.inner).items)
    }

    pub(crate) fn news(&self) -> X {
        lock(&self.inner).news.clone()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
