//! Steps: run one after the other, each named, timed and counted. A failure stops none of the others.

use std::process::Command;
use std::time::{Duration, Instant};

/// One thing to check.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// What it shows, for people.
    pub(crate) what: &'static str,
    /// Takes seconds once everything is built.
    pub(crate) quick: bool,
    pub(crate) check: fn() -> Outcome,
}

pub(crate) type Outcome = Result<(), Trouble>;

/// Why a step did not pass.
#[derive(Debug, PartialEq)]
pub(crate) enum Trouble {
    Failed(String),
    /// A tool is missing on this machine, and what to do about it. In continuous integration this is a failure.
    Skipped(String),
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

/// Runs a program, its output as it comes; an error unless it ends well.
pub(crate) fn call(command: &mut Command) -> Outcome {
    println!("$ {}", shown(command));
    let status = command.status().map_err(|error| format!("{}: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{status}: {}", shown(command)).into()) }
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default();
    let variables =
        command.get_envs().filter_map(|(name, value)| Some(format!("{}={} ", name.to_str()?, value?.to_str()?)));
    let arguments = command.get_args().map(|argument| format!(" {}", argument.to_string_lossy()));
    variables.collect::<String>() + program + &arguments.collect::<String>()
}

/// Runs all of them and prints the sum.
pub(crate) fn run_all(steps: &[&Step], nothing_is_skipped: bool) -> Result<(), String> {
    let mut results = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!("\n==> [{}/{}] {}: {}", index + 1, steps.len(), step.name, step.what);
        let start = Instant::now();
        let outcome = strict((step.check)(), nothing_is_skipped);
        let took = start.elapsed();
        println!("<== {}: {} in {:.1} s", step.name, word(&outcome), took.as_secs_f64());
        results.push((step.name, outcome, took));
    }
    let (table, sum) = summary(&results);
    println!("\n{table}{sum}");
    match results.iter().any(|(_, outcome, _)| matches!(outcome, Err(Trouble::Failed(_)))) {
        false => Ok(()),
        true => Err("some steps failed; run one alone with: cargo xtask test STEP".to_owned()),
    }
}

fn strict(outcome: Outcome, nothing_is_skipped: bool) -> Outcome {
    match outcome {
        Err(Trouble::Skipped(why)) if nothing_is_skipped => Err(Trouble::Failed(why)),
        other => other,
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(()) => "ok",
        Err(Trouble::Failed(_)) => "FAILED",
        Err(Trouble::Skipped(_)) => "SKIPPED",
    }
}

fn summary(results: &[(&str, Outcome, Duration)]) -> (String, String) {
    let mut table = String::new();
    for (name, outcome, took) in results {
        let why = match outcome {
            Ok(()) => "",
            Err(Trouble::Failed(why) | Trouble::Skipped(why)) => why,
        };
        let line = format!("{name:<10}{:<9}{:>7.1} s  {}", word(outcome), took.as_secs_f64(), first_line(why));
        table += &format!("{}\n", line.trim_end());
    }
    let count = |wanted| results.iter().filter(|(_, outcome, _)| word(outcome) == wanted).count();
    let mut sum = format!("{} passed, {} failed", count("ok"), count("FAILED"));
    if count("SKIPPED") > 0 {
        sum += &format!(", {} SKIPPED", count("SKIPPED"));
    }
    (table, sum)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_skipped_step_is_shown_and_counted() {
        let results = [("fmt", Ok(()), SECOND), ("deny", Err(Trouble::Skipped("no tool".into())), SECOND)];
        let (table, sum) = summary(&results);
        assert!(table.contains("SKIPPED") && table.contains("no tool"), "{table}");
        assert_eq!(sum, "1 passed, 0 failed, 1 SKIPPED");
    }

    #[test]
    fn nothing_is_skipped_in_continuous_integration() {
        let skipped = || Err(Trouble::Skipped("no tool".into()));
        assert_eq!(strict(skipped(), true), Err(Trouble::Failed("no tool".into())));
        assert_eq!(strict(skipped(), false), skipped());
    }

    #[test]
    fn one_failure_fails_the_whole_and_stops_nothing() {
        let good = Step { name: "good", what: "", quick: true, check: || Ok(()) };
        let bad = Step { name: "bad", what: "", quick: true, check: || Err("broken".to_owned().into()) };
        assert!(run_all(&[&bad, &good], false).is_err());
        assert!(run_all(&[&good], true).is_ok());
    }

    #[test]
    fn a_program_that_fails_is_named() {
        let failed = call(Command::new("cargo").arg("no-such-command")).unwrap_err();
        assert!(matches!(&failed, Trouble::Failed(what) if what.contains("cargo no-such-command")), "{failed:?}");
    }
}
