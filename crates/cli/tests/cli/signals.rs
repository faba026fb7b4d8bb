//! SIGINT and SIGTERM: stop reading, finish what is in flight, and say if that was not possible.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;

use crate::running::{Running, wait_until};
use crate::workspace::{Workspace, json_lines};

#[test]
fn the_first_signal_drains() {
    for signal in ["TERM", "INT"] {
        let workspace = Workspace::with_users("stdin", "", "{ file: { path: out.jsonl } }");
        let mut running = Running::start(&workspace, &["run", "p.yaml"]);
        running.write("{\"id\":1}\n{\"id\":2}\n");
        wait_until("the records are written", || {
            std::fs::read_to_string(workspace.path().join("out.jsonl.partial"))
                .is_ok_and(|text| text.lines().count() == 2)
        });
        running.signal(signal);
        let ran = running.end();
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.starts_with("stopping: nothing more is read; up to 25s for "), "{ran:?}");
        assert!(ran.stderr.contains("2 records in, 2 out in "), "{ran:?}");
        assert_eq!(json_lines(&workspace.read("out.jsonl")).len(), 2);
    }
}

#[test]
fn a_signal_in_the_middle_loses_nothing_that_was_read() {
    let workspace = Workspace::with_users("stdin", "    order: none\n    batch: 1\n", "stdout");
    let mut running = Running::start(&workspace, &["run", "p.yaml"]);
    for _ in 0..20 {
        running.write("{\"id\":1}\n".repeat(50));
    }
    running.wait_for("Ada");
    running.signal("TERM");
    let ran = running.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    let written = ran.records().len();
    assert!(ran.stderr.contains(&format!("{written} records in, {written} out in ")) || written == 1_000, "{ran:?}");
}

#[test]
fn a_signal_does_not_wait_for_a_header() {
    let workspace = Workspace::with_users("{ stdin: { format: csv } }", "", "{ file: { path: out.jsonl } }");
    workspace.write("out.jsonl", "of the last run\n");
    let running = Running::start(&workspace, &["run", "p.yaml"]);
    running.wait_until_it_catches_signals();
    running.signal("TERM");
    let ran = running.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    // Nothing was read, and nothing begun: what was there is there.
    assert_eq!(workspace.read("out.jsonl"), "of the last run\n");
}

#[test]
fn a_signal_does_not_wait_for_somebody_to_read_a_named_pipe() {
    let workspace = Workspace::with_users("stdin", "", "{ file: { path: pipe, format: json_lines } }");
    let made = std::process::Command::new("mkfifo").arg(workspace.path().join("pipe")).status();
    assert!(made.unwrap().success());
    let running = Running::start(&workspace, &["run", "p.yaml"]);
    running.wait_until_it_catches_signals();
    running.signal("TERM");
    assert_eq!(running.end().code, 0);
}

/// A run with two records that wait for a locked database, and one that is through.
fn stuck(args: &[&str]) -> (Workspace, rusqlite::Connection, Running) {
    let keys = "    order: none\n    batch: 1\n    timeout: 10m\n";
    let workspace = Workspace::with_users("stdin", keys, "stdout");
    let pipeline = workspace.read("p.yaml").replace("columns: [name] }", "columns: [name], busy_timeout: 10m }");
    workspace.write("p.yaml", pipeline);
    let mut running = Running::start(&workspace, &[&["run", "p.yaml"], args].concat());
    running.write("{\"id\":1}\n");
    running.wait_for("Ada");
    let holder = workspace.database("users.db");
    holder.execute_batch("begin exclusive").unwrap();
    // In one piece, so they are read together; the one without a key comes out without a call.
    running.write("{\"id\":null}\n{\"id\":1}\n{\"id\":2}\n");
    running.wait_for("{\"id\":null,\"user\":null}\n");
    (workspace, holder, running)
}

#[test]
fn what_cannot_be_finished_in_time_is_told() {
    let (_workspace, _holder, running) = stuck(&["--drain-limit", "200ms"]);
    running.signal("TERM");
    let ran = running.end();
    assert_eq!((ran.code, ran.records().len()), (4, 2), "{ran:?}");
    assert!(
        ran.stderr.ends_with("stopped before everything was done: 2 records were read and not written\n"),
        "{ran:?}"
    );
}

#[test]
fn the_second_signal_ends_at_once() {
    let (_workspace, _holder, mut running) = stuck(&["--drain-limit", "10m"]);
    running.signal("INT");
    running
        .wait_for_stderr("stopping: nothing more is read; up to 10m for what is in flight (again to stop at once)\n");
    running.signal("TERM");
    let ran = running.end();
    assert_eq!((ran.code, ran.records().len()), (4, 2), "{ran:?}");
    assert!(ran.stderr.contains("2 records were read and not written"), "{ran:?}");
}

#[test]
fn what_can_be_finished_in_time_is() {
    let (_workspace, holder, mut running) = stuck(&[]);
    running.signal("TERM");
    running.wait_for_stderr("stopping");
    holder.execute_batch("commit").unwrap();
    let ran = running.end();
    assert_eq!((ran.code, ran.records().len()), (0, 4), "{ran:?}");
}

/// Looks at a pipe between which nothing may have come, for it to be full.
const LOOKS: usize = 20;

#[test]
fn a_reader_that_takes_nothing_cannot_hold_up_the_end() {
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "", "stdout");
    // A few of these fill a pipe.
    workspace.write("in.jsonl", format!("{{\"id\":1,\"text\":\"{}\"}}\n", "x".repeat(10_000)).repeat(300));
    let (mut running, pipe) = Running::start_stalled(&workspace, &["run", "p.yaml", "--drain-limit", "200ms"]);
    running.wait_until_it_catches_signals();
    let mut looks = VecDeque::from([0; LOOKS]);
    wait_until("nothing more goes into the pipe", || {
        looks.rotate_left(1);
        looks[LOOKS - 1] = rustix::io::ioctl_fionread(&pipe).unwrap();
        looks[0] > 0 && looks.iter().all(|bytes| *bytes == looks[0])
    });
    running.signal("TERM");
    running.wait_for_stderr("stopping");
    let ran = running.end();
    assert_eq!(ran.code, 4, "{ran:?}");
}

#[test]
fn a_run_that_is_killed_leaves_nothing_under_the_final_name() {
    let workspace = Workspace::with_users("stdin", "", "{ file: { path: out.jsonl } }");
    let mut running = Running::start(&workspace, &["run", "p.yaml"]);
    running.write("{\"id\":1}\n");
    wait_until("something is written", || {
        std::fs::read(workspace.path().join("out.jsonl.partial")).is_ok_and(|bytes| !bytes.is_empty())
    });
    running.signal("KILL");
    assert_eq!(running.end().code, -1);
    assert!(!workspace.has("out.jsonl"));
    // The next run begins anew.
    let mut running = Running::start(&workspace, &["run", "p.yaml"]);
    running.write("{\"id\":2}\n");
    running.close_stdin();
    assert_eq!(running.end().code, 0);
    assert_eq!(workspace.read("out.jsonl"), "{\"id\":2,\"user\":{\"name\":\"Bob\"}}\n");
}
