//! Layers around a function, as their users see them, under tokio's paused clock unless a test says otherwise.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod batches;
mod cached;
mod circuit_breaker;
mod forwarding;
mod hedged;
mod keyed_rate_limited;
mod order;
mod rate_limited;
mod service;
mod single_flight;
