//! The command line itself: help, usage errors, exit codes.

use std::process::{Command, Stdio};

use crate::workspace::{SEVEN_LINES, Workspace};

const COMMANDS: [&str; 6] = ["run", "check", "explain", "schema", "setup", "checkpoints"];

#[test]
fn the_help_mentions_every_command_and_exit_code() {
    let ran = Workspace::new().run(&["--help"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for command in COMMANDS {
        assert!(ran.stdout.contains(&format!("\n  {command} ")), "{command}: {}", ran.stdout);
    }
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "78 "] {
        assert!(ran.stdout.contains(&format!("\n  {code}")), "{code}: {}", ran.stdout);
    }
}

#[test]
fn every_command_has_a_help() {
    for command in COMMANDS {
        let ran = Workspace::new().run(&[command, "--help"]);
        assert_eq!(ran.code, 0, "{command}");
        assert!(ran.stdout.contains(&format!("Usage: inflight {command}")), "{}", ran.stdout);
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let workspace = Workspace::with(SEVEN_LINES);
    let wrong: [&[&str]; 11] = [
        &[],
        &["rnu", "p.yaml"],
        &["run"],
        &["check"],
        &["run", "p.yaml", "--limit", "0"],
        &["run", "p.yaml", "--drain-limit", "0s"],
        &["run", "p.yaml", "--source", "orders.txt"],
        &["run", "p.yaml", "--sink", "orders.jsonl"],
        &["run", "p.yaml", "--workers", "0"],
        &["run", "p.yaml", "--processes", "3"],
        &["run", "p.yaml", "--from-scratch"],
    ];
    for args in wrong {
        let ran = workspace.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
    assert!(workspace.run(&["chekc", "p.yaml"]).stderr.contains("'check'"));
}

#[test]
fn a_wrong_pipeline_ends_with_78() {
    let workspace = Workspace::with("source: 1\n");
    for args in
        [["run", "p.yaml"], ["check", "p.yaml"], ["explain", "p.yaml"], ["setup", "p.yaml"], ["run", "none.yaml"]]
    {
        let ran = workspace.run(&args);
        assert_eq!((ran.code, ran.stdout.as_str()), (78, ""), "{args:?}");
    }
}

#[test]
fn a_run_builds_its_tables_by_itself() {
    let setup = "setup: { sqlite: { database: users.db, tables: { users: { csv: users.csv, key: [id] } } } }\n";
    let workspace = Workspace::with(&format!("{SEVEN_LINES}{setup}"));
    workspace.write("users.csv", "id,name,tier\n1,Ada,gold\n");
    let first = workspace.run(&["run", "p.yaml"]);
    assert!(first.stderr.starts_with("built users.db\n  users: 1 row\n"), "{first:?}");
    let again = workspace.run(&["run", "p.yaml"]);
    assert!(!again.stderr.contains("users.db"), "{again:?}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_inflight"))
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
