//! The partitions of a source, such as its files, and how far each has been read: what a checkpoint says about them.

use std::path::{Path, PathBuf, absolute};

use inflight_connectors::{Error, Position};
use inflight_timely::pipeline::Partition;
use serde::{Deserialize, Serialize};

use crate::file::STANDARD;
use crate::pipeline::Source;

/// How far a partition has been read. As text, it is the position that the dataflow and checkpoints know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// Right after the last record that went on.
    pub(super) position: Position,
    /// It has been read to its end, and is not opened again.
    pub(super) ended: bool,
    /// The source does not have it any more, and that was accepted: it is read on only if the source has it again.
    #[serde(default)]
    pub(super) given_up: bool,
}

impl Reached {
    /// # Errors
    /// That it is no such text.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map_err(|error| format!("the checkpoint has a position that cannot be read: {error}"))
    }

    pub(super) fn text(&self) -> String {
        // Numbers, texts and truth values can all be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// There is nothing to read of it, now.
    pub(super) const fn is_done(&self) -> bool {
        self.ended || self.given_up
    }

    /// Records that went on.
    pub(super) const fn records(&self) -> u64 {
        self.position.records()
    }
}

/// What is read: first all that a checkpoint has `kept`, in its order, then what is new. Of those that the source does not have any more
/// nothing is read, if they are `given_up`.
pub(super) fn partitions(
    source: &Source,
    folder: &Path,
    kept: &[(String, String)],
    given_up: bool,
) -> Result<Vec<Partition>, Error> {
    let there: Vec<String> = match source {
        Source::File(config) => config.partitions()?.iter().map(|path| name(path, folder)).collect(),
        Source::Nats(config) => vec![config.name()],
        #[cfg(feature = "kafka")]
        Source::Kafka(config) => inflight_connectors::kafka::partitions(config)?,
    };
    // Without a position it has not been begun.
    let position = |name: &String, at: &String| match Reached::read(at) {
        Ok(reached) => {
            let given_up = !there.contains(name) && (given_up || reached.given_up);
            Some(Reached { given_up, ..reached }.text())
        }
        Err(_) if given_up && !there.contains(name) => Some(Reached { given_up, ..Reached::default() }.text()),
        Err(_) => Some(at.clone()).filter(|at| !at.is_empty()),
    };
    let known = kept.iter().map(|(name, at)| (name.clone(), position(name, at)));
    let is_new = |name: &&String| kept.iter().all(|(kept, _)| kept != *name);
    let new = there.iter().filter(is_new).map(|name| (name.clone(), None));
    Ok((0..).zip(known.chain(new)).map(|(index, (name, position))| Partition { index, name, position }).collect())
}

/// The same wherever the program is started: from the folder of the pipeline file, or from the root.
fn name(path: &Path, folder: &Path) -> String {
    let name = match path.strip_prefix(folder) {
        _ if path == Path::new(STANDARD) => path.to_owned(),
        Ok(name) => name.to_owned(),
        Err(_) => absolute(path).unwrap_or_else(|_| path.to_owned()),
    };
    name.display().to_string()
}

/// The file of this name.
pub(super) fn path(name: &str, folder: &Path) -> PathBuf {
    if name == STANDARD { name.into() } else { folder.join(name) }
}

#[cfg(test)]
mod tests {
    use inflight_connectors::file::FileSourceConfig;

    use super::*;

    #[test]
    fn what_was_kept_comes_first_and_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.csv", "b.csv", "c.csv"] {
            std::fs::write(folder.path().join(file), "id\n1\n").unwrap();
        }
        let source = Source::File(FileSourceConfig::new(folder.path().join("*.csv")));
        let reached =
            Reached { position: Position { record: 7, skip: 2, ..Position::default() }, ..Reached::default() };
        let kept = [("gone.csv".to_owned(), reached.text()), ("b.csv".to_owned(), reached.text())];
        let told = |given_up| {
            let partitions = partitions(&source, folder.path(), &kept, given_up).unwrap();
            let told = partitions.into_iter().map(|at| (at.index, at.name, at.position));
            told.map(|(index, name, at)| (index, name, at.map(|at| Reached::read(&at).unwrap().is_done())))
                .collect::<Vec<_>>()
        };
        let expected = |gone| {
            [(0, "gone.csv", Some(gone)), (1, "b.csv", Some(false)), (2, "a.csv", None), (3, "c.csv", None)]
                .map(|(index, name, ended)| (index, name.to_owned(), ended))
        };
        assert_eq!(told(false), expected(false));
        assert_eq!(told(true), expected(true));
        assert_eq!(Reached::read(&reached.text()).unwrap().records(), 9);
        assert!(Reached::read("7").is_err());
    }

    #[test]
    fn a_name_leads_back_to_its_file() {
        let folder = Path::new("jobs");
        assert_eq!(name(Path::new("jobs/in/a.csv"), folder), "in/a.csv");
        assert_eq!(path("in/a.csv", folder), Path::new("jobs/in/a.csv"));
        let outside = name(Path::new("a.csv"), folder);
        assert!(Path::new(&outside).is_absolute());
        assert_eq!(path(&outside, folder), Path::new(&outside));
        assert_eq!((name(Path::new("-"), folder).as_str(), path("-", folder).as_path()), ("-", Path::new("-")));
    }
}
