//! Kafka on both sides, against a real broker.

pub(crate) mod broker;
mod secure;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::broker::Broker;
use crate::postgres::Schema;
use crate::running::Running;
use crate::workspace::Workspace;

/// Nothing takes this long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const RECORDS: u64 = 6_000;
/// Members of a group that died are noticed after two seconds.
const SOON: &str = r#"properties: { session.timeout.ms: "2000", heartbeat.interval.ms: "300" }"#;
/// What a run that died has not committed holds readers up for five seconds.
const UNDONE_SOON: &str = r#"properties: { transaction.timeout.ms: "5000" }"#;

fn record(number: u64) -> String {
    json!({ "n": number, "id": 1 + number % 2 }).to_string()
}

fn all() -> Vec<u64> {
    all_of(RECORDS)
}

fn all_of(records: u64) -> Vec<u64> {
    (0..records).collect()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it never comes that {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Starts it and kills it when it has written checkpoints, again and again. Then it runs to its end.
fn killed_and_ended(workspace: &Workspace, rounds: u64) {
    let checkpoints = || std::fs::read_dir(workspace.path().join("state")).map_or(0, |folder| folder.flatten().count());
    for round in 0..rounds {
        let before = checkpoints();
        let mut running = Running::start(workspace, &["run", "p.yaml"]);
        wait_for("it has written a checkpoint", || checkpoints() > before.min(2) || running.has_ended());
        std::thread::sleep(Duration::from_millis(37 * round));
        running.signal("KILL");
        let ended = running.end();
        assert_eq!(ended.code, -1, "it was too fast to be killed: {ended:?}");
    }
    let ran = Running::start(workspace, &["run", "p.yaml"]).end();
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn with_users(source: &str, sink: &str, more: &str) -> Workspace {
    // Slowly, so that there is time to kill it.
    let workspace = Workspace::with_users(source, "    concurrency: 1\n    batch: 8\n    capacity: 8\n", sink);
    let text = workspace.read("p.yaml");
    workspace.write("p.yaml", format!("{text}{more}"));
    workspace
}

#[test]
fn a_file_goes_to_a_topic_once_whatever_is_killed() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("from-file", 3);
    let address = &broker.address;
    let workspace = with_users(
        "{ file: { path: in.jsonl } }",
        &format!("{{ kafka: {{ brokers: '{address}', topic: {topic}, key: .n, headers: .id, exactly_once: true }} }}"),
        "checkpoint: { dir: state, every: 50ms }\n",
    );
    let lines: String = (0..RECORDS).map(|number| record(number) + "\n").collect();
    workspace.write("in.jsonl", lines);
    let refused = workspace.run(&["run", "p.yaml"]);
    assert!(refused.code == 1 && refused.stderr.contains("headers of a record must be an object"), "{refused:?}");
    let text = workspace.read("p.yaml").replace(", headers: .id", ", headers: .user");
    workspace.write("p.yaml", text);
    workspace.run(&["run", "p.yaml", "--from-scratch", "--limit", "1"]);
    killed_and_ended(&workspace, 4);
    assert_eq!(broker.numbers(&topic), all());
    let found = broker.committed(&topic);
    let first = found.iter().find(|found| found.value["n"] == 0).unwrap();
    assert_eq!((first.key.as_deref(), first.value["user"]["name"].as_str()), (Some("0"), Some("Ada")));
    assert_eq!(first.headers, [("name".to_owned(), "Ada".to_owned())].into());
    // Messages of one key keep their order, as one partition does.
    assert_eq!(found.len() as u64, RECORDS);
}

#[test]
fn topics_go_to_a_file_and_to_a_topic_once_whatever_is_killed() {
    let Some(broker) = Broker::shared() else { return };
    let (from, to) = (broker.topic("static", 4), broker.topic("static-out", 2));
    broker.fill(&from, (0..RECORDS).map(record));
    let address = &broker.address;
    let source =
        format!("{{ kafka: {{ brokers: '{address}', topic: {from}, until: end, metadata: m, group: shown }} }}");
    let to_topic = format!("{{ kafka: {{ brokers: '{address}', topic: {to}, exactly_once: true }} }}");
    let workspace = with_users(&source, &to_topic, "checkpoint: { dir: state, every: 50ms }\nworkers: 2\n");
    killed_and_ended(&workspace, 4);
    assert_eq!(broker.numbers(&to), all());
    let again = workspace.run(&["run", "p.yaml"]);
    assert!(again.code == 0 && again.stderr.contains("there is nothing left to do"), "{again:?}");
    let found = &broker.committed(&to)[0].value["m"];
    assert!(found["topic"] == *from && found["key"].as_str().unwrap().starts_with('k'), "{found}");
    assert_eq!(found["headers"]["number"], found["key"].as_str().unwrap()[1..]);
    wait_for("the group shows what was read", || broker.read_by("shown", &from, 4) > 0);

    let workspace = with_users(&source, "{ file: { path: out.jsonl } }", "checkpoint: { dir: state, every: 50ms }\n");
    killed_and_ended(&workspace, 3);
    let mut numbers: Vec<u64> = workspace
        .read("out.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, all());
}

#[test]
fn topics_go_to_a_table_once_though_it_is_killed() {
    const TABLE: &str = "create table enriched (n int, id int, \"user\" jsonb)";
    let (Some(broker), Some(schema)) = (Broker::shared(), Schema::new("inflight_cli_kafka", TABLE)) else { return };
    let from = broker.topic("to-table", 3);
    broker.fill(&from, (0..RECORDS).map(record));
    let workspace = with_users(
        &format!("{{ kafka: {{ brokers: '{}', topic: {from}, until: end }} }}", broker.address),
        &format!("{{ postgres: {{ url: '{}', table: enriched }} }}", schema.url),
        "checkpoint: { dir: state, every: 50ms }\n",
    );
    killed_and_ended(&workspace, 2);
    let rows = ["enriched", "(select distinct n from enriched) as ns", "enriched where \"user\" ->> 'name' = 'Ada'"];
    assert_eq!(rows.map(|rows| schema.count(rows) as u64), [RECORDS, RECORDS, RECORDS / 2]);
}

#[test]
fn how_far_behind_the_end_it_is_stands_in_the_summary() {
    let Some(broker) = Broker::shared() else { return };
    let (from, to) = (broker.topic("behind", 2), broker.topic("behind-out", 1));
    broker.fill(&from, (0..RECORDS).map(record));
    let workspace = replica(&broker, &from, &to, false);
    let slow = workspace.read("p.yaml").replace("batch: 8\n", "batch: 8\n    rate_limit: 300/s\n");
    workspace.write("p.yaml", slow);
    let replica = Running::start(&workspace, &["run", "p.yaml"]);
    wait_for("something is written", || !broker.numbers(&to).is_empty());
    // The library tells of the ends twice a second.
    std::thread::sleep(Duration::from_millis(1_200));
    replica.signal("TERM");
    let ended = replica.end();
    let number = |text: &str| -> u64 {
        let line = ended.stderr.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {ended:?}"));
        line.split(' ').next().unwrap().replace(',', "").parse().unwrap()
    };
    let (read, behind) = (number(" records in, "), number(" behind the end of the source"));
    assert!(ended.code == 0 && read > 0 && read + behind == RECORDS, "{read}, {behind}: {ended:?}");
}

/// A pipeline whose replicas share a topic.
fn replica(broker: &Broker, from: &str, to: &str, exactly_once: bool) -> Workspace {
    let address = &broker.address;
    with_users(
        &format!(
            "{{ kafka: {{ brokers: '{address}', topic: {from}, group: g-{from}, commit_every: 100ms, {SOON} }} }}"
        ),
        &format!(
            "{{ kafka: {{ brokers: '{address}', topic: {to}, exactly_once: {exactly_once}, {} }} }}",
            if exactly_once { UNDONE_SOON } else { "properties: {}" }
        ),
        "workers: 2\n",
    )
}

/// Feeds the topic while replicas come, go and are killed; then waits until everything is there.
fn shaken(broker: &Broker, exactly_once: bool) -> Vec<u64> {
    let (from, to) = (broker.topic("group", 6), broker.topic("group-out", 3));
    let replicas: Vec<Workspace> = (0..3).map(|_| replica(broker, &from, &to, exactly_once)).collect();
    let start = |at: usize| Running::start(&replicas[at], &["run", "p.yaml"]);
    let mut running: Vec<Option<Running>> = vec![Some(start(0)), None, None];
    let steps: [(usize, &str); 8] =
        [(1, ""), (2, ""), (0, "KILL"), (0, ""), (1, "TERM"), (2, "KILL"), (1, ""), (2, "")];
    let each = RECORDS / (steps.len() as u64 + 1);
    for (number, (at, signal)) in (0..).zip(steps) {
        broker.fill(&from, (number * each..(number + 1) * each).map(record));
        std::thread::sleep(Duration::from_millis(700));
        match (signal, running[at].take()) {
            ("", None) => running[at] = Some(start(at)),
            (signal, Some(gone)) => {
                gone.signal(signal);
                let ended = gone.end();
                assert_eq!(ended.code, if signal == "KILL" { -1 } else { 0 }, "{ended:?}");
            }
            (_, None) => panic!("it does not run"),
        }
    }
    broker.fill(&from, (steps.len() as u64 * each..RECORDS).map(record));
    wait_for("everything is there", || {
        broker.numbers(&to).into_iter().collect::<BTreeSet<_>>().len() as u64 == RECORDS
    });
    for replica in running.into_iter().flatten() {
        replica.signal("TERM");
        let ended = replica.end();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    assert_eq!(broker.read_by(&format!("g-{from}"), &from, 6) as u64, RECORDS, "the group has read everything");
    broker.numbers(&to)
}

#[test]
fn replicas_of_a_group_write_each_record_once_though_they_come_go_and_are_killed() {
    let Some(broker) = Broker::shared() else { return };
    assert_eq!(shaken(&broker, true), all());
}

#[test]
fn replicas_of_a_group_miss_nothing_at_least_once() {
    let Some(broker) = Broker::shared() else { return };
    let written: BTreeSet<u64> = shaken(&broker, false).into_iter().collect();
    assert_eq!(written.into_iter().collect::<Vec<_>>(), all());
}

#[test]
fn partitions_that_are_added_to_a_topic_are_read() {
    let Some(broker) = Broker::shared() else { return };
    let (from, to) = (broker.topic("grows", 1), broker.topic("grows-out", 1));
    let workspace = replica(&broker, &from, &to, true);
    let soon = r#"properties: { topic.metadata.refresh.interval.ms: "300", session"#;
    workspace.write("p.yaml", workspace.read("p.yaml").replacen("properties: { session", soon, 1));
    let replica = Running::start(&workspace, &["run", "p.yaml"]);
    broker.fill(&from, (0..100).map(record));
    wait_for("the first are there", || broker.numbers(&to).len() == 100);
    broker.grow(&from, 3);
    broker.fill(&from, (100..400).map(record));
    wait_for("all are there", || broker.numbers(&to).len() >= 400);
    replica.signal("TERM");
    let ended = replica.end();
    assert_eq!((ended.code, broker.numbers(&to)), (0, all_of(400)), "{ended:?}");
    assert_eq!(broker.read_by(&format!("g-{from}"), &from, 3), 400);
}

#[test]
fn a_broker_that_is_killed_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = Broker::own(folder.path()) else { return };
    let (from, to) = (broker.topic("outage", 3), broker.topic("outage-out", 3));
    let workspace = replica(&broker, &from, &to, true);
    let (mut replica, mut restarts) = (Running::start(&workspace, &["run", "p.yaml"]), 0);
    for outage in 0..3 {
        broker.fill(&from, (outage * RECORDS / 3..(outage + 1) * RECORDS / 3).map(record));
        std::thread::sleep(Duration::from_millis(1_500));
        if outage < 2 {
            broker.kill();
            std::thread::sleep(Duration::from_millis(500));
            broker.start();
        }
        // A run may give up when its transaction was undone meanwhile; a supervisor starts it again.
        if replica.has_ended() {
            restarts += 1;
            replica = Running::start(&workspace, &["run", "p.yaml"]);
        }
    }
    wait_for("everything is there", || {
        if replica.has_ended() {
            restarts += 1;
            replica = Running::start(&workspace, &["run", "p.yaml"]);
        }
        broker.numbers(&to).len() as u64 >= RECORDS
    });
    assert!(restarts < 5, "{restarts} restarts");
    replica.signal("TERM");
    let ended = replica.end();
    assert_eq!((broker.numbers(&to), ended.code), (all(), 0), "{ended:?}");
}

#[test]
fn messages_that_are_no_records_end_the_run_or_go_to_a_topic_of_their_own() {
    let Some(broker) = Broker::shared() else { return };
    let (from, to, dead) = (broker.topic("odd", 1), broker.topic("odd-out", 1), broker.topic("odd-dead", 1));
    let values = [r#"{"n":0,"id":1}"#, "no json", "[1]", r#"{"n":1,"id":3}"#, r#"{"n":2,"id":2}"#];
    broker.fill(&from, values.into_iter().map(str::to_owned));
    let address = &broker.address;
    let kafka = |topic: &str, more: &str| format!("{{ kafka: {{ brokers: '{address}', topic: {topic}, {more} }} }}");
    let sinks = kafka(&to, "exactly_once: true");
    let workspace = with_users(
        &kafka(&from, "until: end"),
        &sinks,
        &format!("dead_letter: {}\ncheckpoint: {{ dir: state, every: 50ms }}\n", kafka(&dead, "exactly_once: true")),
    );
    let failed = workspace.run(&["run", "p.yaml"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    let place = format!("{from}/0: the message at offset 1: its value is no JSON");
    assert!(failed.stderr.contains(&place), "{failed:?}");
    let text = workspace.read("p.yaml").replace("until: end", "until: end, on_malformed: dead_letter");
    let text = text.replace("key: { id: .id }", "key: { id: .id }\n    on_error: dead_letter");
    workspace.write("p.yaml", text);
    let ran = workspace.run(&["run", "p.yaml", "--accept", "enrich"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(broker.numbers(&to), [0, 2]);
    let letters: Vec<Value> = broker.committed(&dead).into_iter().map(|letter| letter.value).collect();
    let told: Vec<_> = letters.iter().map(|letter| (&letter["failure"], &letter["source_offset"])).collect();
    assert_eq!(json!(told), json!([["malformed", 1], ["malformed", 2], [letters[2]["failure"], 3]]));
    assert_eq!((&letters[0]["record"]["value"], &letters[0]["record"]["key"]), (&json!("no json"), &json!("k1")));
    assert!(letters.iter().all(|letter| letter["source"] == format!("{from}/0")), "{letters:?}");
    // A record that ends the run is named by its place, too.
    let text = workspace.read("p.yaml").replace("on_error: dead_letter", "on_error: fail");
    workspace.write("p.yaml", text.replace("checkpoint:", "# checkpoint:").replace("exactly_once: true", ""));
    let failed = workspace.run(&["run", "p.yaml"]);
    let place = format!("error: {from}/0, the message at offset 3, look-up `user`: ");
    assert!(failed.code == 1 && failed.stderr.contains(&place), "{failed:?}");
}

#[test]
fn what_cannot_be_used_is_told_in_a_sentence() {
    let Some(broker) = Broker::shared() else { return };
    let to = broker.topic("told", 1);
    let address = &broker.address;
    let run = |source: &str, sink: &str| with_users(source, sink, "").run(&["run", "p.yaml"]);
    let sink = format!("{{ kafka: {{ brokers: '{address}', topic: {to} }} }}");
    let absent = run(&format!("{{ kafka: {{ brokers: '{address}', topic: nowhere, group: g }} }}"), &sink);
    assert!(absent.code == 1 && absent.stderr.contains("nowhere: the topic cannot be used"), "{absent:?}");
    let absent = run("stdin", &format!("{{ kafka: {{ brokers: '{address}', topic: nowhere }} }}"));
    assert!(absent.code == 1 && absent.stderr.contains("nowhere: the topic cannot be used"), "{absent:?}");
}

#[test]
fn brokers_that_are_away_are_waited_for() {
    let workspace = with_users("stdin", "{ kafka: { brokers: '127.0.0.1:1', topic: x } }", "");
    let mut waiting = Running::start(&workspace, &["run", "p.yaml"]);
    waiting.wait_for_stderr("the sink waits: x: the brokers cannot be asked");
    waiting.wait_for_stderr("Connection refused");
    waiting.signal("TERM");
    assert_eq!(waiting.end().code, 0);
}

#[test]
fn connections_are_checked() {
    let Some(broker) = Broker::shared() else { return };
    let (from, to) = (broker.topic("checked", 2), broker.topic("checked-out", 1));
    let check = |sink: &str| {
        let kafka = |topic: &str| format!("{{ kafka: {{ brokers: '{}', topic: {topic} }} }}", broker.address);
        with_users(&kafka(&from), &kafka(sink), "").run(&["check", "p.yaml", "--connect"])
    };
    let right = check(&to);
    let text = right.stdout.clone() + &right.stderr;
    assert!(right.code == 0 && text.contains("source (kafka)") && text.contains("sink (kafka)"), "{right:?}");
    let wrong = check("nowhere");
    let text = wrong.stdout.clone() + &wrong.stderr;
    assert!(wrong.code != 0 && text.contains("nowhere: the topic cannot be used"), "{wrong:?}");
}

/// The text of a check or of an explanation, with this source and sink.
fn told(command: &str, source: &str, sink: &str, more: &str) -> String {
    let ran = with_users(source, sink, more).run(&[command, "p.yaml"]);
    ran.stdout + &ran.stderr
}

#[test]
fn guarantees_are_told_with_their_reason_and_what_cannot_be_is_refused() {
    const GROUP: &str = "{ kafka: { brokers: 'a:1', topic: t, group: g } }";
    const ONE: &str = "{ kafka: { brokers: 'a:1', topic: t } }";
    const ONCE: &str = "{ kafka: { brokers: 'a:1', topic: o, exactly_once: true } }";
    const PLAIN: &str = "{ kafka: { brokers: 'a:1', topic: o } }";
    const STATE: &str = "checkpoint: { dir: state }\n";
    for (source, sink, more, expected) in [
        (
            GROUP,
            ONCE,
            "",
            "exactly once, for those who read what is committed: the records of an epoch and the offsets",
        ),
        (GROUP, PLAIN, "", "at least once: the source is told what was read when it is written"),
        (GROUP, "stdout", "", "at least once: the source is told what was read when it is written"),
        (
            GROUP,
            ONCE,
            STATE,
            "exactly once, for those who read what is committed: the records of an epoch and its number",
        ),
        (ONE, PLAIN, STATE, "at least once: what was sent cannot be taken back"),
    ] {
        let explained = told("explain", source, sink, more);
        assert!(explained.contains(expected), "{explained}");
    }
    let secret = r#"{ kafka: { brokers: 'a:1', topic: t, group: g, properties: { sasl.password: hunter2 } } }"#;
    assert!(!told("explain", secret, PLAIN, "").contains("hunter2"));
    for (source, sink, more, expected) in [
        (ONE, ONCE, "", "`exactly_once` needs something that remembers"),
        (GROUP, "{ file: { path: out.jsonl } }", "", "each run would write the file anew"),
        (GROUP, "{ kafka: { brokers: 'b:1', topic: o, exactly_once: true } }", "", "the sink has other brokers"),
        (GROUP, "{ kafka: { brokers: 'a:1', topic: t } }", "", "to the topic that the source reads"),
        (GROUP, PLAIN, "cluster: { hosts: ['a:1', 'b:1'] }\n", "a `group` shares the work by itself"),
        ("{ kafka: { brokers: 'a:1', topic: t, group: g, until: end } }", PLAIN, "", "`until` is for a run of its own"),
        (
            "{ kafka: { brokers: 'a:1', topic: t, on_malformed: dead_letter } }",
            PLAIN,
            "",
            "the pipeline has no `dead_letter`",
        ),
        ("{ kafka: { brokers: 'a:1', topic: t, properties: { group.id: x } } }", PLAIN, "", "write `group`"),
    ] {
        let checked = told("check", source, sink, more);
        assert!(checked.contains(expected), "{expected}: {checked}");
    }
}

#[test]
fn dead_letters_are_replayed_from_their_topic_each_of_them_once() {
    let Some(broker) = Broker::shared() else { return };
    let letters = broker.topic("letters", 2);
    let sinks = format!(
        "{{ file: {{ path: out.jsonl }} }}\ndead_letter: {{ kafka: {{ brokers: '{}', topic: {letters} }} }}",
        broker.address
    );
    let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "    on_missing: dead_letter\n", &sinks);
    let records = (0..40).map(|n| format!("{{\"n\":{n},\"id\":{}}}\n", if n % 2 == 0 { 1 } else { 10 + n % 4 }));
    workspace.write("in.jsonl", records.collect::<String>());
    let run = |args: &[&str]| {
        let ran = workspace.run(args);
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    let replay = ["replay", "dead_letter", "p.yaml", "--checkpoint", "again"];
    let out = || workspace.read("out.jsonl").lines().count();
    run(&["run", "p.yaml"]);
    assert_eq!((broker.committed(&letters).len(), out()), (20, 20));
    let arrives = |user: &str| workspace.database("users.db").execute(user, []).unwrap();
    arrives("insert into users values (11, 'Eve', 'b')");
    run(&replay);
    assert_eq!((broker.committed(&letters).len(), out()), (30, 30), "half of them are letters again");
    arrives("insert into users values (13, 'Dan', 'b')");
    run(&replay);
    run(&replay);
    assert_eq!((broker.committed(&letters).len(), out()), (30, 40));
}
