//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::exit::EXIT_CODES;
use crate::units::Period;

/// Enriches a stream of records from a pipeline file: reads records, looks things up for each of them with many
/// look-ups in flight at a time, and writes the records with what was found, in order.
#[derive(Debug, Parser)]
#[command(name = "inflight", version, arg_required_else_help = true, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  inflight check flights.yaml                 is the file right? (reads and writes no data)
  inflight explain flights.yaml               what would be done, with all defaults filled in
  inflight run flights.yaml                   do it
  inflight run flights.yaml | head -3         progress goes to standard error, so pipes stay clean";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline until its source ends, or until Ctrl-C.
    ///
    /// Reads the records, looks up for each of them what the pipeline says, and writes them with what was found. Tables
    /// named under `setup` are built first if they are missing. A file has `.partial` at the end of its name until it is
    /// complete.
    #[command(after_help = format!("{RUN_HELP}\n\n{EXIT_CODES}"))]
    Run(RunArgs),
    /// Check pipeline files without touching data: shows each error with its place.
    Check {
        /// The pipeline files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show a pipeline with every default filled in, secrets hidden, and the plan drawn.
    Explain {
        /// The pipeline file.
        file: PathBuf,
    },
    /// Print the JSON Schema of pipeline files, for editors.
    #[command(after_help = SCHEMA_HELP)]
    Schema,
    /// Build the look-up tables that a pipeline names under `setup`. (`run` does it when they are missing.)
    Setup {
        /// The pipeline file.
        file: PathBuf,
        /// Build them again, even though they are there.
        #[arg(long)]
        rebuild: bool,
    },
}

const RUN_HELP: &str = "\
The first Ctrl-C (or SIGTERM) stops reading and finishes what is in flight; the second stops at once.
Progress, summary and errors go to standard error.

Examples:
  inflight run flights.yaml                               as the file says
  inflight run flights.yaml --limit 100 --sink -          the first 100 records, to standard output
  zcat more.csv.gz | inflight run flights.yaml --source - from standard input, in the format of the file's own source";

const SCHEMA_HELP: &str = "\
For the YAML language server, write the schema to a file and name it in the first line of a pipeline:
  inflight schema > inflight.schema.json
  # yaml-language-server: $schema=inflight.schema.json";

/// What `run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The pipeline file.
    pub file: PathBuf,
    /// Read this instead of the source that the pipeline names; `-` is standard input.
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,
    /// Write this instead of the sink that the pipeline names; `-` is standard output.
    #[arg(long, value_name = "PATH")]
    pub sink: Option<PathBuf>,
    /// Stop after this many records of the source.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Show neither progress nor summary, only errors.
    #[arg(short, long)]
    pub quiet: bool,
    /// End with exit code 3 when records went to the dead letters.
    #[arg(long)]
    pub strict: bool,
    /// After the first signal, how long to wait for what is in flight.
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = period)]
    pub drain_limit: Period,
}

fn period(text: &str) -> Result<Period, String> {
    Period::parse(text).map_err(|error| error.replace('\n', "; "))
}
