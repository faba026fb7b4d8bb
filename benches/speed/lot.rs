//! A parking lot for calls: they wait there until the lot is full, then some of them are let go, out of order. No timers.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::calls::Answer;

/// Calls that are let go at once, as by one turn of a reactor.
pub(crate) const BURST: usize = 64;

/// Which of the waiting goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Any of the 64 that wait longest: a service with much the same latency for all.
    Near,
    /// Any at all: the longest possible tail.
    Any,
}

impl Pick {
    pub(crate) fn take<T>(self, waiting: &mut VecDeque<T>, seed: &mut u64) -> Option<T> {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        let among = match self {
            Self::Near => waiting.len().min(64),
            Self::Any => waiting.len(),
        };
        let place = ((u128::from(*seed) * among as u128) >> 64) as usize;
        waiting.swap_remove_front(place)
    }
}

pub(crate) struct Lot {
    inner: Mutex<Inner>,
}

struct Inner {
    full: usize,
    pick: Pick,
    seed: u64,
    waiting: VecDeque<(u32, Waker)>,
    /// By ticket: may it go?
    let_go: Vec<bool>,
    tickets: Vec<u32>,
}

impl Lot {
    pub(crate) fn new(full: usize, pick: Pick) -> Arc<Self> {
        let inner = Inner { full, pick, seed: 1, waiting: VecDeque::new(), let_go: Vec::new(), tickets: Vec::new() };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// A call that waits in the lot.
    pub(crate) async fn park(self: Arc<Self>, record: u64) -> Answer {
        Parked { lot: &self, ticket: None }.await;
        Ok(record)
    }
}

struct Parked<'l> {
    lot: &'l Lot,
    ticket: Option<u32>,
}

impl Future for Parked<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let lot = self.lot;
        let mut inner = lot.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        if let Some(ticket) = self.ticket {
            if !std::mem::take(&mut inner.let_go[ticket as usize]) {
                return Poll::Pending;
            }
            inner.tickets.push(ticket);
            return Poll::Ready(());
        }
        let ticket = inner.tickets.pop().unwrap_or_else(|| {
            inner.let_go.push(false);
            inner.let_go.len() as u32 - 1
        });
        self.ticket = Some(ticket);
        inner.waiting.push_back((ticket, cx.waker().clone()));
        if inner.waiting.len() == inner.full {
            for _ in 0..BURST {
                if let Some((ticket, waker)) = inner.pick.take(&mut inner.waiting, &mut inner.seed) {
                    inner.let_go[ticket as usize] = true;
                    waker.wake();
                }
            }
        }
        Poll::Pending
    }
}
