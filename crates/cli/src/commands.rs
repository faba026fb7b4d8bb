//! What each command does, and the exit code it ends with.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, RunArgs};
use crate::change::change;
use crate::checkpoints::checkpoints;
use crate::connect::{Contact, connect};
use crate::exit::Exit;
use crate::explain::explain;
use crate::file::LoadError;
use crate::pipeline::Pipeline;
use crate::replay::replay;
use crate::run::{RunOptions, run};
use crate::schema::schema;
use crate::setup::{Build, set_up};
use crate::tell::tell;

/// Runs the command line of this process: the whole program.
pub fn main() -> ExitCode {
    // Clap itself answers `--help` with 0 and a wrong command line with 2.
    let command = Cli::parse().command;
    match execute(command) {
        Ok(code) => code,
        Err(error) if closed_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            let exit = if error.is::<LoadError>() { Exit::BadPipeline } else { Exit::Failed };
            report(&error);
            exit.into()
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run_pipeline(&args, |pipeline| change(pipeline, &args)),
        Command::Replay(args) => run_pipeline(&args.run, |pipeline| replay(pipeline, &args)),
        Command::Check { files, connect } => check(&files, connect),
        Command::Explain { file } => print(&explain(&Pipeline::load(&file)?)?),
        Command::Schema => print(&schema()?),
        Command::Setup { file, rebuild } => {
            let build = if rebuild { Build::Again } else { Build::IfMissing };
            match set_up(&Pipeline::load(&file)?, build)? {
                Some(tables) => print(&tables.to_string()),
                None => print("the pipeline has no `setup`: there is nothing to build\n"),
            }
        }
        Command::Checkpoints(args) => {
            let (text, exit) = checkpoints(&args)?;
            print(&text)?;
            Ok(exit.into())
        }
    }
}

/// Checks all files, even after one that is wrong; then, if wanted, what those that are right name.
fn check(files: &[PathBuf], connect: bool) -> anyhow::Result<ExitCode> {
    let right: Vec<Pipeline> = files.iter().filter_map(|file| checked(file)).collect();
    let mut is_well = true;
    for pipeline in right.iter().filter(|_| connect) {
        is_well &= connected(pipeline)?;
    }
    Ok(match (right.len() == files.len(), is_well) {
        (false, _) => Exit::BadPipeline,
        (true, false) => Exit::Failed,
        (true, true) => Exit::Done,
    }
    .into())
}

/// Whether everything that the pipeline names answers; a line for each.
fn connected(pipeline: &Pipeline) -> anyhow::Result<bool> {
    let contacts = connect(pipeline)?;
    for contact in &contacts {
        let line = format!("{}: {contact}", pipeline.name);
        match contact.is_well() {
            true => drop(print(&format!("{line}\n"))),
            false => report(&anyhow::anyhow!(line)),
        }
    }
    Ok(contacts.iter().all(Contact::is_well))
}

fn checked(file: &Path) -> Option<Pipeline> {
    match Pipeline::load(file) {
        Ok(pipeline) => {
            let steps = counted(pipeline.steps.len(), "look-up");
            let stages = counted(pipeline.stages.len(), "stage");
            // When whoever reads this has gone, the exit code still tells.
            drop(print(&format!("{}: right ({steps} in {stages})\n", file.display())));
            Some(pipeline)
        }
        Err(error) => {
            report(&error.into());
            None
        }
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Runs a pipeline as the command line changes it.
fn run_pipeline(args: &RunArgs, change: impl FnOnce(&mut Pipeline) -> Result<(), String>) -> anyhow::Result<ExitCode> {
    let mut pipeline = Pipeline::load(&args.file)?;
    if let Err(wrong) = change(&mut pipeline) {
        report(&anyhow::anyhow!(pipeline.secrets.hide(&wrong)));
        return Ok(Exit::Usage.into());
    }
    let tables = set_up(&pipeline, Build::IfMissing)?;
    if let Some(tables) = tables.filter(|tables| tables.built() && !args.quiet) {
        tell(&tables.to_string());
    }
    let options = RunOptions {
        limit: args.limit,
        quiet: args.quiet,
        strict: args.strict,
        drain_limit: args.drain_limit.0,
        from_scratch: args.from_scratch,
        accept: args.accept.clone(),
    };
    let secrets = pipeline.secrets.clone();
    run(pipeline, options).map_err(|error| anyhow::anyhow!(secrets.hide(&format!("{error:#}"))))
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(Exit::Done.into())
}

/// Whether whoever read our output has gone, as `head` does: no reason to complain.
fn closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// What is wrong with a pipeline file is a text of its own; everything else is one line.
fn report(error: &anyhow::Error) {
    let text = match error.downcast_ref::<LoadError>() {
        Some(error) => error.to_string(),
        None => format!("error: {error:#}\n"),
    };
    tell(&text);
}
