//! Looking at folders of checkpoints, whole ones and damaged ones.

use std::collections::BTreeMap;

use inflight_timely::checkpoint::{Checkpoint, Folder, Store};
use serde_json::Value;

use crate::workspace::{Ran, Workspace};

/// A long time ago, so that ages are whole days.
const LONG_AGO: &str = "2020-01-02T03:04:05.678Z";

/// A folder `state` with a checkpoint of each of these epochs.
fn workspace(epochs: impl IntoIterator<Item = u64>) -> Workspace {
    let workspace = Workspace::new();
    write(&workspace, epochs, false);
    workspace
}

/// A run that goes on from what there is.
fn write(workspace: &Workspace, epochs: impl IntoIterator<Item = u64>, complete: bool) {
    let mut store = Store::open(Folder::create(workspace.path().join("state")).unwrap(), LONG_AGO).unwrap();
    let from = store.latest().unwrap().checkpoint.map(|found| found.mark());
    store.start(from).unwrap();
    let text = str::to_owned;
    for epoch in epochs {
        let checkpoint = Checkpoint {
            epoch,
            generation: store.generation(),
            created: text(LONG_AGO),
            pipeline: text(r#"{"source":"flights.csv"}"#),
            complete,
            partitions: vec![(text("flights.csv"), text(r#"{"record":4711}"#)), (text("more.csv"), text(""))],
            sinks: BTreeMap::from([(text("sink"), format!("{}", epoch * 100))]),
            facts: BTreeMap::from([(text("counts"), text(r#"{"found":12}"#))]),
            carried_records: 1234,
            carried: vec![7; 2048],
        };
        store.write(&checkpoint).unwrap();
    }
}

fn name(epoch: u64, run: u64) -> String {
    format!("checkpoint-{epoch:020}-{run}")
}

/// Changes the last byte.
fn damage(workspace: &Workspace, epoch: u64, run: u64) {
    let path = workspace.path().join("state").join(name(epoch, run));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn cut_off(workspace: &Workspace, epoch: u64, run: u64, by: usize) {
    let path = workspace.path().join("state").join(name(epoch, run));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - by]).unwrap();
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The columns of a line of `list`; the age is compared elsewhere.
fn columns(line: &str) -> Vec<&str> {
    line.splitn(20, "  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn a_list_has_a_line_for_each_and_says_which_one_counts() {
    let workspace = workspace(4..=6);
    let ran = workspace.run(&["checkpoints", "list", "state"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(columns(lines[0]), ["epoch", "run", "age", "size", "carried"]);
    let newest = columns(lines[1]);
    assert_eq!((newest[0], newest[1], newest[4], newest[5]), ("6", "1", "1,234", "valid, a restart goes on from here"));
    assert!(newest[2].ends_with(" days") && newest[3].ends_with(" KiB"), "{newest:?}");
    assert_eq!(columns(lines[2])[5], "valid");
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_damaged_one_is_named_and_the_one_before_is_used() {
    let workspace = workspace(4..=6);
    assert_eq!(workspace.run(&["checkpoints", "verify", "state"]).code, 0);
    damage(&workspace, 6, 1);
    cut_off(&workspace, 5, 1, 48);
    let ran = workspace.run(&["checkpoints", "verify", "state"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    let lines: Vec<_> = ran.stdout.lines().collect();
    let changed = "its bytes have changed since they were written: the checksums differ";
    assert_eq!(lines[0], format!("damaged: {} ({changed})", name(6, 1)));
    assert_eq!(lines[1], format!("damaged: {} (cut off: 2000 of 2048 carried bytes are there)", name(5, 1)));
    assert!(lines[2].starts_with(&format!("a restart would use {} (epoch 4, ", name(4, 1))), "{}", lines[2]);
    // And that is what a restart does.
    let store = Store::open(Folder::open(workspace.path().join("state")).unwrap(), LONG_AGO).unwrap();
    assert_eq!(store.latest().unwrap().checkpoint.unwrap().epoch, 4);

    let listed = workspace.run(&["checkpoints", "list", "state"]).stdout;
    let states: Vec<_> = listed.lines().skip(1).map(|line| columns(line)[5]).collect();
    assert_eq!(states[0], format!("damaged: {changed}"));
    assert_eq!(states[2], "valid, a restart goes on from here");
    let shown = workspace.run(&["checkpoints", "show", "state", "6"]);
    assert_eq!(shown.code, 1);
    assert!(shown.stderr.contains(&name(6, 1)) && shown.stderr.contains(changed), "{}", shown.stderr);
}

#[test]
fn one_alone_can_be_verified() {
    let workspace = workspace(4..=6);
    damage(&workspace, 5, 1);
    for (asked, code) in [("6", 0), ("5", 1), (name(5, 1).as_str(), 1), (name(4, 1).as_str(), 0)] {
        let ran = workspace.run(&["checkpoints", "verify", "state", asked]);
        assert_eq!(ran.code, code, "{asked}: {ran:?}");
    }
    let ran = workspace.run(&["checkpoints", "verify", "state", "7"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("no checkpoint 7; there are epochs 6, 5, 4"), "{}", ran.stderr);
}

#[test]
fn when_none_is_valid_a_restart_would_be_refused() {
    let workspace = workspace(1..=1);
    damage(&workspace, 1, 1);
    let ran = workspace.run(&["checkpoints", "verify", "state"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("a restart would be refused"), "{}", ran.stdout);
    assert!(workspace.run(&["checkpoints", "list", "state"]).stdout.contains("a restart would be refused"));
    assert_eq!(workspace.run(&["checkpoints", "show", "state"]).code, 1);
}

#[test]
fn a_start_that_cannot_be_read_is_damage() {
    let workspace = workspace(1..=2);
    workspace.write("state/generation-1", "begins somewhere\n");
    let ran = workspace.run(&["checkpoints", "verify", "state"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("damaged: generation-1 ("), "{}", ran.stdout);
}

#[test]
fn show_tells_positions_sinks_and_counts() {
    let workspace = workspace(4..=6);
    let ran = workspace.run(&["checkpoints", "show", "state"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for text in [
        "checkpoint-00000000000000000006-1: valid, a restart goes on from here\n",
        "\n  epoch    6, by run 1\n",
        "\n  created  2020-01-02T03:04:05.678Z (",
        "\n  carried  1,234 records in 2.0 KiB\n",
        "\npositions\n  flights.csv  {\"record\":4711}\n  more.csv",
        "\nsinks\n  sink  600\n",
        "\nfacts\n  counts  {\"found\":12}\n",
        "\npipeline\n  {\n    \"source\": \"flights.csv\"\n  }\n",
    ] {
        assert!(ran.stdout.contains(text), "{text:?} in\n{}", ran.stdout);
    }
    let earlier = workspace.run(&["checkpoints", "show", "state", "4"]).stdout;
    assert!(earlier.contains("\n  sink  400\n"), "{earlier}");
}

#[test]
fn programs_get_json() {
    let workspace = workspace(4..=6);
    damage(&workspace, 6, 1);
    let listed = json(&workspace.run(&["checkpoints", "list", "state", "--json"]));
    assert_eq!(listed["next"], serde_json::json!({ "epoch": 5, "run": 1 }));
    assert_eq!(listed["all_valid"], false);
    let [damaged, valid, _] = listed["checkpoints"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert!(damaged["flaw"].as_str().unwrap().contains("checksums differ"), "{damaged}");
    assert_eq!((&damaged["valid"], &damaged["created"]), (&Value::from(false), &Value::Null));
    assert_eq!((&valid["valid"], &valid["carried_records"]), (&Value::from(true), &Value::from(1234)));
    assert!(valid["age_seconds"].as_f64().unwrap() > 1e8, "{valid}");
    let verified = workspace.run(&["checkpoints", "verify", "state", "--json"]);
    assert_eq!((verified.code, &json(&verified)["all_valid"]), (1, &Value::from(false)));
    let shown = json(&workspace.run(&["checkpoints", "--json", "show", "state"]));
    assert_eq!(shown["partitions"][0], serde_json::json!({ "name": "flights.csv", "position": { "record": 4711 } }));
    assert_eq!(
        (&shown["sinks"]["sink"], &shown["pipeline"]["source"]),
        (&Value::from(500), &Value::from("flights.csv"))
    );
}

#[test]
fn what_a_newer_run_left_behind_is_said_and_so_is_the_end() {
    let workspace = workspace(1..=2);
    let mut store = Store::open(Folder::open(workspace.path().join("state")).unwrap(), LONG_AGO).unwrap();
    store.start(None).unwrap();
    drop(store);
    let listed = workspace.run(&["checkpoints", "list", "state"]).stdout;
    assert!(listed.contains("valid, but left behind: a newer run began at another place"), "{listed}");
    assert!(listed.contains("a restart would begin at the beginning"), "{listed}");
    write(&workspace, 1..=1, true);
    let ran = workspace.run(&["checkpoints", "verify", "state"]);
    assert_eq!(
        (ran.code, ran.stdout.lines().last().unwrap()),
        (0, "a restart would do nothing: the run had ended with epoch 1")
    );
}

#[test]
fn checkpoints_of_an_older_version_are_refused_in_a_sentence() {
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "", "{ file: { path: out.jsonl } }");
    workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":2}\n");
    let run = || workspace.run(&["run", "p.yaml", "--checkpoint", "state"]);
    assert_eq!(run().code, 0);
    let state = workspace.path().join("state");
    for file in std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = std::fs::read(&file).unwrap();
        if let Some(rest) = bytes.strip_prefix(b"inflight checkpoint 2") {
            std::fs::write(file, [b"inflight checkpoint 1", rest].concat()).unwrap();
        }
    }
    let ran = run();
    assert_eq!(ran.code, 1, "{ran:?}");
    let told = ran.stderr.lines().last().unwrap();
    let older =
        "written by an older version of inflight (format 1; this one knows format 2): end the run with that version";
    assert!(told.starts_with("error: ") && told.contains(older) && told.ends_with("or start from scratch"), "{told}");
    let anew = workspace.run(&["run", "p.yaml", "--checkpoint", "state", "--from-scratch"]);
    assert_eq!(anew.code, 0, "{anew:?}");
}

#[test]
fn a_folder_without_checkpoints_yet_is_one_of_ours() {
    let workspace = workspace([]);
    for look in ["list", "verify"] {
        let ran = workspace.run(&["checkpoints", look, "state"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.stdout, "a restart would begin at the beginning: there is no checkpoint yet to go on from\n");
    }
    assert_eq!(workspace.run(&["checkpoints", "show", "state"]).code, 1);
}

#[test]
fn what_is_no_folder_of_checkpoints_is_refused() {
    let workspace = Workspace::new();
    workspace.write("data/flights.csv", "id\n1\n");
    workspace.write("data/more.csv", "id\n2\n");
    workspace.write("file", "");
    std::fs::create_dir(workspace.path().join("empty")).unwrap();
    for (dir, told) in [
        ("missing", "missing: cannot open the folder of checkpoints"),
        ("file", "file: cannot open the folder of checkpoints"),
        ("data", "data: not a folder of checkpoints: none of its 2 files is ours"),
        ("empty", "empty: not a folder of checkpoints: it is empty"),
    ] {
        for look in ["list", "show", "verify"] {
            let ran = workspace.run(&["checkpoints", look, dir]);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
            assert!(ran.stderr.contains(told), "{}", ran.stderr);
        }
    }
    assert!(!workspace.has("missing") && !workspace.has("empty/lock"), "looking changes nothing");
}

/// A run may write and prune while somebody looks.
#[test]
fn looking_does_not_disturb_a_run() {
    let workspace = workspace(1..=3);
    let mut store = Store::open(Folder::open(workspace.path().join("state")).unwrap(), LONG_AGO).unwrap();
    store.start(store.latest().unwrap().checkpoint.map(|found| found.mark())).unwrap();
    assert_eq!(workspace.run(&["checkpoints", "verify", "state"]).code, 0);
    let checkpoint = Checkpoint { epoch: 4, generation: store.generation(), ..Checkpoint::default() };
    store.write(&checkpoint).unwrap();
    assert_eq!(workspace.run(&["checkpoints", "verify", "state"]).code, 0);
}
