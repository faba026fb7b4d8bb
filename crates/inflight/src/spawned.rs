//! For functions whose futures should run as tasks of their own.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::task::{JoinError, JoinHandle};

use crate::function::{AsyncFunction, Cancellation};

/// An [`AsyncFunction`] that runs each call of `function` as a task on the tokio runtime.
///
/// Worth it when polling a call is work (decompression, TLS, parsing) that should use other cores; otherwise it only costs: some
/// 400 to 1,000 ns per record.
pub fn spawned<F>(function: F) -> Spawned<F> {
    Spawned { function: Arc::new(function) }
}

/// See [`spawned`].
#[derive(Debug)]
pub struct Spawned<F> {
    function: Arc<F>,
}

impl<I: Send + 'static, F: AsyncFunction<I>> AsyncFunction<I> for Spawned<F> {
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        let function = Arc::clone(&self.function);
        let mut task = AbortOnDrop(tokio::spawn(async move { function.invoke(input).await }));
        match (&mut task.0).await {
            Ok(result) => result,
            Err(error) => end(error).await,
        }
    }

    fn known(&self, input: &I) -> Option<F::Output> {
        self.function.known(input)
    }

    async fn open(&mut self) -> Result<(), F::Error> {
        match Arc::get_mut(&mut self.function) {
            Some(function) => function.open().await,
            None => Ok(()),
        }
    }

    fn timeout(&self, input: I) -> Option<Result<F::Output, F::Error>> {
        self.function.timeout(input)
    }

    async fn close(&mut self) -> Result<(), F::Error> {
        loop {
            if let Some(function) = Arc::get_mut(&mut self.function) {
                return function.close().await;
            }
            // A task that was aborted has not let go of it yet.
            tokio::task::yield_now().await;
        }
    }

    fn cancellation(&self) -> Cancellation {
        self.function.cancellation()
    }
}

/// A task that did not return either panicked, or was aborted with its runtime: then nobody is left to answer.
async fn end<T>(error: JoinError) -> T {
    match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => std::future::pending().await,
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
