#![no_std]
//! The heart of `inflight`: asynchronous I/O on a stream as a pure state machine.
//!
//! A [`Queue`] accepts records, watermarks and idle statuses, says which calls to make for them, is told how those end, and gives
//! everything back in the order asked for. It never asks for the time, runs no task and draws no random number, so that all it
//! decides can be replayed from a seed.
//!
//! ```text
//!  handle_record(now, key, timestamp, input) --> +------------------------------+ --> Action::Call(call)
//!  handle_watermark(timestamp), handle_idle  --> | Waiting -> Calling -> Decided| --> Action::Cancel(call)
//!  handle_completion(now, call, completions) --> |      ^       |               | --> Action::Idle { wake_at }
//!  handle_end(), handle_drain(now, limit)    --> |      +- BackingOff           |
//!                                                |                              | --> Emit::Record, Watermark, Idle, End
//!                     has_room() <-------------- +------------------------------+ --> snapshot(), stats()
//! ```
//!
//! # How to drive it
//!
//! After everything handed in: take what [`emit`](Queue::emit) gives as long as downstream has room, and do what
//! [`poll`](Queue::poll) says until it says [`Action::Idle`].
//!
//! ```
//! use inflight_core::{Action, Completion, Config, Emit, Order, Outcome, Queue, Time};
//!
//! let mut queue = Queue::new(Config::new(Order::Ordered, 100))?;
//! let now = Time::ZERO;
//! queue.handle_record(now, 0, None, "one");
//! queue.handle_record(now, 0, None, "two");
//! queue.handle_end();
//!
//! let mut results = Vec::new();
//! loop {
//!     match queue.poll(now) {
//!         Action::Call(call) => {
//!             let answers: Vec<_> = queue.inputs(call).map(|input| Completion::Done(input.len())).collect();
//!             queue.handle_completion(now, call, answers);
//!         }
//!         Action::Cancel(call) => queue.handle_cancelled(now, call),
//!         Action::Forget(_) => {}
//!         Action::Idle { .. } => break, // a real host sleeps until `wake_at` or a completion
//!     }
//! }
//! while let Some(Emit::Record(record)) = queue.emit() {
//!     results.push((record.input, record.outcome));
//! }
//! assert_eq!(results, [("one", Outcome::Done(3)), ("two", Outcome::Done(3))]);
//! # Ok::<(), inflight_core::ConfigError>(())
//! ```
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | record, input | what comes in, with an optional event-time [`Timestamp`] |
//! | held | accepted, not yet left: what `capacity` bounds |
//! | call | one request to the external system, for one record or a batch of them |
//! | on the wire | a call that has started and not ended, wanted or given up: what `concurrency` bounds |
//! | attempt | a record's part in a call; the first is 1 |
//! | outcome | how a record ended; each has exactly one |
//! | deadline, timeout | for the record over all attempts; for one attempt |
//! | watermark | `Watermark(t)`: no record at or before `t` follows, but late ones |
#![forbid(unsafe_code)]

extern crate alloc;

mod arrival;
mod calls;
mod config;
mod destination;
mod entry;
mod fences;
mod gate;
mod keys;
#[cfg_attr(
    not(feature = "mutants"),
    allow(dead_code, unreachable_pub, reason = "only test builds have bugs to choose from")
)]
mod mutant;
mod order;
mod outcome;
mod queue;
mod retry;
mod snapshot;
mod stats;
mod time;
mod timers;

pub use calls::CallId;
pub use config::{Batch, Config, ConfigError, EventTime, MAX_CAPACITY, Order};
#[cfg(feature = "mutants")]
pub use destination::DestinationMutant;
pub use destination::{
    Breaker, BreakerOptions, BreakerState, Concurrency, Destination, DestinationOptions, DestinationStats, Ended, Pass,
    Permit, RateLimit, Refusal, RetryBudget, TokenBucket, Verdict,
};
pub use entry::EntryId;
pub use gate::{Gate, Open};
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
pub use outcome::{Clock, Completion, Emit, Emitted, Outcome};
pub use queue::{Action, Queue};
pub use retry::{Backoff, Jitter, Retry};
pub use snapshot::{Held, Progress, Snapshot};
pub use stats::Stats;
pub use time::{Time, Timestamp};
