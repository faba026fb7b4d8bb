//! NATS JetStream at both ends, against a real server: the one that the test command provides.
#![cfg(target_os = "linux")]

use async_nats::jetstream::{self, Context, stream};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::postgres::Schema;
use crate::running::{Running, wait_until};
use crate::workspace::{USERS, Workspace, json_lines};

/// A stream of the test's own; nothing where there is no server.
pub(crate) struct Stream {
    pub(crate) url: String,
    name: String,
    runtime: Runtime,
    context: Context,
}

impl Stream {
    pub(crate) fn new(name: &str) -> Option<Self> {
        let Ok(url) = std::env::var("INFLIGHT_TEST_NATS") else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "INFLIGHT_TEST_NATS is not set");
            eprintln!("!!! SKIPPED: INFLIGHT_TEST_NATS is not set; cargo xtask servers starts a server");
            return None;
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let context = runtime.block_on(async {
            let named = url.strip_prefix("nats://").and_then(|rest| rest.split_once('@')?.0.split_once(':'));
            let (user, password) = named.unwrap_or_default();
            let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
            let context = jetstream::new(options.connect(&url).await.unwrap());
            let _ = context.delete_stream(name).await;
            let config =
                stream::Config { name: name.into(), subjects: vec![format!("{name}.>")], ..Default::default() };
            context.create_stream(config).await.unwrap();
            context
        });
        Some(Self { url, name: name.to_owned(), runtime, context })
    }

    pub(crate) fn publish(&self, records: impl IntoIterator<Item = Value>) {
        self.runtime.block_on(async {
            for record in records {
                let subject = format!("{}.in", self.name);
                self.context.publish(subject, record.to_string().into()).await.unwrap().await.unwrap();
            }
        });
    }

    pub(crate) fn content(&self) -> Vec<Value> {
        self.runtime.block_on(async {
            let stream = self.context.get_stream(&self.name).await.unwrap();
            let state = stream.cached_info().state.clone();
            let mut content = Vec::new();
            if state.messages == 0 {
                return content;
            }
            for sequence in state.first_sequence..=state.last_sequence {
                content.push(serde_json::from_slice(&stream.get_raw_message(sequence).await.unwrap().payload).unwrap());
            }
            content
        })
    }

    pub(crate) fn stored(&self) -> u64 {
        self.runtime.block_on(async { self.context.get_stream(&self.name).await.unwrap().cached_info().state.messages })
    }

    fn variables(&self) -> [(&str, &str); 1] {
        [("URL", &self.url)]
    }
}

/// A pipeline that looks up users, from and to these, with these keys.
fn workspace(source: &str, sink: &str, keys: &str) -> Workspace {
    let workspace = Workspace::with(&format!(
        "source: {source}\nenrich:\n  user:\n    sqlite: {{ database: users.db, table: users, columns: [name] }}\n    \
         key: {{ id: .id }}\nsink: {sink}\n{keys}"
    ));
    workspace.database("users.db").execute_batch(USERS).unwrap();
    workspace
}

pub(crate) fn orders(range: std::ops::Range<u64>) -> impl Iterator<Item = Value> {
    range.map(|n| json!({ "n": n, "id": n % 2 + 1 }))
}

const TABLE: &str = "{ sqlite: { database: out.db, table: enriched, create: true, busy_timeout: 30s } }";

fn count(workspace: &Workspace, of: &str) -> u64 {
    let sql = format!("select {of} from enriched");
    let counted = workspace.database("out.db").query_row(&sql, [], |row| row.get::<_, i64>(0));
    counted.unwrap_or_default().unsigned_abs()
}

#[test]
fn a_stream_is_in_a_database_once_whatever_is_killed() {
    let Some(stream) = Stream::new("cli-once") else { return };
    stream.publish(orders(0..3_000));
    let source = "{ nats: { url: '${env:URL}', stream: cli-once, until: end } }";
    let workspace = workspace(source, TABLE, "checkpoint: { dir: state, every: 5ms }\n");
    for kill in 1..5 {
        let running = Running::start_with(&workspace, &["run", "p.yaml"], &stream.variables());
        wait_until("rows are committed", || {
            let rows = count(&workspace, "count(*)");
            rows >= kill * 300 || rows == 3_000
        });
        running.signal("KILL");
        running.end();
    }
    let ran = workspace.run_with(&["run", "p.yaml"], &stream.variables());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((count(&workspace, "count(*)"), count(&workspace, "count(distinct n)")), (3_000, 3_000));
    let password = stream.url.split(':').nth(2).and_then(|rest| rest.split('@').next()).unwrap();
    let shown = workspace.run_with(&["explain", "p.yaml"], &stream.variables());
    assert!(shown.stdout.contains("nats") && !shown.stdout.contains(password), "{shown:?}");
    let checked = workspace.run_with(&["check", "--connect", "p.yaml"], &stream.variables());
    assert!(checked.code == 0 && checked.stdout.contains("source (nats)"), "{checked:?}");
    let wrong = stream.url.replace(password, "hunter2");
    let checked = workspace.run_with(&["check", "--connect", "p.yaml"], &[("URL", &wrong)]);
    assert!(checked.code != 0 && !format!("{checked:?}").contains("hunter2"), "{checked:?}");
}

#[test]
fn messages_that_come_again_after_a_kill_are_dropped_by_their_ids() {
    let Some(stream) = Stream::new("cli-ids") else { return };
    let sink = "{ nats: { url: '${env:URL}', subject: cli-ids.out } }";
    let workspace = workspace("{ file: { path: in.jsonl } }", sink, "checkpoint: { dir: state, every: 20ms }\n");
    workspace.write("in.jsonl", orders(0..5_000).map(|order| format!("{order}\n")).collect::<String>());
    for kill in 1..4 {
        let running = Running::start_with(&workspace, &["run", "p.yaml"], &stream.variables());
        wait_until("messages are stored", || {
            let stored = stream.stored();
            stored >= kill * 300 || stored == 5_000
        });
        running.signal("KILL");
        running.end();
    }
    let ran = workspace.run_with(&["run", "p.yaml"], &stream.variables());
    assert_eq!(ran.code, 0, "{ran:?}");
    let content = stream.content();
    assert_eq!(
        content.iter().map(|record| record["n"].as_u64().unwrap()).collect::<Vec<_>>(),
        (0..5_000).collect::<Vec<_>>()
    );
    assert_eq!(content[0]["user"]["name"], "Ada");
    // Anew means anew.
    let again = workspace.run_with(&["run", "p.yaml", "--from-scratch"], &stream.variables());
    assert_eq!((again.code, stream.content().len()), (0, 10_000), "{again:?}");
}

#[test]
fn replicas_share_a_consumer_and_one_that_is_killed_loses_nothing() {
    let Some(stream) = Stream::new("cli-shared") else { return };
    let source =
        "{ nats: { url: '${env:URL}', stream: cli-shared, consumer: readers, ack_wait: 1s, commit_every: 50ms } }";
    let workspace = workspace(source, TABLE, "");
    // One of them makes the table.
    stream.publish(orders(0..10));
    let start = || Running::start_with(&workspace, &["run", "p.yaml"], &stream.variables());
    let one = start();
    wait_until("the first rows are there", || count(&workspace, "count(*)") >= 10);
    let two = start();
    stream.publish(orders(10..1_500));
    wait_until("rows are there", || count(&workspace, "count(*)") >= 200);
    one.signal("KILL");
    one.end();
    stream.publish(orders(1_500..2_000));
    wait_until("all are there", || count(&workspace, "count(distinct n)") == 2_000);
    let before = count(&workspace, "count(*)");
    two.signal("TERM");
    let ran = two.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    // What was acknowledged comes no more.
    let three = start();
    stream.publish(orders(2_000..2_001));
    wait_until("the new one is there", || count(&workspace, "max(n)") == 2_000);
    three.signal("TERM");
    assert_eq!(three.end().code, 0);
    assert_eq!(count(&workspace, "count(*)"), before + 1);
}

#[test]
fn a_stream_is_in_a_table_once_though_it_is_killed_and_what_is_left_is_told() {
    const ENRICHED: &str = "create table enriched (n int, id int, \"user\" jsonb)";
    let Some(stream) = Stream::new("cli-table") else { return };
    let Some(schema) = Schema::new("inflight_cli_nats", ENRICHED) else { return };
    stream.publish(orders(0..2_000));
    let source = "{ nats: { url: '${env:URL}', stream: cli-table, until: end } }";
    let table = format!("{{ postgres: {{ url: '{}', table: enriched }} }}", schema.url);
    let workspace = workspace(source, &table, "checkpoint: { dir: state, every: 5ms }\n");
    let pipeline = workspace.read("p.yaml");
    workspace.write(
        "p.yaml",
        pipeline
            .replace("key: { id: .id }\n", "key: { id: .id }\n    batch: 1\n    capacity: 16\n    rate_limit: 500/s\n"),
    );
    let start = || Running::start_with(&workspace, &["run", "p.yaml"], &stream.variables());
    let running = start();
    wait_until("rows are committed", || schema.count("enriched") > 0);
    running.signal("KILL");
    running.end();
    let (before, running) = (schema.count("enriched"), start());
    wait_until("more rows are committed", || schema.count("enriched") > before);
    running.signal("TERM");
    let ended = running.end();
    let number = |text: &str| -> u64 {
        let line = ended.stderr.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {ended:?}"));
        line.split(' ').next().unwrap().replace(',', "").parse().unwrap()
    };
    let (read, behind) = (number(" records in, "), number(" behind the end of the source"));
    assert!(ended.code == 0 && behind > 0 && read + behind == 2_000, "{read}, {behind}: {ended:?}");
    workspace.write("p.yaml", pipeline);
    let ran = workspace.run_with(&["run", "p.yaml", "--accept", "enrich"], &stream.variables());
    assert_eq!((ran.code, schema.count("enriched")), (0, 2_000), "{ran:?}");
    assert_eq!(schema.count("(select distinct n from enriched) as ns"), 2_000);
}

#[test]
fn a_dead_letter_names_the_stream_and_the_sequence() {
    let Some(stream) = Stream::new("cli-letters") else { return };
    stream.publish([1, 3, 2].map(|id| json!({ "id": id })));
    let source = "{ nats: { url: '${env:URL}', stream: cli-letters, until: end } }";
    let keys = "dead_letter: { file: { path: dead.jsonl } }\n";
    let workspace = workspace(source, "{ file: { path: out.jsonl } }", keys);
    let pipeline = workspace.read("p.yaml").replace("{ id: .id }\n", "{ id: .id }\n    on_error: dead_letter\n");
    workspace.write("p.yaml", pipeline);
    let ran = workspace.run_with(&["run", "p.yaml"], &stream.variables());
    assert_eq!(ran.code, 0, "{ran:?}");
    let letter = &json_lines(&workspace.read("dead.jsonl"))[0];
    assert_eq!(json!([letter["source"], letter["source_offset"]]), json!(["cli-letters", 2]));
}

#[test]
fn dead_letters_are_replayed_from_their_stream_each_of_them_once() {
    for sink in ["{ file: { path: out.jsonl } }", TABLE] {
        let Some(stream) = Stream::new("cli-replay") else { return };
        let sinks = format!("{sink}\ndead_letter: {{ nats: {{ url: '${{env:URL}}', subject: cli-replay.dead }} }}");
        let workspace = Workspace::with_users("{ file: { path: in.jsonl } }", "    on_missing: dead_letter\n", &sinks);
        workspace.write("in.jsonl", [1, 9, 2, 8].map(|id| format!("{{\"id\":{id}}}\n")).concat());
        let run = |args: &[&str]| {
            let ran = workspace.run_with(args, &stream.variables());
            assert_eq!(ran.code, 0, "{ran:?}");
        };
        let arrives = |user: &str| workspace.database("users.db").execute(user, []).unwrap();
        let out = || {
            let mut ids: Vec<i64> = match sink {
                TABLE => {
                    let database = workspace.database("out.db");
                    let mut rows = database.prepare("select id from enriched").unwrap();
                    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
                }
                _ => json_lines(&workspace.read("out.jsonl")).iter().map(|it| it["id"].as_i64().unwrap()).collect(),
            };
            ids.sort_unstable();
            ids
        };
        let replay = ["replay", "dead_letter", "p.yaml", "--checkpoint", "again"];
        run(&["run", "p.yaml"]);
        // What comes last in the stream is no letter.
        stream.publish(orders(0..1));
        assert_eq!((stream.stored(), out()), (3, vec![1, 2]));
        arrives("insert into users values (9, 'Eve', 'b')");
        run(&replay);
        assert_eq!((stream.stored(), out()), (4, vec![1, 2, 9]), "the other is a letter again");
        run(&replay);
        assert_eq!((stream.stored(), out()), (5, vec![1, 2, 9]));
        let last = stream.content().pop().unwrap();
        assert_eq!((&last["record"]["id"], &last["replays"]), (&json!(8), &json!(2)));
        arrives("insert into users values (8, 'Dan', 'b')");
        run(&replay);
        run(&replay);
        assert_eq!((stream.stored(), out()), (5, vec![1, 2, 8, 9]));
        // Nobody remembers what was replayed without checkpoints.
        run(&replay[..3]);
        assert_eq!((stream.stored(), out()), (5, vec![1, 2, 8, 8, 8, 8, 9, 9]));
    }
}
