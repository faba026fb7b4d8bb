//! How many calls may be on the wire.

use alloc::format;

use super::Verdict;
use crate::config::{ConfigError, count};
use crate::time::Time;

/// How many calls may be on the wire, over all operators that call the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(usize),
    /// As many as the destination works best with, found by trying.
    Auto {
        /// Never fewer, at least 1.
        min: usize,
        /// Never more.
        max: usize,
    },
}

impl Concurrency {
    pub(super) fn check(self) -> Result<(), ConfigError> {
        match self {
            Self::Fixed(calls) => count("a destination's concurrency", calls),
            Self::Auto { min, max } if min > max => Err(ConfigError::new(format!(
                "a destination's least concurrency of {min} must not be above its most of {max}"
            ))),
            Self::Auto { min, max } => {
                count("a destination's least concurrency", min)?;
                count("a destination's most concurrency", max)
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Limit {
    calls: usize,
}

impl Limit {
    pub(super) fn new(concurrency: Concurrency) -> Self {
        let calls = match concurrency {
            Concurrency::Fixed(calls) => calls,
            Concurrency::Auto { min, max } => 16.clamp(min, max),
        };
        Self { calls }
    }

    pub(super) const fn calls(&self) -> usize {
        self.calls
    }

    pub(super) fn was_reached(&mut self) {}

    pub(super) fn ended(&mut self, _: Time, _: Time, _: Verdict, _: usize) {}

    pub(super) fn is_shrinking(&self) -> bool {
        false
    }
}
