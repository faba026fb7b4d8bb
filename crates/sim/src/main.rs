//! More seeds than a test has time for:
//!
//! ```text
//! cargo run --release -p inflight-sim -- --seeds 10000000
//! cargo run --release -p inflight-sim -- --seed 7 --trace
//! ```
#![forbid(unsafe_code)]

use std::process::ExitCode;

use inflight_sim::{Options, Scenario, Trace, run, search};

const USAGE: &str =
    "usage: inflight-sim [--seeds COUNT] [--first SEED] [--coverage] | --seed SEED [--trace], each with [--hears-late]";

struct Arguments {
    seeds: u64,
    first: u64,
    seed: Option<u64>,
    trace: bool,
    coverage: bool,
    hears_late: bool,
}

impl Arguments {
    fn options(&self) -> Options {
        Options { hears_late: self.hears_late, model: !self.hears_late, ..Options::default() }
    }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments =
        Arguments { seeds: 100_000, first: 0, seed: None, trace: false, coverage: false, hears_late: false };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut number = || {
            let value = given.next().ok_or_else(|| format!("{name} wants a number"))?;
            value.replace('_', "").parse().map_err(|_| format!("{name} wants a number, not {value:?}"))
        };
        match name.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--first" => arguments.first = number()?,
            "--seed" => arguments.seed = Some(number()?),
            "--trace" => arguments.trace = true,
            "--hears-late" => arguments.hears_late = true,
            "--coverage" => arguments.coverage = true,
            _ => return Err(format!("unknown argument {name:?}")),
        }
    }
    Ok(arguments)
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    println!("{}", Scenario::new(seed));
    let trace = if arguments.trace { Trace::Print } else { Trace::Hash };
    let options = Options { trace, ..arguments.options() };
    match run(seed, &options) {
        Ok(report) => {
            println!(
                "no rule is broken: {} records, {} crashes, trace {:016x}",
                report.emitted, report.crashes, report.hash
            );
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("seed {seed} breaks the rule \"{}\": {}", violation.rule, violation.what);
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let search = search(arguments.first, arguments.seeds, threads, &arguments.options());
    println!("{search}");
    if arguments.coverage {
        println!("{}", search.coverage);
    }
    match search.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
