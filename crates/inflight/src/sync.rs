//! The primitives that threads meet in: the standard library's, or in model tests those of shuttle, which tries their interleavings.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool, atomic::AtomicU64, atomic::Ordering};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic::AtomicBool, atomic::AtomicU64, atomic::Ordering};
#[cfg(feature = "shuttle")]
use std::sync::PoisonError;

/// Locks; a thread that panicked while it held the lock left the data whole: nothing under these locks can panic half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
