//! The folder of checkpoints as the run that writes it has it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use super::format::encode;
use super::names::Name;
use super::survey::{Survey, read, start_text};
use super::{Checkpoint, Damaged, Disk, Error, Lock, Mark};

/// Checkpoints that are kept unless [`Store::keep`] says otherwise.
pub const KEEP: usize = 3;
/// Fewest checkpoints that are kept: a sink that decides by its own transaction may still be at the one before the last.
pub const KEEP_MIN: usize = 2;

/// The folder of checkpoints, held by one run: see [the module](super) for what it promises and why that holds.
///
/// The order of things: [`open`](Self::open), then [`latest`](Self::latest) or [`at`](Self::at), then [`start`](Self::start), and
/// then [`write`](Self::write) for each epoch.
#[derive(Debug)]
pub struct Store<D> {
    disk: D,
    generation: u64,
    keep: usize,
    /// Once it is said: what this run goes on from.
    started_from: Option<Option<Mark>>,
    /// The last epoch that was written, or gone on from.
    last: Option<u64>,
    /// Which checkpoints were found to be valid or not, so that pruning reads each only once.
    known: BTreeMap<Mark, bool>,
}

/// The checkpoint to go on from, and what had to be passed over for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Nothing: the folder has none, so the run begins at the beginning.
    pub checkpoint: Option<Checkpoint>,
    /// Newer files that are damaged. Tell people.
    pub damaged: Vec<Damaged>,
}

impl<D: Disk> Store<D> {
    /// Takes the folder over: locks it and draws a generation, a number higher than that of any run before. From then on an older
    /// run that is still alive can write nothing more that counts.
    ///
    /// `now` is for whoever is refused while this run has the folder; [`rfc3339`](super::rfc3339) is how to write it.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] if another run has it, and whatever goes wrong with the folder.
    pub fn open(mut disk: D, now: &str) -> Result<Self, Error> {
        match disk.lock(&format!("since {now}")).map_err(Error::io("lock the folder", disk.path()))? {
            Lock::Held(holder) => return Err(Error::Held { folder: disk.path().to_owned(), holder }),
            // Without locks the generation is what remains: of two runs, the one that came later goes on.
            Lock::Ours | Lock::Unsupported => {}
        }
        let generation = draw(&mut disk)?;
        Ok(Self { disk, generation, keep: KEEP, started_from: None, last: None, known: BTreeMap::new() })
    }

    /// How many valid checkpoints to keep, at least [`KEEP_MIN`]; otherwise [`KEEP`].
    #[must_use]
    pub fn keep(mut self, count: usize) -> Self {
        self.keep = count.max(KEEP_MIN);
        self
    }

    /// The number of this run. It belongs into every [`Checkpoint`] it writes.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The newest valid checkpoint that leads to now.
    ///
    /// # Errors
    ///
    /// [`Error::AllDamaged`] if there are checkpoints and none is valid: to begin at the beginning would be to lose what they knew.
    pub fn latest(&self) -> Result<Found, Error> {
        let survey = Survey::of(&self.disk)?;
        let mut damaged = Vec::new();
        for mark in survey.line {
            match read(&self.disk, mark)? {
                Some(Ok(decoded)) => {
                    damaged.extend(survey.damaged);
                    return Ok(Found { checkpoint: Some(decoded.checkpoint), damaged });
                }
                Some(Err(flaw)) => damaged.push(flaw),
                None => {}
            }
        }
        if damaged.is_empty() {
            return Ok(Found { checkpoint: None, damaged: survey.damaged });
        }
        Err(Error::AllDamaged { folder: self.disk.path().to_owned(), damaged })
    }

    /// The checkpoint of exactly this epoch: for sinks that decide, in a transaction of their own, which epoch is complete.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] if there is none that leads to now, [`Error::NeededIsDamaged`] if it is damaged.
    pub fn at(&self, epoch: u64) -> Result<Checkpoint, Error> {
        let line = Survey::of(&self.disk)?.line;
        let found = line.iter().find(|mark| mark.epoch == epoch).map(|mark| read(&self.disk, *mark)).transpose()?;
        let folder = self.disk.path().to_owned();
        match found.flatten() {
            Some(Ok(decoded)) => Ok(decoded.checkpoint),
            Some(Err(damaged)) => Err(Error::NeededIsDamaged { folder, damaged }),
            None => Err(Error::Missing { folder, epoch, there: line }),
        }
    }

    /// Says from which checkpoint this run goes on, or (`None`) that it begins at the beginning, and makes that durable. Only then may it
    /// touch its sinks: what older runs still write after that checkpoint will never be chosen.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] if a newer run has taken over, [`Error::Missing`] if there is no such checkpoint.
    pub fn start(&mut self, from: Option<Mark>) -> Result<(), Error> {
        let line = Survey::of(&self.disk)?.line;
        if let Some(Mark { epoch, .. }) = from.filter(|mark| !line.contains(mark)) {
            return Err(Error::Missing { folder: self.disk.path().to_owned(), epoch, there: line });
        }
        self.put(Name::Generation(self.generation), start_text(from).as_bytes(), "say where this run begins")?;
        (self.started_from, self.last) = (Some(from), from.map(|mark| mark.epoch));
        Ok(())
    }

    /// Writes a checkpoint. When this returns it is complete: no crash loses it. Then older ones are pruned; what
    /// cannot be removed now is tried again the next time.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] if a newer run has taken over: stop, and commit nothing. [`Error::NotStarted`], [`Error::NotLater`], and
    /// whatever goes wrong with the folder, as when the disk is full. The checkpoint before is untouched then.
    ///
    /// # Panics
    ///
    /// If the checkpoint has another generation than this run.
    pub fn write(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        assert_eq!(checkpoint.generation, self.generation, "a checkpoint is written by the run that made it");
        let started_from = self.started_from.ok_or(Error::NotStarted)?;
        let mark = checkpoint.mark();
        if let Some(last) = self.last.filter(|last| *last >= mark.epoch) {
            return Err(Error::NotLater { epoch: mark.epoch, last });
        }
        self.put(Name::Checkpoint(mark), &encode(checkpoint, started_from), "write the checkpoint")?;
        self.last = Some(mark.epoch);
        self.known.insert(mark, true);
        drop(self.prune()); // the checkpoint is complete all the same
        Ok(())
    }

    /// The folder.
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// Makes a file appear as a whole. When it returns, no newer run had drawn its number by the time the file was there for good, so
    /// every newer run sees it.
    fn put(&mut self, name: Name, bytes: &[u8], doing: &'static str) -> Result<(), Error> {
        refuse_if_fenced(&self.disk, self.generation)?;
        let (unfinished, place) = (name.unfinished(), self.disk.path().join(name.to_string()));
        let written = appear(&mut self.disk, &unfinished, &name.to_string(), bytes);
        if written.is_err() {
            drop(self.disk.remove(&unfinished)); // the error that led here matters more
        }
        // A newer run may also be the reason why it failed.
        refuse_if_fenced(&self.disk, self.generation)?;
        written.map_err(Error::io(doing, &place))
    }

    /// Removes what nobody needs: see [`unneeded`].
    fn prune(&mut self) -> Result<(), Error> {
        let survey = Survey::of(&self.disk)?;
        let mut kept = Vec::new();
        let mut valid = 0;
        for mark in &survey.line {
            if valid == self.keep {
                break;
            }
            let is_valid = match self.known.get(mark) {
                Some(known) => *known,
                None => matches!(read(&self.disk, *mark)?, Some(Ok(_))),
            };
            self.known.insert(*mark, is_valid);
            valid += usize::from(is_valid);
            kept.push(*mark);
        }
        self.known.retain(|mark, _| kept.contains(mark));
        if valid < self.keep {
            kept.extend(&survey.checkpoints); // all of them
        }
        let unneeded = unneeded(&survey, &kept, self.generation);
        for name in &unneeded {
            self.disk.remove(name).map_err(Error::io("remove", &self.disk.path().join(name)))?;
        }
        Ok(())
    }
}

/// Names of ours that a restart does not need: checkpoints that are not among the kept, journals that follow none of those, numbers of older
/// runs that have no checkpoint left, and what older runs left unfinished. Nothing of newer runs, and nothing of others.
fn unneeded(survey: &Survey, kept: &[Mark], ours: u64) -> Vec<String> {
    let is_unneeded = |name: &Name| match name {
        Name::Checkpoint(mark) => !kept.contains(mark),
        Name::Journal(journal) => !kept.iter().any(|mark| mark.epoch == journal.epoch),
        Name::Generation(run) => *run < ours && !kept.iter().any(|mark| mark.generation == *run),
    };
    let names = survey.names.iter().filter(|name| name.generation() <= ours && is_unneeded(name)).map(Name::to_string);
    let unfinished = survey.unfinished.iter().filter(|name| name.generation() < ours).map(|name| name.unfinished());
    names.chain(unfinished).collect()
}

/// Refuses when a newer run has drawn its number.
pub(super) fn refuse_if_fenced<D: Disk>(disk: &D, ours: u64) -> Result<(), Error> {
    let names = disk.names().map_err(Error::io("list the folder", disk.path()))?;
    let newest = names.iter().filter_map(|name| Name::parse(name)).map(Name::generation).max();
    match newest.filter(|newest| *newest > ours) {
        Some(newer) => Err(Error::Fenced { folder: disk.path().to_owned(), ours, newer }),
        None => Ok(()),
    }
}

/// Draws the next generation and makes it durable.
fn draw<D: Disk>(disk: &mut D) -> Result<u64, Error> {
    /// How many other runs may draw at the same moment.
    const TRIES: usize = 100;
    let mut drawn = Err(io::Error::from(ErrorKind::AlreadyExists));
    let mut number = 0;
    for _ in 0..TRIES {
        number = Survey::of(disk)?.highest().saturating_add(1);
        drawn = disk.create(&Name::Generation(number).to_string());
        if !matches!(&drawn, Err(error) if error.kind() == ErrorKind::AlreadyExists) {
            break;
        }
    }
    let name = Name::Generation(number).to_string();
    let durable = drawn.and_then(|()| disk.sync(&name)).and_then(|()| disk.sync_folder());
    durable.map_err(Error::io("draw the number of this run", &disk.path().join(name)))?;
    Ok(number)
}

fn appear<D: Disk>(disk: &mut D, unfinished: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    disk.write(unfinished, bytes)?;
    disk.sync(unfinished)?;
    disk.rename(unfinished, name)?;
    disk.sync_folder()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Folder, list};
    use super::*;

    fn open(folder: &Path) -> Store<Folder> {
        Store::open(Folder::open(folder).unwrap(), "noon").unwrap()
    }

    fn checkpoint<D: Disk>(store: &Store<D>, epoch: u64) -> Checkpoint {
        let carried = vec![7; usize::try_from(epoch).unwrap()];
        Checkpoint { epoch, generation: store.generation(), carried, ..Checkpoint::default() }
    }

    /// A run that goes on from what there is, and writes these epochs.
    fn run(folder: &Path, epochs: impl IntoIterator<Item = u64>) -> Store<Folder> {
        let mut store = open(folder);
        let from = store.latest().unwrap().checkpoint.map(|found| found.mark());
        store.start(from).unwrap();
        for epoch in epochs {
            store.write(&checkpoint(&store, epoch)).unwrap();
        }
        store
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names = Folder::open(folder).unwrap().names().unwrap();
        names.sort();
        names
    }

    const fn mark(epoch: u64, generation: u64) -> Mark {
        Mark { epoch, generation }
    }

    fn damage(folder: &Path, epoch: u64, generation: u64) {
        let path = folder.join(Name::Checkpoint(mark(epoch, generation)).to_string());
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_newest_few_are_kept_and_nothing_of_others_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["notes.txt", "checkpoint-7", "generation-x", "other.tmp"] {
            std::fs::write(folder.path().join(name), "mine").unwrap();
        }
        drop(run(folder.path(), 1..=2));
        std::fs::write(folder.path().join("checkpoint-00000000000000000009-1.tmp"), "left by a crash").unwrap();
        let store = run(folder.path(), 3..=9);
        assert_eq!(store.generation(), 2);
        assert_eq!(
            names(folder.path()),
            [
                "checkpoint-00000000000000000007-2",
                "checkpoint-00000000000000000008-2",
                "checkpoint-00000000000000000009-2",
                "checkpoint-7",
                "generation-2",
                "generation-x",
                "lock",
                "notes.txt",
                "other.tmp"
            ]
        );
        assert_eq!(store.latest().unwrap().checkpoint, Some(checkpoint(&store, 9)));
        assert_eq!(store.at(8).unwrap(), checkpoint(&store, 8));
    }

    #[test]
    fn a_damaged_one_is_named_passed_over_and_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        drop(run(folder.path(), 1..=3));
        damage(folder.path(), 3, 1);
        let mut store = open(folder.path());
        let found = store.latest().unwrap();
        assert_eq!(found.checkpoint.map(|found| found.mark()), Some(mark(2, 1)));
        assert_eq!(found.damaged.len(), 1);
        assert_eq!(
            found.damaged[0].to_string(),
            "checkpoint-00000000000000000003-1 (its bytes have changed since they were written: the checksums differ)"
        );
        assert!(matches!(store.at(3), Err(Error::NeededIsDamaged { .. })));
        // Going on from the second leaves the third behind, but it stays until there are enough others.
        store.start(Some(mark(2, 1))).unwrap();
        store.write(&checkpoint(&store, 3)).unwrap();
        assert!(names(folder.path()).contains(&"checkpoint-00000000000000000001-1".to_owned()));
        assert_eq!(store.latest().unwrap(), Found { checkpoint: Some(checkpoint(&store, 3)), damaged: Vec::new() });
    }

    #[test]
    fn valid_ones_behind_damaged_ones_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        drop(run(folder.path(), 1..=3));
        let mut store = open(folder.path());
        store.start(Some(mark(3, 1))).unwrap();
        damage(folder.path(), 2, 1);
        damage(folder.path(), 3, 1);
        store.write(&checkpoint(&store, 4)).unwrap();
        store.write(&checkpoint(&store, 5)).unwrap();
        let kept = list(store.disk()).unwrap().checkpoints;
        let valid: Vec<_> = kept.iter().filter(|kept| kept.content.is_ok()).map(|kept| kept.mark).collect();
        assert_eq!(valid, [mark(5, 2), mark(4, 2), mark(1, 1)]);
        assert_eq!(kept.len(), 5);
    }

    #[test]
    fn when_none_is_valid_nothing_begins_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        drop(run(folder.path(), 1..=2));
        damage(folder.path(), 1, 1);
        damage(folder.path(), 2, 1);
        let mut store = open(folder.path());
        let error = store.latest().unwrap_err();
        let Error::AllDamaged { damaged, .. } = &error else { panic!("{error}") };
        assert_eq!(damaged.len(), 2);
        assert!(error.to_string().contains("start from scratch"), "{error}");
        store.start(None).unwrap();
        assert_eq!(store.latest().unwrap().checkpoint, None);
    }

    #[test]
    fn a_checkpoint_under_another_name_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        drop(run(folder.path(), 1..=2));
        let at = |epoch| folder.path().join(Name::Checkpoint(mark(epoch, 1)).to_string());
        std::fs::copy(at(1), at(2)).unwrap();
        let found = open(folder.path()).latest().unwrap();
        assert_eq!(found.checkpoint.unwrap().epoch, 1);
        assert_eq!(found.damaged[0].flaw, "it is that of epoch 1 by run 1, under another name");
    }

    #[test]
    fn a_second_run_is_refused_and_told_who_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = run(folder.path(), 1..=1);
        let error = Store::open(Folder::open(folder.path()).unwrap(), "one").unwrap_err().to_string();
        assert!(error.contains("in use by process") && error.contains("since noon"), "{error}");
        drop(first);
        assert_eq!(open(folder.path()).generation(), 2);
    }

    #[test]
    fn what_comes_in_the_wrong_order_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        assert!(matches!(store.write(&checkpoint(&store, 1)), Err(Error::NotStarted)));
        let missing = store.start(Some(mark(3, 1))).unwrap_err().to_string();
        assert!(missing.contains("no checkpoint of epoch 3, but only of none"), "{missing}");
        store.start(None).unwrap();
        store.write(&checkpoint(&store, 5)).unwrap();
        assert!(matches!(store.write(&checkpoint(&store, 5)), Err(Error::NotLater { epoch: 5, last: 5 })));
        let missing = store.at(4).unwrap_err().to_string();
        assert!(missing.contains("no checkpoint of epoch 4, but only of 5"), "{missing}");
    }

    #[test]
    fn a_start_that_cannot_be_read_is_found_in_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        drop(run(folder.path(), 1..=2));
        let mut second = open(folder.path());
        second.start(Some(mark(1, 1))).unwrap();
        second.write(&checkpoint(&second, 2)).unwrap();
        drop(second);
        std::fs::write(folder.path().join("generation-2"), "goes on from epo").unwrap();
        let left_behind = || {
            let listing = list(open(folder.path()).disk()).unwrap();
            assert_eq!(listing.damaged[0].name, "generation-2");
            let left_behind = |listed: &super::super::Listed| (!listed.leads_to_now).then_some(listed.mark);
            listing.checkpoints.iter().filter_map(left_behind).collect::<Vec<_>>()
        };
        assert_eq!(left_behind(), [mark(2, 1)]);
        damage(folder.path(), 2, 2); // now nothing says it any more
        assert_eq!(left_behind(), []);
    }
}
