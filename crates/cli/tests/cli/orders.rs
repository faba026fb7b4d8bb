//! The four orders, and steps that need each other.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::workspace::{USERS, Workspace};

const RECORDS: u64 = 3_000;
const KEYS: u64 = 40;

/// Many records over few keys, half of which are in the table: what comes out, by number.
fn numbers(order: &str, more: &str) -> Vec<Value> {
    let workspace = Workspace::with_users(
        "{ file: { path: in.jsonl } }",
        &format!("    order: {order}\n    concurrency: 8\n{more}"),
        "stdout",
    );
    let records = (0..RECORDS).map(|n| format!("{{\"n\":{n},\"id\":{}}}\n", n * n % KEYS));
    workspace.write("in.jsonl", records.collect::<String>());
    let database = workspace.database("users.db");
    database.execute("update users set name = 'Eve' where id = 3", []).unwrap();
    for id in (4..KEYS as i64).step_by(2) {
        database.execute("insert into users values (?1, 'user ' || ?1, null)", [id]).unwrap();
    }
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let records = ran.records();
    for record in &records {
        let id = record["id"].as_u64().unwrap();
        assert_eq!(record["user"].is_object(), id != 0 && (id <= 3 || id % 2 == 0), "{record}");
        if id > 3 && id % 2 == 0 {
            assert_eq!(record["user"]["name"], format!("user {id}"));
        }
    }
    records
}

fn in_order(records: &[Value]) -> Vec<u64> {
    records.iter().map(|record| record["n"].as_u64().unwrap()).collect()
}

#[test]
fn input_order_is_that_of_the_input() {
    let expected: Vec<u64> = (0..RECORDS).collect();
    for more in ["    batch: 1\n", "    batch: 7\n"] {
        assert_eq!(in_order(&numbers("input", more)), expected);
    }
}

#[test]
fn records_of_a_key_stay_in_order() {
    for order in ["key", "key_serial"] {
        let records = numbers(order, "");
        assert_eq!(records.len() as u64, RECORDS, "{order}");
        let mut last: HashMap<u64, u64> = HashMap::new();
        for record in &records {
            let (n, id) = (record["n"].as_u64().unwrap(), record["id"].as_u64().unwrap());
            assert!(last.insert(id, n).is_none_or(|before| before < n), "{order}: {record}");
        }
    }
}

#[test]
fn without_an_order_every_record_comes_once() {
    let mut numbers = in_order(&numbers("none", ""));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..RECORDS).collect::<Vec<u64>>());
}

const TWO_STAGES: &str = "\
source: { file: { path: in.jsonl } }
enrich:
  firm: { sqlite: { database: d.db, table: firms, columns: [city] }, key: { id: .user.firm } }
  user: { sqlite: { database: d.db, table: users, columns: [firm] }, key: { id: .id } }
  again: { sqlite: { database: d.db, table: users, columns: [firm] }, key: { id: .id } }
sink: stdout
";

#[test]
fn a_key_may_be_what_another_step_has_found() {
    let workspace = Workspace::with(TWO_STAGES);
    workspace.database("d.db").execute_batch(USERS).unwrap();
    workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":2}\n{\"id\":7}\n");
    let ran = workspace.run(&["run", "p.yaml"]);
    let expected = [
        json!({ "id": 1, "user": { "firm": "a" }, "again": { "firm": "a" }, "firm": { "city": "Oslo" } }),
        json!({ "id": 2, "user": { "firm": "b" }, "again": { "firm": "b" }, "firm": null }),
        json!({ "id": 7, "user": null, "again": null, "firm": null }),
    ];
    assert_eq!((ran.code, ran.records()), (0, expected.to_vec()), "{ran:?}");
    assert_eq!(ran.row("firm")[..4], ["firm", "1", "2", "0"]);
    assert_eq!(ran.row("user")[..4], ["user", "2", "1", "0"]);
}

#[test]
fn a_record_that_was_taken_out_is_looked_up_no_more() {
    let pipeline = TWO_STAGES
        .replace("columns: [firm] }, key: { id: .id } }", "columns: [firm] }, key: { id: .id }, on_missing: drop }");
    let workspace = Workspace::with(&pipeline);
    workspace.database("d.db").execute_batch(USERS).unwrap();
    let records = (0..1_000).map(|n| format!("{{\"id\":{}}}\n", n % 4));
    workspace.write("in.jsonl", records.collect::<String>());
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!((ran.code, ran.records().len()), (0, 750), "{ran:?}");
    assert!(ran.stderr.contains("1,000 records in, 750 out in ") && ran.stderr.contains("250 dropped"), "{ran:?}");
    assert_eq!(ran.row("user")[..4], ["user", "750", "250", "0"]);
    assert_eq!(ran.row("firm")[..4], ["firm", "500", "250", "0"]);
}
