//! What a checkpoint holds besides positions: everything that was on its way.

use std::collections::{BTreeMap, BTreeSet};

use inflight_core::Progress;
use serde::{Deserialize, Serialize};

use super::join::Part;
use super::{Id, Row, Storable};
use crate::carried::Held;

/// Everything on its way at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State<R, O, E> {
    /// The number of the next record of each partition to be delivered, where the order matters.
    pub(super) next: Vec<(u32, u64)>,
    pub(super) carried: Vec<Carried<R, O, E>>,
    /// Records the sink has got that lie behind the positions: they are read once more, and left out.
    pub(super) recorded: Vec<Id>,
}

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Carried<R, O, E> {
    /// In a step; all steps are counted through.
    Step(u32, Held<R, O, E>),
    /// In the join of a stage.
    Part(u32, Part<R, O, E>),
    /// Through all stages, and waits for those before it.
    Whole(R),
}

impl<R: Row, O, E> Carried<R, O, E> {
    pub(super) const fn record(&self) -> Option<&R> {
        match self {
            Self::Step(_, held) => held.input(),
            Self::Part(_, part) => Some(&part.done.input),
            Self::Whole(record) => Some(record),
        }
    }
}

impl<R: Row, O, E> Carried<R, O, E> {
    pub(super) const fn is_in_stages(&self) -> bool {
        !matches!(self, Self::Whole(_))
    }
}

impl<R: Row, O, E> State<R, O, E> {
    /// Records that were in any stage begin with the first again, which has so many steps.
    pub(super) fn begin_again(&mut self, steps: u32) {
        let (in_stages, whole): (Vec<_>, Vec<_>) = self.carried.drain(..).partition(Carried::is_in_stages);
        let records: BTreeMap<Id, R> =
            in_stages.iter().filter_map(Carried::record).map(|record| (record.id(), record.clone())).collect();
        self.carried = whole;
        for record in records.into_values() {
            let fresh = |step| Carried::Step(step, Held::record(record.clone(), None, Progress::default()));
            self.carried.extend((0..steps).map(fresh));
        }
    }

    pub(super) const fn empty() -> Self {
        Self { next: Vec::new(), carried: Vec::new(), recorded: Vec::new() }
    }

    /// The sink has got these: they are not on their way any more, and not to be when they are read.
    pub(super) fn forget(&mut self, records: &[R]) {
        let gone: BTreeSet<Id> = records.iter().map(Row::id).collect();
        self.recorded.extend(gone.difference(&self.ids()));
        self.carried.retain(|carried| carried.record().is_none_or(|record| !gone.contains(&record.id())));
    }

    /// The records on their way: a record may be in several steps at a time.
    pub(super) fn ids(&self) -> BTreeSet<Id> {
        self.carried.iter().filter_map(Carried::record).map(Row::id).collect()
    }

    /// How many records of each partition are on their way.
    pub(super) fn outstanding(&self) -> BTreeMap<u32, u64> {
        let mut outstanding = BTreeMap::new();
        self.ids().into_iter().for_each(|id| *outstanding.entry(id.partition).or_default() += 1);
        outstanding
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, String>
    where
        O: Storable,
        E: Storable,
    {
        postcard::to_stdvec(self).map_err(|error| format!("what is in flight cannot be stored: {error}"))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String>
    where
        O: Storable,
        E: Storable,
    {
        // What was recorded before the first checkpoint follows nothing.
        if bytes.is_empty() {
            return Ok(Self::empty());
        }
        postcard::from_bytes(bytes)
            .map_err(|error| format!("what was in flight cannot be read, its types have changed: {error}"))
    }
}
