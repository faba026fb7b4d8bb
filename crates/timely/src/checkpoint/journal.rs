//! What was put out since a checkpoint, so that a restart can put out the same.
//!
//! A journal is a file that only grows: a first line, then entries of length, CRC-32 and bytes. What a crash left of the last ones is
//! dropped when it is read.

use super::names::Name;
use super::store::refuse_if_fenced;
use super::survey::{Survey, content};
use super::{Damaged, Disk, Error, Mark};

/// The number goes up with that of checkpoints: their rows are the same.
const MAGIC: &[u8] = b"inflight journal 2\n";
/// What older versions wrote.
const OLDER: [&[u8]; 1] = [b"inflight journal 1\n"];
/// Length and checksum before each entry, both little-endian.
const HEAD: usize = 8;

/// The journal of one run behind one checkpoint.
///
/// It has a handle of the folder of its own, so that it may be on another thread than the [`Store`](super::Store), which removes it when
/// the checkpoint it follows is pruned.
#[derive(Debug)]
pub struct Journal<D> {
    disk: D,
    name: Name,
    /// Entries that wait for [`sync`](Self::sync); at first with the beginning of the file.
    waiting: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Written,
    /// An entry may be half written: what came behind it could not be read.
    Failed,
}

impl<D: Disk> Journal<D> {
    /// The journal behind this checkpoint, or (`None`) from the beginning, of the run with this generation. The file
    /// is made with the first entry.
    pub fn new(disk: D, follows: Option<Mark>, generation: u64) -> Self {
        let name = Name::Journal(Mark { epoch: follows.map_or(0, |mark| mark.epoch), generation });
        let mut journal = Self { disk, name, waiting: MAGIC.to_vec(), state: State::New };
        journal.append(said(follows).as_bytes());
        journal
    }

    /// Adds an entry. It is in memory until the next [`sync`](Self::sync).
    ///
    /// # Panics
    ///
    /// If the entry is 4 GiB or larger.
    pub fn append(&mut self, entry: &[u8]) {
        let length = u32::try_from(entry.len()).expect("an entry is smaller than 4 GiB").to_le_bytes();
        self.waiting.extend_from_slice(&length);
        self.waiting.extend_from_slice(&checksum(&length, entry).to_le_bytes());
        self.waiting.extend_from_slice(entry);
    }

    /// Writes what was appended. When this returns, no crash loses it, and no newer run has overlooked it.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] if a newer run has taken over: nothing of what was appended may be put out. And what goes wrong with the
    /// folder, for instance when the disk is full; the journal then takes nothing more.
    pub fn sync(&mut self) -> Result<(), Error> {
        let name = self.name.to_string();
        let is_new = self.state == State::New;
        let written = if self.state == State::Failed {
            Err(std::io::Error::other("it failed before, and its end is not known"))
        } else {
            self.state = State::Failed;
            let made = if is_new { self.disk.create(&name) } else { Ok(()) };
            made.and_then(|()| self.disk.append(&name, &self.waiting)).and_then(|()| self.disk.sync(&name))
        };
        let durable = written.and_then(|()| if is_new { self.disk.sync_folder() } else { Ok(()) });
        durable.map_err(Error::io("write the journal", &self.disk.path().join(&name)))?;
        self.waiting.clear();
        self.state = State::Written;
        refuse_if_fenced(&self.disk, self.name.generation())
    }
}

/// What was read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The entries, in the order they were written, older runs first. When a newer run has one for the same record, that counts: an older one
    /// may have gone on writing for a moment after it was taken over.
    pub entries: Vec<Vec<u8>>,
    /// Ends that were dropped: torn by a crash, or damaged.
    pub dropped: Vec<Damaged>,
}

/// All that was recorded behind this checkpoint, or (`None`) from the beginning.
///
/// # Errors
///
/// What goes wrong with the folder; [`Error::NeededIsDamaged`] if an older version has written one that is needed.
pub fn recorded<D: Disk>(disk: &D, follows: Option<Mark>) -> Result<Recorded, Error> {
    let epoch = follows.map_or(0, |mark| mark.epoch);
    let mut recorded = Recorded::default();
    for name in Survey::of(disk)?.names {
        if !matches!(name, Name::Journal(mark) if mark.epoch == epoch) {
            continue;
        }
        let name = name.to_string();
        let Some(file) = content(disk, &name)? else { continue };
        if OLDER.iter().any(|older| file.starts_with(older)) {
            let flaw = "written by an older version of inflight, in another format: end the run with that version";
            let damaged = Damaged { name, flaw: flaw.to_owned() };
            return Err(Error::NeededIsDamaged { folder: disk.path().to_owned(), damaged });
        }
        let (mut entries, rest) = entries(&file);
        if !rest.is_empty() {
            let flaw = format!("its last {} of {} bytes are torn or damaged", rest.len(), file.len());
            recorded.dropped.push(Damaged { name, flaw });
        }
        if entries.next().is_some_and(|first| first == said(follows).as_bytes()) {
            recorded.entries.extend(entries.map(<[u8]>::to_vec));
        }
    }
    Ok(recorded)
}

/// Removes all journals: for a run that begins anew although there is something to go on from.
///
/// # Errors
///
/// What goes wrong with the folder.
pub fn forget<D: Disk>(disk: &mut D) -> Result<(), Error> {
    for name in Survey::of(disk)?.names.into_iter().filter(|name| matches!(name, Name::Journal(_))) {
        let name = name.to_string();
        disk.remove(&name).map_err(Error::io("remove", &disk.path().join(name)))?;
    }
    disk.sync_folder().map_err(Error::io("write the folder to disk", disk.path()))
}

/// The first entry: behind which checkpoint this is. Two runs may each have written one of the same epoch.
fn said(follows: Option<Mark>) -> String {
    match follows {
        Some(Mark { epoch, generation }) => format!("follows epoch {epoch} of run {generation}\n"),
        None => "from the beginning\n".to_owned(),
    }
}

fn checksum(length: &[u8], entry: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length); // so that zeros are no entries
    hasher.update(entry);
    hasher.finalize()
}

/// The entries that are whole, and the bytes behind them.
fn entries(file: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let Some(start) = file.strip_prefix(MAGIC) else { return (Vec::new().into_iter(), file) };
    let mut rest = start;
    let mut found = Vec::new();
    while let Some((entry, behind)) = first(rest) {
        found.push(entry);
        rest = behind;
    }
    (found.into_iter(), rest)
}

fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let (length, sum) = head.split_first_chunk::<4>()?;
    let (entry, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (checksum(length, entry).to_le_bytes() == sum).then_some((entry, rest))
}

#[cfg(test)]
mod tests {
    use super::super::Folder;
    use super::*;

    const AT: Option<Mark> = Some(Mark { epoch: 5, generation: 1 });

    fn texts(recorded: &Recorded) -> Vec<&str> {
        recorded.entries.iter().map(|entry| std::str::from_utf8(entry).unwrap()).collect()
    }

    #[test]
    fn what_was_synced_comes_back_and_each_run_adds_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let disk = || Folder::open(folder.path()).unwrap();
        assert_eq!(recorded(&disk(), AT).unwrap(), Recorded::default());
        let mut first = Journal::new(disk(), AT, 1);
        first.append(b"a");
        first.append(b"");
        first.sync().unwrap();
        first.append(b"more");
        first.sync().unwrap();
        first.append(b"lost");
        drop(first);
        let mut second = Journal::new(disk(), AT, 2);
        second.append(b"b");
        second.sync().unwrap();
        assert_eq!(texts(&recorded(&disk(), AT).unwrap()), ["a", "", "more", "b"]);
        let other = Some(Mark { epoch: 5, generation: 2 });
        assert!(recorded(&disk(), other).unwrap().entries.is_empty(), "that is another checkpoint of the epoch");
        assert!(recorded(&disk(), None).unwrap().entries.is_empty());
        forget(&mut disk()).unwrap();
        assert_eq!(recorded(&disk(), AT).unwrap(), Recorded::default());
    }

    #[test]
    fn every_torn_end_is_dropped_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Folder::open(folder.path()).unwrap();
        let mut journal = Journal::new(Folder::open(folder.path()).unwrap(), None, 1);
        let mut ends = Vec::new(); // of each entry
        for entry in [&b"one"[..], b"", b"three\n"] {
            journal.append(entry);
            ends.push(journal.waiting.len());
        }
        let whole = journal.waiting.clone();
        journal.sync().unwrap();
        let name = journal.name.to_string();
        let whole_before = |place: usize| ends.iter().filter(|end| **end <= place).count();
        for length in 0..=whole.len() {
            for zeros in [0, 30] {
                disk.write(&name, &[&whole[..length], &vec![0; zeros]].concat()).unwrap();
                assert_eq!(recorded(&disk, None).unwrap().entries.len(), whole_before(length), "{length} + {zeros}");
            }
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1 << (place % 8);
            disk.write(&name, &changed).unwrap();
            let found = recorded(&disk, None).unwrap();
            assert_eq!(found.entries.len(), whole_before(place), "byte {place}");
            assert_eq!(found.dropped.len(), 1, "byte {place}");
        }
    }

    #[test]
    fn one_of_an_older_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Folder::open(folder.path()).unwrap();
        let name = Journal::new(Folder::open(folder.path()).unwrap(), AT, 1).name.to_string();
        disk.write(&name, b"inflight journal 1\nwhatever").unwrap();
        let refused = recorded(&disk, AT).unwrap_err().to_string();
        assert!(refused.contains("written by an older version of inflight"), "{refused}");
        assert_eq!(recorded(&disk, None).unwrap(), Recorded::default(), "it is not needed");
    }

    #[test]
    fn a_run_that_was_taken_over_may_put_out_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = || Folder::open(folder.path()).unwrap();
        let mut journal = Journal::new(disk(), AT, 1);
        journal.append(b"a");
        disk().create("generation-2").unwrap();
        assert!(matches!(journal.sync(), Err(Error::Fenced { ours: 1, newer: 2, .. })));
    }

    #[test]
    fn after_a_failure_it_takes_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("folder");
        let mut journal = Journal::new(Folder::create(&place).unwrap(), AT, 1);
        std::fs::remove_dir(&place).unwrap();
        assert!(journal.sync().is_err());
        std::fs::create_dir(&place).unwrap();
        let error = journal.sync().unwrap_err().to_string();
        assert!(error.contains("it failed before"), "{error}");
    }
}
