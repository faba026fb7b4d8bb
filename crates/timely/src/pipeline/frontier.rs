//! Reading frontiers of epochs.

use timely::progress::frontier::MutableAntichain;

/// The earliest epoch that anything may still come of; `None` when nothing comes any more.
pub(super) fn earliest(frontiers: &[MutableAntichain<u64>]) -> Option<u64> {
    frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min()
}
