//! Which checkpoints lead to now, when several runs wrote into one folder.

use std::collections::{BTreeMap, BTreeSet};

use super::Mark;

/// Where each run that began to work went on from: at a checkpoint, or (none) at the beginning.
pub(super) type Starts = BTreeMap<u64, Option<Mark>>;

/// The checkpoints a restart may use, best first.
///
/// They are those of the newest run that began; then the one that run went on from and what its writer wrote before; and so on. What a run
/// wrote after a newer one had gone on from an earlier checkpoint of it is on no such way: the newer run has taken its sinks back to
/// the earlier one.
pub(super) fn lineage(starts: &Starts, checkpoints: &BTreeSet<Mark>) -> Vec<Mark> {
    let runs: BTreeSet<u64> = starts.keys().copied().chain(checkpoints.iter().map(|mark| mark.generation)).collect();
    let mut line = Vec::new();
    let (mut next, mut until) = (runs.last().copied(), u64::MAX);
    while let Some(run) = next {
        line.extend(checkpoints.iter().rev().filter(|mark| mark.generation == run && mark.epoch <= until));
        (next, until) = match starts.get(&run) {
            Some(None) => (None, 0),
            // A start from a run that is not older cannot be: damaged in a way that checksums do not see.
            Some(Some(from)) => (Some(from.generation).filter(|older| *older < run), from.epoch),
            // What it went on from cannot be read any more: likely the newest before.
            None => (runs.range(..run).next_back().copied(), u64::MAX),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mark(epoch: u64, generation: u64) -> Mark {
        Mark { epoch, generation }
    }

    fn line(starts: &[(u64, Option<Mark>)], checkpoints: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let checkpoints = checkpoints.iter().map(|(epoch, generation)| mark(*epoch, *generation)).collect();
        let line = lineage(&starts.iter().copied().collect(), &checkpoints);
        line.into_iter().map(|mark| (mark.epoch, mark.generation)).collect()
    }

    #[test]
    fn runs_that_go_on_from_each_other() {
        let starts = [(1, None), (2, Some(mark(2, 1))), (3, Some(mark(3, 2)))];
        assert_eq!(line(&starts, &[(1, 1), (2, 1), (3, 2), (4, 3)]), [(4, 3), (3, 2), (2, 1), (1, 1)]);
    }

    #[test]
    fn what_a_run_wrote_after_it_was_taken_over_does_not_count() {
        let starts = [(1, None), (2, Some(mark(2, 1)))];
        let checkpoints = [(1, 1), (2, 1), (3, 1), (4, 1)];
        assert_eq!(line(&starts, &checkpoints), [(2, 1), (1, 1)], "the second run has written nothing yet");
        assert_eq!(line(&starts, &[&checkpoints[..], &[(3, 2)]].concat()), [(3, 2), (2, 1), (1, 1)]);
    }

    #[test]
    fn a_run_that_began_anew_leaves_the_others_behind() {
        assert_eq!(line(&[(1, None), (2, None)], &[(1, 1), (2, 1)]), []);
        assert_eq!(line(&[(1, None), (2, None)], &[(1, 1), (2, 1), (1, 2)]), [(1, 2)]);
    }

    #[test]
    fn a_start_that_is_lost_is_guessed_and_a_circle_ends() {
        assert_eq!(line(&[(1, None)], &[(1, 1), (2, 1), (3, 2)]), [(3, 2), (2, 1), (1, 1)]);
        assert_eq!(line(&[(2, Some(mark(3, 2)))], &[(1, 1), (3, 2)]), [(3, 2)]);
    }
}
