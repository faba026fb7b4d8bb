//! A thread that ends, even by a panic, wakes whoever waits for it.

use std::task::Waker;

/// Wakes when it is dropped. Declared before what the other side watches, it is dropped after it, also when the stack unwinds.
pub(super) struct WakeAtEnd(pub(super) Waker);

impl Drop for WakeAtEnd {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}
