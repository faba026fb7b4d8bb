//! What a user writes about rows in memory in a pipeline.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::file::FileSourceConfig;
use crate::{Error, ErrorKind, Record};

/// Rows that are held unless the configuration says otherwise.
pub const ROWS_MAX: usize = 1_000_000;

/// Rows to look up by their fields.
///
/// ```
/// use inflight_connectors::memory::MemoryLookupConfig;
///
/// MemoryLookupConfig::file("airports.csv").check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryLookupConfig {
    /// The file with the rows, read when the run begins. Either this or `rows`.
    #[serde(default)]
    pub file: Option<FileSourceConfig>,
    /// The rows themselves. Either this or `file`.
    #[serde(default)]
    pub rows: Option<Vec<Record>>,
    /// The fields that make the answer. Default: all.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// Most rows that are held, by each worker; more are an error. Default: 1000000.
    #[serde(default = "max_rows")]
    pub max_rows: usize,
}

impl MemoryLookupConfig {
    /// All rows of a file, everything else left to the defaults.
    pub fn file(path: impl Into<std::path::PathBuf>) -> Self {
        Self { file: Some(FileSourceConfig::new(path)), rows: None, columns: None, max_rows: ROWS_MAX }
    }

    /// These rows, everything else left to the defaults.
    pub fn rows(rows: Vec<Record>) -> Self {
        Self { file: None, rows: Some(rows), columns: None, max_rows: ROWS_MAX }
    }

    /// Whether the configuration makes sense, as far as can be told without the file.
    ///
    /// # Errors
    ///
    /// When not exactly one of `file` and `rows` is given, the file is standard input or makes no sense itself, `rows`
    /// or `columns` is empty, or `max_rows` is zero.
    pub fn check(&self) -> Result<(), Error> {
        let problem = match (&self.file, &self.rows, &self.columns) {
            (None, None, _) => "name a `file` of rows, or write the `rows`",
            (Some(_), Some(_), _) => "`file` and `rows` exclude each other; remove one of them",
            (Some(file), ..) if file.path.as_os_str() == "-" => "standard input is for records; name a file of rows",
            (_, Some(rows), _) if rows.is_empty() => "`rows` is empty, so nothing would ever be found",
            (.., Some(columns)) if columns.is_empty() => "`columns` is empty; remove it to get all fields",
            _ if self.max_rows == 0 => "`max_rows` must be 1 at least",
            (Some(file), ..) => return file.check(),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, problem))
    }
}

fn max_rows() -> usize {
    ROWS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (fields, expected) in [
            (json!({}), "name a `file`"),
            (json!({"file": {"path": "a.csv"}, "rows": [{"a": 1}]}), "exclude each other"),
            (json!({"file": {"path": "-"}}), "standard input"),
            (json!({"file": {"path": "a.txt"}}), "a.txt"),
            (json!({"rows": []}), "`rows` is empty"),
            (json!({"rows": [{}], "columns": []}), "`columns` is empty"),
            (json!({"rows": [{}], "max_rows": 0}), "1 at least"),
        ] {
            let config: MemoryLookupConfig = serde_json::from_value(fields).unwrap();
            let error = config.check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
