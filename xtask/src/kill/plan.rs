//! How many processes and workers run a pipeline, from one start to the next.

use super::chance::Chance;

/// Processes of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// One process, with one worker or two, in turn.
    One,
    /// Two processes.
    Two,
    /// Three processes; after some kills two, one, and three again.
    Three,
}

/// What is started at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) processes: usize,
    /// Of each process.
    pub(super) workers: usize,
}

impl Plan {
    pub(super) const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
            Self::Three => "three",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plan| plan.name() == name)
    }

    /// What is started the next time; `starts` were before.
    pub(super) fn layout(self, starts: usize, chance: &mut Chance) -> Layout {
        match self {
            Self::One => Layout { processes: 1, workers: 1 + starts % 2 },
            Self::Two => Layout { processes: 2, workers: if chance.percent(75) { 1 } else { 2 } },
            Self::Three => Layout { processes: [3, 3, 2, 1][starts % 4], workers: 1 },
        }
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.processes, self.workers)
    }
}
