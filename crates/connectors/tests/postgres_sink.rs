//! Writing to a real PostgreSQL.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)] // clippy knows test functions, but not the functions they call

mod postgres;

use std::thread;

use inflight_connectors::postgres::{BATCH_RECORDS, COMMIT_RECORDS, PostgresSink, PostgresSinkConfig, SslMode};
use inflight_connectors::{Epochs, Error, ErrorKind, Guarantee, Sink};
use postgres::Schema;
use serde_json::{Value, json};

const ORDERS: &str = "create table orders (id int primary key, name text, n int check (n < 1000))";

fn config(schema: &Schema) -> PostgresSinkConfig {
    PostgresSinkConfig { key: Some(vec!["id".to_owned()]), ..PostgresSinkConfig::new(&schema.url, "orders") }
}

fn open(config: &PostgresSinkConfig) -> Box<PostgresSink> {
    Box::new(PostgresSink::open(config).unwrap())
}

fn with_epochs(schema: &Schema, generation: u64) -> Result<Box<PostgresSink>, Error> {
    PostgresSink::open_with_epochs(&config(schema), Epochs::new("shop", generation)).map(Box::new)
}

fn write(sink: &mut PostgresSink, record: Value) -> Result<(), Error> {
    sink.write(record.as_object().unwrap())
}

fn order(id: u64, name: &str) -> Value {
    json!({"id": id, "name": name, "n": 1})
}

/// The epoch that counts, and the orders there are.
fn state(schema: &Schema) -> Value {
    let epoch = schema.value("select epoch from inflight_epochs where pipeline = 'shop'");
    json!([epoch, schema.value("select count(*) from orders")])
}

#[test]
fn each_value_becomes_the_type_of_its_column() {
    let table =
        "create table orders (id bigint primary key, small int2, price numeric(12,2), f real, g float8, ok bool,
        name varchar(8), at timestamptz, local timestamp, day date, u uuid, j json, b jsonb, tags text[], grid int[],
        prices numeric[], raw bytea, kind mood, \"Odd \"\"name\" int, nothing int, absent text)";
    let Some(schema) = Schema::new("sink_types", &format!("create type mood as enum ('good', 'bad'); {table}")) else {
        return;
    };
    let record = json!({
        "id": 9007199254740993_i64, "small": -3, "price": "1234567890.12", "f": 0.5, "g": 1e300, "ok": true,
        "name": "Zoë", "at": "2026-01-31T12:00:00+02:00", "local": "2026-01-31T12:00:00", "day": "2026-01-31",
        "u": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "j": {"b": [1, null], "a": 2}, "b": "text", "tags": ["x", null, "a,\"b\""],
        "grid": [[1, 2], [3, 4]], "prices": [1.5, "2.25"], "raw": "\\x00ff", "kind": "good", "Odd \"name": 7,
        "nothing": null,
    });
    let mut sink = open(&config(&schema));
    write(&mut sink, record).unwrap();
    sink.finish().unwrap();
    schema.run("set timezone = 'UTC'");
    let expected = json!([{
        "id": 9007199254740993_i64, "small": -3, "price": 1234567890.12, "f": 0.5, "g": 1e300, "ok": true,
        "name": "Zoë", "at": "2026-01-31T10:00:00+00:00", "local": "2026-01-31T12:00:00", "day": "2026-01-31",
        "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "j": {"b": [1, null], "a": 2}, "b": "text", "tags": ["x", null, "a,\"b\""],
        "grid": [[1, 2], [3, 4]], "prices": [1.5, 2.25], "raw": "\\x00ff", "kind": "good", "Odd \"name": 7,
        "nothing": null, "absent": null,
    }]);
    assert_eq!(schema.rows("select * from orders"), expected);
}

#[test]
fn of_records_with_one_key_the_last_counts_in_a_batch_and_across() {
    let Some(schema) = Schema::new("sink_upsert", ORDERS) else { return };
    schema.run("insert into orders values (1, 'old', 5), (9, 'untouched', 5)");
    let mut sink = open(&config(&schema));
    for round in 0..3 {
        for id in [1, 2, 1] {
            write(&mut sink, order(id, &format!("round {round}"))).unwrap();
            write(&mut sink, order(id, &format!("round {round}, again"))).unwrap();
        }
        sink.flush().unwrap();
    }
    sink.finish().unwrap();
    let names = schema.rows("select id, name from orders order by id");
    assert_eq!(
        names,
        json!([{"id": 1, "name": "round 2, again"}, {"id": 2, "name": "round 2, again"}, {"id": 9, "name": "untouched"}])
    );
}

#[test]
fn without_a_key_every_record_is_a_row_and_columns_choose_the_fields() {
    let Some(schema) =
        Schema::new("sink_insert", "create table orders (no serial, name text, tier text default 'none')")
    else {
        return;
    };
    let mut plain = PostgresSinkConfig::new(&schema.url, "sink_insert.orders");
    let mut sink = open(&plain);
    write(&mut sink, json!({"name": "a"})).unwrap();
    write(&mut sink, json!({"name": "a"})).unwrap();
    let error = write(&mut sink, json!({"tier": "gold"})).unwrap_err();
    assert!(error.to_string().contains("has a default") && error.place().record == Some(3), "{error}");
    assert_eq!(sink.finish().unwrap_err().to_string(), error.to_string());

    plain.columns = Some(vec!["tier".to_owned(), "name".to_owned()]);
    let mut sink = open(&plain);
    for n in 0..2 * BATCH_RECORDS + 1 {
        write(&mut sink, json!({"name": "b", "tier": n.to_string(), "else": n})).unwrap();
    }
    sink.finish().unwrap();
    let rows = schema.rows("select count(*), max(no), count(distinct tier) from orders where name = 'b'");
    let all = 2 * BATCH_RECORDS + 1;
    assert_eq!((&rows[0]["count"], &rows[0]["max"]), (&json!(all), &json!(all)));
}

#[test]
fn a_record_that_is_refused_is_named_with_its_column() {
    let table = "create table orders (id int primary key, name text not null, n int check (n < 1000), at timestamptz)";
    let Some(schema) = Schema::new("sink_blame", table) else { return };
    for (bad, kind, column, words) in [
        (json!({"id": 700, "name": "x", "n": "seven"}), ErrorKind::Malformed, Some("n"), "\"seven\""),
        (json!({"id": 700, "name": "x", "n": 99_999_999_999_i64}), ErrorKind::Malformed, Some("n"), "out of range"),
        (json!({"id": 700, "name": "x", "at": "31.31.2026"}), ErrorKind::Malformed, Some("at"), "31.31.2026"),
        (json!({"id": 700, "n": 1}), ErrorKind::Malformed, Some("name"), "not-null"),
        (json!({"id": 700, "name": "x", "n": 1000}), ErrorKind::Malformed, None, "orders_n_check"),
    ] {
        let mut sink = open(&config(&schema));
        for id in 1..700 {
            write(&mut sink, json!({"id": id, "name": "x"})).unwrap();
        }
        write(&mut sink, bad).unwrap();
        for id in 701..800 {
            write(&mut sink, json!({"id": id, "name": "x"})).unwrap();
        }
        let error = sink.flush().unwrap_err();
        assert_eq!((error.kind(), error.place().record), (kind, Some(700)), "{error}");
        assert_eq!(error.place().field.as_deref(), column, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(sink.finish().unwrap_err().to_string(), error.to_string());
        assert_eq!(schema.value("select count(*) from orders"), 0);
    }
    let error = write(&mut open(&config(&schema)), json!({"name": "x"})).unwrap_err();
    assert!(error.to_string().contains("column \"id\", record 1: the record has no value"), "{error}");
    let error = write(&mut open(&config(&schema)), json!({"id": 1, "nmae": "x"})).unwrap_err();
    assert!(error.to_string().contains("did you mean \"name\"?"), "{error}");
}

#[test]
fn without_epochs_a_failed_run_leaves_whole_transactions() {
    let Some(schema) = Schema::new("sink_intervals", ORDERS) else { return };
    let mut sink = open(&config(&schema));
    assert_eq!((sink.guarantee(), sink.decided().unwrap()), (Guarantee::AtLeastOnce, None));
    for id in 0..COMMIT_RECORDS + 1500 {
        write(&mut sink, order(id, "x")).unwrap();
    }
    drop(sink);
    assert_eq!(schema.value("select count(*) from orders"), COMMIT_RECORDS);
}

#[test]
fn an_epoch_is_there_as_a_whole_or_not_at_all() {
    let Some(schema) = Schema::new("sink_epochs", ORDERS) else { return };
    let mut sink = with_epochs(&schema, 1).unwrap();
    assert_eq!((sink.guarantee(), sink.decided().unwrap()), (Guarantee::ExactlyOnce, Some(0)));
    for id in 0..1500 {
        write(&mut sink, order(id, "first")).unwrap();
    }
    sink.flush().unwrap();
    sink.prepare(1).unwrap();
    assert_eq!(state(&schema), json!([0, 0]));
    sink.commit(1).unwrap();
    sink.commit(1).unwrap();
    assert_eq!(state(&schema), json!([1, 1500]));
    for id in 1500..3000 {
        write(&mut sink, order(id, "second")).unwrap();
    }
    sink.prepare(2).unwrap();
    drop(sink); // a crash after the checkpoint, before the commit

    let mut sink = with_epochs(&schema, 2).unwrap();
    assert_eq!(sink.decided().unwrap(), Some(1));
    assert_eq!(state(&schema), json!([1, 1500]));
    for id in 1500..3000 {
        write(&mut sink, order(id, "once more")).unwrap();
    }
    sink.prepare(2).unwrap();
    sink.commit(2).unwrap();
    sink.prepare(3).unwrap();
    sink.commit(3).unwrap(); // an epoch without records
    assert_eq!(sink.decided().unwrap(), Some(3));
    sink.finish().unwrap();
    assert_eq!(state(&schema), json!([3, 3000]));
}

#[test]
fn two_tables_share_a_transaction() {
    let tables = "create table orders (id int, name text, n int); create table letters (id int primary key)";
    let Some(schema) = Schema::new("inflight_sink_beside", tables) else { return };
    let config = PostgresSinkConfig { table: "orders".to_owned(), key: None, ..config(&schema) };
    let open = || PostgresSink::open_with_epochs(&config, Epochs::new("both", 1)).unwrap();
    let letters = PostgresSinkConfig { table: "letters".to_owned(), ..config.clone() };
    let counts =
        || schema.rows("select (select count(*) from orders) as orders, (select count(*) from letters) as letters");
    let mut sink = open();
    let mut beside = Box::new(sink.beside(&letters).unwrap());
    for id in 0..2_500 {
        write(&mut beside, json!({ "id": id })).unwrap();
        write(&mut sink, order(id, "x")).unwrap();
    }
    let nothing = counts();
    assert_eq!(nothing[0], json!({ "orders": 0, "letters": 0 }));
    for sink in [&mut *beside as &mut dyn Sink, &mut sink] {
        sink.prepare(1).unwrap();
    }
    beside.commit(1).unwrap();
    assert_eq!(counts(), nothing);
    sink.commit(1).unwrap();
    assert_eq!(counts()[0], json!({ "orders": 2_500, "letters": 2_500 }));
    // What is refused there takes all of the epoch along.
    write(&mut sink, order(7_000, "x")).unwrap();
    write(&mut beside, json!({ "id": 0 })).unwrap();
    let lost = beside.prepare(2).unwrap_err();
    assert_eq!(sink.prepare(2).unwrap_err().to_string(), lost.to_string());
    drop((sink, beside));
    assert_eq!(counts()[0], json!({ "orders": 2_500, "letters": 2_500 }));
    assert_eq!(open().decided().unwrap(), Some(1));
    let without_epochs = PostgresSink::open(&config).unwrap();
    assert!(without_epochs.beside(&letters).unwrap_err().to_string().contains("only sinks with epochs"));
}

#[test]
fn what_comes_after_the_last_epoch_is_not_lost_silently() {
    let Some(schema) = Schema::new("sink_rest", ORDERS) else { return };
    let mut sink = with_epochs(&schema, 1).unwrap();
    write(&mut sink, order(1, "x")).unwrap();
    assert!(sink.finish().unwrap_err().to_string().contains("after the last epoch"));
    assert_eq!(state(&schema), json!([0, 0]));
}

#[test]
fn an_earlier_run_that_still_lives_cannot_commit_any_more() {
    let Some(schema) = Schema::new("sink_fenced", ORDERS) else { return };
    let mut earlier = with_epochs(&schema, 1).unwrap();
    write(&mut earlier, order(1, "earlier")).unwrap();
    earlier.prepare(1).unwrap();
    let mut later = with_epochs(&schema, 2).unwrap();
    let error = earlier.commit(1).unwrap_err();
    assert!(error.to_string().contains("taken over by run 2, and this is run 1"), "{error}");
    write(&mut later, order(1, "later")).unwrap();
    later.commit(1).unwrap();
    assert_eq!(schema.value("select name from orders"), "later");
    let error = with_epochs(&schema, 1).unwrap_err();
    assert!(error.to_string().contains("taken over by run 2"), "{error}");
}

/// At the end of each transaction of `orders`: waits.
const SLOW_COMMIT: &str = "create function wait() returns trigger language plpgsql as
    $$ begin perform pg_advisory_xact_lock(hashtext(current_schema)); return null; end $$;
    create constraint trigger slow after insert on orders deferrable initially deferred
    for each row execute function wait();";

#[test]
fn a_commit_under_way_is_waited_for_before_it_is_told_what_counts() {
    let Some(schema) = Schema::new("sink_waits", &format!("{ORDERS}; {SLOW_COMMIT}")) else { return };
    let mut earlier = with_epochs(&schema, 1).unwrap();
    write(&mut earlier, order(1, "x")).unwrap();
    earlier.prepare(1).unwrap();
    schema.run("select pg_advisory_lock(hashtext('sink_waits'))");
    let committing = thread::spawn(move || earlier.commit(1));
    schema.wait_for(
        "select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted \
        and objid = hashtext('sink_waits')::bigint & 4294967295",
    );
    let waiting = |schema: &Schema| with_epochs(schema, 2).unwrap().decided().unwrap();
    thread::scope(|scope| {
        let url = schema.url.clone();
        let decided = scope.spawn(move || {
            let config =
                PostgresSinkConfig { key: Some(vec!["id".to_owned()]), ..PostgresSinkConfig::new(url, "orders") };
            PostgresSink::open_with_epochs(&config, Epochs::new("shop", 2)).unwrap().decided().unwrap()
        });
        schema.wait_for(
            "select exists (select from pg_stat_activity where query like '%inflight_epochs as known%'
            and wait_event_type = 'Lock')",
        );
        schema.run("select pg_advisory_unlock(hashtext('sink_waits'))");
        assert_eq!(decided.join().unwrap(), Some(1));
    });
    committing.join().unwrap().unwrap();
    assert_eq!(waiting(&schema), Some(1));
}

#[test]
fn a_connection_lost_during_the_commit_leaves_it_undecided_and_a_restart_tells() {
    let Some(schema) = Schema::new("sink_undecided", &format!("{ORDERS}; {SLOW_COMMIT}")) else { return };
    let mut sink = with_epochs(&schema, 1).unwrap();
    write(&mut sink, order(1, "x")).unwrap();
    sink.prepare(1).unwrap();
    schema.run("select pg_advisory_lock(hashtext('sink_undecided'))");
    let committing = thread::spawn(move || sink.commit(1));
    schema.wait_for(
        "select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted \
        and objid = hashtext('sink_undecided')::bigint & 4294967295",
    );
    schema.run(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and not granted \
        and objid = hashtext('sink_undecided')::bigint & 4294967295",
    );
    let error = committing.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Undecided, "{error}");
    assert!(error.to_string().contains("during the commit of epoch 1"), "{error}");
    assert_eq!(with_epochs(&schema, 2).unwrap().decided().unwrap(), Some(0));
    assert_eq!(state(&schema), json!([0, 0]));
}

/// Ends the connections that have something in a transaction.
fn terminate(schema: &Schema) {
    schema.run(
        "select pg_terminate_backend(pid) from pg_stat_activity
        where pid <> pg_backend_pid() and query like 'insert into %' and state = 'idle in transaction'
        and pid in (select pid from pg_locks where relation = 'orders'::regclass)",
    );
}

#[test]
fn what_is_in_a_transaction_is_written_again_when_its_connection_is_renewed() {
    let Some(schema) = Schema::new("sink_renewed", &format!("{ORDERS}; create table others (id int)")) else { return };
    let mut sink = with_epochs(&schema, 1).unwrap();
    let mut beside = sink.beside(&PostgresSinkConfig::new(&schema.url, "others")).unwrap();
    for id in 0..BATCH_RECORDS as u64 + 1 {
        write(&mut sink, order(id, "x")).unwrap();
    }
    beside.write(json!({"id": 1}).as_object().unwrap()).unwrap();
    assert_eq!((sink.prepare(1).unwrap(), beside.prepare(1).unwrap()), (String::new(), String::new()));
    for _ in 0..2 {
        terminate(&schema);
        assert!(sink.commit(1).unwrap_err().is_retryable());
        assert!(beside.write(json!({"id": 2}).as_object().unwrap()).is_err(), "they have one connection");
        assert!(sink.renew().unwrap());
    }
    beside.write(json!({"id": 2}).as_object().unwrap()).unwrap();
    write(&mut sink, order(0, "y")).unwrap();
    sink.prepare(1).unwrap();
    beside.prepare(1).unwrap();
    sink.commit(1).unwrap();
    beside.commit(1).unwrap();
    assert_eq!(state(&schema), json!([1, BATCH_RECORDS + 1]));
    let others = schema.rows("select id, (select name from orders where id = 0) as name from others order by id");
    assert_eq!(others, json!([{"id": 1, "name": "y"}, {"id": 2, "name": "y"}]));
    sink.finish().unwrap();
}

#[test]
fn a_connection_lost_in_an_epoch_undoes_it_and_may_be_tried_again() {
    let Some(schema) = Schema::new("sink_lost", ORDERS) else { return };
    let mut sink = with_epochs(&schema, 1).unwrap();
    write(&mut sink, order(1, "x")).unwrap();
    sink.prepare(1).unwrap();
    terminate(&schema);
    let error = sink.commit(1).unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    assert_eq!(write(&mut sink, order(2, "x")).unwrap_err().to_string(), error.to_string());
    assert_eq!(with_epochs(&schema, 2).unwrap().decided().unwrap(), Some(0));
}

#[test]
fn what_does_not_fit_the_database_is_said_before_anything_is_written() {
    let tables = format!(
        "{ORDERS}; drop role if exists sink_stranger; create role sink_stranger login password 'pw';
        grant usage on schema sink_misfit to sink_stranger; grant select on orders to sink_stranger"
    );
    let Some(schema) = Schema::new("sink_misfit", &tables) else { return };
    let good = config(&schema);
    let url = |change: fn(&str) -> String| PostgresSinkConfig {
        server: inflight_connectors::postgres::PostgresConfig::url(change(&schema.url)),
        ..good.clone()
    };
    let columns = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    for (config, kind, expected) in [
        (PostgresSinkConfig { table: "order".into(), ..good.clone() }, ErrorKind::Config, "did you mean \"orders\"?"),
        (PostgresSinkConfig { key: columns(&["ident"]), ..good.clone() }, ErrorKind::Config, "to be its key \"ident\""),
        (
            PostgresSinkConfig { columns: columns(&["id", "nam"]), ..good.clone() },
            ErrorKind::Config,
            "did you mean \"name\"?",
        ),
        (PostgresSinkConfig { key: columns(&["name"]), ..good.clone() }, ErrorKind::Config, "create a unique index"),
        (
            url(|url| url.replace("of-the-test-server", "hunter2")),
            ErrorKind::Permission,
            "check the user and the password",
        ),
        (url(|url| url.replace("/postgres?", "/nowhere?")), ErrorKind::Config, "check the name of the database"),
        (
            url(|url| url.replace("inflight:of-the-test-server", "sink_stranger:pw")),
            ErrorKind::Permission,
            "permission denied for table orders",
        ),
    ] {
        let error = PostgresSink::open(&config).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("of-the-test-server") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_so() {
    let config = PostgresSinkConfig::new("postgres://me:hunter2@127.0.0.1:1/db", "orders");
    let error = PostgresSink::open(&config).unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    assert!(error.to_string().starts_with("127.0.0.1:1/db: cannot connect: "), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn connections_are_encrypted_and_verified_on_demand() {
    let Some(schema) = Schema::new("sink_tls", ORDERS) else { return };
    let Ok(certificate) = std::env::var("INFLIGHT_TEST_POSTGRES_CERTIFICATE") else {
        eprintln!("!!! SKIPPED: the server has no certificate");
        return;
    };
    let mut config = config(&schema);
    config.server.sslmode = Some(SslMode::Require);
    let mut sink = open(&config);
    write(&mut sink, order(1, "x")).unwrap();
    sink.flush().unwrap();
    let encrypted = "select exists (select from pg_stat_ssl join pg_stat_activity using (pid)
        where ssl and application_name = 'inflight' and backend_type = 'client backend')";
    assert_eq!(schema.value(encrypted), true);
    sink.finish().unwrap();

    // The certificate is one for localhost, not for an address.
    config.server.sslmode = Some(SslMode::VerifyFull);
    config.server.sslrootcert = Some(certificate.into());
    let error = PostgresSink::open(&config).unwrap_err();
    assert!(error.to_string().contains("check `sslmode`"), "{error}");
    config.server.url = Some(schema.url.replace("127.0.0.1", "localhost").into());
    open(&config).finish().unwrap();
}
