//! The pipeline file as typed: what may be written, what each key means, what is assumed when it is left out.
//!
//! These types say what a file may look like and no more; whether it makes sense is decided in [`crate::pipeline`].
//! Their comments are what `inflight schema` shows in an editor.

mod checkpoint;
mod cluster;
mod ends;
#[cfg(not(all(feature = "kafka", feature = "mysql")))]
mod not_built_in;
mod policies;
mod sections;
mod step;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use inflight_connectors::sqlite::{SqliteLoadConfig, SqliteTableConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::checkpoint::{Checkpoint, Replay};
pub use self::cluster::{Cluster, Hosts};
pub use self::ends::{STANDARD, Sink, Source, Stdin, Stdout};
pub use self::policies::{Breaker, Cache, CallLimit, CallRange, Hedge, RateLimit, Switch};
use self::sections::sections;
pub use self::step::{Batch, OnError, OnMissing, Order, Retries, RetryOn, Step};
use crate::entries::Entries;
use crate::fault::{Fault, Faults};
use crate::units::Count;
use crate::variables::{NoVariables, ProcessVariables, Secrets, Variables, substitute};
use crate::yaml::{self, Node, Value};

/// Reads a pipeline file from its text, as if no environment variable were set and no file were there.
///
/// `name` is what faults call the file. Never panics, whatever the text.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn parse(name: &str, text: &str) -> Result<File, Faults> {
    parse_with(name, text, &NoVariables)
}

/// Reads a pipeline file from disk, with variables from the environment of this process.
///
/// # Errors
/// That the file cannot be read, or everything that is wrong with it.
pub fn load(path: &Path) -> Result<File, LoadError> {
    let name = path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|error| LoadError::Unreadable(format!("{name}: cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        LoadError::Unreadable(format!("{name}:{line}: the text is not valid UTF-8"))
    })?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    parse_with(&name, &text, &ProcessVariables { folder }).map_err(LoadError::Faults)
}

/// Why there is no pipeline.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read, with the reason.
    Unreadable(String),
    /// The file is wrong.
    Faults(Faults),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => writeln!(f, "error: {reason}"),
            Self::Faults(faults) => faults.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads a pipeline file from its text, with variables from where the caller says.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(name: &str, text: &str, variables: &dyn Variables) -> Result<File, Faults> {
    let all = |faults| Faults::new(name, text, faults);
    let mut root = yaml::read(text).map_err(all)?;
    let mut faults = Vec::new();
    let secrets = substitute(&mut root, variables, &mut faults);
    if !faults.is_empty() {
        return Err(all(faults));
    }
    let sections = sections(&root, &mut faults);
    let document = Document { name: name.to_owned(), text: text.to_owned(), root, secrets };
    match sections {
        Some(sections) if faults.is_empty() => Ok(File { document, sections }),
        _ => Err(all(faults)),
    }
}

/// A pipeline file that has the right form.
#[derive(Clone, Debug)]
pub struct File {
    /// Where each value stands.
    pub document: Document,
    /// What it says.
    pub sections: Sections,
}

/// The text behind a file, to tell the place of what turns out wrong later.
#[derive(Clone, Debug)]
pub struct Document {
    /// What the file is called.
    pub name: String,
    text: String,
    root: Node,
    /// What came from variables.
    pub secrets: Secrets,
}

impl Document {
    /// A fault at the value under these keys, or at the nearest key above when it was left out.
    pub fn fault(&self, path: &[&str], message: impl Into<String>) -> Fault {
        let (node, key_at) = self.root.nearest(path);
        let leaf = !matches!(node.value, Value::Group(_) | Value::List(_) | Value::Null);
        Fault::new(if leaf { node.at.clone() } else { key_at }, message)
    }

    /// A fault at the key that is the last of these.
    pub fn fault_at_key(&self, path: &[&str], message: impl Into<String>) -> Fault {
        Fault::new(self.root.nearest(path).1, message)
    }

    /// These faults of this file, secrets hidden.
    pub fn faults(&self, mut faults: Vec<Fault>) -> Faults {
        for fault in &mut faults {
            fault.message = self.secrets.hide(&fault.message);
            fault.label = self.secrets.hide(&fault.label);
        }
        Faults::new(&self.name, &self.text, faults)
    }
}

/// An inflight pipeline: records are read, enriched by look-ups, and written.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(title = "inflight pipeline", deny_unknown_fields)]
pub struct Sections {
    /// Where records come from.
    pub source: Source,
    /// What is built once, before the first run: look-up tables. `inflight run` does it when the database is missing,
    /// `inflight setup` does only that.
    pub setup: Option<Setup>,
    /// The look-ups. The name of each is the field that its result is written to. Look-ups that do not read each
    /// other's results run at the same time.
    pub enrich: Entries<Step>,
    /// Where enriched records go.
    pub sink: Sink,
    /// Where records go that a look-up gives up, with the reason. Required when any step says `dead_letter`.
    pub dead_letter: Option<Sink>,
    /// Recovery: what a run has done is written down as it goes, so that after a crash the next run goes on from there.
    /// Default: none, and a run that was interrupted begins anew.
    pub checkpoint: Option<Checkpoint>,
    /// Threads that look up at the same time, in each process. Limits of a step, such as `concurrency`, are for each of
    /// them. Default: 1.
    pub workers: Option<Count>,
    /// Several processes, on one machine or many, that run the pipeline together. Default: one process.
    pub cluster: Option<Cluster>,
}

/// What is built once, before the first run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Setup {
    /// An SQLite database, from CSV files.
    Sqlite(SqliteSetup),
}

/// An SQLite database that is built when it is missing.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteSetup {
    /// The database file.
    pub database: PathBuf,
    /// Its tables, by name.
    pub tables: BTreeMap<String, SqliteTableConfig>,
}

impl SqliteSetup {
    /// The same for the connector, which takes the database apart from the tables.
    pub fn load_config(&self) -> SqliteLoadConfig {
        SqliteLoadConfig { tables: self.tables.clone() }
    }
}

#[cfg(test)]
mod tests {
    use inflight_connectors::file::{FileSinkConfig, FileSourceConfig};

    use super::*;

    const MINIMAL: &str =
        "source: stdin\nenrich: { a: { sqlite: { database: d, table: t }, key: { id: .id } } }\nsink: stdout\n";

    fn messages(text: &str) -> Vec<String> {
        let faults = parse("p.yaml", text).unwrap_err();
        faults.iter().map(|fault| fault.message.clone()).collect()
    }

    #[test]
    fn steps_and_keys_stay_in_the_order_of_the_file() {
        let step = "{ sqlite: { database: d, table: t }, key: { z: .z, a: .a } }";
        let text = format!("source: stdin\nenrich: {{ z: {step}, b: {step}, a: {step} }}\nsink: stdout\n");
        let sections = parse("p.yaml", &text).unwrap().sections;
        let names: Vec<&str> = sections.enrich.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z", "b", "a"]);
        let columns: Vec<&str> = sections.enrich.0[0].1.key.0.iter().map(|(column, _)| column.as_str()).collect();
        assert_eq!(columns, ["z", "a"]);
    }

    #[test]
    fn faults_of_all_sections_and_steps_come_at_once() {
        let text = "source: { fil: {} }\nenrich:\n  a: { key: 1 }\n  b: { order: x, key: {} }\nsnk: 1\nsink: {}\n";
        let expected = [
            "unknown word `fil`",
            "expected a group of keys, such as { name: value }, found the number 1",
            "unknown word `x`",
            "unknown key `snk`",
            "expected one of file, stdout, sqlite, postgres, kafka, nats, found a group of keys",
        ];
        assert_eq!(messages(text), expected);
    }

    #[test]
    fn without_a_process_no_variable_is_set_and_no_file_is_read() {
        let text = MINIMAL
            .replace("table: t", "table: '${env:HOME}'")
            .replace("database: d", "database: '${file:/etc/passwd}'");
        let expected = [
            "cannot read the file `/etc/passwd`: files are not read here",
            "the environment variable `HOME` is not set",
        ];
        assert_eq!(messages(&text), expected);
        assert!(parse("p.yaml", &MINIMAL.replace("table: t", "table: '${env:HOME:-t}'")).is_ok());
    }

    #[test]
    fn standard_input_and_output_are_dashes_to_the_connectors() {
        let sections = parse("p.yaml", MINIMAL).unwrap().sections;
        assert_eq!(sections.source.into_config(), crate::pipeline::Source::File(FileSourceConfig::new("-")));
        assert_eq!(sections.sink.into_config(), crate::pipeline::Sink::File(FileSinkConfig::new("-")));
    }
}
