//! PostgreSQL as sink, lost in mid-run: nothing is lost and nothing is doubled, whenever that happens.

use std::time::Duration;

use super::flow::{Flow, record};
use super::postgres::{BY_TABLE, Database};
use super::proxy::Manner;
use super::story::Story;
use crate::running::wait_until;

const RECORDS: u64 = 1_500;
const CHECKPOINT: &str = "checkpoint: { dir: state, every: 50ms }\n";

const TABLES: &str = "
    create table enriched (n int, id int, \"user\" jsonb);
    create table letters (source text, record_number bigint, source_offset bigint, read_at timestamptz,
        failed_at timestamptz, step text, key jsonb, failure text, error text, attempts int, elapsed_ms bigint, each_attempt jsonb, replays int,
        attempts_in_all int, before jsonb, found jsonb, record jsonb);";

impl Database {
    /// Its pipeline reads a file at the pace of the look-up, writes into the database, and has these keys at the end.
    fn written_to(name: &str, more: &str) -> Option<Self> {
        let place = Self::new(name, BY_TABLE, "    on_missing: dead_letter\n", more)?;
        place.sql(TABLES);
        place.sql(&format!(
            "grant all on all tables in schema {0} to {0}; grant create on schema {0} to {0}",
            place.user
        ));
        let pipeline = place.workspace.read("p.yaml").replace("source: stdin", "source: { file: { path: in.jsonl } }");
        let sinks = "sink: { postgres: { url: '${env:URL}', table: enriched } }\n\
                     dead_letter: { postgres: { url: '${env:URL}', table: letters } }";
        place.workspace.write("p.yaml", pipeline.replace("sink: { file: { path: out.jsonl } }", sinks));
        // Of each ten, one has no user.
        let absent = |n: u64| format!("{{\"n\":{n},\"id\":{}}}\n", n + 1_000_000);
        let records = (0..RECORDS).map(|n| if n % 10 == 7 { absent(n) } else { record(n) });
        place.workspace.write("in.jsonl", records.collect::<String>());
        place.proxy.limit_to(place.pace.capacity);
        Some(place)
    }

    fn flow(&self) -> Flow {
        Flow::of_file(&self.workspace, &[], &[("URL", &self.url)])
    }

    /// Waits until so many more rows are committed, or nearly all are.
    fn commits(&self, more: i64) {
        let before = self.schema.count("enriched");
        wait_until("more rows are committed", || self.schema.count("enriched") >= (before + more).min(1_300));
    }

    /// The run came to its end by itself, and each record is in one of the tables, once.
    fn has_each_record_once(&self, story: &Story) {
        assert_eq!(story.ran.code, 0, "{story:?}");
        let count = |of: &str| self.schema.count(of) as u64;
        assert_eq!((count("enriched"), count("letters")), (RECORDS * 9 / 10, RECORDS / 10), "{story:?}");
        assert_eq!(count("enriched where \"user\" ->> 'name' = 'u' || n"), RECORDS * 9 / 10);
        assert_eq!(count("(select distinct n from enriched) n"), RECORDS * 9 / 10);
        assert_eq!(count("(select distinct record ->> 'n' from letters) n"), RECORDS / 10);
        story.memory_is_bounded();
        self.secrets_are_nowhere(story);
    }
}

#[test]
fn a_sink_whose_connections_are_reset_goes_on() {
    let Some(place) = Database::written_to("sink_reset", CHECKPOINT) else { return };
    let mut flow = place.flow();
    for _ in 0..3 {
        place.commits(200);
        place.proxy.cut();
        flow.wait_for_stderr("the sink goes on after ");
    }
    place.has_each_record_once(&flow.end());
}

#[test]
fn a_sink_whose_server_is_restarted_is_waited_for() {
    let Some(place) = Database::written_to("sink_restarted", CHECKPOINT) else { return };
    let mut flow = place.flow();
    place.commits(200);
    place.proxy.go_down();
    place.terminate();
    flow.wait_for_stderr("the sink waits: ");
    flow.go_on(Duration::from_millis(200));
    place.proxy.come_up();
    flow.wait_for_stderr("the sink goes on after ");
    let story = flow.end();
    story.says_once(&["the sink waits: ", "the sink goes on after "]);
    place.has_each_record_once(&story);
}

/// The server has committed and is not heard, or has never been asked: only it can tell.
#[test]
fn a_commit_that_is_in_doubt_is_settled_by_the_server() {
    for (name, arrives) in [("sink_committed", true), ("sink_not_committed", false)] {
        let Some(place) = Database::written_to(name, CHECKPOINT) else { return };
        let mut flow = place.flow();
        for _ in 0..2 {
            place.commits(100);
            place.proxy.behave(Manner::LoseCommit { arrives });
            flow.wait_for_stderr("the sink waits: ");
        }
        let story = flow.end();
        assert_eq!(
            story.ran.stderr.matches("the connection was lost during the commit of epoch").count(),
            2,
            "{story:?}"
        );
        place.has_each_record_once(&story);
    }
}

/// Nothing tells what an earlier connection wrote; rows with a key may come twice.
#[test]
fn without_checkpoints_a_sink_with_a_key_goes_on() {
    let Some(place) = Database::written_to("sink_key", "") else { return };
    place.sql("alter table enriched add primary key (n); alter table letters add primary key (record_number)");
    let keyed = |text: &str, table: &str, key: &str| text.replace(table, &format!("{table}, key: [{key}]"));
    let pipeline = keyed(&place.workspace.read("p.yaml"), "table: enriched", "n");
    place.workspace.write("p.yaml", keyed(&pipeline, "table: letters", "record_number"));
    let mut flow = place.flow();
    place.commits(200);
    place.proxy.behave(Manner::LoseCommit { arrives: true });
    flow.wait_for_stderr("the sink goes on after ");
    place.proxy.cut();
    place.has_each_record_once(&flow.end());
}

/// Without either, a commit in doubt ends the run: to go on would be to guess.
#[test]
fn without_checkpoints_and_key_a_commit_in_doubt_ends_the_run() {
    let Some(place) = Database::written_to("sink_doubt", "") else { return };
    let flow = place.flow();
    place.commits(100);
    place.proxy.behave(Manner::LoseCommit { arrives: true });
    let story = flow.end();
    assert_eq!(story.ran.code, 1, "{story:?}");
    story.says_once(&["nobody knows whether it counts"]);
}

#[test]
fn a_run_that_waits_for_its_sink_can_be_stopped() {
    let Some(place) = Database::written_to("sink_stop", CHECKPOINT) else { return };
    let mut flow = Flow::of_file(&place.workspace, &["--drain-limit", "200ms"], &[("URL", &place.url)]);
    place.commits(200);
    place.proxy.go_down();
    flow.wait_for_stderr("the sink waits: ");
    flow.signal("TERM");
    let story = flow.end();
    assert_eq!(story.ran.code, 4, "{story:?}");
    place.proxy.come_up();
    let ended = place.flow().end();
    assert!(ended.ran.stderr.contains("resuming from epoch "), "{ended:?}");
    place.has_each_record_once(&ended);
}
