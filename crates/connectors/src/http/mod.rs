//! HTTP: services that answer with JSON.
//!
//! [`HttpLookup`] asks with one request for each key, or with one for many where the service has an endpoint for that.

mod answer;
mod body;
mod config;
mod connect;
mod error;
mod lookup;
mod request;

pub use config::{ANSWER_BYTES_MAX, BATCH_KEYS, CONNECTIONS, HttpBatch, HttpLookupConfig, HttpMethod, MAX_CONNECTIONS};
pub use lookup::HttpLookup;
