//! The files that a source is made of.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::FileSourceConfig;
use crate::{Error, ErrorKind};

/// The most files that one source may have: 10 000. Each has its position in every checkpoint.
pub const MAX_FILES: usize = 10_000;

impl FileSourceConfig {
    /// The files of the source, sorted by name and each of them once: what [`path`](Self::path) or
    /// [`paths`](Self::paths) name, wildcards expanded. One without wildcards is taken as it is, whether it exists or
    /// not; so is one with a wildcard in its name if just that file exists.
    ///
    /// A wildcard is `*` or `?` for characters of a name, `[a-z]` for one of a set, or `**` for any folders. Hidden
    /// files and folders are not found by them.
    ///
    /// ```
    /// use inflight_connectors::file::FileSourceConfig;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let folder = folder.path();
    /// for month in ["2013-02.csv", "2013-01.csv", "2012-12.csv"] {
    ///     std::fs::write(folder.join(month), "id\n1\n")?;
    /// }
    /// let config = FileSourceConfig::new(folder.join("2013-*.csv"));
    /// assert_eq!(config.partitions()?, [folder.join("2013-01.csv"), folder.join("2013-02.csv")]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When a pattern is malformed or matches no file, a folder on the way cannot be read, or there are more than
    /// [`MAX_FILES`].
    pub fn partitions(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        for path in self.named() {
            expand(path, &mut files).map_err(|error| error.in_file(path))?;
        }
        files.sort_unstable();
        // The same file may be named in two ways.
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(fs::canonicalize(file).unwrap_or_else(|_| file.clone())));
        Ok(files)
    }

    /// The configuration of one of the [`partitions`](Self::partitions) alone.
    pub fn partition(&self, file: impl Into<PathBuf>) -> Self {
        Self { path: file.into(), paths: Vec::new(), ..self.clone() }
    }

    /// That of the one file which there must be.
    pub(super) fn only_partition(&self) -> Result<Self, Error> {
        match &self.partitions()?[..] {
            [file] => Ok(self.partition(file)),
            files => {
                let message = format!("these are {} files; a reader takes one of them", files.len());
                Err(Error::new(ErrorKind::Config, message).in_file(&self.path))
            }
        }
    }
}

fn expand(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    match path.to_str() {
        Some(pattern) if has_wildcard(pattern) && !path.exists() => matching(pattern, files),
        _ => add(path.to_owned(), files),
    }
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

fn matching(pattern: &str, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let as_in_a_shell =
        glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let found = glob::glob_with(pattern, as_in_a_shell).map_err(|error| {
        let message = format!("this is not a pattern: {} (character {})", error.msg, error.pos + 1);
        Error::new(ErrorKind::Config, message)
    })?;
    let before = files.len();
    for path in found {
        let path = path.map_err(|error| Error::io("cannot look for files", error.into()))?;
        if !path.is_dir() {
            add(path, files)?;
        }
    }
    if files.len() == before {
        let message = "no file matches this pattern; relative paths start from the folder where the run was started";
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    Ok(())
}

fn add(file: PathBuf, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    if files.len() == MAX_FILES {
        let message = format!("the source has more than {MAX_FILES} files; read them in several runs");
        return Err(Error::new(ErrorKind::Config, message));
    }
    files.push(file);
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    /// The names found, below the folder.
    fn found(folder: &TempDir, patterns: &[&str]) -> Result<Vec<String>, Error> {
        let paths = patterns.iter().map(|pattern| folder.path().join(pattern)).collect();
        let config = FileSourceConfig { paths, ..FileSourceConfig::new("") };
        let files = config.partitions()?;
        Ok(files.iter().map(|file| file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn patterns_and_names_give_each_file_once_in_order() {
        let folder = folder(&["b.csv", "a.csv", "c.tsv", ".hidden.csv", "sub/d.csv", "folder.csv/x"]);
        assert_eq!(found(&folder, &["*.csv"]).unwrap(), ["a.csv", "b.csv"]);
        assert_eq!(found(&folder, &["**/*.csv"]).unwrap(), ["a.csv", "b.csv", "sub/d.csv"]);
        assert_eq!(found(&folder, &["b.csv", "[ab].csv", "?.tsv", "b.csv"]).unwrap(), ["a.csv", "b.csv", "c.tsv"]);
        assert_eq!(found(&folder, &["sub/../a.csv", "a.csv"]).unwrap().len(), 1);
    }

    #[test]
    fn a_name_without_wildcards_need_not_exist_and_may_be_stdin() {
        let folder = folder(&["a.csv"]);
        assert_eq!(found(&folder, &["none.csv", "a.csv"]).unwrap(), ["a.csv", "none.csv"]);
        assert_eq!(FileSourceConfig::new("-").partitions().unwrap(), [Path::new("-")]);
    }

    #[test]
    fn a_file_with_a_wildcard_in_its_name_is_meant_by_it() {
        let folder = folder(&["a[1].csv", "a1.csv"]);
        assert_eq!(found(&folder, &["a[1].csv"]).unwrap(), ["a[1].csv"]);
        fs::remove_file(folder.path().join("a[1].csv")).unwrap();
        assert_eq!(found(&folder, &["a[1].csv"]).unwrap(), ["a1.csv"]);
    }

    #[test]
    fn a_pattern_without_files_and_one_that_is_none_are_errors() {
        let folder = folder(&["a.csv"]);
        let error = found(&folder, &["a.csv", "*.jsonl"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("*.jsonl: no file matches this pattern"), "{error}");
        let error = found(&folder, &["a[.csv"]).unwrap_err();
        assert!(error.to_string().contains("this is not a pattern"), "{error}");
    }

    #[test]
    fn one_reader_takes_one_file() {
        let folder = folder(&["a.csv", "b.csv"]);
        let config = FileSourceConfig::new(folder.path().join("*.csv"));
        assert!(config.only_partition().unwrap_err().to_string().contains("these are 2 files"));
        fs::remove_file(folder.path().join("b.csv")).unwrap();
        assert_eq!(config.only_partition().unwrap().path, folder.path().join("a.csv"));
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let paths: Vec<_> = (0..=MAX_FILES).map(|n| PathBuf::from(format!("{n}.csv"))).collect();
        let config = FileSourceConfig { paths, ..FileSourceConfig::new("") };
        assert!(config.partitions().unwrap_err().to_string().contains("more than 10000 files"));
    }
}
