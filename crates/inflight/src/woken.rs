//! Which futures want to be polled: wakers write it, on any thread; the driver reads it.
//!
//! Each call slot has one waker, made once. A wake puts the slot's index on the list, once until it is polled. The driver swaps the
//! whole list out, and is itself woken once per sleep, not once per wake.

#[cfg(all(test, feature = "shuttle"))]
mod model;

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// The list, shared by all wakers of one driver.
#[derive(Default)]
pub(crate) struct Woken {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    slots: Vec<u32>,
    /// The driver, while it sleeps.
    driver: Option<Waker>,
}

impl Woken {
    /// Swaps the list with `empty`. The driver is awake from here on: wakes only go on the list.
    pub(crate) fn take(&self, empty: &mut Vec<u32>) {
        let mut inner = lock(&self.inner);
        inner.driver = None;
        std::mem::swap(&mut inner.slots, empty);
    }

    /// The driver goes to sleep, unless something is on the list: then false.
    pub(crate) fn sleep(&self, driver: &Waker) -> bool {
        let mut inner = lock(&self.inner);
        if !inner.slots.is_empty() {
            return false;
        }
        inner.driver = Some(driver.clone());
        true
    }
}

/// What the waker of one call slot does.
pub(crate) struct SlotWaker {
    slot: u32,
    listed: AtomicBool,
    woken: Arc<Woken>,
}

impl SlotWaker {
    pub(crate) const fn new(slot: u32, woken: Arc<Woken>) -> Self {
        Self { slot, listed: AtomicBool::new(false), woken }
    }

    /// The driver has taken the slot off the list, and is about to poll it: a wake from here on lists it anew.
    pub(crate) fn taken(&self) {
        self.listed.store(false, Ordering::Release);
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let driver = {
            let mut inner = lock(&self.woken.inner);
            inner.slots.push(self.slot);
            inner.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}
