//! For clients that report by callback.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

/// A promise of a result, to be completed from a client's callback, on any thread. The first completion wins; later ones are ignored.
///
/// It may be cloned, for clients that take a callback for success and another for failure. When the last clone is dropped
/// uncompleted, the call fails with [`Abandoned`]: a lost callback is an error, never a lost slot.
///
/// ```
/// use inflight::{Abandoned, ResultFuture};
///
/// # fn query(key: u32, callback: impl FnOnce(String) + Send + 'static) {
/// #     std::thread::spawn(move || callback(format!("row {key}")));
/// # }
/// async fn lookup(key: u32) -> Result<String, Abandoned> {
///     let (result, completed) = ResultFuture::new();
///     query(key, move |row| { result.complete(row); });
///     completed.await
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(lookup(7).await, Ok("row 7".to_string()));
/// # });
/// ```
pub struct ResultFuture<T, E = Abandoned> {
    /// Taken by the first completion.
    sender: Arc<Mutex<Option<Sender<T, E>>>>,
}

type Sender<T, E> = oneshot::Sender<Result<T, E>>;

impl<T, E: From<Abandoned>> ResultFuture<T, E> {
    /// A promise, and the future that its completion resolves.
    pub fn new() -> (Self, Completion<T, E>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender: Arc::new(Mutex::new(Some(sender))) }, Completion { receiver })
    }

    /// Completes the call with a result. False: it was complete already, or has been given up.
    pub fn complete(&self, value: T) -> bool {
        self.send(Ok(value))
    }

    /// Completes the call with an error. False: it was complete already, or has been given up.
    pub fn complete_exceptionally(&self, error: E) -> bool {
        self.send(Err(error))
    }

    /// Whether nobody waits any more, so that the client can stop early.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_none_or(Sender::is_closed)
    }

    fn send(&self, result: Result<T, E>) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        sender.is_some_and(|sender| sender.send(result).is_ok())
    }
}

impl<T, E> Clone for ResultFuture<T, E> {
    fn clone(&self) -> Self {
        Self { sender: Arc::clone(&self.sender) }
    }
}

impl<T, E> fmt::Debug for ResultFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultFuture").finish_non_exhaustive()
    }
}

/// What a [`ResultFuture`] resolves.
///
/// # Cancel safety
/// Dropping it gives the call up; its [`ResultFuture`] can tell.
#[derive(Debug)]
#[must_use = "nobody learns of the completion unless it is awaited"]
pub struct Completion<T, E = Abandoned> {
    receiver: oneshot::Receiver<Result<T, E>>,
}

impl<T, E: From<Abandoned>> Future for Completion<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let received = ready!(Pin::new(&mut self.receiver).poll(cx));
        Poll::Ready(received.unwrap_or_else(|_| Err(Abandoned.into())))
    }
}

/// A [`ResultFuture`] was dropped without having been completed: the client lost the callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the result future was dropped without having been completed")]
pub struct Abandoned;

impl From<Abandoned> for std::io::Error {
    fn from(abandoned: Abandoned) -> Self {
        Self::other(abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_completion_wins() {
        let (result, completed) = ResultFuture::<u32>::new();
        let second = result.clone();
        assert!(result.complete(1));
        assert!(!second.complete(2));
        assert_eq!(completed.await, Ok(1));
    }

    #[tokio::test]
    async fn a_dropped_promise_is_an_error() {
        let (result, completed) = ResultFuture::<u32>::new();
        drop(result);
        assert_eq!(completed.await, Err(Abandoned));
    }

    #[test]
    fn the_client_can_tell_that_nobody_waits() {
        let (result, completed) = ResultFuture::<u32>::new();
        assert!(!result.is_given_up());
        drop(completed);
        assert!(result.is_given_up());
        assert!(!result.complete(1));
    }
}
