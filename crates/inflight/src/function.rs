//! What is called for each record.

use std::future::{Future, ready};

/// A request to an external system, made once per record (or more often, with retries).
///
/// A closure `Fn(I) -> impl Future<Output = Result<O, E>>` is one. A struct that implements the trait can also open a client
/// first, and has a say when time runs out.
///
/// Calls overlap: `invoke` is called again while futures of earlier calls run. All of them are polled by the operator's one
/// driver, in turns, so a future must not block; a client that blocks goes through [`blocking`](crate::blocking), one that
/// reports by callback through [`ResultFuture`](crate::ResultFuture).
///
/// ```
/// use inflight::AsyncFunction;
///
/// struct Length;
///
/// impl AsyncFunction<String> for Length {
///     type Output = (String, usize);
///     type Error = std::convert::Infallible;
///
///     async fn invoke(&self, record: String) -> Result<Self::Output, Self::Error> {
///         let length = record.len();
///         Ok((record, length))
///     }
/// }
/// ```
///
/// # Cancel safety
/// The future of a call that is given up (timeout, deadline, shutdown) is dropped where it stands, at an `.await`. A function
/// that must not be stopped there says so by [`cancellation`](Self::cancellation).
pub trait AsyncFunction<I>: Send + Sync + 'static {
    /// What a call brings.
    type Output: Send + 'static;
    /// How a call fails.
    type Error: Send + 'static;

    /// Makes the call for one record.
    ///
    /// # Errors
    /// An error is retried if the options say so, and otherwise ends the record, never the stream.
    fn invoke(&self, input: I) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// An answer that needs no call: it is asked for when the record comes in, which then takes no place on the wire or in a batch, and
    /// leaves when it is its turn. It must not block. Default: none.
    fn known(&self, input: &I) -> Option<Self::Output> {
        let _ = input;
        None
    }

    /// Runs once, before the first record.
    ///
    /// # Errors
    /// Ends the stream with [`Failure::Open`](crate::Failure::Open).
    fn open(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        ready(Ok(()))
    }

    /// What becomes of a record whose time ran out: a result, an error of one's own, or (`None`, the default) the failure
    /// [`Cause::TimedOut`](crate::Cause::TimedOut). It cannot leave the record undecided (Flink: S44).
    fn timeout(&self, input: I) -> Option<Result<Self::Output, Self::Error>> {
        let _ = input;
        None
    }

    /// Runs once, after the last record, when no call is on the wire. Not when the stream is dropped.
    ///
    /// # Errors
    /// Ends the stream with [`Failure::Close`](crate::Failure::Close), after all results.
    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        ready(Ok(()))
    }

    /// What becomes of a call that is given up. Default: [`Cancellation::Drop`].
    fn cancellation(&self) -> Cancellation {
        Cancellation::Drop
    }
}

/// What becomes of a call that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// Its future is dropped, and that ends the call.
    Drop,
    /// Its future runs on until it ends, or the options' grace time has passed; it counts as on the wire meanwhile.
    Wait,
}

impl<I, F, Fut, O, E> AsyncFunction<I> for F
where
    F: Fn(I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send,
    O: Send + 'static,
    E: Send + 'static,
{
    type Output = O;
    type Error = E;

    fn invoke(&self, input: I) -> impl Future<Output = Result<O, E>> + Send {
        self(input)
    }
}

/// What the driver calls: an [`AsyncFunction`] (`Shape` is [`Single`]) or a [`BatchFunction`](crate::BatchFunction)
/// (`Shape` is [`Batched`](crate::Batched)). Nothing else implements it, and the compiler finds the shape by itself.
pub trait Function<I, Shape>: Send + Sync + 'static {
    /// What a record gets.
    type Output: Send + 'static;
    /// How it fails.
    type Error: Send + 'static;
    #[doc(hidden)]
    type Inputs: Send;
    #[doc(hidden)]
    type Answers: IntoIterator<Item = Result<Self::Output, Self::Error>> + Send;

    #[doc(hidden)]
    fn gather<'i>(inputs: impl Iterator<Item = &'i I>) -> Option<Self::Inputs>
    where
        I: 'i;
    #[doc(hidden)]
    fn call(&self, inputs: Self::Inputs) -> impl Future<Output = Self::Answers> + Send;
    #[doc(hidden)]
    fn set_up(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
    #[doc(hidden)]
    fn known(&self, input: &I) -> Option<Self::Output>;
    #[doc(hidden)]
    fn fall_back(&self, input: I) -> Option<Result<Self::Output, Self::Error>>;
    #[doc(hidden)]
    fn tear_down(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
    #[doc(hidden)]
    fn given_up(&self) -> Cancellation;
}

/// One record, one call.
#[derive(Clone, Copy, Debug)]
pub enum Single {}

impl<I: Clone + Send, F: AsyncFunction<I>> Function<I, Single> for F {
    type Output = F::Output;
    type Error = F::Error;
    type Inputs = I;
    type Answers = [Result<F::Output, F::Error>; 1];

    fn gather<'i>(mut inputs: impl Iterator<Item = &'i I>) -> Option<I>
    where
        I: 'i,
    {
        inputs.next().cloned()
    }

    async fn call(&self, input: I) -> Self::Answers {
        [self.invoke(input).await]
    }

    fn known(&self, input: &I) -> Option<F::Output> {
        AsyncFunction::known(self, input)
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
