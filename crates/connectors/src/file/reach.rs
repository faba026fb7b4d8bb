//! Whether files can be reached, without reading or writing them.

use std::fs;
use std::path::Path;

use super::config::{is_regular, is_standard};
use super::{FileSinkConfig, FileSource, FileSourceConfig};
use crate::{Error, ErrorKind};

impl FileSourceConfig {
    /// Whether the files are there and can be opened; of CSV files the headers are read. Standard input and pipes are
    /// left alone.
    ///
    /// # Errors
    ///
    /// When one is not, the configuration does not make sense, or a header is wrong.
    pub fn check_connect(&self) -> Result<(), Error> {
        self.check()?;
        let mut files = self.partitions()?.into_iter().filter(|file| is_regular(file));
        files.try_for_each(|file| FileSource::open(&self.partition(file)).map(drop))
    }
}

impl FileSinkConfig {
    /// Whether the folder is there, and nothing is in the place of the file that is none. Nothing is written.
    ///
    /// # Errors
    ///
    /// When it is not so, or the configuration does not make sense.
    pub fn check_connect(&self) -> Result<(), Error> {
        self.check()?;
        if is_standard(&self.path) {
            return Ok(());
        }
        if self.path.is_dir() {
            return Err(Error::new(ErrorKind::Config, "this is a folder; name a file in it").in_file(&self.path));
        }
        folder_is_there(&self.path)
    }
}

/// Whether a file could be made here.
pub(crate) fn folder_is_there(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let there = fs::metadata(folder).map_err(|error| Error::io("cannot write here", error).in_file(folder))?;
    match there.is_dir() && !there.permissions().readonly() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Permission, "this is no folder to write in").in_file(folder)),
    }
}
