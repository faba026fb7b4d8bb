//! Builds the look-up tables that a pipeline names under `setup`.

use std::fmt;

use inflight_connectors::sqlite::{LoadReport, load, load_if_missing};

use crate::pipeline::Pipeline;
use crate::summary::grouped;

/// When to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// When the database is missing.
    IfMissing,
    /// In any case, in the place of what is there.
    Again,
}

/// The look-up tables of a pipeline, built now or there before. `Display` tells which, in a few lines.
#[derive(Clone, Debug)]
pub struct Tables {
    database: String,
    report: LoadReport,
}

/// Sees to it that the database of the pipeline is there; `None` when the pipeline has no `setup`.
///
/// # Errors
/// When a table's file cannot be read, or the database cannot be written. Then no database is left half built.
pub fn set_up(pipeline: &Pipeline, build: Build) -> anyhow::Result<Option<Tables>> {
    let Some(setup) = &pipeline.setup else { return Ok(None) };
    let report = match build {
        Build::IfMissing => load_if_missing(&setup.database, &setup.load_config()),
        Build::Again => load(&setup.database, &setup.load_config()),
    };
    let report = report.map_err(|error| anyhow::anyhow!(pipeline.secrets.hide(&error.to_string())))?;
    let database = pipeline.secrets.hide(&setup.database.display().to_string());
    Ok(Some(Tables { database, report }))
}

impl Tables {
    /// Whether they were built now.
    pub fn built(&self) -> bool {
        self.report.built
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.report.built {
            return writeln!(f, "{} is there already; `inflight setup --rebuild` builds it again", self.database);
        }
        writeln!(f, "built {}", self.database)?;
        for table in &self.report.tables {
            write!(f, "  {}: {} row{}", table.name, grouped(table.rows), if table.rows == 1 { "" } else { "s" })?;
            match table.duplicate_keys {
                0 => writeln!(f)?,
                lost => writeln!(f, ", {} of them never found because an earlier row has the same key", grouped(lost))?,
            }
        }
        Ok(())
    }
}
