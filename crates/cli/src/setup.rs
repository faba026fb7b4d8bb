//! Builds the look-up tables that a pipeline names under `setup`.

use std::fmt::Write;

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

/// Builds the database of the pipeline, and says in a few lines what was done; `None` when it has no `setup`.
///
/// # Errors
/// When a table's file cannot be read, or the database cannot be written. Then no database is left half built.
pub fn set_up(pipeline: &Pipeline, build: Build) -> anyhow::Result<Option<String>> {
    let Some(setup) = &pipeline.setup else { return Ok(None) };
    let report = match build {
        Build::IfMissing => load_if_missing(&setup.database, &setup.load_config()),
        Build::Again => load(&setup.database, &setup.load_config()),
    };
    let report = report.map_err(|error| anyhow::anyhow!(pipeline.secrets.hide(&error.to_string())))?;
    let database = setup.database.display().to_string();
    Ok(Some(in_words(&pipeline.secrets.hide(&database), &report)))
}

fn in_words(database: &str, report: &LoadReport) -> String {
    if !report.built {
        return format!("{database} is there already; `inflight setup --rebuild` builds it again\n");
    }
    let mut text = format!("built {database}\n");
    for table in &report.tables {
        // Writing to a text cannot fail.
        let _ = write!(text, "  {}: {} rows", table.name, grouped(table.rows));
        if table.duplicate_keys > 0 {
            let _ = write!(
                text,
                ", of which {} are never found: an earlier row has the same key",
                grouped(table.duplicate_keys)
            );
        }
        text.push('\n');
    }
    text
}
