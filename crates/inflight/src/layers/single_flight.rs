//! Calls of one key at the same time become one call.

use std::fmt;
use std::iter::once;

use super::Key;
use super::flights::{Flights, Lead, News, Role};
use super::handed_on::handed_on;
use super::mailbox::Mailbox;
use crate::batch::{BatchFunction, BatchResult};
use crate::function::{AsyncFunction, Function};

/// An [`AsyncFunction`] or [`BatchFunction`] that calls `function` for one record of a key at a time; records of the same key that come
/// meanwhile, or are in the same batch, share its answer. (What is large, or cannot be cloned, is shared as an `Arc`.)
///
/// The key must tell apart everything the answer depends on: of two records that differ elsewhere, one gets the other's answer.
/// And a shared answer may be a little older than the record: its call began before.
///
/// An error is shared by those who were there when the call began. Those who came later make one call for them all, since the trouble may
/// be over by now.
///
/// Each record keeps its own clocks. When the one whose call is on the wire runs out of time, the call ends with it, and the record
/// that came last makes a call of its own: it has the most time left. (If the next in line did, then behind a call that hangs each
/// would have only as long as it came after the one before, and none might ever finish.)
///
/// A batch asks for those of its keys that are not on the wire, then waits for the others. It never has more than one call on the wire,
/// and waits only for calls that wait for nobody, so batches cannot wait for each other in a circle.
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
pub fn single_flight<I, K, F, Shape>(
    function: F,
    key: impl Fn(&I) -> K + Send + Sync + 'static,
) -> SingleFlight<I, K, F, F::Output, F::Error>
where
    K: Key,
    F: Function<I, Shape>,
{
    SingleFlight { function, key: Box::new(key), flights: Flights::new() }
}

/// See [`single_flight`].
pub struct SingleFlight<I, K: Key, F, O, E> {
    function: F,
    key: Box<dyn Fn(&I) -> K + Send + Sync>,
    flights: Flights<K, O, E>,
}

impl<I, K: Key, F, O, E> SingleFlight<I, K, F, O, E> {
    /// Joins the calls of others that have these flights, which may be on other threads.
    #[must_use]
    pub fn sharing(self, flights: &Flights<K, O, E>) -> Self {
        Self { flights: flights.clone(), ..self }
    }

    /// The keys on the wire, to be shared or counted.
    #[must_use]
    pub fn flights(&self) -> Flights<K, O, E> {
        self.flights.clone()
    }
}

impl<I, K, F> AsyncFunction<I> for SingleFlight<I, K, F, F::Output, F::Error>
where
    I: Send + 'static,
    K: Key,
    F: AsyncFunction<I, Output: Clone, Error: Clone>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        let mailbox = Mailbox::new();
        let key = (self.key)(&input);
        let mut role = self.flights.board(once(key.clone()), &mailbox).pop();
        let lead = loop {
            if let Some(Role::Lead(lead)) = role.take() {
                break lead;
            }
            for (place, news) in mailbox.letters().await {
                match news {
                    Some(News::Landed(result)) => return result,
                    Some(News::TakeOver(lead)) => role = Some(Role::Lead(lead)),
                    None => role = self.flights.board_again(key.clone(), place, &mailbox).map(Role::Lead),
                }
            }
        };
        let result = self.function.invoke(input).await;
        lead.land(&result);
        result
    }

    handed_on!(I, F);
}

impl<I, K, F> BatchFunction<I> for SingleFlight<I, K, F, F::Output, F::Error>
where
    I: Clone + Send + Sync + 'static,
    K: Key,
    F: BatchFunction<I, Output: Clone>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, inputs: Vec<I>) -> BatchResult<F::Output, F::Error> {
        let mailbox = Mailbox::new();
        let roles = self.flights.board(inputs.iter().map(&self.key), &mailbox);
        let mut results: Vec<Option<Result<F::Output, F::Error>>> = inputs.iter().map(|_| None).collect();
        let (mut led, mut same, mut waiting) = (Vec::with_capacity(roles.len()), Vec::new(), 0);
        for (place, role) in roles.into_iter().enumerate() {
            match role {
                Role::Lead(lead) => led.push((place, lead)),
                Role::Same(first) => same.push((place, first)),
                Role::Follow => waiting += 1,
            }
        }
        loop {
            if !led.is_empty() && !self.call(&inputs, std::mem::take(&mut led), &mut results).await {
                return Ok(Vec::new());
            }
            if waiting == 0 {
                break;
            }
            for (place, news) in mailbox.letters().await {
                let lead = match news {
                    Some(News::Landed(result)) => {
                        results[place] = Some(result);
                        waiting -= 1;
                        continue;
                    }
                    Some(News::TakeOver(lead)) => Some(lead),
                    None => self.flights.board_again((self.key)(&inputs[place]), place, &mailbox),
                };
                if let Some(lead) = lead {
                    led.push((place, lead));
                    waiting -= 1;
                }
            }
        }
        for (place, first) in same {
            results[place] = results[first].clone();
        }
        Ok(results.into_iter().flatten().collect())
    }

    handed_on!(I, F);
}

impl<I, K, F> SingleFlight<I, K, F, F::Output, F::Error>
where
    I: Clone + Send + Sync + 'static,
    K: Key,
    F: BatchFunction<I, Output: Clone>,
{
    /// Asks for the keys that are led; false when it cannot be told which answer is whose.
    async fn call(
        &self,
        inputs: &[I],
        led: Vec<(usize, Lead<K, F::Output, F::Error>)>,
        results: &mut [Option<Result<F::Output, F::Error>>],
    ) -> bool {
        let asked = led.iter().map(|(place, _)| inputs[*place].clone()).collect();
        let answers = match self.function.invoke(asked).await {
            Ok(answers) if answers.len() == led.len() => answers,
            Ok(_) => return false,
            Err(error) => led.iter().map(|_| Err(error.clone())).collect(),
        };
        for ((place, lead), answer) in led.into_iter().zip(answers) {
            lead.land(&answer);
            results[place] = Some(answer);
        }
        true
    }
}

impl<I, K: Key, F, O, E> fmt::Debug for SingleFlight<I, K, F, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("flights", &self.flights).finish_non_exhaustive()
    }
}
