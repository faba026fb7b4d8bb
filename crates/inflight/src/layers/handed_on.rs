//! What a layer leaves to the function that it is around.

/// All of [`AsyncFunction`](crate::AsyncFunction) or [`BatchFunction`](crate::BatchFunction) but the call: for a layer around a `function: $F` of
/// inputs `$I`.
macro_rules! handed_on {
    ($I:ident, $F:ident) => {
        fn known(&self, input: &$I) -> Option<$F::Output> {
            self.function.known(input)
        }

        async fn open(&mut self) -> Result<(), $F::Error> {
            self.function.open().await
        }

        fn timeout(&self, input: $I) -> Option<Result<$F::Output, $F::Error>> {
            self.function.timeout(input)
        }

        async fn close(&mut self) -> Result<(), $F::Error> {
            self.function.close().await
        }

        fn cancellation(&self) -> $crate::Cancellation {
            self.function.cancellation()
        }
    };
}

pub(super) use handed_on;
