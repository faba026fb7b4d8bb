//! What people want to know of a folder of checkpoints. It takes no lock, and changes nothing.

use super::names::Name;
use super::survey::{Survey, content, read};
use super::{Checkpoint, Damaged, Disk, Error, Mark};

/// A folder of checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// All checkpoints, those that a restart may use first, best first.
    pub checkpoints: Vec<Listed>,
    /// The one that a restart would use, unless a sink decides otherwise.
    pub next: Option<Mark>,
    /// Runs whose beginning cannot be read.
    pub damaged: Vec<Damaged>,
    /// Whether anything here was written by a [`Store`](super::Store).
    pub is_ours: bool,
    /// Files here that were not.
    pub foreign: usize,
}

/// A checkpoint in its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its epoch and who wrote it, by its name.
    pub mark: Mark,
    /// The name of its file.
    pub name: String,
    /// How large the file is, in bytes.
    pub size: u64,
    /// What it says, or what is wrong with it. `carried` is left out: it is empty.
    pub content: Result<Checkpoint, String>,
    /// How many bytes are carried; 0 if it is damaged.
    pub carried_bytes: u64,
    /// Whether a restart may use it. If not, a newer run went on from an earlier one, or from the beginning.
    pub leads_to_now: bool,
}

/// All checkpoints of a folder, each of them read and verified.
///
/// # Errors
///
/// What goes wrong with the folder; a damaged file is not an error, but listed.
pub fn list<D: Disk>(disk: &D) -> Result<Listing, Error> {
    let survey = Survey::of(disk)?;
    let left_behind = survey.checkpoints.iter().rev().filter(|mark| !survey.line.contains(mark));
    let mut checkpoints = Vec::new();
    for mark in survey.line.iter().chain(left_behind) {
        let name = Name::Checkpoint(*mark).to_string();
        let (Some(file), Some(found)) = (content(disk, &name)?, read(disk, *mark)?) else { continue };
        let found = found.map(|decoded| decoded.checkpoint).map_err(|damaged| damaged.flaw);
        checkpoints.push(Listed {
            mark: *mark,
            name,
            size: file.len() as u64,
            carried_bytes: found.as_ref().map_or(0, |checkpoint| checkpoint.carried.len() as u64),
            content: found.map(|checkpoint| Checkpoint { carried: Vec::new(), ..checkpoint }),
            leads_to_now: survey.line.contains(mark),
        });
    }
    let is_next = |listed: &&Listed| listed.leads_to_now && listed.content.is_ok();
    Ok(Listing {
        next: checkpoints.iter().find(is_next).map(|listed| listed.mark),
        checkpoints,
        damaged: survey.damaged,
        is_ours: !survey.names.is_empty(),
        foreign: survey.foreign,
    })
}
