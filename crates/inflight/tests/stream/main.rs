//! The operator on a stream, as its users see it, under tokio's paused clock unless a test says otherwise.
//!
//! A comment with a number (B3, S44) names the bug or the rule of Flink's operator that a test is about.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod auto_traits;
mod batches;
mod blocking_clients;
mod callbacks;
mod capacity;
mod clocks;
mod consumers;
mod destinations;
mod event_time;
mod hosts;
mod known;
mod life_cycle;
mod orders;
mod panics;
mod retries;
mod service;
mod snapshots;
mod tasks;
#[cfg(feature = "tower")]
mod tower;
mod wakes;
