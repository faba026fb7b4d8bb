//! What a checkpoint holds besides positions: everything that was on its way.

use std::collections::{BTreeMap, BTreeSet};

use inflight_core::Progress;
use serde::{Deserialize, Serialize};

use super::join::Part;
use super::{Again, Id, Row, Storable};
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

    /// Results of these steps are forgotten, and what waits there has all of its time again. `firsts`: the first step of each stage.
    pub(super) fn ask_again(&mut self, steps: &BTreeMap<u32, Again>, firsts: &[u32]) {
        for carried in &mut self.carried {
            let (step, record, failed) = match carried {
                Carried::Step(step, Held::Done(done)) => (*step, &done.input, Some(done.has_failed())),
                Carried::Step(step, Held::Record { input, .. }) => (*step, &*input, None),
                Carried::Part(stage, part) => {
                    let first = firsts.get(*stage as usize).copied().unwrap_or_default();
                    (first + part.place, &part.done.input, Some(part.done.has_failed()))
                }
                _ => continue,
            };
            let again = steps.get(&step).is_some_and(|again| failed != Some(false) || *again == Again::All);
            if again {
                *carried = Carried::Step(step, Held::record(record.clone(), None, Progress::default()));
            }
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

#[cfg(test)]
mod tests {
    use inflight::{Cause, Completed};

    use super::*;
    use crate::carried::Done;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Record(u64);

    impl Row for Record {
        fn id(&self) -> Id {
            Id { partition: 0, number: self.0 }
        }
    }

    type Of = Carried<Record, u8, String>;

    fn done(number: u64, result: Result<u8, &str>) -> Done<Record, u8, String> {
        let result = result.map_err(|error| Cause::Error(error.to_owned()));
        let elapsed = std::time::Duration::from_secs(1);
        Completed { input: Record(number), timestamp: None, result, attempts: 3, elapsed }.into()
    }

    fn fresh(step: u32, number: u64) -> Of {
        Carried::Step(step, Held::record(Record(number), None, Progress::default()))
    }

    #[test]
    fn what_ended_a_run_is_asked_for_again() {
        let tried =
            Held::Record { input: Record(2), timestamp: None, attempts: 4, remaining: Some(Default::default()) };
        let carried = vec![
            Carried::Step(0, Held::Done(done(1, Err("no")))),
            Carried::Step(0, tried.clone()),
            Carried::Step(0, Held::Done(done(3, Ok(7)))),
            // The second step of the second stage.
            Carried::Part(1, Part { place: 1, done: done(4, Err("no")) }),
            Carried::Step(2, Held::Done(done(5, Ok(7)))),
            Carried::Step(1, Held::Done(done(6, Err("no")))),
            Carried::Whole(Record(7)),
        ];
        let mut state = State { carried: carried.clone(), ..State::empty() };
        state.ask_again(&BTreeMap::new(), &[0, 1]);
        assert_eq!(state.carried, carried);
        state.ask_again(&BTreeMap::from([(0, Again::Failed), (2, Again::All)]), &[0, 1]);
        let kept = |at: usize| carried[at].clone();
        assert_eq!(state.carried, [fresh(0, 1), fresh(0, 2), kept(2), fresh(2, 4), fresh(2, 5), kept(5), kept(6)]);
    }
}
