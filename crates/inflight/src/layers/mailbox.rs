//! Where a batch hears what became of the calls it waits for: one mailbox for all of them.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The end that is read. When it is dropped, what was not read is too, and nothing more is taken.
pub(super) struct Mailbox<T>(Arc<Mutex<Letters<T>>>);

/// The right to send one letter. Dropped without one it sends word of that, so that nobody waits in vain.
pub(super) struct Sender<T> {
    to: Option<Arc<Mutex<Letters<T>>>>,
    place: usize,
}

struct Letters<T> {
    /// With the place that the sender was made for; none: it was dropped.
    waiting: Vec<(usize, Option<T>)>,
    waker: Option<Waker>,
    is_closed: bool,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Letters { waiting: Vec::new(), waker: None, is_closed: false })))
    }

    pub(super) fn sender(&self, place: usize) -> Sender<T> {
        Sender { to: Some(Arc::clone(&self.0)), place }
    }

    /// The letters that have come, one at least.
    pub(super) async fn letters(&self) -> Vec<(usize, Option<T>)> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Vec<(usize, Option<T>)>> {
        let mut letters = lock(&self.0);
        if letters.waiting.is_empty() {
            letters.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut letters.waiting))
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        let unread = {
            let mut letters = lock(&self.0);
            letters.is_closed = true;
            std::mem::take(&mut letters.waiting)
        };
        // Dropping a letter may send another.
        drop(unread);
    }
}

impl<T> Sender<T> {
    /// Sends the letter, or gives it back when nobody will read it.
    pub(super) fn send(mut self, letter: T) -> Result<(), T> {
        match self.to.take() {
            Some(to) => post(&to, self.place, Some(letter))
                .map_err(|letter| letter.unwrap_or_else(|| unreachable!("it was one"))),
            None => Err(letter),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.to.as_ref().is_none_or(|to| lock(to).is_closed)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            drop(post(&to, self.place, None));
        }
    }
}

fn post<T>(to: &Mutex<Letters<T>>, place: usize, letter: Option<T>) -> Result<(), Option<T>> {
    let waker = {
        let mut letters = lock(to);
        if letters.is_closed {
            return Err(letter);
        }
        letters.waiting.push((place, letter));
        letters.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
    Ok(())
}

fn lock<T>(letters: &Mutex<Letters<T>>) -> MutexGuard<'_, Letters<T>> {
    letters.lock().unwrap_or_else(PoisonError::into_inner)
}
