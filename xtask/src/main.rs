//! The commands of this repository: `cargo xtask test` is all that continuous integration runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod debian;
mod deny;
mod faults;
mod kill;
mod main_job;
mod servers;
mod source;
mod step;
mod test;
mod tidy;
mod workspace;

const USAGE: &str = "\
usage: cargo xtask test [--quick] [STEP]...   every check, or only those named; --quick: what takes seconds once built
       cargo xtask test --list                the names of the steps
       cargo xtask kill [--kills N] [--seed S] [--plan one|two|three|all] [--source FLIGHTS.CSV]
                                              the program is killed again and again, and its output compared
       cargo xtask faults                     the program while the world misbehaves: a table of what came of it
       cargo xtask servers                    the servers that tests ask for, until Enter is pressed
       cargo xtask tidy                       layers, lengths, names, clocks, links";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["kill", rest @ ..] => kill::run(rest),
        ["faults"] => faults::run(),
        ["servers"] => workspace::Workspace::read().and_then(|workspace| servers::run(&workspace.target)),
        ["tidy"] => tidy::run(),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}
