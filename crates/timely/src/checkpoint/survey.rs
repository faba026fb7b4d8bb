//! What is in a folder of checkpoints, read anew each time: somebody else may have written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use super::format::{Decoded, decode};
use super::lineage::{Starts, lineage};
use super::names::Name;
use super::{Damaged, Disk, Error, Mark};

/// Everything with one of our names, and which checkpoints lead to now.
pub(super) struct Survey {
    pub(super) names: BTreeSet<Name>,
    pub(super) unfinished: Vec<Name>,
    /// Files of others; the lock is not counted.
    pub(super) foreign: usize,
    pub(super) checkpoints: BTreeSet<Mark>,
    /// What a restart may use, best first.
    pub(super) line: Vec<Mark>,
    /// Files that say where a run began and cannot be read.
    pub(super) damaged: Vec<Damaged>,
}

impl Survey {
    pub(super) fn of<D: Disk>(disk: &D) -> Result<Self, Error> {
        let (mut names, mut unfinished, mut foreign) = (BTreeSet::new(), Vec::new(), 0);
        for text in disk.names().map_err(Error::io("list the folder", disk.path()))? {
            match (Name::parse(&text), Name::parse_unfinished(&text)) {
                (Some(name), _) => drop(names.insert(name)),
                (None, Some(name)) => unfinished.push(name),
                (None, None) => foreign += usize::from(text != super::names::LOCK),
            }
        }
        let checkpoint = |name: &Name| if let Name::Checkpoint(mark) = name { Some(*mark) } else { None };
        let checkpoints = names.iter().filter_map(checkpoint).collect();
        let mut damaged = Vec::new();
        let mut starts = starts(disk, &names, &mut damaged)?;
        add_lost_starts(disk, &checkpoints, &mut starts)?;
        Ok(Self { line: lineage(&starts, &checkpoints), names, unfinished, foreign, checkpoints, damaged })
    }

    /// The highest generation that left a trace; 0 if none did.
    pub(super) fn highest(&self) -> u64 {
        self.names.iter().chain(&self.unfinished).map(|name| name.generation()).max().unwrap_or(0)
    }
}

/// A checkpoint as it is on disk; nothing if it is gone.
pub(super) fn read<D: Disk>(disk: &D, mark: Mark) -> Result<Option<Result<Decoded, Damaged>>, Error> {
    let name = Name::Checkpoint(mark).to_string();
    let Some(file) = content(disk, &name)? else { return Ok(None) };
    let decoded = decode(&file).and_then(|decoded| match decoded.checkpoint.mark() {
        said if said == mark => Ok(decoded),
        Mark { epoch, generation } => {
            Err(format!("it is that of epoch {epoch} by run {generation}, under another name"))
        }
    });
    Ok(Some(decoded.map_err(|flaw| Damaged { name, flaw })))
}

/// What is in a file; nothing if it is gone, as when a running pipeline prunes while somebody looks.
pub(super) fn content<D: Disk>(disk: &D, name: &str) -> Result<Option<Vec<u8>>, Error> {
    match disk.read(name) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &disk.path().join(name))(error)),
    }
}

/// What the file of a run says once it has begun.
pub(super) fn start_text(from: Option<Mark>) -> String {
    let said = match from {
        Some(Mark { epoch, generation }) => format!("goes on from epoch {epoch} of run {generation}"),
        None => "begins at the beginning".to_owned(),
    };
    format!("{said}, checksum {:08x}\n", crc32fast::hash(said.as_bytes()))
}

fn parse_start(text: &[u8]) -> Option<Option<Mark>> {
    let said = std::str::from_utf8(text).ok()?;
    let mark = said.strip_prefix("goes on from epoch ").and_then(|said| {
        let (epoch, said) = said.split_once(" of run ")?;
        let (generation, _) = said.split_once(',')?;
        Some(Mark { epoch: epoch.parse().ok()?, generation: generation.parse().ok()? })
    });
    (start_text(mark) == said).then_some(mark)
}

fn starts<D: Disk>(disk: &D, names: &BTreeSet<Name>, damaged: &mut Vec<Damaged>) -> Result<Starts, Error> {
    let mut starts = BTreeMap::new();
    for name in names {
        let Name::Generation(generation) = name else { continue };
        let name = name.to_string();
        match content(disk, &name)? {
            Some(text) if text.is_empty() => {} // it has the number, and did not begin
            None => {}
            Some(text) => match parse_start(&text) {
                Some(from) => drop(starts.insert(*generation, from)),
                None => damaged.push(Damaged { name, flaw: "it does not say where its run began".to_owned() }),
            },
        }
    }
    Ok(starts)
}

/// Each checkpoint says too where its run began; that is read when the run's own file is lost.
fn add_lost_starts<D: Disk>(disk: &D, checkpoints: &BTreeSet<Mark>, starts: &mut Starts) -> Result<(), Error> {
    for mark in checkpoints {
        if !starts.contains_key(&mark.generation)
            && let Some(Ok(decoded)) = read(disk, *mark)?
        {
            starts.insert(mark.generation, decoded.started_from);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_comes_back_and_no_other_text_is_one() {
        for from in [None, Some(Mark { epoch: 50, generation: 2 })] {
            let text = start_text(from).into_bytes();
            assert_eq!(parse_start(&text), Some(from));
            for length in 0..text.len() {
                assert_eq!(parse_start(&text[..length]), None, "{length}");
            }
            for place in 0..text.len() {
                for change in 1..=255 {
                    let mut changed = text.clone();
                    changed[place] ^= change;
                    assert_eq!(parse_start(&changed), None, "byte {place} xor {change}");
                }
            }
        }
    }
}
