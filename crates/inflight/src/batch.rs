//! Functions that take many records at once.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::hash::Hash;

use crate::function::{Cancellation, Function};

/// A request for a batch of records; how many share one is said by [`Options::batch`](crate::Options::batch).
///
/// For services that answer by key and in any order, see [`by_key`].
///
/// ```
/// use inflight::{BatchFunction, BatchResult};
///
/// struct Squares;
///
/// impl BatchFunction<u64> for Squares {
///     type Output = u64;
///     type Error = String;
///
///     async fn invoke(&self, records: Vec<u64>) -> BatchResult<u64, String> {
///         Ok(records.into_iter().map(|n| n.checked_mul(n).ok_or_else(|| format!("{n} is too large"))).collect())
///     }
/// }
/// ```
///
/// # Cancel safety
/// As for [`AsyncFunction`](crate::AsyncFunction): the future of a batch that nobody waits for any more is dropped. A batch of
/// which only some records have run out of time runs on for the others.
pub trait BatchFunction<I>: Send + Sync + 'static {
    /// What a record gets.
    type Output: Send + 'static;
    /// How a record, or a whole batch, fails.
    type Error: Clone + Send + 'static;

    /// Makes the call for these records: one result for each, in their order.
    ///
    /// # Errors
    /// An error for the batch is one for each of its records.
    fn invoke(&self, inputs: Vec<I>) -> impl Future<Output = BatchResult<Self::Output, Self::Error>> + Send;

    /// As [`AsyncFunction::known`](crate::AsyncFunction::known).
    fn known(&self, input: &I) -> Option<Self::Output> {
        let _ = input;
        None
    }

    /// As [`AsyncFunction::open`](crate::AsyncFunction::open).
    ///
    /// # Errors
    /// Ends the stream.
    fn open(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        ready(Ok(()))
    }

    /// As [`AsyncFunction::timeout`](crate::AsyncFunction::timeout).
    fn timeout(&self, input: I) -> Option<Result<Self::Output, Self::Error>> {
        let _ = input;
        None
    }

    /// As [`AsyncFunction::close`](crate::AsyncFunction::close).
    ///
    /// # Errors
    /// Ends the stream.
    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        ready(Ok(()))
    }

    /// As [`AsyncFunction::cancellation`](crate::AsyncFunction::cancellation).
    fn cancellation(&self) -> Cancellation {
        Cancellation::Drop
    }
}

/// A result for each record of a batch, or an error for all of them.
pub type BatchResult<O, E> = Result<Vec<Result<O, E>>, E>;

/// Many records, one call.
#[derive(Clone, Copy, Debug)]
pub enum Batched {}

impl<I: Clone + Send, F: BatchFunction<I>> Function<I, Batched> for F {
    type Output = F::Output;
    type Error = F::Error;
    type Inputs = Vec<I>;
    type Answers = Vec<Result<F::Output, F::Error>>;

    fn gather<'i>(inputs: impl Iterator<Item = &'i I>) -> Option<Vec<I>>
    where
        I: 'i,
    {
        Some(inputs.cloned().collect())
    }

    async fn call(&self, inputs: Vec<I>) -> Self::Answers {
        let count = inputs.len();
        match self.invoke(inputs).await {
            Ok(results) if results.len() == count => results,
            // Which result is whose cannot be told: all records are unanswered.
            Ok(_) => Vec::new(),
            Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
        }
    }

    fn known(&self, input: &I) -> Option<F::Output> {
        BatchFunction::known(self, input)
    }

    fn set_up(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.open()
    }

    fn fall_back(&self, input: I) -> Option<Result<Self::Output, Self::Error>> {
        self.timeout(input)
    }

    fn tear_down(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.close()
    }

    fn given_up(&self) -> Cancellation {
        self.cancellation()
    }
}

/// A batch function for services that answer by key: each key is asked for once, answers come in any order, and a key without an
/// answer gives `None` (missing), which is not an error.
///
/// ```
/// # use std::collections::HashMap;
/// use inflight::by_key;
///
/// #[derive(Clone)]
/// struct Order { user: u32 }
///
/// let users = by_key(
///     |order: &Order| order.user,
///     |ids: Vec<u32>| async move {
///         // SELECT id, name FROM users WHERE id = ANY($1)
///         let rows: HashMap<u32, String> = ids.into_iter().filter(|id| *id < 10).map(|id| (id, format!("user {id}"))).collect();
///         Ok::<_, std::io::Error>(rows).map_err(|error| error.to_string())
///     },
/// );
/// # let _ = users;
/// ```
pub const fn by_key<Key, Call>(key: Key, call: Call) -> ByKey<Key, Call> {
    ByKey { key, call }
}

/// See [`by_key`].
#[derive(Clone, Copy, Debug)]
pub struct ByKey<Key, Call> {
    key: Key,
    call: Call,
}

impl<I, K, O, E, Key, Call, Fut> BatchFunction<I> for ByKey<Key, Call>
where
    I: Send + 'static,
    K: Clone + Eq + Hash + Send + Sync + 'static,
    O: Clone + Send + Sync + 'static,
    E: Clone + Send + 'static,
    Key: Fn(&I) -> K + Send + Sync + 'static,
    Call: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<HashMap<K, O>, E>> + Send,
{
    type Output = Option<O>;
    type Error = E;

    async fn invoke(&self, inputs: Vec<I>) -> BatchResult<Option<O>, E> {
        let keys: Vec<K> = inputs.iter().map(&self.key).collect();
        let mut asked = std::collections::HashSet::with_capacity(keys.len());
        let once = keys.iter().filter(|key| asked.insert(*key)).cloned().collect();
        let answers = (self.call)(once).await?;
        Ok(keys.iter().map(|key| Ok(answers.get(key).cloned())).collect())
    }
}
