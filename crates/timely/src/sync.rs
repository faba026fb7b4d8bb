//! The primitives that threads meet in: the standard library's, or in model tests those of shuttle, which tries their interleavings.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::atomic::{AtomicU8, Ordering};
