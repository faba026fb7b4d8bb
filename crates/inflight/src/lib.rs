//! Asynchronous I/O for data streams: many requests to an external system in flight, one correct stream back.
//!
//! What Apache Flink calls Async I/O (`orderedWait`, `unorderedWait`, `AsyncFunction`, `ResultFuture`, timeout, capacity, retry, event
//! time), for any [`futures::Stream`](futures_core::Stream).
//!
//! ```
//! use std::time::Duration;
//! use futures_util::{StreamExt, stream};
//! use inflight::{AsyncStreamExt, Options, Retry};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let lookup = |id: u64| async move { Ok::<_, std::io::Error>((id, format!("user {id}"))) };
//!
//! let mut users = stream::iter(1..=1000).ordered_wait(
//!     lookup,
//!     Options::new()
//!         .capacity(10_000)                                     // records held
//!         .concurrency(100)                                     // calls on the wire
//!         .timeout(Duration::from_millis(250))                  // one attempt
//!         .deadline(Duration::from_secs(1))                     // a record, with all its attempts
//!         .retry(Retry::exponential(3, Duration::from_millis(10), Duration::from_millis(100))),
//! );
//! while let Some(result) = users.next().await {
//!     match result {
//!         Ok((id, name)) => drop((id, name)),
//!         Err(failure) => eprintln!("{failure}"),               // the record, and why; the stream goes on
//!     }
//! }
//! # });
//! ```
//!
//! - What is called: [`AsyncFunction`] (closures are one), [`BatchFunction`], [`by_key`], [`blocking`], [`spawned`],
//!   a `tower::Service` (feature `tower`); clients with callbacks complete a [`ResultFuture`].
//! - What can be put around it: a cache, single flight, a rate limit, a circuit breaker, hedging (feature `layers`).
//! - How it is put on a stream: [`AsyncStreamExt`], or by Flink's names [`AsyncDataStream`]; with event time through [`elements`].
//! - What can be set: [`Options`]. What comes out: results, and [`Failure`]s that carry the record.
//! - What is where: [`Snapshot`] for checkpoints, [`AsyncStream::stats`] for metrics.
//! - How it differs from Flink: [`differences_from_flink`].
//!
//! Under it lies a pure state machine, [`inflight_core`], which decides everything and is tested by simulation. This crate polls the
//! futures ([`driver`]) and hands results over. It needs a tokio runtime with its time driver.
#![forbid(unsafe_code)]

mod batch;
mod blocking;
mod callback;
mod clock;
mod destination;
pub mod driver;
mod element;
mod failure;
mod function;
mod handover;
pub mod host;
mod input;
#[cfg(feature = "layers")]
pub mod layers;
mod options;
mod reactor;
#[cfg(feature = "tower")]
mod service;
mod slots;
mod snapshot;
mod spawned;
mod stream;
mod stream_host;
mod sync;
mod woken;

#[doc = include_str!("../DIFFERENCES.md")]
pub mod differences_from_flink {}

pub use batch::{BatchFunction, BatchResult, Batched, ByKey, by_key};
pub use blocking::{Blocking, Pool, blocking};
pub use callback::{Abandoned, Completion, ResultFuture};
pub use destination::{Destination, Extra};
pub use element::Element;
pub use failure::{Cause, Completed, DeadLetter, Failure};
pub use function::{AsyncFunction, Cancellation, Function, Single};
pub use inflight_core::{
    Backoff, BreakerOptions, BreakerState, Clock, Concurrency, ConfigError, DestinationOptions, DestinationStats,
    EventTime, Jitter, Order, Progress, RateLimit, Retry, RetryBudget, Stats, Timestamp, Verdict,
};
pub use input::{Elements, InEventTime, Input, Records, View, elements};
pub use options::{DEFAULT_CAPACITY, Options};
#[cfg(feature = "tower")]
pub use service::{FromService, service};
pub use snapshot::{Clocks, Held, Snapshot};
pub use spawned::{Spawned, spawned};
pub use stream::{AsyncDataStream, AsyncStream, AsyncStreamExt};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
