//! The pipeline file as typed: what may be written, what each key means, what is assumed when it is left out.
//!
//! These types say what a file may look like and no more; whether it makes sense is decided in [`crate::pipeline`].
//! Their comments are what `inflight schema` shows in an editor.

mod sections;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use inflight_connectors::FieldPath;
use inflight_connectors::file::{ColumnType, Compression, FileSinkConfig, FileSourceConfig, Format, MAX_LINE_BYTES};
use inflight_connectors::sqlite::{SqliteLoadConfig, SqliteLookupConfig, SqliteTableConfig};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::sections::sections;
use crate::entries::Entries;
use crate::fault::{Fault, Faults};
use crate::number_or::NumberOr;
use crate::units::{Count, Period, PeriodRange, RetryCount};
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
}

/// Where records come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = |schema: &mut Schema| word_alone(schema, "stdin"))]
pub enum Source {
    /// A file: JSON lines or CSV, plain or gzip.
    File(FileSourceConfig),
    /// Standard input.
    Stdin(Stdin),
}

/// Where records go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = |schema: &mut Schema| word_alone(schema, "stdout"))]
pub enum Sink {
    /// A file: JSON lines or CSV, plain or gzip. It gets its name when it is complete.
    File(FileSinkConfig),
    /// Standard output.
    Stdout(Stdout),
}

/// Records from standard input.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stdin {
    /// Default: JSON lines.
    pub format: Option<Format>,
    /// Default: none.
    pub compression: Option<Compression>,
    /// CSV only: what separates fields. Default: a comma.
    pub delimiter: Option<char>,
    /// CSV only: texts that stand for no value, such as `NA`, in any column. Default: none.
    #[serde(default)]
    pub null: Vec<String>,
    /// CSV only: types of columns. Columns not named here are text.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnType>,
    /// Longest line, or longest CSV record, in bytes. Default: 16 MiB.
    pub max_line_bytes: Option<usize>,
}

/// Records to standard output.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stdout {
    /// Default: JSON lines.
    pub format: Option<Format>,
    /// Default: none.
    pub compression: Option<Compression>,
    /// CSV only: what separates fields. Default: a comma.
    pub delimiter: Option<char>,
    /// CSV only: the text written for no value. Default: an empty field.
    pub null: Option<String>,
}

/// `stdin` is the same as `stdin: {}`.
fn word_alone(schema: &mut Schema, word: &str) {
    if let Some(choices) = schema.get_mut("oneOf").and_then(serde_json::Value::as_array_mut) {
        choices.push(json!({ "const": word }));
    }
}

/// The path that stands for standard input and output.
pub const STANDARD: &str = "-";

impl Source {
    /// The same for the connector, which calls standard input `-`.
    pub fn into_config(self) -> FileSourceConfig {
        match self {
            Self::File(config) => config,
            Self::Stdin(stdin) => FileSourceConfig {
                path: STANDARD.into(),
                format: stdin.format,
                compression: stdin.compression,
                delimiter: stdin.delimiter,
                null: stdin.null,
                columns: stdin.columns,
                max_line_bytes: stdin.max_line_bytes.unwrap_or(MAX_LINE_BYTES),
            },
        }
    }
}

impl Sink {
    /// The same for the connector, which calls standard output `-`.
    pub fn into_config(self) -> FileSinkConfig {
        match self {
            Self::File(config) => config,
            Self::Stdout(stdout) => FileSinkConfig {
                path: STANDARD.into(),
                format: stdout.format,
                compression: stdout.compression,
                delimiter: stdout.delimiter,
                null: stdout.null,
            },
        }
    }
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

/// One look-up for each record.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Look up rows of a table in an SQLite database. (The only system so far.)
    pub sqlite: Option<SqliteLookupConfig>,
    /// What to look up: columns of the table, each with the field of the record that it must equal, as in
    /// `{ tailnum: .tailnum }`. A field of another step's result (`.plane.model`) makes this step run after that one.
    /// A record in which one of the fields is missing or null counts as missing, without a call.
    pub key: Entries<FieldPath>,
    /// In which order records leave. Default: `input`.
    #[serde(default)]
    pub order: Order,
    /// Most records held at a time, waiting, on the wire, or waiting for their turn to leave: what bounds memory.
    /// Default: as many as the calls can carry, and 1024 at least.
    pub capacity: Option<Count>,
    /// Most calls on the wire at a time. Default: 16, or `capacity` if that is less.
    pub concurrency: Option<Count>,
    /// How long one attempt may take. Default: 1s, or `deadline` if that is less.
    pub timeout: Option<Period>,
    /// How long a record may take in all, from its admission: attempts, pauses and waits. Default: 5 times `timeout`.
    pub deadline: Option<Period>,
    /// How often to try again: a number, or more in detail. Default: 3.
    pub retries: Option<NumberOr<RetryCount, Retries>>,
    /// Most records that share a call: a number, or more in detail. Default: 100, or `capacity` if that is less.
    /// Nothing waits for a batch to fill as long as no call is on the wire.
    pub batch: Option<NumberOr<Count, Batch>>,
    /// What becomes of a record for which the system has no answer. Default: `keep`, since having no answer is an
    /// answer, counted as missing and never as failed.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// What becomes of a record whose look-up failed, after all retries. Default: `fail`, so that nothing is lost or
    /// left incomplete unless the file says so.
    #[serde(default)]
    pub on_error: OnError,
}

/// In which order records leave a step.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they came.
    #[default]
    Input,
    /// Records of one key as they came; keys do not wait for each other.
    Key,
    /// As `key`, and calls of one key are made one after the other.
    KeySerial,
    /// As they are finished.
    None,
}

/// How often, when and why to try again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// Most attempts after the first. 0 is none. Default: 3.
    pub max: Option<RetryCount>,
    /// The pause before the first retry, doubled for each one after it, up to the second duration, and shortened at
    /// random. Default: 50ms..2s.
    pub backoff: Option<PeriodRange>,
    /// Which failures are worth another attempt. Default: [timeout, busy].
    pub on: Option<Vec<RetryOn>>,
}

/// A failure that may be gone a little later.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The attempt took longer than `timeout`.
    Timeout,
    /// The system said that it is busy.
    Busy,
}

/// How records share calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Most records in one call. Default: 100, or `capacity` if that is less.
    pub size: Option<Count>,
    /// How long a part-filled call waits for more records while others are on the wire. Default: 2ms.
    pub linger: Option<Period>,
}

/// What becomes of a record for which the system has no answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// It goes on, with null in the place of the result.
    #[default]
    Keep,
    /// It is dropped, and counted.
    Drop,
    /// It goes to the dead letters.
    DeadLetter,
    /// The run fails.
    Fail,
}

/// What becomes of a record whose look-up failed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run fails.
    #[default]
    Fail,
    /// It goes on, with null in the place of the result.
    Keep,
    /// It goes to the dead letters.
    DeadLetter,
    /// It is dropped, and counted.
    Drop,
    /// It goes on, with this in the place of the result.
    Default(serde_json::Map<String, serde_json::Value>),
}

#[cfg(test)]
mod tests {
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
            "expected one of file, stdout, found a group of keys",
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
        assert_eq!(sections.source.into_config(), FileSourceConfig::new("-"));
        assert_eq!(sections.sink.into_config(), FileSinkConfig::new("-"));
    }
}
