//! Where records come from, as needed.

use std::path::{Path, PathBuf};

use inflight_connectors::Error;
use inflight_connectors::file::{FileSourceConfig, Format};

use crate::file::STANDARD;

/// Where records come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// Files; the path `-` is standard input.
    File(FileSourceConfig),
}

impl Source {
    /// Whether the configuration makes sense, as far as can be told without what it names.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::File(config) => config.check(),
        }
    }

    /// Whether it can be read, said in one sentence if not. Reads no record.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_connect(&self) -> Result<(), Error> {
        match self {
            Self::File(config) => config.check_connect(),
        }
    }

    /// The key of the pipeline file that it stands under.
    pub const fn system(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
        }
    }

    /// What it is called in messages: the path of a file.
    pub fn name(&self) -> String {
        match self {
            Self::File(config) => config.path.display().to_string(),
        }
    }

    /// Standard input, which cannot be read again.
    pub fn is_standard(&self) -> bool {
        match self {
            Self::File(config) => config.path == Path::new(STANDARD),
        }
    }

    /// Every record has the same fields, which stand in a header.
    pub fn has_header(&self) -> bool {
        match self {
            Self::File(config) => matches!(config.format(), Ok(Format::Csv)),
        }
    }

    /// The files that it reads, as typed: with wildcards, and `-` for standard input.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::File(config) => config.paths.iter().chain([&config.path]).map(PathBuf::as_path).collect(),
        }
    }

    /// The paths in it that start from the folder of the pipeline file.
    pub(super) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            // Of the two only one is there.
            Self::File(config) => match config.paths.is_empty() {
                true => vec![&mut config.path],
                false => config.paths.iter_mut().collect(),
            },
        }
    }
}
