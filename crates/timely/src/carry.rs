//! Carrying what an operator holds into the next epoch, so that an epoch never waits for a call.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use inflight::Cause;
use timely::dataflow::operators::Capability;
use timely::progress::Timestamp as Time;

use crate::carried::Held;

/// The capability of a batch, shared by its records: one per record would be an update of the progress tracker each.
pub(crate) type Shared<T> = Rc<Batch<T>>;

/// A capability that moves on when its epoch closes and records of it are still held.
pub(crate) struct Batch<T: Time>(RefCell<Capability<T>>);

impl<T: Time> Batch<T> {
    pub(crate) fn new(capability: Capability<T>) -> Shared<T> {
        Rc::new(Self(RefCell::new(capability)))
    }

    #[inline]
    pub(crate) fn capability(&self) -> Ref<'_, Capability<T>> {
        self.0.borrow()
    }

    pub(crate) fn is_before(&self, time: &T) -> bool {
        self.capability().time() < time
    }
}

/// What an operator does for checkpoints. `None` of it in an operator that makes none.
pub(crate) struct Carry<T: Time, I, O, E> {
    /// Carried into this run, and not yet taken in.
    restored: VecDeque<(Shared<T>, Held<I, O, E>)>,
    /// More of it may come: what is new has to wait.
    pub(crate) restoring: bool,
    /// Batches of which something may still be held.
    batches: Vec<Weak<Batch<T>>>,
    /// Epochs before this one have closed, and what is held of them is to be moved there.
    pub(crate) to: Option<T>,
    /// What was held when they closed.
    pub(crate) notes: Vec<Held<I, O, E>>,
    copy: fn(&Held<I, O, E>) -> Held<I, O, E>,
    /// Makes a result that is still held one to be stored.
    pub(crate) copy_result: fn(&Result<O, Cause<E>>) -> Result<O, Cause<E>>,
}

impl<T: Time, I, O, E> Carry<T, I, O, E> {
    pub(crate) fn new() -> Self
    where
        I: Clone,
        O: Clone,
        E: Clone,
    {
        Self {
            restored: VecDeque::new(),
            restoring: true,
            batches: Vec::new(),
            to: None,
            notes: Vec::new(),
            copy: Clone::clone,
            copy_result: Clone::clone,
        }
    }

    /// Records will be held under this capability.
    pub(crate) fn watch(&mut self, batch: &Shared<T>) {
        if self.batches.len() == self.batches.capacity() {
            self.batches.retain(|batch| batch.strong_count() > 0);
        }
        self.batches.push(Rc::downgrade(batch));
    }

    pub(crate) fn restore(&mut self, capability: Capability<T>, held: impl IntoIterator<Item = Held<I, O, E>>) {
        let batch = Batch::new(capability);
        self.watch(&batch);
        self.restored.extend(held.into_iter().map(|held| (Rc::clone(&batch), held)));
    }

    pub(crate) fn next_restored(&mut self) -> Option<(Shared<T>, Held<I, O, E>)> {
        self.restored.pop_front()
    }

    /// Notes what was carried into this run, and has not even been taken in.
    pub(crate) fn note_restored(&mut self, to: &T) {
        let waiting = self.restored.iter().filter(|(batch, _)| batch.is_before(to));
        self.notes.extend(waiting.map(|(_, held)| (self.copy)(held)));
    }

    /// All capabilities of earlier epochs, to this one.
    pub(crate) fn move_on(&mut self, to: &T) {
        self.batches.retain(|batch| {
            let Some(batch) = batch.upgrade() else { return false };
            if batch.is_before(to) {
                batch.0.borrow_mut().downgrade(to);
            }
            true
        });
    }
}
