//! Dead letters that go through their pipeline again.

use serde_json::{Value, json};

use crate::workspace::{Ran, Workspace, json_lines};

const POLICY: &str = "    on_error: dead_letter\n    on_missing: dead_letter\n";

/// After a run over users 1 (found), 9 (missing), 3 (fails) and 2 (found), with the sinks in files of this kind.
fn after_a_run(kind: &str) -> Workspace {
    let sinks = format!("{{ file: {{ path: out.{kind} }} }}\ndead_letter: {{ file: {{ path: dead.{kind} }} }}");
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", POLICY, &sinks);
    workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":9}\n{\"id\":3}\n{\"id\":2}\n");
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    workspace
}

fn replay(workspace: &Workspace, args: &[&str]) -> Ran {
    workspace.run(&[&["replay"], args].concat())
}

fn letters(workspace: &Workspace) -> Vec<Value> {
    json_lines(&workspace.read("dead.jsonl"))
}

#[test]
fn what_gets_through_goes_behind_what_is_there_and_the_rest_stays_dead() {
    let workspace = after_a_run("jsonl");
    let first = letters(&workspace);
    workspace.database("users.db").execute("insert into users values (9, 'Eve', 'b')", []).unwrap();
    let ran = replay(&workspace, &["dead.jsonl", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("2 dead letters in, 1 out in "), "{ran:?}");
    assert!(ran.stderr.contains("1 in the dead letters again\n"), "{ran:?}");
    let out = json_lines(&workspace.read("out.jsonl"));
    assert_eq!(out.iter().map(|record| record["id"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 9]);
    assert_eq!(out[2], json!({ "id": 9, "user": { "name": "Eve" } }));
    // The story of the other goes on.
    let again = letters(&workspace);
    assert_eq!(again.len(), 1);
    let (first, again) = (&first[1], &again[0]);
    for same in ["source", "record_number", "record", "step", "key", "failure", "error"] {
        assert_eq!(again[same], first[same], "{same}");
    }
    assert_eq!((&again["replays"], &again["attempts"], &again["attempts_in_all"]), (&json!(1), &json!(1), &json!(2)));
    assert!(again["read_at"].as_str() > first["failed_at"].as_str());
    let mut before = first.as_object().unwrap().clone();
    for other in [
        "source",
        "record_number",
        "source_offset",
        "key",
        "each_attempt",
        "replays",
        "attempts_in_all",
        "before",
        "found",
        "record",
    ] {
        before.shift_remove(other);
    }
    assert_eq!(again["before"], json!([before]));
    // And once more.
    assert_eq!(replay(&workspace, &["dead.jsonl", "p.yaml", "--strict"]).code, 3);
    let last = &letters(&workspace)[0];
    assert_eq!((&last["replays"], &last["attempts_in_all"]), (&json!(2), &json!(3)));
    assert_eq!(last["before"].as_array().unwrap().len(), 2);
    assert_eq!(json_lines(&workspace.read("out.jsonl")).len(), 3);
}

#[test]
fn csv_is_replayed_too() {
    let workspace = after_a_run("csv");
    assert_eq!(workspace.read("out.csv").lines().count(), 3);
    workspace.database("users.db").execute("insert into users values (9, 'Eve', 'b')", []).unwrap();
    let ran = replay(&workspace, &["dead.csv", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let out = workspace.read("out.csv");
    assert_eq!(out.lines().last(), Some(r#"9,"{""name"":""Eve""}""#), "{out}");
    assert_eq!(out.lines().count(), 4, "{out}");
    let dead = workspace.read("dead.csv");
    assert!(dead.lines().count() == 2 && dead.contains(",1,2,") && dead.contains(r#"[{""read_at"":"#), "{dead}");
    assert_eq!(replay(&workspace, &["dead.csv", "p.yaml"]).code, 0);
}

#[test]
fn letters_of_another_file_go_behind_those_that_are_there() {
    let workspace = after_a_run("jsonl");
    let all = workspace.read("dead.jsonl");
    workspace.write("some.jsonl", all.lines().next().unwrap());
    let ran = replay(&workspace, &["some.jsonl", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let now = workspace.read("dead.jsonl");
    assert!(now.starts_with(&all), "{now}");
    assert_eq!(
        letters(&workspace).iter().map(|letter| letter["replays"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 0, 1]
    );
}

#[test]
fn what_is_no_dead_letter_is_refused_and_nothing_is_changed() {
    let workspace = after_a_run("jsonl");
    let (out, dead) = (workspace.read("out.jsonl"), workspace.read("dead.jsonl"));
    let more = format!("{dead}\n\n{{\"step\":\"user\",\"error\":\"no\"}}\n");
    workspace.write("more.jsonl", more);
    for (file, expected) in [
        ("in.jsonl", "in.jsonl, line 1, record 1: this is no dead letter: its field `step` is not there; "),
        ("more.jsonl", "more.jsonl, line 5, record 3: this is no dead letter: its field `record` is not there; "),
        ("users.db", "users.db"),
        ("none.jsonl", "none.jsonl"),
    ] {
        let ran = replay(&workspace, &[file, "p.yaml"]);
        assert_ne!(ran.code, 0, "{ran:?}");
        let told = ran.stderr.lines().last().unwrap();
        assert!(told.starts_with("error: ") && told.contains(expected), "{told}");
        assert_eq!((workspace.read("out.jsonl"), workspace.read("dead.jsonl")), (out.clone(), dead.clone()), "{file}");
    }
}

#[test]
fn the_checkpoints_of_the_pipeline_are_left_alone() {
    let workspace = after_a_run("jsonl");
    workspace.write("p.yaml", format!("{}checkpoint: {{ dir: state }}\n", workspace.read("p.yaml")));
    assert_eq!(workspace.run(&["run", "p.yaml"]).code, 0);
    let before = workspace.run(&["checkpoints", "list", "state", "--json"]).stdout;
    let ran = replay(&workspace, &["dead.jsonl", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let untimed = |text: &str| text.split("\"age").next().map(str::to_owned);
    assert_eq!(untimed(&workspace.run(&["checkpoints", "list", "state", "--json"]).stdout), untimed(&before));
    let ran = replay(&workspace, &["dead.jsonl", "p.yaml", "--checkpoint", "again"]);
    assert_eq!((ran.code, workspace.has("again")), (0, true), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_replay_that_is_interrupted_or_killed_loses_no_letter() {
    use crate::running::{Running, wait_until};

    let workspace = after_a_run("jsonl");
    let dead = workspace.read("dead.jsonl").repeat(20_000);
    workspace.write("dead.jsonl", &dead);
    let out = workspace.read("out.jsonl");
    for signal in ["TERM", "KILL"] {
        let running = Running::start(&workspace, &["replay", "dead.jsonl", "p.yaml"]);
        wait_until("letters are written", || {
            std::fs::metadata(workspace.path().join("dead.jsonl.partial")).is_ok_and(|there| there.len() > 0)
        });
        running.signal(signal);
        let ran = running.end();
        assert_eq!(ran.code, if signal == "TERM" { 4 } else { -1 }, "{ran:?}");
        assert!(workspace.read("dead.jsonl") == dead && workspace.read("out.jsonl") == out, "{signal}");
    }
    let ran = replay(&workspace, &["dead.jsonl", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(letters(&workspace).len(), 40_000);
}

#[test]
fn a_database_takes_them_in() {
    let sinks = "{ sqlite: { database: out.db, table: enriched, create: true, key: [id] } }\n\
                 dead_letter: { file: { path: dead.jsonl } }";
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", POLICY, sinks);
    workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":9}\n");
    assert_eq!(workspace.run(&["run", "p.yaml"]).code, 0);
    workspace.database("users.db").execute("insert into users values (9, 'Eve', 'b')", []).unwrap();
    let ran = replay(&workspace, &["dead.jsonl", "p.yaml"]);
    assert!(ran.code == 0 && ran.stderr.contains("1 dead letters in, 1 out"), "{ran:?}");
    let ids = "select group_concat(id) from (select id from enriched order by id)";
    let ids: String = workspace.database("out.db").query_row(ids, [], |row| row.get(0)).unwrap();
    assert_eq!((ids.as_str(), workspace.read("dead.jsonl").as_str()), ("1,9", ""));
}
