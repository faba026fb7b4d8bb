//! PostgreSQL on both sides, against a real server: the one that the test command provides.
#![cfg(target_os = "linux")]

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

use crate::running::{Running, wait_until};
use crate::workspace::{Ran, Workspace, json_lines};

/// A schema of the test's own; nothing where there is no server.
pub(crate) struct Schema {
    pub(crate) url: String,
    runtime: Runtime,
    client: Client,
}

impl Schema {
    pub(crate) fn new(name: &str, tables: &str) -> Option<Self> {
        let Ok(server) = std::env::var("INFLIGHT_TEST_POSTGRES") else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "INFLIGHT_TEST_POSTGRES is not set");
            eprintln!("!!! SKIPPED: INFLIGHT_TEST_POSTGRES is not set; cargo xtask servers starts a server");
            return None;
        };
        let url = format!("{server}?options=-csearch_path%3D{name}");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls)).unwrap();
        runtime.spawn(connection);
        let schema = Self { url, runtime, client };
        let begin = "set client_min_messages = warning; drop schema if exists";
        schema.do_it(&format!("{begin} {name} cascade; create schema {name}; {tables}"));
        Some(schema)
    }

    pub(crate) fn do_it(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    pub(crate) fn count(&self, of: &str) -> i64 {
        self.runtime.block_on(self.client.query_one(&format!("select count(*) from {of}"), &[])).unwrap().get(0)
    }

    fn run(&self, workspace: &Workspace, args: &[&str]) -> Ran {
        workspace.run_with(&[&["run", "p.yaml"], args].concat(), &[("URL", &self.url)])
    }
}

const TABLES: &str = "
    create table users (id int primary key, name text);
    insert into users values (1, 'Ada'), (2, 'Bob');
    create table enriched (n int, id int, \"user\" jsonb);";

const PIPELINE: &str = "\
source: { file: { path: in.jsonl } }
enrich:
  user:
    postgres: { url: '${env:URL}', table: users, columns: [name] }
    key: { id: .id }
sink: { postgres: { url: '${env:URL}', table: enriched } }
checkpoint: { dir: state, every: 5ms }
";

fn workspace(records: u64) -> Workspace {
    let workspace = Workspace::with(PIPELINE);
    workspace.write("in.jsonl", (0..records).map(|n| format!("{{\"n\":{n},\"id\":{}}}\n", n % 4)).collect::<String>());
    workspace
}

#[test]
fn each_record_is_there_once_whatever_is_killed() {
    let Some(schema) = Schema::new("inflight_cli_once", TABLES) else { return };
    let workspace = workspace(20_000);
    for kill in 1..5 {
        let written = schema.count("enriched");
        let running = Running::start_with(&workspace, &["run", "p.yaml"], &[("URL", &schema.url)]);
        wait_until("rows are committed", || {
            let now = schema.count("enriched");
            now >= written + kill * 500 || now == 20_000
        });
        running.signal("KILL");
        running.end();
    }
    let ran = schema.run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((schema.count("enriched"), schema.count("(select distinct n from enriched) as ns")), (20_000, 20_000));
    assert_eq!(schema.count("enriched where id = 1 and \"user\" ->> 'name' = 'Ada'"), 5_000);
    assert_eq!(schema.count("enriched where id in (0, 3) and \"user\" is null"), 10_000);
}

/// The table that the README gives for dead letters.
const LETTERS: &str = "
    create table letters (source text, record_number bigint, source_offset bigint, read_at timestamptz,
        failed_at timestamptz, step text, key jsonb, failure text, error text, attempts int, elapsed_ms bigint, each_attempt jsonb,
        replays int, attempts_in_all int, before jsonb, found jsonb, record jsonb);";

#[test]
fn records_and_dead_letters_are_one_transaction_and_have_no_secrets() {
    let Some(schema) = Schema::new("inflight_cli_letters", &format!("{TABLES}{LETTERS}")) else { return };
    let letters = "    on_missing: dead_letter\nsink: { postgres: { url: '${env:URL}', table: enriched } }\n\
                   dead_letter: { postgres: { url: '${env:URL}', table: letters } }\n";
    let workspace = workspace(20_000);
    let sink = "sink: { postgres: { url: '${env:URL}', table: enriched } }\n";
    workspace.write("p.yaml", PIPELINE.replace(sink, letters));
    for kill in 1..5 {
        let written = schema.count("letters");
        let running = Running::start_with(&workspace, &["run", "p.yaml"], &[("URL", &schema.url)]);
        wait_until("letters are committed", || {
            let now = schema.count("letters");
            now >= written + kill * 250 || now == 10_000
        });
        running.signal("KILL");
        running.end();
    }
    let ran = schema.run(&workspace, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((schema.count("enriched"), schema.count("(select distinct n from enriched) as ns")), (10_000, 10_000));
    assert_eq!(schema.count("letters"), 10_000);
    assert_eq!(schema.count("(select distinct record ->> 'n' from letters) as ns"), 10_000);
    let told = "letters where step = 'user' and failure = 'missing' and source = 'in.jsonl' and attempts = 1
        and (key ->> 'id')::int in (0, 3) and failed_at >= read_at and record_number = (record ->> 'n')::int + 1";
    assert_eq!(schema.count(told), 10_000);
    let password = schema.url.split(':').nth(2).and_then(|rest| rest.split('@').next()).unwrap();
    assert!(password.len() > 8, "{password}");
    assert_eq!(schema.count(&format!("letters where letters::text like '%{password}%'")), 0);
    assert!(!ran.stderr.contains(password) && !ran.stdout.contains(password), "{ran:?}");
}

#[test]
fn a_run_goes_on_and_its_secrets_are_nowhere() {
    let Some(schema) = Schema::new("inflight_cli_on", TABLES) else { return };
    let workspace = workspace(3_000);
    assert_eq!(schema.run(&workspace, &["--limit", "1000"]).code, 0);
    assert_eq!(schema.count("enriched"), 1_000);
    let ran = schema.run(&workspace, &[]);
    assert!(ran.stderr.starts_with("resuming from epoch "), "{ran:?}");
    assert_eq!((ran.code, schema.count("enriched")), (0, 3_000), "{ran:?}");
    assert_eq!(ran.row("user")[..4], ["user", "1,500", "1,500", "0"]);
    let shown = workspace.run_with(&["explain", "p.yaml"], &[("URL", &schema.url)]).stdout;
    assert!(shown.contains("exactly once: the rows of an epoch and its number are one transaction"), "{shown}");
    for entry in std::fs::read_dir(workspace.path().join("state")).unwrap() {
        let content = String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned();
        assert!(!content.contains(&schema.url), "{content}");
    }
    assert!(!shown.contains(&schema.url), "{shown}");
}

#[test]
fn a_table_that_is_not_there_fails_the_run_at_once() {
    let Some(schema) = Schema::new("inflight_cli_none", "") else { return };
    let ran = schema.run(&workspace(10), &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("enriched") && !ran.stderr.contains(&schema.url), "{ran:?}");
    schema.do_it("create table enriched (n int, id int, \"user\" jsonb)");
    let ran = schema.run(&workspace(10), &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("error: look-up `user`: ") && !ran.stderr.contains(&schema.url), "{ran:?}");
}

#[test]
fn the_check_tells_what_is_missing_and_who_may_not() {
    let Some(schema) = Schema::new("inflight_cli_check", TABLES) else { return };
    let check = |url: &str, pipeline: &str| {
        let workspace = workspace(1);
        workspace.write("p.yaml", pipeline);
        workspace.run_with(&["check", "--connect", "p.yaml"], &[("URL", url)])
    };
    let ran = check(&schema.url, PIPELINE);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    schema.do_it(
        "drop role if exists inflight_cli_reader; create role inflight_cli_reader login password 'pw';
         grant usage on schema inflight_cli_check to inflight_cli_reader;
         grant select on all tables in schema inflight_cli_check to inflight_cli_reader",
    );
    let reader = schema.url.replace("inflight:of-the-test-server", "inflight_cli_reader:pw");
    let ran = check(&reader, PIPELINE);
    assert!(ran.code == 1 && ran.stdout.contains("look-up `user` (postgres): answers"), "{ran:?}");
    assert!(
        ran.stderr.contains("sink (postgres): ") && ran.stderr.contains("permission denied for table enriched"),
        "{ran:?}"
    );
    let ran = check(&schema.url.replace("of-the-test-server", "hunter2"), PIPELINE);
    assert_eq!(ran.stderr.matches("check the user and the password").count(), 2, "{ran:?}");
    assert!(ran.code == 1 && !ran.stderr.contains("hunter2"), "{ran:?}");
    let ran = check(&schema.url, &PIPELINE.replace("[name]", "[nmae]").replace("table: enriched", "table: enrched"));
    assert_eq!(ran.stderr.matches("did you mean").count(), 2, "{ran:?}");
}

const SLOW: &str = "
    create table users (id int primary key, name text);
    insert into users select i, 'user ' || i from generate_series(0, 99) as i;
    create function one(wanted int) returns table (name text) language plpgsql volatile as $$
    begin
        if random() < 0.05 then perform pg_sleep(0.3); end if;
        return query select u.name from users u where u.id = wanted;
    end $$;";

/// A pipeline that asks a function which sometimes takes long, with these keys in its step.
fn slow_workspace(keys: &str, records: u64) -> Workspace {
    let workspace = Workspace::with(&format!(
        "source: {{ file: {{ path: in.jsonl }} }}\nenrich:\n  user:\n    \
         postgres: {{ url: '${{env:URL}}', query: 'select name from one($id::int)' }}\n    key: {{ id: .id }}\n{keys}\
         sink: {{ file: {{ path: out.jsonl }} }}\n"
    ));
    workspace.write("in.jsonl", (0..records).map(|n| format!("{{\"id\":{}}}\n", n % 100)).collect::<String>());
    workspace
}

#[test]
fn a_call_that_takes_long_is_made_twice_and_the_order_is_kept() {
    let Some(schema) = Schema::new("inflight_cli_hedge", SLOW) else { return };
    // As many are held as may be on the wire, so that there is room for second calls while records wait for one that is slow.
    let keys =
        "    hedge: { delay: 50ms }\n    batch: 1\n    concurrency: 16\n    capacity: 16\n    single_flight: false\n";
    let workspace = slow_workspace(keys, 500);
    let ran = schema.run(&workspace, &[]);
    assert_eq!((ran.code, &ran.row("user")[..3]), (0, &["user", "500", "0"][..]), "{ran:?}");
    assert!(ran.stderr.contains(" hedges"), "{ran:?}");
    let names = json_lines(&workspace.read("out.jsonl"));
    assert!(names.iter().enumerate().all(|(n, record)| record["user"]["name"] == format!("user {}", n % 100)));
}

#[test]
fn all_policies_together_change_no_answer() {
    let Some(schema) = Schema::new("inflight_cli_policies", SLOW) else { return };
    let keys = "    hedge: on\n    batch: 4\n    concurrency: auto\n    cache: { ttl: 1m, stale_for: 1m }\n    \
                rate_limit: { rate: 10k/s, per_key: 1k/s }\n    breaker: on\n    destination: users\n";
    let workspace = slow_workspace(keys, 5_000);
    let pipeline = workspace.read("p.yaml");
    workspace.write("p.yaml", format!("{pipeline}checkpoint: {{ dir: state, every: 50ms }}\nworkers: 2\n"));
    let ran = schema.run(&workspace, &[]);
    assert_eq!((ran.code, &ran.row("user")[..3]), (0, &["user", "5,000", "0"][..]), "{ran:?}");
    assert!(ran.stderr.contains(" cache hits") && ran.stderr.contains(" calls at once found to be best"), "{ran:?}");
    let names = json_lines(&workspace.read("out.jsonl"));
    assert!(names.iter().enumerate().all(|(n, record)| record["user"]["name"] == format!("user {}", n % 100)));
}
