//! What becomes of records without an answer, and of those whose look-up failed.

use serde_json::{Value, json};

use crate::workspace::{Ran, USERS, Workspace, json_lines};

const DEAD: &str = "{ file: { path: out.jsonl } }\ndead_letter: { file: { path: dead.jsonl } }";

/// Users 1 (found), 9 (missing), 3 (fails), 2 (found), with this policy.
fn run(policy: &str, args: &[&str]) -> (Workspace, Ran) {
    let workspace =
        Workspace::with_users("{ file: { path: in.jsonl } }", &format!("    {policy}\n    concurrency: 1\n"), DEAD);
    workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":9}\n{\"id\":3}\n{\"id\":2}\n");
    let ran = workspace.run(&[&["run", "p.yaml"], args].concat());
    (workspace, ran)
}

fn ids(records: &[Value]) -> Vec<u64> {
    records.iter().map(|record| record["id"].as_u64().unwrap()).collect()
}

#[test]
fn what_fails_fails_the_run_unless_the_pipeline_says_otherwise() {
    let (workspace, ran) = run("on_missing: keep", &[]);
    assert_eq!(ran.code, 1);
    let told = ran.stderr.lines().last().unwrap();
    assert!(told.starts_with("error: record 3, look-up `user`: users.db"), "{told}");
    assert!(told.contains("a blob") && told.ends_with(" ms)") && told.contains("(1 attempt, "), "{told}");
    assert!(ran.stderr.contains("incomplete, and left as out.jsonl.partial\n"), "{ran:?}");
    assert!(!workspace.has("out.jsonl") && workspace.has("out.jsonl.partial"));
}

#[test]
fn what_is_missing_fails_the_run_if_the_pipeline_says_so() {
    let (workspace, ran) = run("on_missing: fail", &[]);
    assert_eq!(ran.code, 1);
    let told = ran.stderr.lines().last().unwrap();
    assert!(told.starts_with("error: record 2, look-up `user`: there is no answer for its key (1 attempt, "), "{told}");
    assert!(!workspace.has("out.jsonl"));
}

#[test]
fn records_are_kept_or_dropped() {
    for (policy, kept, dropped) in [
        ("on_error: keep", vec![1, 9, 3, 2], 0),
        ("on_error: drop", vec![1, 9, 2], 1),
        ("on_error: drop\n    on_missing: drop", vec![1, 2], 2),
        ("on_error: { default: { name: nobody } }", vec![1, 9, 3, 2], 0),
    ] {
        // A dropped record is not a dead one.
        let (workspace, ran) = run(policy, &["--strict"]);
        assert_eq!(ran.code, 0, "{policy}: {ran:?}");
        let records = json_lines(&workspace.read("out.jsonl"));
        assert_eq!(ids(&records), kept, "{policy}");
        assert_eq!(ran.row("user")[..6], ["user", "2", "1", "1", "0", "0"], "{policy}");
        assert_eq!(ran.stderr.contains(&format!("{dropped} dropped")), dropped > 0, "{policy}: {ran:?}");
        if let Some(failed) = records.iter().find(|record| record["id"] == 3) {
            let expected = if policy.contains("default") { json!({ "name": "nobody" }) } else { Value::Null };
            assert_eq!(failed["user"], expected, "{policy}");
        }
        assert_eq!(workspace.read("dead.jsonl"), "", "{policy}");
    }
}

#[test]
fn dead_letters_tell_their_story() {
    let policy = "on_error: dead_letter\n    on_missing: dead_letter";
    let (workspace, ran) = run(policy, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("4 records in, 2 out in ") && ran.stderr.contains("2 in the dead letters"), "{ran:?}");
    assert_eq!(ids(&json_lines(&workspace.read("out.jsonl"))), [1, 2]);
    let mut letters = json_lines(&workspace.read("dead.jsonl"));
    for letter in &mut letters {
        assert!(letter["elapsed_ms"].take().is_u64());
        let (read_at, failed_at) = (letter["read_at"].take(), letter["failed_at"].take());
        assert!(read_at.as_str() <= failed_at.as_str() && failed_at.as_str() > Some("2026"), "{read_at} {failed_at}");
    }
    assert_eq!(
        letters[0],
        json!({ "source": "in.jsonl", "record_number": 2, "source_offset": null, "read_at": null, "failed_at": null, "step": "user",
                "key": { "id": 9 }, "failure": "missing", "error": "there is no answer for its key", "attempts": 1,
                "elapsed_ms": null, "each_attempt": [], "replays": 0, "attempts_in_all": 1, "before": [], "found": {},
                "record": { "id": 9 } })
    );
    assert_eq!(letters[1]["failure"], "malformed", "{}", letters[1]);
    assert_eq!((&letters[1]["record_number"], &letters[1]["record"]), (&json!(3), &json!({ "id": 3 })));
    assert!(letters[1]["error"].as_str().unwrap().contains("a blob"), "{}", letters[1]);
    let tried = letters[1]["each_attempt"].as_array().unwrap();
    assert_eq!((tried.len(), &tried[0]["attempt"], &tried[0]["failure"]), (1, &json!(1), &json!("malformed")));
    assert!(tried[0]["error"] == letters[1]["error"] && tried[0]["took_ms"].is_u64(), "{}", letters[1]);
    assert!(tried[0]["began_at"].as_str() > Some("2026"), "{}", letters[1]);
    assert_eq!(run(policy, &["--strict"]).1.code, 3);
}

#[test]
fn a_key_that_cannot_be_asked_for_does_not_fail_its_neighbours() {
    let workspace =
        Workspace::with_users("{ file: { path: in.jsonl } }", "    batch: 100\n    on_error: dead_letter\n", DEAD);
    let records = (0..500).map(|n| if n % 100 == 50 { "{\"id\":[1]}\n" } else { "{\"id\":1}\n" });
    workspace.write("in.jsonl", records.collect::<String>());
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.row("user")[..4], ["user", "495", "0", "5"], "{ran:?}");
    assert_eq!(json_lines(&workspace.read("dead.jsonl")).len(), 5);
}

#[test]
fn a_secret_is_told_neither_in_messages_nor_in_dead_letters() {
    let pipeline = "\
source: { file: { path: in.jsonl } }
enrich:
  user: { sqlite: { database: '${env:DATABASE}', table: users, columns: [name] }, key: { id: .id }, on_error: fail }
sink: { file: { path: '${env:OUT}.jsonl' } }
dead_letter: { file: { path: dead.jsonl } }
";
    let variables = [("DATABASE", "hunter1.db"), ("OUT", "hunter2")];
    let workspace = Workspace::with(pipeline);
    workspace.database("hunter1.db").execute_batch(USERS).unwrap();
    workspace.write("in.jsonl", "{\"id\":3}\n");
    let ran = workspace.run_with(&["run", "p.yaml"], &variables);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("a blob") && ran.stderr.contains(".partial"), "{ran:?}");
    assert!(!ran.stderr.contains("hunter"), "{ran:?}");
    workspace.write("p.yaml", pipeline.replace("on_error: fail", "on_error: dead_letter"));
    assert_eq!(workspace.run_with(&["run", "p.yaml"], &variables).code, 0);
    let letters = workspace.read("dead.jsonl");
    assert!(letters.contains("a blob") && !letters.contains("hunter"), "{letters}");
}

#[test]
fn a_letter_has_the_record_as_it_was_read_and_what_was_found_apart() {
    let workspace = Workspace::with(
        "\
source: { file: { paths: [one.jsonl, two.jsonl] } }
enrich:
  user: { sqlite: { database: users.db, table: users, columns: [name, firm] }, key: { id: .id } }
  firm: { sqlite: { database: users.db, table: firms }, key: { id: .user.firm }, on_missing: dead_letter }
sink: { file: { path: out.jsonl } }
dead_letter: { file: { path: dead.jsonl } }
",
    );
    workspace.database("users.db").execute_batch(USERS).unwrap();
    // Its `user` gives way to what is found, and is there again in the letter.
    workspace.write("one.jsonl", "");
    workspace.write("two.jsonl", "{\"user\":\"me\",\"id\":2}\n");
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let letters = json_lines(&workspace.read("dead.jsonl"));
    assert_eq!((&letters[0]["source"], &letters[0]["step"]), (&json!("two.jsonl"), &json!("firm")));
    assert_eq!(letters[0]["record"].to_string(), r#"{"user":"me","id":2}"#);
    assert_eq!(letters[0]["found"], json!({ "user": { "name": "Bob", "firm": "b" } }));
    assert_eq!(letters[0]["key"], json!({ "id": "b" }));
}

#[test]
fn letters_fit_a_table_and_a_csv_file() {
    let policy = "    on_error: dead_letter\n    on_missing: dead_letter\n";
    for place in [
        "{ file: { path: dead.csv } }",
        "{ sqlite: { database: dead.db, table: letters, create: true, key: [source, record_number] } }",
    ] {
        let sink = format!("{{ file: {{ path: out.jsonl }} }}\ndead_letter: {place}");
        let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", policy, &sink);
        workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":9,\"tags\":[\"a\"]}\n{\"id\":3}\n");
        let ran = workspace.run(&["run", "p.yaml"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        if place.contains("csv") {
            let letters = workspace.read("dead.csv");
            let mut lines = letters.lines();
            let header = "source,record_number,source_offset,read_at,failed_at,step,key,failure,error,attempts,elapsed_ms,each_attempt,\
                          replays,attempts_in_all,before,found,record";
            assert_eq!(lines.next(), Some(header));
            assert!(lines.next().unwrap().ends_with(r#",[],0,1,[],{},"{""id"":9,""tags"":[""a""]}""#), "{letters}");
        } else {
            let sql = "select group_concat(record_number || failure || json_extract(record, '$.id')) from letters";
            let told: String = workspace.database("dead.db").query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(told, "2missing9,3malformed3");
        }
    }
}
