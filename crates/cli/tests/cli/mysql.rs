//! Look-ups in MySQL, against a real server: the one that the test command provides.
#![cfg(all(feature = "mysql", target_os = "linux"))]

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::workspace::{Ran, Workspace, json_lines};

/// A database of the test's own; nothing where there is no server.
pub(crate) struct Database {
    pub(crate) url: String,
    runtime: Runtime,
    opts: Opts,
}

impl Database {
    pub(crate) fn new(name: &str, tables: &str) -> Option<Self> {
        let Ok(server) = std::env::var("INFLIGHT_TEST_MYSQL") else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "INFLIGHT_TEST_MYSQL is not set");
            eprintln!("!!! SKIPPED: INFLIGHT_TEST_MYSQL is not set; cargo xtask servers starts a server");
            return None;
        };
        let opts = OptsBuilder::from_opts(Opts::from_url(&server).unwrap()).prefer_socket(false).into();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let database = Self { url: format!("{server}/{name}"), runtime, opts };
        let begin =
            format!("drop database if exists {name}; create database {name} character set utf8mb4; use {name};");
        database.do_it(&format!("{begin} {tables}"));
        Some(database)
    }

    /// Statements, with `; ` between them, on a connection that is in no database at first.
    pub(crate) fn do_it(&self, sql: &str) {
        self.runtime.block_on(async {
            let mut conn = Conn::new(self.opts.clone()).await.unwrap();
            for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
                conn.query_drop(statement).await.unwrap();
            }
            conn.disconnect().await.unwrap();
        });
    }

    fn run(&self, workspace: &Workspace, args: &[&str]) -> Ran {
        workspace.run_with(args, &[("URL", &self.url)])
    }
}

const TABLES: &str = "
    create table users (id int primary key, name varchar(20), firm varchar(20));
    insert into users values (1, 'Ada', 'Acme'), (2, 'Bob', 'bolt');
    create table firms (name varchar(20) primary key, city varchar(20));
    insert into firms values ('ACME', 'Oslo');
    create table visits (id int, page varchar(20)); insert into visits values (1, 'a'), (1, 'b');";

const PIPELINE: &str = "\
source: { file: { path: in.jsonl } }
enrich:
  user:
    mysql: { url: '${env:URL}', table: users, columns: [name, firm] }
    key: { id: .id }
  firm:
    mysql: { url: '${env:URL}', table: firms, columns: [city] }
    key: { name: .user.firm }
  visits:
    mysql: { url: '${env:URL}', query: 'select page from visits where id = $id order by page', rows: all }
    key: { id: .id }
sink: { file: { path: out.jsonl } }
";

#[test]
fn tables_and_queries_enrich_records() {
    let Some(database) = Database::new("inflight_cli", TABLES) else { return };
    let workspace = Workspace::with(PIPELINE);
    workspace
        .write("in.jsonl", (0..3_000).map(|n| format!("{{\"n\":{n},\"id\":{}}}\n", n % 3 + 1)).collect::<String>());
    let ran = database.run(&workspace, &["run", "p.yaml"]);
    assert_eq!((ran.code, &ran.row("user")[..4]), (0, &["user", "2,000", "1,000", "0"][..]), "{ran:?}");
    let firm = json!({"city": "Oslo"});
    let visits = json!([{"page": "a"}, {"page": "b"}]);
    for (n, record) in json_lines(&workspace.read("out.jsonl")).into_iter().enumerate() {
        let expected = match n % 3 {
            0 => json!({"n": n, "id": 1, "user": {"name": "Ada", "firm": "Acme"}, "firm": firm, "visits": visits}),
            1 => json!({"n": n, "id": 2, "user": {"name": "Bob", "firm": "bolt"}, "firm": null, "visits": null}),
            _ => json!({"n": n, "id": 3, "user": null, "firm": null, "visits": null}),
        };
        assert_eq!(record, expected);
    }
    let shown = database.run(&workspace, &["explain", "p.yaml"]).stdout;
    assert!(
        shown.contains("table users, id = .id") && shown.contains("16 calls at once, up to 1 records in each"),
        "{shown}"
    );
    assert!(!format!("{ran:?}{shown}").contains("of-the-test-server"), "{ran:?}{shown}");
}

#[test]
fn the_check_tells_what_is_missing_and_who_may_not() {
    let Some(database) = Database::new("inflight_cli_check", TABLES) else { return };
    let check = |url: &str, pipeline: &str| {
        let workspace = Workspace::with(pipeline);
        workspace.write("in.jsonl", "");
        workspace.run_with(&["check", "--connect", "p.yaml"], &[("URL", url)])
    };
    let ran = check(&database.url, PIPELINE);
    assert!(ran.code == 0 && ran.stdout.contains("look-up `user` (mysql): answers"), "{ran:?}");
    database.do_it(
        "create or replace user inflight_cli_reader@'127.0.0.1' identified by 'pw';
         grant select on inflight_cli_check.users to inflight_cli_reader@'127.0.0.1';
         grant insert on inflight_cli_check.firms to inflight_cli_reader@'127.0.0.1'",
    );
    let reader = database.url.replace("inflight:of-the-test-server", "inflight_cli_reader:pw");
    let ran = check(&reader, PIPELINE);
    assert!(ran.code == 1 && ran.stdout.contains("look-up `user` (mysql): answers"), "{ran:?}");
    assert_eq!(ran.stderr.matches("SELECT command denied").count(), 2, "{ran:?}");
    let ran = check(&database.url.replace("of-the-test-server", "hunter2"), PIPELINE);
    assert_eq!(ran.stderr.matches("check the user and the password").count(), 3, "{ran:?}");
    assert!(ran.code == 1 && !ran.stderr.contains("hunter2"), "{ran:?}");
    let ran =
        check(&database.url, &PIPELINE.replace("[name, firm]", "[nmae, firm]").replace("table: firms", "table: frims"));
    assert_eq!(ran.stderr.matches("did you mean").count(), 2, "{ran:?}");
}

const SLOW: &str = "
    create table users (id int primary key, name varchar(20));
    insert into users with recursive ids as (select 0 as id union all select id + 1 from ids where id < 99)
        select id, concat('user ', id) from ids";

/// A pipeline whose look-ups now and then take long, with these keys in its step.
fn slow_workspace(keys: &str, more: &str, records: u64) -> Workspace {
    let sql = "select name from users where id = $id and sleep(if(rand() < 0.05, 0.3, 0)) = 0";
    let workspace = Workspace::with(&format!(
        "source: {{ file: {{ path: in.jsonl }} }}\nenrich:\n  user:\n    mysql: {{ url: '${{env:URL}}', query: '{sql}' }}\n    \
         key: {{ id: .id }}\n{keys}sink: {{ file: {{ path: out.jsonl }} }}\n{more}"
    ));
    workspace.write("in.jsonl", (0..records).map(|n| format!("{{\"id\":{}}}\n", n % 100)).collect::<String>());
    workspace
}

fn each_has_its_name(workspace: &Workspace) -> bool {
    let records = json_lines(&workspace.read("out.jsonl"));
    records.iter().enumerate().all(|(n, record)| record["user"]["name"] == format!("user {}", n % 100))
}

#[test]
fn a_call_that_takes_long_is_made_twice_and_the_order_is_kept() {
    let Some(database) = Database::new("inflight_cli_hedge", SLOW) else { return };
    let keys = "    hedge: { delay: 50ms }\n    concurrency: 16\n    capacity: 16\n    single_flight: false\n";
    let workspace = slow_workspace(keys, "", 500);
    let ran = database.run(&workspace, &["run", "p.yaml"]);
    assert_eq!((ran.code, &ran.row("user")[..3]), (0, &["user", "500", "0"][..]), "{ran:?}");
    assert!(ran.stderr.contains(" hedges") && each_has_its_name(&workspace), "{ran:?}");
}

#[test]
fn all_policies_together_change_no_answer() {
    let Some(database) = Database::new("inflight_cli_policies", SLOW) else { return };
    let keys = "    hedge: on\n    concurrency: auto\n    cache: { ttl: 1m, stale_for: 1m }\n    \
                rate_limit: { rate: 10k/s, per_key: 1k/s }\n    breaker: on\n    destination: users\n";
    let workspace = slow_workspace(keys, "checkpoint: { dir: state, every: 50ms }\nworkers: 2\n", 3_000);
    let ran = database.run(&workspace, &["run", "p.yaml"]);
    assert_eq!((ran.code, &ran.row("user")[..3]), (0, &["user", "3,000", "0"][..]), "{ran:?}");
    assert!(ran.stderr.contains(" cache hits") && each_has_its_name(&workspace), "{ran:?}");
}
