//! What the files of the folder are called.

use super::Mark;

/// The lock's file; it stays when the lock is given up.
pub(super) const LOCK: &str = "lock";
/// Behind the name of a file that is being written.
const UNFINISHED: &str = ".tmp";

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Checkpoint(Mark),
    Generation(u64),
    /// The epoch of the checkpoint it follows (0: of the beginning), and who wrote it.
    Journal(Mark),
}

impl Name {
    /// What this name stands for, if it is one of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, numbers) = text.split_once('-')?;
        let mark = || {
            let (epoch, generation) = numbers.split_once('-')?;
            Some(Mark { epoch: epoch.parse().ok()?, generation: generation.parse().ok()? })
        };
        let name = match kind {
            "checkpoint" => Self::Checkpoint(mark()?),
            "generation" => Self::Generation(numbers.parse().ok()?),
            "journal" => Self::Journal(mark()?),
            _ => return None,
        };
        (name.to_string() == text).then_some(name) // one name for each, without signs or other zeros
    }

    /// What this name stands for, if the file was being written.
    pub(super) fn parse_unfinished(text: &str) -> Option<Self> {
        Self::parse(text.strip_suffix(UNFINISHED)?)
    }

    /// Its name while it is being written.
    pub(super) fn unfinished(self) -> String {
        format!("{self}{UNFINISHED}")
    }

    pub(super) const fn generation(self) -> u64 {
        match self {
            Self::Checkpoint(mark) | Self::Journal(mark) => mark.generation,
            Self::Generation(generation) => generation,
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checkpoint(Mark { epoch, generation }) => write!(f, "checkpoint-{epoch:020}-{generation}"),
            Self::Generation(generation) => write!(f, "generation-{generation}"),
            Self::Journal(Mark { epoch, generation }) => write!(f, "journal-{epoch:020}-{generation}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let mark = Mark { epoch: u64::MAX, generation: 7 };
        for name in [Name::Checkpoint(mark), Name::Journal(mark), Name::Generation(12)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
            assert_eq!(Name::parse_unfinished(&name.unfinished()), Some(name));
            assert_eq!(Name::parse(&name.unfinished()), None);
        }
        assert_eq!(Name::Generation(12).to_string(), "generation-12");
        assert_eq!(Name::Checkpoint(Mark { epoch: 5, generation: 2 }).to_string(), "checkpoint-00000000000000000005-2");
    }

    #[test]
    fn names_of_others_are_not_ours() {
        for text in [
            "",
            "lock",
            "generation-",
            "generation-01",
            "generation-+1",
            "checkpoint-5-2",
            "notes.txt",
            "checkpoint-00000000000000000005-2.bak",
            "checkpoint-99999999999999999999-1",
            "generation-1-2",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
