//! Checkpoints on disk: one file each, in a folder that one run at a time may write.
//!
//! A [`Store`] knows nothing of dataflows. What it promises, whatever crashes and whenever:
//!
//! 1. When [`Store::write`] has returned, that checkpoint is complete: every later run finds it, or a newer one.
//! 2. What is found is whole. A file that was cut off, grew, or has a byte changed is named, and the one before is used.
//! 3. Of two runs on one folder one goes on; what the other still writes is never chosen.
//! 4. Nothing is removed that the newest valid checkpoints need, nor anything that is not known.
//!
//! ```
//! use inflight_timely::checkpoint::{Checkpoint, Folder, Store};
//!
//! let folder = tempfile::tempdir()?;
//! let mut store = Store::open(Folder::create(folder.path())?, "2026-01-02T03:04:05.678Z")?;
//! assert!(store.latest()?.checkpoint.is_none());
//! store.start(None)?; // at the beginning
//! store.write(&Checkpoint {
//!     epoch: 1,
//!     generation: store.generation(),
//!     partitions: vec![("flights.csv".to_owned(), r#"{"byte":4711}"#.to_owned())],
//!     ..Checkpoint::default()
//! })?;
//! drop(store); // here the power goes
//!
//! let mut store = Store::open(Folder::open(folder.path())?, "2026-01-02T03:05:00.000Z")?;
//! let found = store.latest()?.checkpoint.expect("it was written");
//! assert_eq!(found.epoch, 1);
//! assert_eq!(found.partitions[0].1, r#"{"byte":4711}"#);
//! store.start(Some(found.mark()))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The files
//!
//! | file | what it is |
//! |---|---|
//! | `checkpoint-<epoch>-<generation>` | a checkpoint: a header to be read with `head`, then bytes |
//! | `generation-<n>` | run `n` has drawn its number; what is in it, once it has begun to work, is where it went on from |
//! | `journal-<epoch>-<generation>` | what was put out behind a checkpoint: [`Journal`] |
//! | `lock` | who has the folder |
//! | `*.tmp` | was being written |
//!
//! # Why one run goes on, even without locks
//!
//! Normally the lock keeps a second run out. On filesystems without locks, or when a machine is thought dead and is not, two runs may
//! have one folder. Each has a generation: the file `generation-<n>` was made by it alone, and durably, before it looked at anything.
//!
//! - *A run publishes, then looks for higher generations, and only then says that it succeeded; a new run publishes its generation, then
//!   looks for checkpoints.* So whatever order the two mix in: when `write` returned success, its look found no higher generation, so
//!   that one was published later and saw the checkpoint. If it did not see it, the older run's look sees the generation, and `write` says
//!   [`Error::Fenced`]: the older run stops, and commits nothing.
//! - *A file the older run leaves behind in that moment is never chosen.* Before a run touches its sinks, it writes down
//!   which checkpoint it goes on from ([`Store::start`]; each of its checkpoints says so again). Later runs follow that:
//!   the checkpoints of the newest run that began, then the one it went on from and those before that, and so on. A checkpoint of an older
//!   run that is newer than what was gone on from is not on that way, even if its epoch is the highest.
//! - *A run that drew a number and did not begin* has touched nothing, and is passed over.
//! - *The same holds for a start*: it is published, then higher generations are looked for. A run that finds one has not begun.
//!
//! # Why a crash loses nothing
//!
//! A checkpoint is written under another name, synced, renamed, and the folder synced. So under its name it is whole or not there, and
//! once `write` has returned it is there. Files are removed only after that, and a removal that a crash undoes brings back nothing that
//! would be chosen: the way from the newest run backwards does not change.

mod disk;
mod error;
mod format;
mod inspect;
mod journal;
mod lineage;
mod moment;
mod names;
mod store;
mod survey;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use disk::{Disk, Folder, Lock};
pub use error::{Damaged, Error};
pub use inspect::{Listed, Listing, list};
pub use journal::{Journal, Recorded, forget, recorded};
pub use moment::{rfc3339, since_1970};
pub use store::{Found, KEEP, KEEP_MIN, Store};

/// Everything a run needs to go on after an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// All records of this epoch and those before have their effect in the sinks, or are carried.
    pub epoch: u64,
    /// The run that wrote it: [`Store::generation`].
    pub generation: u64,
    /// When: [`rfc3339`].
    pub created: String,
    /// What must fit for it to be gone on from, in a form of the caller's own.
    pub pipeline: String,
    /// Whether the run had come to its end.
    pub complete: bool,
    /// For each partition of the source its name and the position to read on from, in the source's own form.
    pub partitions: Vec<(String, String)>,
    /// For each sink its state, in the sink's own form.
    pub sinks: BTreeMap<String, String>,
    /// Anything else: counts, for instance.
    pub facts: BTreeMap<String, String>,
    /// How many records were in flight or waited for their turn, and are carried.
    pub carried_records: usize,
    /// Those records, in the caller's own form.
    #[serde(skip)]
    pub carried: Vec<u8>,
}

impl Checkpoint {
    /// Which one it is.
    pub const fn mark(&self) -> Mark {
        Mark { epoch: self.epoch, generation: self.generation }
    }
}

/// Which checkpoint: two runs may each have written one of the same epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Its epoch.
    pub epoch: u64,
    /// The run that wrote it.
    pub generation: u64,
}
