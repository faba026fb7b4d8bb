//! What a user writes about a file in a pipeline.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ColumnType, MAX_LINE_BYTES};
use crate::{Error, ErrorKind, Guarantee};

/// A file to read, several, or stdin.
///
/// ```
/// use inflight_connectors::file::{Compression, FileSourceConfig, Format};
///
/// let config = FileSourceConfig::new("flights.csv.gz");
/// assert_eq!(config.format().unwrap(), Format::Csv);
/// assert_eq!(config.compression(), Compression::Gzip);
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileSourceConfig {
    /// The file; `-` is stdin. With wildcards, as in `data/2013-*.csv`, all files that match. Either this or `paths`.
    #[serde(default)]
    pub path: PathBuf,
    /// Several files, each with wildcards or without. All are of one format, and have the same options.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
    /// Default: by the name of the file, `.csv` and `.tsv` being CSV, `.jsonl`, `.ndjson` and `.json` JSON lines.
    /// JSON lines for stdin.
    #[serde(default)]
    pub format: Option<Format>,
    /// Default: gzip when the name ends in `.gz`, else none.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// CSV only: what separates fields. Default: a comma, or a tab for `.tsv`.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// CSV only: texts that stand for no value, such as `NA`, in any column. Default: none, an empty field is an
    /// empty text.
    #[serde(default)]
    pub null: Vec<String>,
    /// CSV only: types of columns. Columns not named here are text.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnType>,
    /// Longest line, or longest CSV record, in bytes. Default: 16 MiB.
    #[serde(default = "max_line_bytes")]
    pub max_line_bytes: usize,
}

/// A file to write, or stdout.
///
/// A file is written as `<path>.partial` and gets its name when it is complete. Devices and named pipes are written
/// directly.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileSinkConfig {
    /// The file; `-` is stdout.
    pub path: PathBuf,
    /// Default: by the name of the file, as for sources. JSON lines for stdout.
    #[serde(default)]
    pub format: Option<Format>,
    /// Default: gzip when the name ends in `.gz`, else none.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// CSV only: what separates fields. Default: a comma, or a tab for `.tsv`.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// CSV only: the text written for no value. Default: an empty field.
    #[serde(default)]
    pub null: Option<String>,
}

/// How records are written down.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per line.
    JsonLines,
    /// Comma-separated values as in RFC 4180, the first line naming the columns.
    Csv,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip, of one member or many.
    Gzip,
}

impl FileSourceConfig {
    /// A file with everything else left to the defaults.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            paths: Vec::new(),
            format: None,
            compression: None,
            delimiter: None,
            null: Vec::new(),
            columns: BTreeMap::new(),
            max_line_bytes: MAX_LINE_BYTES,
        }
    }

    /// The format in force.
    ///
    /// # Errors
    ///
    /// When it is not given and the name of the (first) file does not tell it.
    pub fn format(&self) -> Result<Format, Error> {
        format_of(self.format, self.first())
    }

    /// The compression in force, of several files that of the first: ask for each [partition](Self::partition).
    pub fn compression(&self) -> Compression {
        compression_of(self.compression, self.first())
    }

    /// The delimiter in force, if the format is CSV; of several files that of the first.
    pub fn delimiter(&self) -> char {
        self.delimiter.unwrap_or_else(|| delimiter_of(self.first()))
    }

    /// What is named, before wildcards are expanded.
    pub(super) fn named(&self) -> &[PathBuf] {
        if self.paths.is_empty() { std::slice::from_ref(&self.path) } else { &self.paths }
    }

    fn first(&self) -> &Path {
        self.named().first().unwrap_or(&self.path)
    }

    /// Whether the configuration makes sense, as far as can be told without the file.
    ///
    /// # Errors
    ///
    /// When the format is unknown, an option does not belong to it, or a value is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let csv_options = [
            ("delimiter", self.delimiter.is_some()),
            ("null", !self.null.is_empty()),
            ("columns", !self.columns.is_empty()),
        ];
        self.check_paths()?;
        for path in self.named() {
            let format = format_of(self.format, path)?;
            if format != self.format()? {
                return Err(refuse(path, "this is of another format than the files before; read them in two runs"));
            }
            check_options(path, format, &csv_options, self.delimiter)?;
        }
        if self.max_line_bytes == 0 {
            return Err(refuse(&self.path, "`max_line_bytes` must be at least 1"));
        }
        Ok(())
    }

    fn check_paths(&self) -> Result<(), Error> {
        let problem = match (self.path.as_os_str().is_empty(), &self.paths[..]) {
            (true, []) => "name the file to read as `path`, or several as `paths`",
            (false, [_, ..]) => "`path` and `paths` exclude each other; remove one of them",
            (true, paths) if paths.iter().any(|path| is_standard(path)) => {
                "stdin is not read along with files; name it alone, as `path: -`"
            }
            (true, paths) if paths.iter().any(|path| path.as_os_str().is_empty()) => "`paths` has an empty name",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, problem))
    }
}

impl FileSinkConfig {
    /// A file with everything else left to the defaults.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: None, compression: None, delimiter: None, null: None }
    }

    /// The format in force.
    ///
    /// # Errors
    ///
    /// When it is not given and the name of the file does not tell it.
    pub fn format(&self) -> Result<Format, Error> {
        format_of(self.format, &self.path)
    }

    /// The compression in force.
    pub fn compression(&self) -> Compression {
        compression_of(self.compression, &self.path)
    }

    /// The delimiter in force, if the format is CSV.
    pub fn delimiter(&self) -> char {
        self.delimiter.unwrap_or_else(|| delimiter_of(&self.path))
    }

    /// What a reader of the output can rely on when a run is continued after a crash: exactly once for files, at least
    /// once for stdout, devices and named pipes.
    pub fn guarantee(&self) -> Guarantee {
        if is_regular(&self.path) { Guarantee::ExactlyOnce } else { Guarantee::AtLeastOnce }
    }

    /// Whether the configuration makes sense, as far as can be told without the file.
    ///
    /// # Errors
    ///
    /// As [`FileSourceConfig::check`].
    pub fn check(&self) -> Result<(), Error> {
        let csv_options = [("delimiter", self.delimiter.is_some()), ("null", self.null.is_some())];
        check_options(&self.path, self.format()?, &csv_options, self.delimiter)
    }
}

/// Whether the path means stdin or stdout.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether the path names a regular file, or one that is yet to be.
pub(super) fn is_regular(path: &Path) -> bool {
    !is_standard(path) && fs::metadata(path).map_or(true, |there| there.is_file())
}

fn max_line_bytes() -> usize {
    MAX_LINE_BYTES
}

fn compression_of(explicit: Option<Compression>, path: &Path) -> Compression {
    let by_name = if lowercase_name(path).ends_with(".gz") { Compression::Gzip } else { Compression::None };
    explicit.unwrap_or(by_name)
}

fn format_of(explicit: Option<Format>, path: &Path) -> Result<Format, Error> {
    if let Some(format) = explicit {
        return Ok(format);
    }
    if is_standard(path) {
        return Ok(Format::JsonLines);
    }
    match extension(path).as_str() {
        "csv" | "tsv" => Ok(Format::Csv),
        "jsonl" | "ndjson" | "json" => Ok(Format::JsonLines),
        _ => Err(refuse(path, "the name does not tell the format; add `format: json_lines` or `format: csv`")),
    }
}

fn delimiter_of(path: &Path) -> char {
    if extension(path) == "tsv" { '\t' } else { ',' }
}

/// The extension in front of `.gz`.
fn extension(path: &Path) -> String {
    let name = lowercase_name(path);
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map(|(_, extension)| extension.to_owned()).unwrap_or_default()
}

fn lowercase_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn check_options(path: &Path, format: Format, csv: &[(&str, bool)], delimiter: Option<char>) -> Result<(), Error> {
    if format != Format::Csv
        && let Some((name, _)) = csv.iter().find(|(_, given)| *given)
    {
        return Err(refuse(path, &format!("`{name}` is for CSV, but the format is JSON lines; remove it")));
    }
    match delimiter {
        Some(c) if !c.is_ascii() || matches!(c, '"' | '\n' | '\r' | '\0') => {
            Err(refuse(path, &format!("{c:?} cannot be a delimiter; take one ASCII character, such as ',' or ';'")))
        }
        _ => Ok(()),
    }
}

fn refuse(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Config, message).in_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_name_tells_format_and_compression() {
        for (name, format, compression, delimiter) in [
            ("a.csv", Format::Csv, Compression::None, ','),
            ("a.CSV.GZ", Format::Csv, Compression::Gzip, ','),
            ("a.tsv", Format::Csv, Compression::None, '\t'),
            ("dir.csv/a.b.jsonl", Format::JsonLines, Compression::None, ','),
            ("a.ndjson.gz", Format::JsonLines, Compression::Gzip, ','),
            ("-", Format::JsonLines, Compression::None, ','),
        ] {
            let config = FileSourceConfig::new(name);
            config.check().unwrap();
            let found = (config.format().unwrap(), config.compression(), config.delimiter());
            assert_eq!(found, (format, compression, delimiter), "{name}");
        }
    }

    #[test]
    fn a_name_that_tells_nothing_needs_a_format() {
        for name in ["data", "data.txt", "data.gz", ".gz", "data/*"] {
            let error = FileSourceConfig::new(name).check().unwrap_err();
            assert!(error.to_string().contains("`format: csv`"), "{name}: {error}");
            assert_eq!(error.kind(), ErrorKind::Config);
        }
        FileSinkConfig { format: Some(Format::Csv), ..FileSinkConfig::new("data") }.check().unwrap();
    }

    #[test]
    fn options_that_would_be_ignored_are_refused() {
        let config = FileSourceConfig { null: vec!["NA".into()], ..FileSourceConfig::new("a.jsonl") };
        assert!(config.check().unwrap_err().to_string().contains("`null` is for CSV"));
        let config = FileSinkConfig { delimiter: Some(';'), ..FileSinkConfig::new("-") };
        assert!(config.check().unwrap_err().to_string().contains("`delimiter` is for CSV"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for delimiter in ['"', '\n', 'é'] {
            let config = FileSourceConfig { delimiter: Some(delimiter), ..FileSourceConfig::new("a.csv") };
            assert!(config.check().unwrap_err().to_string().contains("cannot be a delimiter"));
        }
        let config = FileSourceConfig { max_line_bytes: 0, ..FileSourceConfig::new("a.csv") };
        assert!(config.check().unwrap_err().to_string().contains("at least 1"));
    }

    #[test]
    fn several_files_are_of_one_format_and_do_not_come_with_stdin() {
        let paths = |names: &[&str]| FileSourceConfig {
            paths: names.iter().map(PathBuf::from).collect(),
            ..FileSourceConfig::new("")
        };
        paths(&["a.csv", "b-*.csv.gz", "c.tsv"]).check().unwrap();
        for (config, expected) in [
            (paths(&[]), "name the file"),
            (FileSourceConfig { path: "a.csv".into(), ..paths(&["b.csv"]) }, "exclude each other"),
            (paths(&["-", "a.jsonl"]), "stdin is not read along"),
            (paths(&["a.csv", "b.jsonl"]), "b.jsonl: this is of another format"),
            (paths(&["a.csv", ""]), "empty name"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let config: FileSourceConfig = serde_json::from_value(json!({ "paths": ["a.csv", "b*.csv"] })).unwrap();
        assert_eq!(config, paths(&["a.csv", "b*.csv"]));
    }

    #[test]
    fn files_are_configured_by_data_and_unknown_keys_refused() {
        let config: FileSourceConfig = serde_json::from_value(json!({
            "path": "flights.csv.gz", "null": ["NA"], "columns": { "dep_time": "int", "air_time": "float" },
        }))
        .unwrap();
        assert_eq!(config.columns["dep_time"], ColumnType::Int);
        assert_eq!(config.max_line_bytes, MAX_LINE_BYTES);
        let error = serde_json::from_value::<FileSinkConfig>(json!({ "path": "a.csv", "nul": "NA" })).unwrap_err();
        assert!(error.to_string().contains("unknown field `nul`"));
        assert!(schemars::schema_for!(FileSourceConfig).to_value().to_string().contains("16 MiB"));
    }
}
