//! Holding back what comes of later epochs, so that what is noted at the end of an epoch is of that epoch alone.

use std::collections::BTreeMap;

/// Batches of epochs that are not open yet.
pub(super) struct Later<B> {
    batches: BTreeMap<u64, Vec<B>>,
}

impl<B> Later<B> {
    pub(super) const fn new() -> Self {
        Self { batches: BTreeMap::new() }
    }

    pub(super) fn hold(&mut self, epoch: u64, batch: B) {
        self.batches.entry(epoch).or_default().push(batch);
    }

    /// The batches of this epoch and those before, in the order they came.
    pub(super) fn take(&mut self, epoch: u64) -> impl Iterator<Item = B> {
        let later = self.batches.split_off(&(epoch + 1));
        std::mem::replace(&mut self.batches, later).into_values().flatten()
    }

    /// The first epoch after this one of which there is a batch.
    pub(super) fn after(&self, epoch: u64) -> Option<u64> {
        self.batches.range(epoch + 1..).next().map(|(later, _)| *later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_with_their_epoch() {
        let mut later = Later::new();
        later.hold(3, "c");
        later.hold(2, "a");
        later.hold(2, "b");
        assert_eq!((later.after(1), later.after(2), later.after(3)), (Some(2), Some(3), None));
        assert_eq!(later.take(1).count(), 0);
        assert_eq!(later.take(2).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(later.take(u64::MAX - 1).collect::<Vec<_>>(), ["c"]);
        assert_eq!(later.take(u64::MAX - 1).count(), 0);
    }
}
