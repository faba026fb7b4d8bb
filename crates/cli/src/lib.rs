//! The program `inflight`: enriches a stream of records from a pipeline file, with many look-ups in flight.
//!
//! ```text
//! text --yaml--> tree --variables--> tree --decode--> File --Pipeline::check--> Pipeline --run--> Summary
//!  places of all values   secrets known    as typed          as needed             progress       advice
//! ```
//!
//! This library exists for the binary and for its tests and fuzz targets; it promises no stable interface. To use
//! asynchronous I/O from Rust take the crate `inflight`.
#![forbid(unsafe_code)]

pub mod advice;
pub mod args;
mod change;
mod checkpoints;
pub mod commands;
pub mod compatible;
pub mod connect;
mod decode;
pub mod entries;
pub mod exit;
pub mod explain;
pub mod fault;
pub mod file;
pub mod number_or;
pub mod pipeline;
pub mod progress;
mod replay;
pub mod run;
pub mod schema;
pub mod setup;
pub mod stages;
pub mod summary;
mod tell;
pub mod units;
pub mod variables;
pub mod yaml;
