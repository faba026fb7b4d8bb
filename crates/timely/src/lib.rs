//! Asynchronous I/O as an operator of [timely dataflow](timely).
//!
//! [`AsyncWait`] gives `ordered_wait` and its siblings to timely streams. Calls are futures, polled in place on the worker thread; what
//! wakes them (tokio's reactor and timers, other threads) runs elsewhere and activates the operator.
//!
//! ```
//! use inflight::Options;
//! use inflight_timely::AsyncWait;
//! use timely::dataflow::operators::{Inspect, ToStream};
//!
//! let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
//! let handle = runtime.handle().clone();
//!
//! timely::execute_directly(move |worker| {
//!     worker.dataflow::<u64, _, _>(|scope| {
//!         let lookup = |id: u64| async move { Ok::<_, std::io::Error>(format!("user {id}")) };
//!         (0..100u64)
//!             .to_stream(scope)
//!             .container::<Vec<_>>()
//!             .ordered_wait(&handle, lookup, Options::new().concurrency(10))
//!             .results
//!             .inspect(|completed| assert_eq!(completed.result.as_ref().ok(), Some(&format!("user {}", completed.input))));
//!     });
//! });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Time
//!
//! A record keeps the capability of the batch it came in until it leaves, so timely's own frontier waits for it, whatever the
//! order. Event time travels in band, as [`Element`](inflight::Element)s through [`elements`], and from worker to worker through
//! [`exchange_elements`].
//!
//! Order is among records of the same timely time, and so are watermarks among them: timely's own operators look at messages of
//! earlier times first. Between two workers they may also mix up messages of the same time, when many arrive together with messages
//! of other times.
//!
//! # Memory
//!
//! Timely never pushes back: its queues have no limit, and an operator cannot refuse input. A fast source before a slow call fills the
//! memory, unless it stops itself. [`flow`] has sources that do: they hold credits, which come back from the sink.
//!
//! # When the function cannot be opened
//!
//! The operator then keeps its capabilities and does nothing: dropping them would tell the world that its records had been dealt with.
//! [`Monitor::stopped`] says so; stop the dataflow.
//!
//! # When a worker panics
//!
//! A panic in a call fails its record only. One in `open`, `close`, a key or another operator takes the worker thread down, and timely
//! lets the other threads of the process wait for it for ever. [`cluster::execute`] does not.

#![forbid(unsafe_code)]

mod back;
mod carried;
mod carry;
pub mod checkpoint;
pub mod cluster;
pub mod flow;
mod monitor;
mod operator;
pub mod pipeline;
mod running;
mod sync;
mod wake;
pub mod watermarks;
mod worker_host;

pub use monitor::Monitor;
pub use operator::{AsyncWait, Elements, Waited, elements};
pub use watermarks::exchange_elements;
