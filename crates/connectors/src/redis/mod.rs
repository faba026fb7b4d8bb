//! Redis, and what speaks its protocol (Valkey, KeyDB, Dragonfly): a single server or a cluster.
//!
//! [`RedisLookup`] answers many questions with one command, or with many commands sent at once.

mod answer;
mod config;
mod connect;
mod error;
mod lookup;
mod question;

pub use config::{CONNECTIONS, MAX_CONNECTIONS, RedisLookupConfig, RedisValue};
pub use lookup::RedisLookup;
