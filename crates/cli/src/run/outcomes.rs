//! What came of the look-ups of one record so far. It travels with the record and is counted when the record is written, so that what a
//! summary counts and what is in the output are the same, whatever crashed in between.

use serde::{Deserialize, Serialize};

use crate::pipeline::STEPS_MAX;

/// What came of one look-up of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Found,
    Missing,
    Failed,
    TimedOut,
}

impl Outcome {
    pub(super) const ALL: [Self; 4] = [Self::Found, Self::Missing, Self::Failed, Self::TimedOut];
}

/// An outcome or none for each step: in three bits, of which each word has one for every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcomes([u64; 3]);

const _: () = assert!(STEPS_MAX <= u64::BITS as usize, "a word has a bit for each step");

impl Outcomes {
    /// Of the step at this place, which had none so far.
    pub(super) fn set(&mut self, place: usize, outcome: Outcome) {
        let number = outcome as u64 + 1;
        for (bit, word) in self.0.iter_mut().enumerate() {
            *word |= (number >> bit & 1) << place;
        }
    }

    /// Those that there are, with the place of their step.
    pub(super) fn iter(self) -> impl Iterator<Item = (usize, Outcome)> {
        let mut left = self.0.iter().fold(0, |any, word| any | word);
        std::iter::from_fn(move || {
            let place = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            let number = self.0.iter().enumerate().fold(0, |number, (bit, word)| number | (word >> place & 1) << bit);
            Some((place, *Outcome::ALL.get(number as usize - 1)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_outcome_or_none() {
        let mut outcomes = Outcomes::default();
        assert_eq!(outcomes.iter().count(), 0);
        let set: Vec<(usize, Outcome)> = (0..STEPS_MAX).step_by(3).zip(Outcome::ALL.into_iter().cycle()).collect();
        set.iter().for_each(|(place, outcome)| outcomes.set(*place, *outcome));
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), set);
    }
}
