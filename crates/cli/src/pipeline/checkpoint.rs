//! Recovery as needed: where checkpoints go, how often, and why some pipelines cannot have any.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::Pipeline;
use crate::fault::Fault;
use crate::file::{self, Document, Replay, STANDARD};

/// From one checkpoint to the next unless the file says otherwise.
pub const EVERY: Duration = Duration::from_secs(1);

/// Checkpoints that are kept unless the file says otherwise.
pub const KEEP: usize = 3;

/// Fewest checkpoints that may be kept: one that is damaged needs another before it.
pub const KEEP_MIN: usize = 2;

/// Most checkpoints that may be kept.
pub const KEEP_MAX: usize = 1_000;

/// Where and how often a run writes down what it has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The folder. It already starts from that of the pipeline file.
    pub dir: PathBuf,
    /// From one checkpoint to the next.
    pub every: Duration,
    /// How many are kept, [`KEEP_MIN`] to [`KEEP_MAX`].
    pub keep: usize,
    /// What records that are done again are given as answers.
    pub replay: Replay,
}

impl Checkpoint {
    /// A folder with everything else left to the defaults.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), every: EVERY, keep: KEEP, replay: Replay::None }
    }

    /// What the file says, with every default filled in.
    pub(super) fn of(typed: file::Checkpoint, document: &Document, faults: &mut Vec<Fault>) -> Self {
        let keep = typed.keep.map_or(KEEP, |count| usize::try_from(count.0).unwrap_or(usize::MAX));
        if !(KEEP_MIN..=KEEP_MAX).contains(&keep) {
            let fault = document.fault(&["checkpoint", "keep"], format!("{keep} checkpoints cannot be kept"));
            let label = format!("{KEEP_MIN} to {KEEP_MAX}: one that is damaged needs another before it");
            faults.push(fault.with_label(label));
        }
        if typed.dir.as_os_str().is_empty() {
            faults.push(document.fault(&["checkpoint", "dir"], "the folder of the checkpoints has no name"));
        }
        Self { dir: typed.dir, every: typed.every.map_or(EVERY, |period| period.0), keep, replay: typed.replay }
    }
}

/// Why a pipeline cannot go on from checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRecovery {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, in one line.
    pub remedy: &'static str,
}

impl Pipeline {
    /// Whether what the pipeline reads and writes goes together with its checkpoints. Right for one that has none.
    ///
    /// # Errors
    /// The source cannot be read again, or the folder is not for checkpoints alone.
    pub fn check_recovery(&self) -> Result<(), NoRecovery> {
        let Some(checkpoint) = &self.checkpoint else { return self.check_memory() };
        if self.source.is_standard() {
            let message = "standard input cannot be read again, so a run cannot go on after a crash".to_owned();
            return Err(NoRecovery { message, remedy: "read a file, or leave `checkpoint` out" });
        }
        let both_decide =
            |dead_letter: &super::Sink| dead_letter.decides() && !dead_letter.shares_transactions_with(&self.sink);
        if self.sink.decides() && self.dead_letter.as_ref().is_some_and(both_decide) {
            let message =
                "records and dead letters cannot go to two databases: two transactions cannot be one".to_owned();
            return Err(NoRecovery { message, remedy: "write both to one database, or one of them to a file" });
        }
        let dir = plain(&checkpoint.dir);
        let in_the_way = self.files().into_iter().find(|(_, path)| {
            let path = plain(path);
            path.starts_with(&dir) || dir.starts_with(&path)
        });
        let Some((what, path)) = in_the_way else { return Ok(()) };
        let (dir, path) = (checkpoint.dir.display(), path.display());
        let message = format!("the folder {dir} cannot be for checkpoints: {what} is {path}");
        Err(NoRecovery { message, remedy: "checkpoints need a folder that holds nothing else" })
    }

    /// Without checkpoints: what the source remembers by itself, if it does, has to be enough.
    fn check_memory(&self) -> Result<(), NoRecovery> {
        let sinks = || [Some(&self.sink), self.dead_letter.as_ref()].into_iter().flatten();
        let refused = |message: &str, remedy| Err(NoRecovery { message: message.to_owned(), remedy });
        if !self.is_remembered() {
            #[cfg(feature = "kafka")]
            if sinks().any(|sink| matches!(sink, super::Sink::Kafka(config) if config.exactly_once)) {
                let message = "`exactly_once` needs something that remembers how far the run had come";
                return refused(message, "add a `checkpoint`, or read with a `group` of the same brokers");
            }
            return Ok(());
        }
        if self.source.is_bounded() {
            return refused("`until` is for a run of its own, and a `group` shares its topics", "add a `checkpoint`");
        }
        if sinks().any(|sink| sink.guarantee() == super::Guarantee::File) {
            let message = "each run would write the file anew, and what the `group` has read before comes no more";
            return refused(message, "add a `checkpoint`, or write to something that grows");
        }
        #[cfg(feature = "kafka")]
        if let Some(message) = self.cannot_commit_offsets() {
            return refused(message, "leave `exactly_once` out there, or add a `checkpoint`");
        }
        Ok(())
    }

    /// Why the transactions of the sinks cannot have the offsets of the source's group.
    #[cfg(feature = "kafka")]
    fn cannot_commit_offsets(&self) -> Option<&'static str> {
        use super::{Sink, Source};
        let Source::Kafka(source) = &self.source else { return None };
        let transacts = |sink: &Sink| matches!(sink, Sink::Kafka(config) if config.exactly_once);
        match (&self.sink, &self.dead_letter) {
            (Sink::Kafka(sink), _) if sink.exactly_once && sink.server.brokers != source.server.brokers => {
                Some("the sink has other brokers than the `group`, so one transaction cannot hold both")
            }
            (sink, Some(dead_letter)) if transacts(dead_letter) && !dead_letter.shares_transactions_with(sink) => {
                Some("dead letters can be in a transaction only together with the records")
            }
            _ => None,
        }
    }

    /// All that the pipeline reads and writes, with what it is.
    fn files(&self) -> Vec<(&'static str, &Path)> {
        let mut files = vec![("the pipeline file", Path::new(&self.name))];
        files.extend(self.source.paths().into_iter().map(|path| ("the source", path)));
        files.extend(self.sink.path().map(|path| ("the sink", path)));
        let dead_letter = self.dead_letter.as_ref().and_then(super::Sink::path);
        files.extend(dead_letter.map(|path| ("the sink of the dead letters", path)));
        if let Some(setup) = &self.setup {
            files.push(("a database", &setup.database));
            files.extend(setup.tables.values().map(|table| ("the file of a table", table.csv.as_path())));
        }
        files.extend(self.steps.iter().filter_map(|step| Some(("a database", step.lookup.database()?))));
        files.retain(|(_, path)| *path != Path::new(STANDARD) && !path.as_os_str().is_empty());
        files
    }
}

/// From the root, and without `.` and `..`, as far as that can be told without the disk.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipeline in the folder `jobs` with this checkpoint.
    fn pipeline(source: &str, checkpoint: &str) -> Result<Pipeline, String> {
        let text = format!(
            "source: {source}\nenrich: {{ a: {{ sqlite: {{ database: db/d.db, table: t }}, key: {{ id: .id }} }} }}\n\
             sink: {{ file: {{ path: out/x.jsonl }} }}\ndead_letter: {{ file: {{ path: dead.jsonl }} }}\n\
             checkpoint: {checkpoint}\n"
        );
        let file = file::parse("jobs/p.yaml", &text).map_err(|faults| faults.to_string())?;
        Pipeline::check(file).map_err(|faults| faults.to_string())
    }

    const FILE: &str = "{ file: { path: in.csv } }";

    #[test]
    fn defaults_are_filled_in_and_the_folder_starts_from_that_of_the_file() {
        let checkpoint = |text| pipeline(FILE, text).unwrap().checkpoint.unwrap();
        assert_eq!(checkpoint("{ dir: ckpt }"), Checkpoint::new("jobs/ckpt"));
        let given = checkpoint("{ dir: /ckpt, every: 100ms, keep: 10, replay: recorded }");
        assert_eq!((given.dir.as_path(), given.every), (Path::new("/ckpt"), Duration::from_millis(100)));
        assert_eq!((given.keep, given.replay), (10, Replay::Recorded));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (source, checkpoint, expected) in [
            ("stdin", "{ dir: ckpt }", "standard input cannot be read again"),
            (FILE, "{ dir: out }", "the sink is jobs/out/x.jsonl"),
            (FILE, "{ dir: ./db/../out/. }", "the sink is jobs/out/x.jsonl"),
            (FILE, "{ dir: dead.jsonl }", "the sink of the dead letters is jobs/dead.jsonl"),
            (FILE, "{ dir: dead.jsonl/sub }", "the sink of the dead letters is jobs/dead.jsonl"),
            (FILE, "{ dir: db }", "a database is jobs/db/d.db"),
            (FILE, "{ dir: . }", "the pipeline file is jobs/p.yaml"),
            (FILE, "{ dir: '' }", "has no name"),
            (FILE, "{ dir: ckpt, keep: 1 }", "1 checkpoints cannot be kept"),
            (FILE, "{ dir: ckpt, keep: 1001 }", "2 to 1000: one that is damaged"),
            (FILE, "{ every: 1s }", "key `dir` is missing here"),
            (FILE, "{ dir: ckpt, replay: all }", "unknown word `all`"),
        ] {
            let refused = pipeline(source, checkpoint).unwrap_err();
            assert!(refused.contains(expected), "{checkpoint}: {refused}");
        }
    }
}
