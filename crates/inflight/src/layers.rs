//! Policies that change what one call does: each is a function around another. (What decides *when* calls are made, such as retries and
//! concurrency, is in the [`Options`](crate::Options); what all calls to one system share, such as its rate and its breaker, is a
//! [`Destination`](crate::Destination).)
//!
//! | layer | what it does | around |
//! |---|---|---|
//! | [`cached`] | uses answers again; has its own time for missing keys; gives out stale ones while it fetches new ones | both |
//! | [`single_flight`] | lets records of one key share a call | both |
//! | [`bisected`] | halves a batch that fails because of one record, until that is alone | [`BatchFunction`](crate::BatchFunction) |
//! | [`keyed_rate_limited`] | starts so many calls per second for each key | both |
//! | [`rate_limited`] | starts so many calls per second | [`AsyncFunction`](crate::AsyncFunction) |
//! | [`circuit_breaker`] | refuses calls while a service fails | [`AsyncFunction`](crate::AsyncFunction) |
//! | [`hedged`] | calls again when the answer takes long | both |
//!
//! A destination has a rate and a breaker too, for all operators together, and it lets records wait: prefer those. The layers hold for one
//! function, and refuse.
//!
//! # The order matters
//! The outermost layer sees the record first. In this order, which is that of the table, each sees what it should:
//!
//! ```
//! use std::time::Duration;
//! use futures_util::{StreamExt, stream};
//! use inflight::layers::{
//!     BreakerError, BreakerOptions, CacheOptions, HedgeDelay, RateLimit, cached, circuit_breaker, hedged, rate_limited, single_flight,
//! };
//! use inflight::{AsyncStreamExt, Concurrency, Destination, DestinationOptions, Options, Retry};
//!
//! # #[derive(Clone, Copy)] struct Refused;
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let lookup = |id: u64| async move { Ok::<_, Refused>(Some(format!("user {id}"))) };
//!
//! let service = Destination::new(DestinationOptions::new(Concurrency::Fixed(100))).unwrap();
//! let lookup = hedged(lookup, HedgeDelay::Adaptive, service.clone());
//! let lookup = circuit_breaker(lookup, BreakerOptions::default());
//! let lookup = rate_limited(lookup, RateLimit { per_second: 1_000, burst: 100 });
//! let lookup = single_flight(lookup, |id: &u64| *id);
//! let lookup = cached(lookup, |id: &u64| *id, CacheOptions::new(10_000, Duration::from_secs(60)));
//!
//! let options = Options::new()
//!     .destination(service)
//!     .timeout(Duration::from_millis(500))
//!     .retry(Retry::fixed(3, Duration::from_millis(20)))
//!     .retry_after(BreakerError::retry_after);
//! let users = stream::iter([7, 7, 8]).ordered_wait(lookup, options);
//! # assert_eq!(users.filter(|user| std::future::ready(user.is_ok())).count().await, 3);
//! # });
//! ```
//!
//! The other way round each of them goes wrong:
//!
//! | outside | inside | then |
//! |---|---|---|
//! | `single_flight` | `cached` | a stale answer is fetched anew without regard to a call of the same key |
//! | `rate_limited` | `cached`, `single_flight` | records that need no call wait for one |
//! | `circuit_breaker` | `rate_limited` | who times out in line is taken for a failure of the service |
//! | `hedged` | `rate_limited` | who stands in line is taken for slow and gets in line twice |
//! | `hedged` | `circuit_breaker` | the loser of each race is taken for a failure |
//!
//! Hedges are not in the rate of that layer (they are in a destination's).
//!
//! # What all have in common
//! A layer forwards `open`, `close`, [`timeout`](crate::AsyncFunction::timeout) and
//! [`cancellation`](crate::AsyncFunction::cancellation) to the function inside. Each dataflow worker has its own
//! instance; a [`Cache`], [`Flights`] and a destination can be shared by all of them. Time is tokio's.
//!
//! # Cancel safety
//! Every layer's call can be dropped at any time; each says what becomes of what it held.

mod bisected;
mod boxed;
mod cache;
mod cached;
mod circuit_breaker;
mod flights;
mod handed_on;
mod hedged;
mod keyed_rate_limited;
mod latencies;
mod mailbox;
mod rate_limited;
mod single_flight;
mod store;

pub use bisected::{Bisected, bisected};
pub use boxed::{Boxed, boxed};
pub use cache::{Cache, CacheCounts, CacheGauge, CacheOptions};
pub use cached::{Cached, cached};
pub use circuit_breaker::{BreakerError, BreakerGauge, BreakerOpen, CircuitBreaker, circuit_breaker};
pub use flights::Flights;
pub use hedged::{HedgeCounts, HedgeDelay, HedgeGauge, Hedged, hedged};
pub use inflight_core::{BreakerOptions, BreakerState, RateLimit};
pub use keyed_rate_limited::{KeyedRateLimited, KeyedRates, keyed_rate_limited};
pub use rate_limited::{RateLimited, rate_limited};
pub use single_flight::{SingleFlight, single_flight};

/// What tells records apart: anything that can be cloned, hashed and compared. Implemented for all such types.
pub trait Key: Clone + Eq + std::hash::Hash + Send + Sync + 'static {}

impl<K: Clone + Eq + std::hash::Hash + Send + Sync + 'static> Key for K {}
