//! What PostgreSQL may do to a run.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use super::dialect::Dialect;
use super::flow::{Flow, record};
use super::place::{DEAD_LETTERING, PASSWORD, Place, TIMEOUT_MS, dead_letters};
use super::proxy::{Manner, Proxy};
use super::story::each_record_is_there_once;
use crate::postgres::Schema;

/// A table that only a user of its own can read, and a proxy before the server.
pub(super) struct Database {
    place: Place,
    pub(super) schema: Schema,
    pub(super) user: String,
}

/// The look-up of most pipelines here.
pub(super) const BY_TABLE: &str = "table: users, columns: [name]";
/// One that fails when it is told to.
const BY_QUERY: &str = "query: 'select name from users where id = $id::int and is_well()'";

const TABLES: &str = "
    create table users (id int primary key, name text);
    insert into users select id, 'u' || id from generate_series(0, 99999) id;
    create table health (is_well bool); insert into health values (true);
    create function is_well() returns bool language plpgsql as $$ begin
        if (select h.is_well from health h) then return true; end if;
        raise exception 'out of order' using errcode = 'out_of_memory';
    end $$;";

impl Deref for Database {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Database {
    /// Its pipeline has these keys in its step, and these at the end.
    pub(super) fn new(name: &str, asks: &str, keys: &str, more: &str) -> Option<Self> {
        let user = format!("inflight_faults_{name}");
        let schema = Schema::new(&user, TABLES)?;
        let host = schema.url.split(['@', '/', '?']).find(|part| part.starts_with("127.0.0.1:")).unwrap();
        let server: SocketAddr = host.parse().unwrap();
        let proxy = Proxy::to(server, Dialect::Postgres);
        let at = proxy.address();
        let url = format!(
            "postgres://{user}:{PASSWORD}@{at}/postgres?sslmode=disable&connect_timeout=1&options=-csearch_path%3D{user}"
        );
        let asks = format!("postgres: {{ url: '${{env:URL}}', {asks} }}");
        let database = Self { place: Place::new(proxy, url, &asks, keys, more), schema, user };
        let user = &database.user;
        database.sql(&format!(
            "do $$ begin create role {user} login; exception when duplicate_object then null; end $$;
             grant usage on schema {user} to {user}; grant all on all tables in schema {user} to {user}"
        ));
        database.alter_user(&format!("password '{PASSWORD}' connection limit -1"));
        Some(database)
    }

    /// What most look-ups here are.
    fn usual(name: &str) -> Option<Self> {
        Self::asking(name, BY_TABLE)
    }

    fn asking(name: &str, asks: &str) -> Option<Self> {
        Self::new(name, asks, DEAD_LETTERING, &dead_letters())
    }

    pub(super) fn sql(&self, sql: &str) {
        self.schema.do_it(sql);
    }

    fn alter_user(&self, how: &str) {
        self.sql(&format!("alter role {} {how}", self.user));
    }

    /// The server throws everybody out.
    pub(super) fn terminate(&self) {
        self.sql(&format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'", self.user));
    }
}

#[test]
fn a_server_that_is_down_at_the_start_is_waited_for() {
    let Some(place) = Database::usual("start") else { return };
    place.proxy.go_down();
    let mut flow = place.start();
    flow.fault_begins();
    flow.wait_for_stderr("look-up `user` waits: ");
    flow.go_on(place.pace.fault);
    assert_eq!(flow.out(), 0);
    place.proxy.come_up();
    flow.fault_ends();
    flow.wait_until_out(1);
    flow.go_on(place.pace.after);
    place.ended_well(flow, "server down at start").says_once(&["cannot connect", "look-up `user` goes on after "]);
}

#[test]
fn a_server_that_hangs_at_the_start_is_waited_for() {
    let Some(place) = Database::usual("start_hangs") else { return };
    place.proxy.behave(Manner::Hang);
    let mut flow = place.start();
    flow.fault_begins();
    flow.wait_for_stderr("look-up `user` waits: ");
    flow.go_on(place.pace.fault);
    place.proxy.behave(Manner::Pass);
    flow.fault_ends();
    flow.wait_until_out(1);
    flow.go_on(place.pace.after);
    place.ended_well(flow, "server hangs at start").says_once(&["look-up `user` goes on after "]);
}

#[test]
fn a_run_that_waits_for_its_server_can_be_stopped() {
    let Some(place) = Database::usual("start_stop") else { return };
    place.proxy.go_down();
    let mut flow = place.start_with(&["--drain-limit", "200ms"]);
    flow.wait_for_stderr("look-up `user` waits: ");
    flow.signal("TERM");
    let story = flow.end();
    assert!([0, 4].contains(&story.ran.code), "{story:?}");
    assert!(place.proxy.calls().is_empty());
}

#[test]
fn what_only_people_can_mend_ends_a_run_at_the_start() {
    let Some(place) = Database::usual("start_refused") else { return };
    for (breaks, mends, says) in [
        ("alter role USER password 'another'", "", "password authentication failed"),
        ("alter table users rename to members", "alter table members rename to users", "\"users\""),
    ] {
        place.sql(&breaks.replace("USER", &place.user));
        let story = place.start().end();
        assert_eq!(story.ran.code, 1, "{story:?}");
        let error: Vec<&str> = story.ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(matches!(error[..], [error] if error.contains(says)), "{story:?}");
        place.secrets_are_nowhere(&story);
        place.alter_user(&format!("password '{PASSWORD}'"));
        place.sql(mends);
    }
}

#[test]
fn a_server_that_is_restarted_fails_no_record() {
    let Some(place) = Database::usual("restarted") else { return };
    let goes_down = || {
        place.proxy.go_down();
        place.terminate();
    };
    let story = place.outlives("server restarted", goes_down, || place.proxy.come_up());
    story.says_once(&["look-up `user` waits: ", "look-up `user` goes on after "]);
}

#[test]
fn connections_that_are_cut_fail_no_record() {
    let Some(place) = Database::usual("cut") else { return };
    place.outlives("all connections closed by the server", || place.terminate(), || place.terminate());
}

#[test]
fn connections_that_hang_fail_no_record() {
    let Some(place) = Database::usual("hangs") else { return };
    let story = place.outlives(
        "server hangs, nothing is closed",
        || place.proxy.behave(Manner::Hang),
        || place.proxy.behave(Manner::Pass),
    );
    story.says_once(&["look-up `user` waits: ", "look-up `user` goes on after "]);
}

#[test]
fn answers_slower_than_the_timeout_fail_no_record() {
    let Some(place) = Database::usual("slow") else { return };
    let late = Manner::Late(Duration::from_millis(TIMEOUT_MS * 3 / 2));
    place.outlives("answers slower than the timeout", || place.proxy.behave(late), || place.proxy.behave(Manner::Pass));
}

#[test]
fn connections_that_are_reset_in_mid_answer_fail_no_record() {
    let Some(place) = Database::usual("reset") else { return };
    let reset = Manner::Reset(2_000);
    place.outlives(
        "connections reset in mid-answer",
        || place.proxy.behave(reset),
        || place.proxy.behave(Manner::Pass),
    );
}

#[test]
fn a_password_that_changes_delays_records() {
    let Some(place) = Database::usual("password") else { return };
    let changes = || {
        place.alter_user("password 'another'");
        place.terminate();
    };
    let mends = || place.alter_user(&format!("password '{PASSWORD}'"));
    let story = place.outlives("wrong password in mid-run", changes, mends);
    story.says_once(&["look-up `user` waits: ", "password authentication failed", "look-up `user` goes on after "]);
}

#[test]
fn a_table_that_is_renamed_and_back_delays_records() {
    let Some(place) = Database::usual("renamed") else { return };
    let (away, back) = ("alter table users rename to members", "alter table members rename to users");
    let story = place.outlives("table renamed, and back", || place.sql(away), || place.sql(back));
    story.says_once(&["look-up `user` waits: ", "look-up `user` goes on after "]);
}

#[test]
fn a_column_that_is_dropped_delays_records() {
    let Some(place) = Database::usual("column") else { return };
    let (gone, back) = ("alter table users rename column name to title", "alter table users rename title to name");
    let story = place.outlives("column gone, and back", || place.sql(gone), || place.sql(back));
    story.says_once(&["look-up `user` waits: ", "look-up `user` goes on after "]);
    // The server's words, or ours where the statement is prepared anew.
    assert!(["users.name", "table.name", "\"name\""].iter().any(|name| story.ran.stderr.contains(name)), "{story:?}");
}

#[test]
fn a_column_that_is_added_is_no_fault() {
    let Some(place) = Database::usual("added") else { return };
    let (added, gone) = ("alter table users add column age int", "alter table users drop column age");
    let story = place.outlives("column added, and dropped", || place.sql(added), || place.sql(gone));
    assert!(!story.ran.stderr.contains("waits"), "{story:?}");
}

#[test]
fn a_server_without_room_for_all_connections_delays_nothing() {
    let Some(place) = Database::usual("pool") else { return };
    let full = || {
        place.alter_user("connection limit 1");
        place.terminate();
    };
    place.outlives("room for one connection of two", full, || place.alter_user("connection limit -1"));
}

#[test]
fn a_server_without_room_for_any_connection_is_waited_for() {
    let Some(place) = Database::usual("no_pool") else { return };
    let full = || {
        place.alter_user("connection limit 0");
        place.terminate();
    };
    let story = place.outlives("room for no connection", full, || place.alter_user("connection limit -1"));
    story.says_once(&["look-up `user` waits: ", "too many connections", "look-up `user` goes on after "]);
}

#[test]
fn a_server_that_refuses_everything_fails_no_record() {
    let Some(place) = Database::asking("refuses", BY_QUERY) else { return };
    let story = place.outlives(
        "every call fails",
        || place.sql("update health set is_well = false"),
        || place.sql("update health set is_well = true"),
    );
    story.says_once(&["look-up `user` waits: ", "out of order", "look-up `user` goes on after "]);
}

#[test]
fn a_server_that_refuses_everything_for_ever_is_asked_little() {
    let Some(place) = Database::asking("refuses_ever", BY_QUERY) else { return };
    let mut flow = place.start_with(&["--drain-limit", "200ms"]);
    flow.wait_until_out(1);
    flow.go_on(place.pace.before);
    flow.fault_begins();
    place.sql("update health set is_well = false");
    flow.wait_for_stderr("look-up `user` waits: ");
    flow.go_on(place.pace.fault);
    flow.signal("TERM");
    let story = flow.end();
    assert_eq!(story.ran.code, 4, "{story:?}");
    assert!(story.ran.stderr.contains(" records were read and not written"), "{story:?}");
    story.calls_are_few(&place.proxy.calls());
}

#[test]
fn an_outage_at_seventy_percent_of_the_load_is_made_up_for() {
    let Some(place) = Database::usual("load") else { return };
    place.proxy.limit_to(place.pace.capacity);
    place.outlives("outage at 70 % load", || place.proxy.go_down(), || place.proxy.come_up());
}

#[test]
fn a_server_that_stalls_at_seventy_percent_of_the_load_is_made_up_for() {
    let Some(place) = Database::usual("stall") else { return };
    place.proxy.limit_to(place.pace.capacity);
    place.outlives("stall at 70 % load", || place.proxy.behave(Manner::Stall), || place.proxy.behave(Manner::Pass));
}

/// There are hardly any calls to tell from that nothing works.
#[test]
fn an_outage_in_a_trickle_of_records_fails_none() {
    let Some(mut place) = Database::usual("trickle") else { return };
    place.place.pace.rate = 10;
    let story = place.outlives("outage with 10 records/s", || place.proxy.go_down(), || place.proxy.come_up());
    story.says_once(&["look-up `user` waits: ", "look-up `user` goes on after "]);
}

/// With `on_error: fail`, a server that is away is waited for all the same.
#[test]
fn an_outage_ends_no_run() {
    let Some(place) = Database::new("fail", BY_TABLE, "", "") else { return };
    place.outlives("server restarted, `on_error: fail`", || place.proxy.go_down(), || place.proxy.come_up());
}

/// With `on_error: fail`, what only people can mend ends the run; the next goes on.
#[test]
fn a_run_that_failed_goes_on_when_the_password_is_right_again() {
    const RECORDS: u64 = 3_000;
    let checkpoint = "checkpoint: { dir: state, every: 50ms }\n";
    let Some(place) = Database::new("go_on", BY_TABLE, "", checkpoint) else { return };
    let pipeline = place.workspace.read("p.yaml").replace("source: stdin", "source: { file: { path: in.jsonl } }");
    place.workspace.write("p.yaml", pipeline);
    place.workspace.write("in.jsonl", (0..RECORDS).map(record).collect::<String>());
    place.proxy.limit_to(place.pace.capacity);
    let start = || Flow::of_file(&place.workspace, &[], &[("URL", &place.url)]);
    let flow = start();
    flow.wait_until_out(RECORDS / 10);
    place.alter_user("password 'another'");
    place.terminate();
    let failed = flow.end();
    assert_eq!(failed.ran.code, 1, "{failed:?}");
    assert!(failed.ran.stderr.contains("password authentication failed"), "{failed:?}");
    place.secrets_are_nowhere(&failed);
    place.alter_user(&format!("password '{PASSWORD}'"));
    let ended = start().end();
    assert_eq!(ended.ran.code, 0, "{ended:?}");
    assert!(ended.ran.stderr.contains("resuming from epoch "), "{ended:?}");
    each_record_is_there_once(&place.workspace, RECORDS);
    place.secrets_are_nowhere(&ended);
}

#[test]
fn a_sink_whose_server_is_down_at_the_start_is_waited_for() {
    const RECORDS: u64 = 500;
    for checkpoint in ["", "checkpoint: { dir: state, every: 50ms }\n"] {
        let Some(place) = Database::new("sink", BY_TABLE, "", checkpoint) else { return };
        place.sql("create table enriched (n int, id int, \"user\" jsonb)");
        place.sql(&format!(
            "grant all on all tables in schema {0} to {0}; grant create on schema {0} to {0}",
            place.user
        ));
        let pipeline = place.workspace.read("p.yaml").replace("source: stdin", "source: { file: { path: in.jsonl } }");
        let sink = "sink: { postgres: { url: '${env:URL}', table: enriched } }";
        place.workspace.write("p.yaml", pipeline.replace("sink: { file: { path: out.jsonl } }", sink));
        place.workspace.write("in.jsonl", (0..RECORDS).map(record).collect::<String>());
        place.proxy.go_down();
        let mut flow = Flow::of_file(&place.workspace, &[], &[("URL", &place.url)]);
        flow.wait_for_stderr("the sink waits: ");
        place.proxy.come_up();
        let story = flow.end();
        assert_eq!(story.ran.code, 0, "{story:?}");
        story.says_once(&["the sink waits: ", "the sink goes on after "]);
        place.secrets_are_nowhere(&story);
        let written = place.schema.count("enriched where \"user\" ->> 'name' = 'u' || n");
        assert_eq!((written, place.schema.count("enriched")), (RECORDS as i64, RECORDS as i64));
    }
}
