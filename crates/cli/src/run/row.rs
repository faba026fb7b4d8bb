//! A record on its way.

use std::sync::Arc;

use inflight_connectors::Record;

/// A record with its number, and what has become of it. Cheap to clone: all steps of a stage look at the same.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Place among the records read, from 1.
    pub(super) number: u64,
    pub(super) fate: Fate,
}

/// What has become of a record so far.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It is being enriched.
    Going(Arc<Record>),
    /// A step dropped it, as the pipeline says.
    Dropped,
    /// A step gave it up: the dead letter.
    Dead(Arc<Record>),
}

impl Row {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The record, if it is still being enriched.
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.fate {
            Fate::Going(record) => Some(record),
            Fate::Dropped | Fate::Dead(_) => None,
        }
    }
}
