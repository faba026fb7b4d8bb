//! `cargo xtask test`: every check there is, cheapest first.

use std::process::Command;

use crate::debian::openssl;
use crate::servers::Servers;
use crate::step::{Outcome, Step, Trouble, call, run_all};
use crate::workspace::{Package, Workspace, cargo, root};
use crate::{deny, kill, main_job, tidy};

/// Seeds of the simulation; a longer run is one command away (crates/sim).
const SEEDS: &str = "100000";

/// Features that change what the code does, for the tests that want just that. All others only add.
const SWITCHES: [&str; 2] = ["mutants", "shuttle"];

const STEPS: [Step; 13] = [
    Step { name: "fmt", what: "the form of the code", quick: true, check: fmt },
    Step { name: "tidy", what: "layers, lengths, names, clocks, links", quick: true, check: || Ok(tidy::run()?) },
    Step { name: "deny", what: "licences, bans and sources of all dependencies", quick: true, check: deny::run },
    Step { name: "clippy", what: "lints, with the default features and with all", quick: true, check: clippy },
    Step { name: "features", what: "each feature alone", quick: false, check: features },
    Step { name: "doc", what: "documentation without warnings", quick: false, check: doc },
    Step { name: "test", what: "tests and examples in documentation; damaged input", quick: true, check: test },
    Step { name: "shuttle", what: "what threads meet in, many interleavings", quick: false, check: shuttle },
    Step { name: "examples", what: "each example runs", quick: false, check: examples },
    Step { name: "sim", what: "the simulation: seeds, small stories, mutants, coverage", quick: false, check: sim },
    Step { name: "main-job", what: "the program enriches January 2013", quick: false, check: main_job::run },
    Step {
        name: "kill",
        what: "kill -9 at random moments: nothing is lost, nothing twice",
        quick: false,
        check: kill::some,
    },
    Step { name: "bench", what: "the benches run", quick: false, check: bench },
];

/// Runs the steps named in `arguments`, those that are quick, or all.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    if arguments == ["--list"] {
        STEPS.iter().for_each(|step| println!("{:<10}{}", step.name, step.what));
        return Ok(());
    }
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    run_all(&chosen(arguments)?, in_ci)
}

fn chosen(arguments: &[&str]) -> Result<Vec<&'static Step>, String> {
    let (options, names): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|word| word.starts_with('-'));
    let quick = match options.as_slice() {
        [] => false,
        ["--quick"] => true,
        _ => return Err(format!("unknown option {:?}; there is --quick, and --list alone", options.join(" "))),
    };
    if let Some(name) = names.iter().find(|name| !STEPS.iter().any(|step| step.name == **name)) {
        return Err(format!("there is no step {name:?}; cargo xtask test --list names them"));
    }
    let wanted = |step: &&Step| (names.is_empty() || names.contains(&step.name)) && (!quick || step.quick);
    Ok(STEPS.iter().filter(wanted).collect())
}

fn fmt() -> Outcome {
    call(cargo().args(["fmt", "--all", "--", "--check"]))
}

fn clippy() -> Outcome {
    openssl();
    let clippy = |features: &[&str]| {
        call(cargo().args(["clippy", "--workspace", "--all-targets"]).args(features).args(["--", "-D", "warnings"]))
    };
    clippy(&["--all-features"])?;
    clippy(&[])
}

fn features() -> Outcome {
    for package in Workspace::read()?.packages.iter().filter(|package| !package.features.is_empty()) {
        let alone = |feature: &[&str]| {
            let check = ["clippy", "--package", &package.name, "--no-default-features"];
            call(cargo().args(check).args(feature).args(["--", "-D", "warnings"]))
        };
        alone(&[])?;
        for feature in package.features.iter().filter(|feature| *feature != "default") {
            alone(&["--features", feature])?;
        }
    }
    Ok(())
}

/// Of the libraries: the program has the name of one of them, and their pages would overwrite each other.
fn doc() -> Outcome {
    call(
        cargo().args(["doc", "--workspace", "--no-deps", "--lib", "--all-features"]).env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// All but the simulation, which is too slow without optimisation and switches the core's mutants on, for all.
fn test() -> Outcome {
    openssl();
    let workspace = Workspace::read()?;
    let servers = Servers::start(&workspace.target);
    call(tests(&workspace).arg("--no-fail-fast").envs(servers.variables()))?;
    servers.missing().map_or(Ok(()), |what| Err(Trouble::Skipped(what)))
}

/// The same packages and features wherever something is built for a test: another choice would build all dependencies again.
fn tests(workspace: &Workspace) -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--exclude", "inflight-sim", "--features", &additions(workspace)]);
    command
}

/// All features that only add something.
fn additions(workspace: &Workspace) -> String {
    let of = |package: &Package| {
        let only_adds = |feature: &&String| !SWITCHES.contains(&feature.as_str()) && *feature != "default";
        let named = |feature: &String| format!("{}/{feature}", package.name);
        package.features.iter().filter(only_adds).map(named).collect::<Vec<_>>()
    };
    workspace.packages.iter().flat_map(of).collect::<Vec<_>>().join(",")
}

fn shuttle() -> Outcome {
    let workspace = Workspace::read()?;
    let mut command = cargo();
    command.args(["test", "--lib"]);
    for package in workspace.packages.iter().filter(|package| package.features.iter().any(|f| f == "shuttle")) {
        command.args(["--package", &package.name, "--features", &format!("{}/shuttle", package.name)]);
    }
    call(&mut command)
}

fn examples() -> Outcome {
    let workspace = Workspace::read()?;
    call(tests(&workspace).arg("--no-run"))?;
    for example in workspace.packages.iter().flat_map(|package| &package.examples) {
        let program = workspace.target.join("debug/examples").join(example);
        call(Command::new(program).current_dir(root()))?;
    }
    Ok(())
}

fn sim() -> Outcome {
    call(cargo().args(["test", "--release", "--package", "inflight-sim"]).env("INFLIGHT_SEEDS", SEEDS))
}

/// That they run, not how fast: without optimisation.
fn bench() -> Outcome {
    let workspace = Workspace::read()?;
    let servers = Servers::start(&workspace.target);
    call(tests(&workspace).args(["--bench", "*", "--", "--quick"]).envs(servers.variables()))?;
    servers.missing().map_or(Ok(()), |what| Err(Trouble::Skipped(what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&str]) -> Vec<&'static str> {
        chosen(arguments).unwrap().iter().map(|step| step.name).collect()
    }

    #[test]
    fn all_steps_run_unless_some_are_named() {
        assert_eq!(names(&[]).len(), STEPS.len());
        assert_eq!(names(&["sim", "fmt"]), ["fmt", "sim"]);
        let quick = names(&["--quick"]);
        assert!(quick.contains(&"test") && !quick.contains(&"sim"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(chosen(&["no-such-step"]).is_err());
        assert!(chosen(&["--no-such-option"]).is_err());
    }
}
