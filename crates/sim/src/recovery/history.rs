//! What everybody outside the pipeline has seen, over all runs: calls, positions, checkpoints. The rules are about this alone.

use std::collections::BTreeMap;
use std::time::Duration;

use inflight_timely::pipeline::Id;

/// The place of something in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// Counts everything that happens.
    pub(super) stamp: u64,
    /// Since the beginning of the run.
    pub(super) at: Duration,
}

/// A record's part in a call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: Id,
    pub(super) step: u32,
    pub(super) run: usize,
    pub(super) begun: Moment,
    pub(super) ended: Option<(Moment, End)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Failed,
    /// The pipeline gave it up.
    Dropped,
}

/// One life of the pipeline, between two crashes.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The run and the epoch it goes on from.
    pub(super) from: Option<(usize, u64)>,
    pub(super) workers: usize,
    /// When the first source was asked for its positions at the end of each epoch.
    pub(super) cuts: BTreeMap<u64, Moment>,
    /// When the last source was.
    pub(super) asked: BTreeMap<u64, Duration>,
    /// The last epoch that the pipeline was told to be complete.
    pub(super) told: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) calls: Vec<Call>,
    /// Calls of each record in each step, as they began.
    pub(super) of: BTreeMap<(Id, u32), Vec<usize>>,
    pub(super) runs: Vec<Run>,
    stamp: u64,
}

impl History {
    pub(super) fn moment(&mut self, at: Duration) -> Moment {
        self.stamp += 1;
        Moment { stamp: self.stamp, at }
    }

    pub(super) fn begin_run(&mut self, from: Option<(usize, u64)>, workers: usize) {
        self.runs.push(Run { from, workers, cuts: BTreeMap::new(), asked: BTreeMap::new(), told: None });
    }

    /// The run that goes on now.
    pub(super) fn run(&mut self) -> Option<&mut Run> {
        self.runs.last_mut()
    }

    /// The last epoch that is complete, as far as anybody was told.
    pub(super) fn told(&self) -> Option<u64> {
        let last = self.runs.last()?;
        last.told.max(last.from.map(|(_, epoch)| epoch))
    }

    pub(super) fn begin_call(&mut self, id: Id, step: u32, at: Duration) -> usize {
        let (begun, call) = (self.moment(at), self.calls.len());
        let run = self.runs.len().saturating_sub(1);
        self.calls.push(Call { id, step, run, begun, ended: None });
        self.of.entry((id, step)).or_default().push(call);
        call
    }

    pub(super) fn end_call(&mut self, call: usize, end: End, at: Duration) {
        let ended = self.moment(at);
        self.calls[call].ended = Some((ended, end));
    }

    /// The calls of a record in a step, as they began.
    pub(super) fn calls_of(&self, id: Id, step: u32) -> impl DoubleEndedIterator<Item = (usize, &Call)> {
        self.of.get(&(id, step)).into_iter().flatten().map(|call| (*call, &self.calls[*call]))
    }

    /// The runs that led to the last one, each up to the moment that this one and those after know of it: latest first, without the last.
    pub(super) fn ways(&self) -> Vec<(usize, Moment)> {
        let mut ways = Vec::new();
        let mut run = self.runs.last();
        while let Some((before, epoch)) = run.and_then(|run| run.from) {
            run = self.runs.get(before);
            ways.extend(run.and_then(|run| run.cuts.get(&epoch)).map(|cut| (before, *cut)));
        }
        ways
    }
}
