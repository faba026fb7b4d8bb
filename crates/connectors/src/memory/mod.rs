//! Rows that are held in memory: from a file, or from the pipeline itself.

mod config;
mod lookup;

pub use config::{MemoryLookupConfig, ROWS_MAX};
pub use lookup::MemoryLookup;
