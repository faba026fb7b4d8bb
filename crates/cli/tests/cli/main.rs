//! The program as its users meet it: files in, texts and exit codes out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod check;
mod checkpoints;
mod cluster;
mod commands;
mod connect;
mod databases;
mod explain;
mod faults;
mod flights;
mod http;
#[cfg(all(feature = "kafka", target_os = "linux"))]
mod kafka;
mod layers;
mod memory;
mod mutations;
mod mysql;
mod nats;
mod orders;
mod policies;
mod postgres;
mod recovery;
mod redis;
mod replay;
mod running;
mod schema;
mod service;
mod setup;
mod signals;
mod sinks;
mod streaming;
mod terminal;
mod workers;
mod workspace;
