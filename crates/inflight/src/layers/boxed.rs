//! A function of any type, so that layers can be chosen while a program runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::batch::{BatchFunction, BatchResult};
use crate::function::Cancellation;

/// A [`BatchFunction`] whose type says no more than what goes in and comes out: with it, a program can put on layers as its
/// configuration says. It costs an allocation per call.
///
/// ```
/// use inflight::layers::{Boxed, boxed, single_flight};
/// use inflight::by_key;
/// # use std::collections::HashMap;
///
/// fn lookup(shares_calls: bool) -> Boxed<u32, Option<String>, String> {
///     let users = by_key(|id: &u32| *id, |ids: Vec<u32>| async move {
///         Ok::<_, String>(ids.into_iter().map(|id| (id, format!("user {id}"))).collect::<HashMap<_, _>>())
///     });
///     if shares_calls { boxed(single_flight(users, |id: &u32| *id)) } else { boxed(users) }
/// }
/// # drop(lookup(true));
/// ```
pub fn boxed<I, F: BatchFunction<I>>(function: F) -> Boxed<I, F::Output, F::Error>
where
    I: Send + 'static,
{
    Boxed(Box::new(function))
}

/// See [`boxed`].
pub struct Boxed<I, O, E>(Box<dyn Erased<I, O, E>>);

type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`BatchFunction`] with boxed futures.
trait Erased<I, O, E>: Send + Sync {
    fn invoke(&self, inputs: Vec<I>) -> Pending<'_, BatchResult<O, E>>;
    fn known(&self, input: &I) -> Option<O>;
    fn open(&mut self) -> Pending<'_, Result<(), E>>;
    fn timeout(&self, input: I) -> Option<Result<O, E>>;
    fn close(&mut self) -> Pending<'_, Result<(), E>>;
    fn cancellation(&self) -> Cancellation;
}

impl<I: Send + 'static, F: BatchFunction<I>> Erased<I, F::Output, F::Error> for F {
    fn invoke(&self, inputs: Vec<I>) -> Pending<'_, BatchResult<F::Output, F::Error>> {
        Box::pin(BatchFunction::invoke(self, inputs))
    }

    fn known(&self, input: &I) -> Option<F::Output> {
        BatchFunction::known(self, input)
    }

    fn open(&mut self) -> Pending<'_, Result<(), F::Error>> {
        Box::pin(BatchFunction::open(self))
    }

    fn timeout(&self, input: I) -> Option<Result<F::Output, F::Error>> {
        BatchFunction::timeout(self, input)
    }

    fn close(&mut self) -> Pending<'_, Result<(), F::Error>> {
        Box::pin(BatchFunction::close(self))
    }

    fn cancellation(&self) -> Cancellation {
        BatchFunction::cancellation(self)
    }
}

impl<I, O, E> BatchFunction<I> for Boxed<I, O, E>
where
    I: Send + 'static,
    O: Send + 'static,
    E: Clone + Send + 'static,
{
    type Output = O;
    type Error = E;

    fn invoke(&self, inputs: Vec<I>) -> impl Future<Output = BatchResult<O, E>> + Send {
        self.0.invoke(inputs)
    }

    fn known(&self, input: &I) -> Option<O> {
        self.0.known(input)
    }

    fn open(&mut self) -> impl Future<Output = Result<(), E>> + Send {
        self.0.open()
    }

    fn timeout(&self, input: I) -> Option<Result<O, E>> {
        self.0.timeout(input)
    }

    fn close(&mut self) -> impl Future<Output = Result<(), E>> + Send {
        self.0.close()
    }

    fn cancellation(&self) -> Cancellation {
        self.0.cancellation()
    }
}

impl<I, O, E> fmt::Debug for Boxed<I, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boxed").finish_non_exhaustive()
    }
}
