//! While a service fails, it is left alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inflight_core::{Breaker, BreakerOptions, BreakerState, Ended, Pass};

use crate::clock::Clock;
use crate::function::{AsyncFunction, Cancellation};

/// An [`AsyncFunction`] that stops calling `function` when too many of its latest calls failed, and tries again later. A refused call
/// fails at once with [`BreakerOpen`].
///
/// All errors count as failures; what only says "not found" or "bad request" should be an output, or is told apart by
/// [`failure_if`](CircuitBreaker::failure_if). A refusal is an attempt like another: let retries wait for
/// [`BreakerError::retry_after`], and give them a deadline beyond `open_for`.
///
/// ```
/// use std::time::Duration;
/// use futures_util::{StreamExt, stream};
/// use inflight::layers::{BreakerError, BreakerOptions, BreakerState, circuit_breaker};
/// use inflight::{AsyncStreamExt, Options, Retry};
///
/// let lookup = |id: u64| async move { Ok::<_, std::io::Error>(format!("user {id}")) };
/// let lookup = circuit_breaker(lookup, BreakerOptions { open_for: Duration::from_secs(5), ..BreakerOptions::default() });
/// let gauge = lookup.gauge();                                        // can be read while the stream runs
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let mut users = stream::iter([7]).ordered_wait(
///     lookup,
///     Options::new()
///         .deadline(Duration::from_secs(20))
///         .retry(Retry::exponential(10, Duration::from_millis(50), Duration::from_secs(1)))
///         .retry_after(BreakerError::retry_after),
/// );
/// assert_eq!(users.next().await.unwrap().unwrap(), "user 7");
/// assert_eq!(gauge.state(), BreakerState::Closed);
/// # });
/// ```
///
/// # Panics
/// If an option is out of its range.
///
/// # Cancel safety
/// A call that is given up hands its permission back: it counts as the options say, and a probe makes room for another.
pub fn circuit_breaker<F, E>(function: F, options: BreakerOptions) -> CircuitBreaker<F, E> {
    if let Err(error) = options.check() {
        panic!("{error}");
    }
    let given_up = if options.given_up_is_failure { Ended::Failed } else { Ended::Unjudged };
    let gauge = BreakerGauge { clock: Arc::new(Clock::start()), breaker: Arc::new(Mutex::new(Breaker::new(options))) };
    CircuitBreaker { function, is_failure: |_| true, given_up, gauge }
}

/// See [`circuit_breaker`].
#[derive(Debug)]
pub struct CircuitBreaker<F, E> {
    function: F,
    is_failure: fn(&E) -> bool,
    /// What a call counts as that never said how it went.
    given_up: Ended,
    gauge: BreakerGauge,
}

impl<F, E> CircuitBreaker<F, E> {
    /// Which errors say that the service is unwell; the others count as good calls. Default: all do.
    #[must_use]
    pub fn failure_if(self, is_failure: fn(&E) -> bool) -> Self {
        Self { is_failure, ..self }
    }

    /// Where the state can be read while the function works.
    #[must_use]
    pub fn gauge(&self) -> BreakerGauge {
        self.gauge.clone()
    }

    fn admit(&self) -> Result<Permitted<'_>, BreakerOpen> {
        let pass = lock(&self.gauge.breaker).admit(self.gauge.clock.now());
        let pass = pass.map_err(|retry_after| BreakerOpen { retry_after })?;
        Ok(Permitted { gauge: &self.gauge, pass, ended: self.given_up })
    }
}

impl<I: Send, F: AsyncFunction<I>> AsyncFunction<I> for CircuitBreaker<F, F::Error> {
    type Output = F::Output;
    type Error = BreakerError<F::Error>;

    async fn invoke(&self, input: I) -> Result<F::Output, Self::Error> {
        let mut permitted = self.admit()?;
        let result = self.function.invoke(input).await;
        permitted.ended = match &result {
            Err(error) if (self.is_failure)(error) => Ended::Failed,
            _ => Ended::Good,
        };
        result.map_err(BreakerError::Call)
    }

    fn known(&self, input: &I) -> Option<F::Output> {
        self.function.known(input)
    }

    async fn open(&mut self) -> Result<(), Self::Error> {
        self.function.open().await.map_err(BreakerError::Call)
    }

    fn timeout(&self, input: I) -> Option<Result<F::Output, Self::Error>> {
        Some(self.function.timeout(input)?.map_err(BreakerError::Call))
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.function.close().await.map_err(BreakerError::Call)
    }

    fn cancellation(&self) -> Cancellation {
        self.function.cancellation()
    }
}

/// A call under way. Dropping it settles it, whatever became of the call.
struct Permitted<'b> {
    gauge: &'b BreakerGauge,
    pass: Pass,
    ended: Ended,
}

impl Drop for Permitted<'_> {
    fn drop(&mut self) {
        lock(&self.gauge.breaker).settle(self.gauge.clock.now(), self.pass, self.ended);
    }
}

/// Tells the state of a [`circuit_breaker`].
#[derive(Clone, Debug)]
pub struct BreakerGauge {
    clock: Arc<Clock>,
    breaker: Arc<Mutex<Breaker>>,
}

impl BreakerGauge {
    /// The state now.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        lock(&self.breaker).state(self.clock.now())
    }
}

/// How a call through a [`circuit_breaker`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BreakerError<E> {
    /// It was not made.
    #[error(transparent)]
    Open(#[from] BreakerOpen),
    /// It was made, and failed.
    #[error(transparent)]
    Call(E),
}

impl<E> BreakerError<E> {
    /// How long to wait before the next attempt, for [`Options::retry_after`](crate::Options::retry_after).
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open(open) => Some(open.retry_after),
            Self::Call(_) => None,
        }
    }
}

/// The call was not made: too many failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open: too many of the latest calls failed; the next may be made in {retry_after:?}")]
pub struct BreakerOpen {
    /// Until the next call may be tried. While probes are out, as long as the breaker would open again if they fail.
    pub retry_after: Duration,
}

fn lock(breaker: &Mutex<Breaker>) -> std::sync::MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}
