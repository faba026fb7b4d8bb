//! On a terminal: a progress bar. `script` of util-linux makes one.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};

use crate::workspace::Workspace;

/// What a terminal shows of this command; `None` where there is no `script`.
fn shown(workspace: &Workspace, command: &str) -> Option<String> {
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", command, "/dev/null"]).current_dir(workspace.path());
    let output = script.stdin(Stdio::null()).env("TERM", "xterm").output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_bar_is_drawn_on_a_terminal_only() {
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "", "{ file: { path: out.jsonl } }");
    workspace.write("in.jsonl", "{\"id\":1}\n".repeat(5_000));
    let program = env!("CARGO_BIN_EXE_inflight");
    let Some(terminal) = shown(&workspace, &format!("{program} run p.yaml")) else { return };
    assert!(terminal.contains(" in flight"), "{terminal:?}");
    assert!(terminal.contains("5,000 records in, 5,000 out in "), "{terminal:?}");
    let piped = shown(&workspace, &format!("{program} run p.yaml 2> log")).unwrap();
    assert_eq!(piped, "");
    assert!(workspace.read("log").starts_with("5,000 records in, "));
    assert_eq!(shown(&workspace, &format!("{program} run p.yaml --quiet")).unwrap(), "");
}
