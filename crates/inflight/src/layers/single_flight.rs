//! Calls of one key at the same time become one call.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::{self, Receiver, Sender};

use super::Key;
use crate::function::{AsyncFunction, Cancellation};

/// An [`AsyncFunction`] that calls `function` for one record of a key at a time; records of the same key that come meanwhile share its
/// answer, or its error. (What is large, or cannot be cloned, is shared as an `Arc`.)
///
/// The key must tell apart everything the answer depends on: of two records that differ elsewhere, one gets the other's answer.
/// And a shared answer may be a little older than the record: its call began before.
///
/// Each record keeps its own clocks. When the one whose call is on the wire runs out of time, the call ends with it, and the record
/// that came last makes a call of its own: it has the most time left. (If the next in line did, then behind a call that hangs each
/// would have only as long as it came after the one before, and none might ever finish.)
///
/// A call makes progress when the future of the record that makes it is polled. The operator polls all of them.
///
/// ```
/// use futures_util::{StreamExt, stream};
/// use inflight::layers::single_flight;
/// use inflight::{AsyncStreamExt, Options};
///
/// #[derive(Clone, Debug)]
/// struct Order {
///     user: u64,
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let lookup = |order: Order| async move { Ok::<_, &'static str>(format!("user {}", order.user)) };
/// let lookup = single_flight(lookup, |order: &Order| order.user);
///
/// let orders = stream::iter([7, 7, 8].map(|user| Order { user }));
/// let users: Vec<_> = orders.ordered_wait(lookup, Options::new()).map(Result::unwrap).collect().await;
/// assert_eq!(users, ["user 7", "user 7", "user 8"]);
/// # });
/// ```
///
/// # Cancel safety
/// A record that is given up takes nothing with it: either it waited for another's call, or its call is taken over as told above. So
/// it is when a call panics: the next one is then made, and may panic for itself.
pub fn single_flight<I, K, F>(function: F, key: impl Fn(&I) -> K + Send + Sync + 'static) -> SingleFlight<I, K, F>
where
    K: Key,
    F: AsyncFunction<I>,
{
    SingleFlight { function, key: Box::new(key), flights: Arc::new(Flights(Mutex::default())) }
}

/// See [`single_flight`].
pub struct SingleFlight<I, K: Key, F: AsyncFunction<I>> {
    function: F,
    key: Box<dyn Fn(&I) -> K + Send + Sync>,
    flights: Arc<Flights<K, Result<F::Output, F::Error>>>,
}

impl<I, K, F> AsyncFunction<I> for SingleFlight<I, K, F>
where
    I: Send + 'static,
    K: Key,
    F: AsyncFunction<I, Output: Clone, Error: Clone>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        let key = (self.key)(&input);
        let lead = loop {
            match self.flights.join(key.clone()) {
                Role::Lead(lead) => break lead,
                Role::Follow(news) => match news.await {
                    Ok(News::Landed(result)) => return result,
                    Ok(News::TakeOver(lead)) => break lead,
                    // Sharing the result panicked half-way.
                    Err(_) => {}
                },
            }
        };
        let result = self.function.invoke(input).await;
        lead.land(&result);
        result
    }

    async fn open(&mut self) -> Result<(), F::Error> {
        self.function.open().await
    }

    fn timeout(&self, input: I) -> Option<Result<F::Output, F::Error>> {
        self.function.timeout(input)
    }

    async fn close(&mut self) -> Result<(), F::Error> {
        self.function.close().await
    }

    fn cancellation(&self) -> Cancellation {
        self.function.cancellation()
    }
}

/// The calls on the wire, each with the records that wait for it, in the order they came.
struct Flights<K: Key, T>(Mutex<HashMap<K, Vec<Sender<News<K, T>>>>>);

/// What a record does about a key.
enum Role<K: Key, T> {
    Lead(Lead<K, T>),
    Follow(Receiver<News<K, T>>),
}

/// What followers are told.
enum News<K: Key, T> {
    Landed(T),
    TakeOver(Lead<K, T>),
}

/// Held by the one who makes the call. If it is dropped before the call has landed, be it on its way to another, the next one gets it.
struct Lead<K: Key, T> {
    flights: Arc<Flights<K, T>>,
    /// None: the call has landed, or another has taken over.
    key: Option<K>,
}

impl<K: Key, T> Flights<K, T> {
    fn join(self: &Arc<Self>, key: K) -> Role<K, T> {
        match self.followers().entry(key) {
            Entry::Occupied(flight) => {
                let followers = flight.into_mut();
                if followers.len() == followers.capacity() {
                    // Before it grows, those that were given up leave.
                    followers.retain(|follower| !follower.is_closed());
                }
                let (sender, receiver) = oneshot::channel();
                followers.push(sender);
                Role::Follow(receiver)
            }
            Entry::Vacant(flight) => {
                let key = Some(flight.key().clone());
                flight.insert(Vec::new());
                Role::Lead(Lead { flights: Arc::clone(self), key })
            }
        }
    }

    /// Who came last. The flight is over when there is nobody.
    fn heir(&self, key: &K) -> Option<Sender<News<K, T>>> {
        let mut flights = self.followers();
        let followers = flights.get_mut(key)?;
        let heir = followers.pop();
        if heir.is_none() {
            flights.remove(key);
        }
        heir
    }

    fn followers(&self) -> MutexGuard<'_, HashMap<K, Vec<Sender<News<K, T>>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key, T: Clone> Lead<K, T> {
    /// Ends the flight: who comes from now on starts another.
    fn land(mut self, result: &T) {
        let followers = self.key.take().and_then(|key| self.flights.followers().remove(&key));
        for follower in followers.into_iter().flatten() {
            // It may have been given up.
            drop(follower.send(News::Landed(result.clone())));
        }
    }
}

impl<K: Key, T> Drop for Lead<K, T> {
    fn drop(&mut self) {
        while let Some(key) = self.key.take() {
            let Some(heir) = self.flights.heir(&key) else { return };
            let lead = Self { flights: Arc::clone(&self.flights), key: Some(key) };
            // An heir that was given up refuses.
            if let Err(News::TakeOver(mut refused)) = heir.send(News::TakeOver(lead)) {
                self.key = refused.key.take();
            }
        }
    }
}

impl<I, K: Key, F: AsyncFunction<I>> fmt::Debug for SingleFlight<I, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flights = self.flights.followers();
        let waiting: usize = flights.values().map(Vec::len).sum();
        f.debug_struct("SingleFlight").field("calls", &flights.len()).field("waiting", &waiting).finish_non_exhaustive()
    }
}
