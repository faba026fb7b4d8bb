//! Several processes, over loopback.
#![cfg(target_os = "linux")]

use std::net::TcpListener;

use crate::recovery::{OUT, newest_epoch, undisturbed, workspace};
use crate::running::{Running, wait_until};
use crate::workspace::{Ran, Workspace};

/// A file of so many hosts with ports that are free now.
fn hosts(workspace: &Workspace, processes: usize) {
    let listeners: Vec<TcpListener> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts = listeners.iter().map(|listener| format!("{}\n", listener.local_addr().unwrap()));
    workspace.write("hosts", hosts.collect::<String>());
}

fn start(workspace: &Workspace, processes: usize) -> Vec<Running> {
    let process = |process: usize| {
        let process = process.to_string();
        Running::start(workspace, &["run", "p.yaml", "--hosts", "hosts", "--process", &process])
    };
    (0..processes).map(process).collect()
}

fn ended(running: Vec<Running>) -> Vec<Ran> {
    running.into_iter().map(Running::end).collect()
}

#[test]
fn processes_write_together_what_one_does() {
    let expected = undisturbed();
    for processes in [2, 3] {
        let workspace = workspace(OUT, "");
        hosts(&workspace, processes);
        let ran = ended(start(&workspace, processes));
        assert!(ran.iter().all(|ran| ran.code == 0) && workspace.has("out.jsonl"), "{ran:?}");
        assert!(workspace.read("out.jsonl") == expected.0);
        assert!(ran[0].stderr.contains("20,000 records in, 16,000 out in "), "{ran:?}");
        assert!(ran[1].stderr.starts_with("this process read 0 records and made "), "{ran:?}");
        // All of them hear that there is nothing left to do.
        let again = ended(start(&workspace, processes));
        assert!(again.iter().all(|ran| ran.code == 0), "{again:?}");
        assert!(again[0].stderr.contains("the run had ended "), "{again:?}");
    }
}

#[test]
fn one_that_is_killed_stops_the_others_and_all_of_them_go_on() {
    for victim in [0, 1] {
        let workspace = workspace(OUT, "");
        hosts(&workspace, 2);
        let running = start(&workspace, 2);
        wait_until("a checkpoint is written", || newest_epoch(&workspace) > 0);
        running[victim].signal("KILL");
        let ran = ended(running);
        let other = &ran[1 - victim];
        assert_eq!((ran[victim].code, other.code), (-1, 1), "{ran:?}");
        assert!(other.stderr.contains(&format!("error: lost process {victim} (127.0.0.1:")), "{other:?}");
        assert!(!workspace.has("out.jsonl"));
        let ran = ended(start(&workspace, 2));
        assert!(ran.iter().all(|ran| ran.code == 0), "{ran:?}");
        assert!(ran[0].stderr.starts_with("resuming from epoch "), "{ran:?}");
        assert!(workspace.read("out.jsonl") == undisturbed().0);
    }
}

#[test]
fn a_failure_of_one_is_the_failure_of_all() {
    let workspace = workspace(OUT, "");
    hosts(&workspace, 2);
    let pipeline = workspace.read("p.yaml").replace("on_error: dead_letter", "on_error: fail");
    workspace.write("p.yaml", pipeline);
    let ran = ended(start(&workspace, 2));
    assert!(ran.iter().all(|ran| ran.code == 1), "{ran:?}");
    assert!(ran.iter().all(|ran| ran.stderr.contains("look-up `user`: ")), "{ran:?}");
}

#[test]
fn others_with_another_pipeline_do_not_fit() {
    let workspace = workspace(OUT, "");
    hosts(&workspace, 2);
    let other = workspace.read("p.yaml").replace("columns: [name]", "columns: [firm]");
    workspace.write("other.yaml", other);
    let one = Running::start(&workspace, &["run", "p.yaml", "--hosts", "hosts", "--process", "0"]);
    let two = Running::start(&workspace, &["run", "other.yaml", "--hosts", "hosts", "--process", "1"]);
    let ran = ended(vec![one, two]);
    assert!(ran.iter().all(|ran| ran.code == 1 && ran.stderr.contains("does not fit")), "{ran:?}");
}

#[test]
fn who_waits_for_the_others_can_be_stopped() {
    let workspace = workspace(OUT, "");
    hosts(&workspace, 2);
    let mut running = Running::start(&workspace, &["run", "p.yaml", "--hosts", "hosts", "--process", "0"]);
    running.wait_until_it_catches_signals();
    running.signal("TERM");
    running.wait_for_stderr("stopping");
    running.signal("TERM");
    assert_eq!(running.end().code, 4);
}

#[test]
fn one_that_does_not_come_is_missed_in_time() {
    let workspace = workspace(OUT, "");
    hosts(&workspace, 2);
    let hosts: Vec<String> = workspace.read("hosts").lines().map(|host| format!("\"{host}\"")).collect();
    let cluster = format!("cluster: {{ hosts: [{}], connect_within: 300ms }}\n", hosts.join(", "));
    workspace.write("p.yaml", workspace.read("p.yaml") + &cluster);
    let ran = workspace.run_with(&["run", "p.yaml"], &[("INFLIGHT_PROCESS", "flights-0")]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("process 1 (127.0.0.1:") && ran.stderr.contains("did not appear within"), "{ran:?}");
}
