//! `cargo xtask kill`: the program is killed at random moments, again and again, and what it has written in the end is compared with what it
//! writes undisturbed.
//!
//! One *life* is a pipeline from its first record to its last, however often it is killed in between. Moments, victims and the number of
//! processes follow from the seed; what the machine makes of them does not, so a seed repeats what was done and not each byte of when.

use std::path::PathBuf;
use std::time::Instant;

mod chance;
mod compare;
mod databases;
mod ground;
mod life;
mod moment;
mod numbers;
mod output;
mod plan;
mod set;

use self::chance::Chance;
use self::ground::Ground;
use self::life::{Life, live};
use self::numbers::Numbers;
use self::output::Output;
use self::plan::Plan;
use crate::step::{Outcome, Trouble};

/// How often unless it is said: what the figures in the documentation were made with.
const KILLS: u64 = 200;
/// In every run of all tests.
const SOME_KILLS: u64 = 27;
/// Then, so many times January: long enough to be killed in the middle.
const SOME_TIMES: usize = 5;

/// A life is not left in peace before, unless it is enough: so that all outputs have their share.
const KILLS_OF_A_LIFE: u64 = 5;

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    kills: u64,
    seed: u64,
    plans: Vec<Plan>,
    /// The flights to read; otherwise January, over and over.
    source: Option<PathBuf>,
    /// How many times January, then.
    times: usize,
}

impl Default for Wish {
    fn default() -> Self {
        Self { kills: KILLS, seed: 1, plans: Plan::ALL.to_vec(), source: None, times: ground::MONTHS_OF_A_YEAR }
    }
}

pub(crate) const USAGE: &str = "\
usage: cargo xtask kill [--kills N] [--seed S] [--plan one|two|three|all] [--source FLIGHTS.CSV]
       N kills in all (200), at moments that follow from S (1), of runs with one, two, three processes, or all in turn;
       the source is January twelve times, or the whole year (see examples/flights/DATA.md)";

/// Does what the command line says.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let wish = read(words).map_err(|wrong| format!("{wrong}\n{USAGE}"))?;
    match kill(&wish)?.as_slice() {
        [] => Ok(()),
        missing => Err(format!("not everything was tried: {}", missing.join("; "))),
    }
}

/// A few kills of everything.
pub(crate) fn some() -> Outcome {
    let missing = kill(&Wish { kills: SOME_KILLS, times: SOME_TIMES, ..Wish::default() })?;
    if missing.is_empty() { Ok(()) } else { Err(Trouble::Skipped(missing.join("; "))) }
}

fn read(words: &[&str]) -> Result<Wish, String> {
    let mut wish = Wish::default();
    for pair in words.chunks(2) {
        let [option, value] = pair else { return Err(format!("{} wants a value", pair[0])) };
        let number = || value.parse().map_err(|_| format!("{option} {value}: a number is expected"));
        match *option {
            "--kills" => wish.kills = number()?,
            "--seed" => wish.seed = number()?,
            "--plan" if *value == "all" => wish.plans = Plan::ALL.to_vec(),
            "--plan" => wish.plans = vec![Plan::named(value).ok_or_else(|| format!("there is no plan {value}"))?],
            "--source" => wish.source = Some(PathBuf::from(value)),
            _ => return Err(format!("unknown option {option}")),
        }
    }
    Ok(wish)
}

/// Kills until it is enough; what could not be tried on this machine. An error at the first difference.
fn kill(wish: &Wish) -> Result<Vec<String>, String> {
    let began = Instant::now();
    let ground = Ground::prepare(wish.source.as_deref(), wish.times)?;
    let mut undisturbed = Vec::new();
    for output in Output::all(&ground.databases) {
        undisturbed.push(ground.undisturbed(output)?);
    }
    let mut numbers = Numbers::default();
    let mut lives = 0;
    for (at, plan) in wish.plans.iter().enumerate() {
        let plans = wish.plans.len() as u64;
        let share = wish.kills / plans + u64::from((at as u64) < wish.kills % plans);
        while numbers.kills_of(*plan) < share {
            let reference = &undisturbed[lives % undisturbed.len()];
            lives += 1;
            let fair = share.div_ceil(undisturbed.len() as u64).max(KILLS_OF_A_LIFE);
            let most_kills = fair.min(share - numbers.kills_of(*plan));
            let life = Life { number: lives, plan: *plan, most_kills };
            let chance = Chance::new(wish.seed, lives as u64);
            live(&ground, reference, life, chance, &mut numbers).map_err(|wrong| {
                let (plan, output) = (plan.name(), reference.output.name());
                format!("life {lives} (plan {plan}, {output}): {wrong}\nto repeat it: {}", again(wish))
            })?;
        }
    }
    println!("\n{numbers}in {:.0} s, with seed {}", began.elapsed().as_secs_f64(), wish.seed);
    ground.clear();
    Ok(ground.databases.missing)
}

/// The command that does the same again.
fn again(wish: &Wish) -> String {
    let plan = if let [plan] = wish.plans.as_slice() { plan.name() } else { "all" };
    let source = wish.source.as_ref().map(|source| format!(" --source {}", source.display())).unwrap_or_default();
    format!("cargo xtask kill --kills {} --seed {} --plan {plan}{source}", wish.kills, wish.seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read_and_wrong_ones_are_refused() {
        assert_eq!(read(&[]), Ok(Wish::default()));
        let wish = read(&["--kills", "7", "--plan", "two", "--seed", "9", "--source", "f.csv"]).unwrap();
        assert_eq!((wish.kills, wish.seed, wish.plans.as_slice()), (7, 9, [Plan::Two].as_slice()));
        assert_eq!(again(&wish), "cargo xtask kill --kills 7 --seed 9 --plan two --source f.csv");
        for words in [&["--kills"][..], &["--kills", "x"], &["--plan", "four"], &["--kill", "1"]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
