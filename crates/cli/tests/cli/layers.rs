//! What a step does to ask its system less: cache, single flight, halves of batches, rates; and what it tells about that.

use serde_json::Value;

use crate::workspace::{Ran, Workspace, json_lines};

/// 40 users of whom those with even numbers have a name.
const USERS: &str = "create table users (id integer primary key, name text);
    with recursive n(i) as (select 0 union all select i + 2 from n where i < 38)
    insert into users select i, 'user ' || i from n;";

/// Ids of this many records: half of them are 0, a quarter 1, and so on up to 39.
fn ids(records: u64) -> Vec<u64> {
    (1..=records).map(|n| u64::from(n.trailing_zeros()).min(39)).collect()
}

fn workspace(keys: &str, records: u64) -> Workspace {
    let pipeline = format!(
        "source: {{ file: {{ path: in.jsonl }} }}\nenrich:\n  user:\n    \
         sqlite: {{ database: users.db, table: users, columns: [name] }}\n    key: {{ id: .id }}\n{keys}\
         sink: {{ file: {{ path: out.jsonl }} }}\n"
    );
    let workspace = Workspace::with(&pipeline);
    workspace.database("users.db").execute_batch(USERS).unwrap();
    let lines =
        ids(records).iter().enumerate().map(|(n, id)| format!("{{\"n\":{n},\"id\":{id}}}\n")).collect::<String>();
    workspace.write("in.jsonl", lines);
    workspace
}

/// The run, and its output, which is what each record is given without any policy, in the order of the input.
fn run(keys: &str, records: u64) -> Ran {
    let workspace = workspace(keys, records);
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{keys}: {ran:?}");
    let output = json_lines(&workspace.read("out.jsonl"));
    assert_eq!(output.len() as u64, records, "{keys}");
    for ((n, id), record) in ids(records).into_iter().enumerate().zip(&output) {
        assert_eq!((&record["n"], &record["id"]), (&n.into(), &id.into()), "{keys}");
        let expected = if id % 2 == 0 { Value::from(format!("user {id}")) } else { Value::Null };
        assert_eq!(record["user"].get("name").unwrap_or(&Value::Null), &expected, "{keys}: {record}");
    }
    ran
}

/// A number of the line about this step's policies: the one before these words.
fn told(ran: &Ran, words: &str) -> u64 {
    let line = ran.stderr.lines().find(|line| line.starts_with("user: ")).unwrap_or_default();
    let before = line.split(words).next().filter(|before| before.len() < line.len()).unwrap_or_default();
    before.rsplit(' ').nth(1).map_or(0, |number| number.replace(',', "").parse().unwrap())
}

#[test]
fn what_is_in_the_cache_is_not_asked_for_again() {
    let ran = run("    cache: { ttl: 10m }\n    single_flight: false\n", 20_000);
    let (hits, calls) = (told(&ran, "cache hits"), told(&ran, "calls for 20,000 records"));
    assert!(hits > 10_000 && calls < 200, "{ran:?}");
    let ran = run("    cache: { ttl: 10m, entries: 1 }\n    order: key\n    batch: 1\n    concurrency: 1\n", 1);
    assert!(!ran.stderr.contains("user: "), "nothing to tell: {ran:?}");
}

#[test]
fn one_cache_serves_all_workers() {
    let workspace = workspace("    cache: { ttl: 10m }\n    batch: 1\n    concurrency: 4\n", 10_000);
    for file in ["a", "b", "c"] {
        workspace.write(&format!("{file}.jsonl"), workspace.read("in.jsonl"));
    }
    let pipeline = workspace.read("p.yaml").replace("path: in.jsonl", "paths: [a.jsonl, b.jsonl, c.jsonl]");
    workspace.write("p.yaml", format!("{pipeline}workers: 3\n"));
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    // There are 14 keys. Each is asked for by whoever comes first, or a few who come while it is on the wire.
    let (calls, hits) = (told(&ran, "calls for 30,000 records"), told(&ran, "cache hits"));
    assert!(calls < 60 && hits > 29_000, "{ran:?}");
}

#[test]
fn records_of_a_key_that_is_on_the_wire_or_in_the_same_batch_share_a_call() {
    let ran = run("", 20_000);
    assert!(told(&ran, "joined the call of another") > 10_000, "{ran:?}");
    let ran = run("    single_flight: false\n", 20_000);
    assert!(!ran.stderr.contains("joined"), "{ran:?}");
}

#[test]
fn one_bad_key_costs_a_few_calls_and_its_neighbours_nothing() {
    let keys =
        "    batch: 64\n    concurrency: 1\n    single_flight: false\n    on_error: { default: { name: none } }\n";
    let workspace = workspace(keys, 0);
    let record = |n: u64| if n == 40 { "{\"id\":[1]}\n".to_owned() } else { "{\"id\":2}\n".to_owned() };
    workspace.write("in.jsonl", (0..64).map(record).collect::<String>());
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.row("user")[..4], ["user", "63", "0", "1"], "{ran:?}");
    let calls: u64 = ran.row("user")[6].parse().unwrap();
    // A batch of all of them would take 13; the first ones may have left in smaller ones.
    assert!(calls <= 20, "{ran:?}");
}

#[test]
fn what_is_missing_can_have_a_default_too() {
    let workspace = workspace("    on_missing: { default: { name: nobody } }\n", 8);
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!((ran.code, &ran.row("user")[..3]), (0, &["user", "5", "3"][..]), "{ran:?}");
    let names: Vec<Value> =
        json_lines(&workspace.read("out.jsonl")).iter().map(|r| r["user"]["name"].clone()).collect();
    assert_eq!(names, ["user 0", "nobody", "user 0", "user 2", "user 0", "nobody", "user 0", "nobody"]);
}

#[test]
fn a_rate_of_each_key_holds_up_that_key() {
    let ran = run("    rate_limit: { per_key: 20/s }\n    single_flight: false\n    batch: 1\n    timeout: 30s\n", 15);
    assert_eq!(ran.row("user")[6], "15", "{ran:?}");
    // Eight records of one key, two of which may start at once: six intervals of 50 ms.
    assert!(millis(&ran) >= 290.0, "no faster than the rate allows: {ran:?}");
}

#[test]
fn a_rate_holds_for_all_steps_and_workers_that_ask_the_system() {
    let step =
        "sqlite: { database: users.db, table: users, columns: [name] }, key: { id: .id }, batch: 1, timeout: 30s";
    let workspace = workspace("", 10);
    workspace.write("other.jsonl", workspace.read("in.jsonl"));
    workspace.write(
        "p.yaml",
        format!(
            "source: {{ file: {{ paths: [in.jsonl, other.jsonl] }} }}\nsink: stdout\nworkers: 2\nenrich:\n  \
             user: {{ {step}, single_flight: false, rate_limit: {{ rate: 100/s, burst: 1 }} }}\n  \
             again: {{ {step}, single_flight: false }}\n"
        ),
    );
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!((ran.code, &ran.row("user")[6], &ran.row("again")[6]), (0, &"20", &"20"), "{ran:?}");
    assert!(millis(&ran) >= 380.0, "40 calls at 100/s: {ran:?}");
}

/// What the run says it took: a lower bound can be relied on however busy the machine is.
fn millis(ran: &Ran) -> f64 {
    let summary = ran.stderr.lines().find(|line| line.contains("records in")).unwrap();
    let took = summary.rsplit(" in ").next().unwrap();
    match took.split(' ').collect::<Vec<_>>()[..2] {
        [number, "ms"] => number.parse().unwrap(),
        [number, "s"] => number.parse::<f64>().unwrap() * 1e3,
        _ => panic!("{summary}"),
    }
}
