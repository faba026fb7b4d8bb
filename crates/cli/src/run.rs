//! Runs a pipeline.

use std::process::ExitCode;
use std::time::Duration;

use crate::pipeline::Pipeline;

/// What the command line says about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Stop after this many records of the source.
    pub limit: Option<u64>,
    /// Show neither progress nor summary.
    pub quiet: bool,
    /// End with [`Exit::DeadLettered`](crate::exit::Exit::DeadLettered) when there were dead letters.
    pub strict: bool,
    /// After a signal, how long to wait for what is in flight.
    pub drain_limit: Duration,
}

/// Runs a pipeline until its source ends or a signal stops it.
///
/// # Errors
/// When the run fails.
pub fn run(_pipeline: Pipeline, _options: RunOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`inflight run` is not built yet; `check`, `explain`, `schema` and `setup` work")
}
