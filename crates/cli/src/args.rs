//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
  inflight check --connect flights.yaml       do the systems it names answer?
  inflight explain flights.yaml               what would be done, with all defaults filled in
  inflight run flights.yaml                   do it
  inflight replay dead.jsonl flights.yaml     once more for the records that were given up
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
    Run(Box<RunArgs>),
    /// Send the records of dead letters through a pipeline again.
    ///
    /// Reads dead letters instead of the source that the pipeline names: a file, or what the pipeline has written to its
    /// `dead_letter`, a topic or a stream too. A record that gets through goes to the sink, behind what is there; one that
    /// fails again is a dead letter again, and its story goes on. If the file is where the pipeline writes its dead letters, it
    /// has only those in the end.
    #[command(after_help = format!("{REPLAY_HELP}\n\n{EXIT_CODES}"))]
    Replay(Box<ReplayArgs>),
    /// Check pipeline files without touching data: shows each error with its place.
    #[command(after_help = CHECK_HELP)]
    Check {
        /// Also ask the source, every look-up, the sink and the dead letters whether they answer: wrong passwords, missing
        /// tables and columns, no permission. Reads no record and writes nothing.
        #[arg(long)]
        connect: bool,
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
    /// Look at a folder of checkpoints: what is in it, how old, and whether it is whole. Changes nothing.
    #[command(after_help = CHECKPOINTS_HELP)]
    Checkpoints(CheckpointsArgs),
}

const CHECK_HELP: &str = "\
Examples:
  inflight check *.yaml                 are the files right?
  inflight check --connect flights.yaml does everything they name answer?

The exit code is 78 if a file is wrong, and 1 if all are right and something does not answer.";

const CHECKPOINTS_HELP: &str = "\
Examples:
  inflight checkpoints list state        one line for each checkpoint
  inflight checkpoints show state        positions, sinks and counts of the one a restart would use
  inflight checkpoints show state 41     those of epoch 41
  inflight checkpoints verify state      exit code 1 if any is damaged";

/// What `checkpoints` takes.
#[derive(Debug, Args)]
pub struct CheckpointsArgs {
    /// What to look at.
    #[command(subcommand)]
    pub look: Look,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
}

/// How to look at a folder of checkpoints.
#[derive(Debug, Subcommand)]
pub enum Look {
    /// One line for each checkpoint: epoch, run, age, size, records carried, and whether it is valid.
    List {
        /// The folder of checkpoints.
        dir: PathBuf,
    },
    /// What a checkpoint says: positions in the source, states of the sinks, counts, the pipeline.
    Show {
        /// The folder of checkpoints.
        dir: PathBuf,
        /// Its epoch or the name of its file; otherwise the one that a restart would use.
        checkpoint: Option<String>,
    },
    /// Read every checkpoint and compare its checksums. Ends with 1 when one is damaged, and says which one a restart would use.
    Verify {
        /// The folder of checkpoints.
        dir: PathBuf,
        /// Only this one: its epoch or the name of its file.
        checkpoint: Option<String>,
    },
}

const RUN_HELP: &str = "\
The first Ctrl-C (or SIGTERM) stops reading and finishes what is in flight; the second stops at once.
Progress, summary and errors go to standard error.

Examples:
  inflight run flights.yaml                               as the file says
  inflight run flights.yaml --limit 100 --sink -          the first 100 records, to standard output
  zcat more.csv.gz | inflight run flights.yaml --source - from standard input, in the format of the file's own source
  inflight run flights.yaml --checkpoint state            go on after a crash where the last checkpoint left off
  inflight run flights.yaml --hosts hosts.txt --process 1 the second of several processes that share the work";

const REPLAY_HELP: &str = "\
Files are appended to, and until the end they stay as they were; a replay that is interrupted is simply done again.
The checkpoints of the pipeline are left alone; --checkpoint gives the replay a folder of its own. Letters stay in a topic or a
stream: without --checkpoint all that are there are replayed each time, with it those that came since the last replay.

Examples:
  inflight replay dead.jsonl flights.yaml                  all of them
  grep unavailable dead.jsonl > some.jsonl
  inflight replay some.jsonl flights.yaml                  those that a look-up could not be reached for
  inflight replay dead.jsonl flights.yaml --sink -         to standard output
  inflight replay dead_letter flights.yaml --checkpoint replayed   from wherever the pipeline writes them";

const SCHEMA_HELP: &str = "\
For the YAML language server, write the schema to a file and name it in the first line of a pipeline:
  inflight schema > inflight.schema.json
  # yaml-language-server: $schema=inflight.schema.json";

/// What `replay` takes.
#[derive(Debug, Args)]
#[command(mut_arg("source", |source| source.hide(true)), mut_arg("limit", |limit| limit.hide(true)))]
pub struct ReplayArgs {
    /// The dead letters: JSON lines or CSV, as its name tells; or `dead_letter`, for where the pipeline writes its own (not
    /// tables: those have to be exported).
    pub dead_letters: PathBuf,
    /// As for `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

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
    /// Stop after this many records of the source. With checkpoints, the next run goes on behind them.
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
    /// Look up on this many threads, in each process.
    #[arg(long, value_name = "N", help_heading = SCALE)]
    pub workers: Option<usize>,
    /// How many processes run the pipeline together: as many as there are hosts.
    #[arg(long, value_name = "N", help_heading = SCALE)]
    pub processes: Option<usize>,
    /// Which of the processes this one is, from 0. A name with a number at its end, as pods of a StatefulSet have, is that
    /// number: `flights-2` is 2.
    #[arg(long, value_name = "I", env = "INFLIGHT_PROCESS", value_parser = process, help_heading = SCALE)]
    pub process: Option<usize>,
    /// A file that says where each process listens: one `host:port` in each line.
    #[arg(long, value_name = "FILE", env = "INFLIGHT_HOSTS", help_heading = SCALE)]
    pub hosts: Option<PathBuf>,
    /// Write checkpoints into this folder, and go on from what is there.
    #[arg(long, value_name = "DIR", help_heading = RECOVERY)]
    pub checkpoint: Option<PathBuf>,
    /// Begin anew, whatever checkpoints are there. They are replaced as the new run writes its own.
    #[arg(long, help_heading = RECOVERY, conflicts_with = "accept")]
    pub from_scratch: bool,
    /// Go on from the checkpoint though this part of the pipeline has changed since. May be repeated.
    #[arg(long, value_name = "PART", value_enum, help_heading = RECOVERY)]
    pub accept: Vec<Accept>,
}

const SCALE: &str = "Several threads, several processes";
const RECOVERY: &str = "Recovery";

/// A part of the pipeline that may differ from what a checkpoint was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accept {
    /// The steps: records that were in flight go through all steps of the pipeline as it is now, with what they had.
    Enrich,
    /// The source: it goes on behind what was read of each file of the same name; other files are read from their start.
    Source,
    /// The sink or the dead letters: the new output begins with what comes from now on.
    Sink,
}

/// `2`, or a name with that at its end: `flights-2`.
fn process(text: &str) -> Result<usize, String> {
    let number = text.rsplit_once('-').map_or(text, |(_, number)| number);
    number.parse().map_err(|_| "write a number from 0, or a name that ends in one, such as flights-2".to_owned())
}

fn period(text: &str) -> Result<Period, String> {
    Period::parse(text).map_err(|error| error.replace('\n', "; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_a_number_or_a_name_with_one_at_its_end() {
        assert_eq!(["0", "7", "flights-2", "my-app-10"].map(process), [Ok(0), Ok(7), Ok(2), Ok(10)]);
        for text in ["", "flights", "flights-", "-", "2-x", "1.5"] {
            assert!(process(text).is_err(), "{text}");
        }
    }
}
