//! Outputs that cannot be written: nothing hangs, nothing looks complete that is not.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use crate::running::Running;
use crate::workspace::Workspace;

/// A pipeline over so many records of user 1, and of 3, whose look-up fails.
fn workspace(records: usize, sink: &str) -> Workspace {
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "    on_error: dead_letter\n", sink);
    workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":3}\n".repeat(records / 2));
    workspace
}

const FULL: &str = "{ file: { path: /dev/full, format: json_lines } }";
const OUT: &str = "{ file: { path: out.jsonl } }";
const DEAD: &str = "dead_letter: { file: { path: dead.jsonl } }";

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    // Few fit into a buffer, and the error comes with the flush; many do not.
    for records in [2, 20_000] {
        let full_sink = workspace(records, &format!("{FULL}\n{DEAD}"));
        let full_dead_letters = workspace(records, &format!("{OUT}\ndead_letter: {FULL}"));
        for workspace in [full_sink, full_dead_letters] {
            let ran = workspace.run(&["run", "p.yaml"]);
            let told = ran.stderr.lines().last().unwrap();
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(told.starts_with("error: /dev/full: cannot write: the disk is full"), "{told}");
            assert!(!ran.stderr.contains("/dev/full.partial"), "{ran:?}");
            assert!(!workspace.has("out.jsonl") && !workspace.has("dead.jsonl"));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_messages_stops_nothing() {
    let workspace = workspace(20, &format!("{OUT}\n{DEAD}"));
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_inflight"));
    command.args(["run", "p.yaml"]).current_dir(workspace.path()).stderr(full).stdin(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert_eq!(workspace.read("out.jsonl").lines().count(), 10);
}

#[test]
fn a_closed_pipe_is_told_and_ends_the_run() {
    let many = workspace(20_000, &format!("stdout\n{DEAD}"));
    let ran = Running::start_unread(&many, &["run", "p.yaml"]).end();
    let told = ran.stderr.lines().last().unwrap();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(told.starts_with("error: stdout: the reading side closed the pipe"), "{told}");
    // Even when more input may come.
    let open = Workspace::with_users("stdin", "", "stdout");
    let mut running = Running::start_unread(&open, &["run", "p.yaml"]);
    running.write("{\"id\":1}\n");
    assert_eq!(running.end().code, 1);
}

#[test]
fn a_sink_that_cannot_be_opened_is_told_before_anything_is_read() {
    for (path, expected) in [
        ("none/out.jsonl", "cannot create none/out.jsonl.partial: there is no such file or folder"),
        ("in.jsonl/out.jsonl", "cannot create in.jsonl/out.jsonl.partial: "),
        ("folder.jsonl", "this is a folder; name a file in it"),
    ] {
        for sinks in [
            format!("{{ file: {{ path: {path} }} }}\n{DEAD}"),
            format!("{OUT}\ndead_letter: {{ file: {{ path: {path} }} }}"),
        ] {
            let workspace = workspace(2, &sinks);
            std::fs::create_dir(workspace.path().join("folder.jsonl")).unwrap();
            let ran = workspace.run(&["run", "p.yaml"]);
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(expected), "{ran:?}");
        }
    }
}

#[test]
fn a_record_that_the_format_cannot_hold_never_completes_the_file() {
    // The last of many: all others are with the writer already.
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "", "{ file: { path: out.csv } }");
    workspace.write("in.jsonl", format!("{}{{\"id\":1,\"more\":2}}\n", "{\"id\":1}\n".repeat(700)));
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("out.csv, ") && ran.stderr.contains("record 701"), "{ran:?}");
    assert!(ran.stderr.contains("incomplete, and left as out.csv.partial\n"), "{ran:?}");
    assert!(!workspace.has("out.csv"));
    assert_eq!(workspace.read("out.csv.partial").lines().count(), 701);
}
