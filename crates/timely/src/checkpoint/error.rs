//! What can go wrong with a folder of checkpoints.

use std::io;
use std::path::{Path, PathBuf};

use super::Mark;

/// Why a folder of checkpoints could not be used. Its text says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another run has the folder.
    #[error("{}: in use by {holder}; stop that run first, or give this one a folder of its own", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Who: process, host and since when, as far as known.
        holder: String,
    },
    /// A newer run has taken the folder over: this one must stop, and nothing it does counts any more.
    #[error(
        "{}: run {newer} has taken over from this one (run {ours}), which must not write any more; two were started on one folder",
        folder.display()
    )]
    Fenced {
        /// The folder.
        folder: PathBuf,
        /// This run's generation.
        ours: u64,
        /// The newer one.
        newer: u64,
    },
    /// The operating system refused something.
    #[error("{}: cannot {doing}: {source}{}", place.display(), remedy(source))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file or folder.
        place: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The folder has checkpoints, and all that could be used are damaged.
    #[error(
        "{}: no checkpoint is left that is valid: {}; put back a copy of one, or start from scratch",
        folder.display(), named(damaged)
    )]
    AllDamaged {
        /// The folder.
        folder: PathBuf,
        /// All of them, newest first.
        damaged: Vec<Damaged>,
    },
    /// The one checkpoint, or journal, that would do is damaged.
    #[error("{}: what is needed to go on is damaged: {damaged}; put back a copy of it, or start from scratch", folder.display())]
    NeededIsDamaged {
        /// The folder.
        folder: PathBuf,
        /// Which, and how.
        damaged: Damaged,
    },
    /// There is no checkpoint of the epoch that was asked for.
    #[error("{}: no checkpoint of epoch {epoch}, but only of {}; put back a copy of it, or start from scratch", folder.display(), epochs(there))]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The epoch.
        epoch: u64,
        /// Those that a restart could use, newest first.
        there: Vec<Mark>,
    },
    /// The epoch to write is not later than the one before.
    #[error("epoch {epoch} cannot follow epoch {last}: epochs only grow")]
    NotLater {
        /// The epoch to write.
        epoch: u64,
        /// The last one.
        last: u64,
    },
    /// A checkpoint or a journal was to be written before it was said where this run begins.
    #[error("this run has not said from which checkpoint it goes on: call `start` before the first `write`")]
    NotStarted,
}

/// A file that is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} ({flaw})")]
pub struct Damaged {
    /// The name of the file in the folder.
    pub name: String,
    /// What is wrong with it.
    pub flaw: String,
}

impl Error {
    pub(super) fn io(doing: &'static str, place: &Path) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_owned();
        move |source| Self::Io { doing, place, source }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and start again: the checkpoint before is untouched"
        }
        io::ErrorKind::NotFound => "; is the path right?",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; let this user write there, or choose another folder"
        }
        _ => "",
    }
}

fn named(damaged: &[Damaged]) -> String {
    damaged.iter().map(Damaged::to_string).collect::<Vec<_>>().join(", ")
}

fn epochs(marks: &[Mark]) -> String {
    if marks.is_empty() {
        return "none".to_owned();
    }
    marks.iter().map(|mark| mark.epoch.to_string()).collect::<Vec<_>>().join(", ")
}
