//! Looking up in a real PostgreSQL.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)] // clippy knows test functions, but not the functions they call

mod postgres;

use std::time::Duration;

use inflight_connectors::postgres::{PostgresConfig, PostgresLookup, PostgresLookupConfig, ROWS_MAX, Rows};
use inflight_connectors::{Answer, Error, ErrorKind, Key};
use postgres::Schema;
use serde_json::{Value, json};

const USERS: &str = "create table users (id int primary key, name text unique, tier text);
    insert into users values (1, 'Ada', 'gold'), (2, 'Bob', null), (7, 'Zoë', 'tin')";

fn users(schema: &Schema) -> PostgresLookupConfig {
    PostgresLookupConfig::table(&schema.url, "users")
}

fn query(schema: &Schema, query: &str) -> PostgresLookupConfig {
    PostgresLookupConfig::query(&schema.url, query)
}

fn connect(schema: &Schema, config: &PostgresLookupConfig, key: &[&str]) -> Result<PostgresLookup, Error> {
    let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    schema.wait(PostgresLookup::connect(config, &key))
}

fn ask(schema: &Schema, lookup: &PostgresLookup, keys: Value) -> Vec<Answer> {
    let keys: Vec<Key> = serde_json::from_value(keys).unwrap();
    schema.wait(lookup.lookup(&keys)).unwrap()
}

/// What was found, a missing row as null.
fn found(schema: &Schema, lookup: &PostgresLookup, keys: Value) -> Value {
    ask(schema, lookup, keys).into_iter().map(|answer| answer.unwrap().unwrap_or_default()).collect()
}

#[test]
fn each_key_is_answered_in_order_and_a_missing_one_is_not_an_error() {
    let Some(schema) = Schema::new("lookup_order", USERS) else { return };
    let (ada, zoe) = (json!({"id": 1, "name": "Ada", "tier": "gold"}), json!({"id": 7, "name": "Zoë", "tier": "tin"}));
    let bob = json!({"id": 2, "name": "Bob", "tier": null});
    let by_id = connect(&schema, &users(&schema), &["id"]).unwrap();
    assert_eq!(by_id.columns(), ["id", "name", "tier"]);
    let keys = json!([[7], [8], [null], ["1"], [7], [2.0], [2.5], [99_999_999_999_i64]]);
    assert_eq!(found(&schema, &by_id, keys), json!([zoe, null, null, ada, zoe, bob, null, null]));
    assert_eq!(found(&schema, &by_id, json!([])), json!([]));
    for (columns, ada) in [
        (vec!["name", "id"], json!({"name": "Ada", "id": 1})),
        (vec!["id"], json!({"id": 1})),
        (vec!["tier"], json!({"tier": "gold"})),
    ] {
        let columns = Some(columns.into_iter().map(str::to_owned).collect());
        let some = connect(&schema, &PostgresLookupConfig { columns, ..users(&schema) }, &["id"]).unwrap();
        assert_eq!(found(&schema, &some, json!([[8], [1]])).to_string(), json!([null, ada]).to_string());
    }

    let config = PostgresLookupConfig { columns: Some(vec!["tier".to_owned()]), ..users(&schema) };
    let by_name = connect(&schema, &config, &["name"]).unwrap();
    assert_eq!(
        found(&schema, &by_name, json!([["Zoë"], ["ada"], ["Ada"]])),
        json!([{"tier": "tin"}, null, {"tier": "gold"}])
    );
    let error = schema.wait(by_name.lookup(&[vec![]])).unwrap_err();
    assert!(error.to_string().contains("a key has 0 values for the columns \"name\""), "{error}");
}

#[test]
fn each_type_becomes_json() {
    let tables = "create type mood as enum ('good', 'bad'); create type pair as (a int, b text);
        create table t (k int, small int2, big int8, f4 real, f8 float8, inf float8, n numeric, long numeric, nan numeric,
        ok bool, v varchar(9), c char(3), u uuid, j json, b jsonb, at timestamptz, local timestamp, day date, far date,
        raw bytea, m mood, p pair, t time, i interval, ip inet, ints int[], grid numeric[][], empty text[], moods mood[], nothing int);
        insert into t values (1, -3, 9223372036854775807, 0.1, 1e300, 'infinity', 12.50, 12345678901234567890.12, 'nan',
        true, 'Zoë', 'x', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{\"b\": [1, null], \"a\": 2}', '[1.5]',
        '2026-01-31 12:00:00.25+02', '2026-01-31 12:00', '1969-12-31', 'infinity', '\\x00ff', 'bad', (1, 'x'), '12:30', '1 day', '10.0.0.1',
        '{1,null,3}', '{{1.5,2},{3,-0.0001}}', '{}', '{good,bad}', null)";
    let Some(schema) = Schema::new("lookup_types", tables) else { return };
    let lookup = connect(&schema, &PostgresLookupConfig::table(&schema.url, "t"), &["k"]).unwrap();
    let expected = json!([{
        "k": 1, "small": -3, "big": 9223372036854775807_i64, "f4": 0.1, "f8": 1e300, "inf": "Infinity", "n": 12.5,
        "long": "12345678901234567890.12", "nan": "NaN", "ok": true, "v": "Zoë", "c": "x  ",
        "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "j": {"b": [1, null], "a": 2}, "b": [1.5],
        "at": "2026-01-31T10:00:00.25Z", "local": "2026-01-31T12:00:00", "day": "1969-12-31", "far": "infinity",
        "raw": "\\x00ff", "m": "bad", "p": {"a": 1, "b": "x"}, "t": "12:30:00", "i": "1 day", "ip": "10.0.0.1",
        "ints": [1, null, 3], "grid": [[1.5, 2], [3, -0.0001]], "empty": [], "moods": ["good", "bad"], "nothing": null,
    }]);
    assert_eq!(found(&schema, &lookup, json!([[1]])), expected);
}

#[test]
fn numerics_and_times_are_those_the_server_prints() {
    let Some(schema) = Schema::new("lookup_print", "") else { return };
    let values = "select n, n::text as n_text, d, to_json(d)::text as d_text, at, to_json(at)::text as at_text from (
        select (case when $k::int % 2 = 0 then -1 else 1 end) * ($k::numeric ^ 5 / 10::numeric ^ ($k % 23)) as n,
        date '1600-01-01' + $k * 37 as d, timestamp '1600-01-01' + $k * interval '37 days 1 hour 1.000001 seconds' as at) s";
    let lookup = connect(&schema, &query(&schema, values), &["k"]).unwrap();
    let keys: Vec<Value> = (0..5000).map(|k| json!([k])).collect();
    for answer in ask(&schema, &lookup, json!(keys)) {
        let row = answer.unwrap().unwrap();
        let shortest = |text: &str| match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text.to_owned(),
        };
        let number = match &row["n"] {
            Value::Number(number) if number.is_f64() => number.as_f64().unwrap().to_string(),
            Value::Number(number) => number.to_string(),
            text => text.as_str().unwrap().to_owned(),
        };
        assert_eq!(shortest(&number), shortest(row["n_text"].as_str().unwrap()));
        for name in ["d", "at"] {
            assert_eq!(row[name].to_string(), row[format!("{name}_text")].as_str().unwrap());
        }
    }
}

#[test]
fn keys_of_several_columns_and_of_any_type_match_by_value() {
    let tables = "create table w (origin text, hour timestamptz, temp numeric(6,2), primary key (origin, hour));
        insert into w values ('EWR', '2026-01-31 12:00Z', 20.50), ('JFK', '2026-01-31 12:00Z', -1);
        create table u (u uuid primary key, n numeric(6,2) unique, c char(4) unique, v int);
        insert into u values ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 1.50, 'ab', 5)";
    let Some(schema) = Schema::new("lookup_keys", tables) else { return };
    let config = PostgresLookupConfig {
        columns: Some(vec!["temp".to_owned()]),
        ..PostgresLookupConfig::table(&schema.url, "w")
    };
    let weather = connect(&schema, &config, &["hour", "origin"]).unwrap();
    let keys = json!([
        ["2026-01-31T13:00:00+01:00", "JFK"],
        ["2026-01-31T13:00:00Z", "JFK"],
        ["2026-01-31T12:00:00Z", "EWR"],
        ["2026-01-31T12:00:00Z", null],
        ["2026-01-31 12:00", "EWR"]
    ]);
    let (warm, cold) = (json!({"temp": 20.5}), json!({"temp": -1.0}));
    assert_eq!(found(&schema, &weather, keys), json!([cold, null, warm, null, warm]));

    let config =
        PostgresLookupConfig { columns: Some(vec!["v".to_owned()]), ..PostgresLookupConfig::table(&schema.url, "u") };
    for (column, key, other) in [
        ("u", json!("a0eebc999c0b4ef8bb6d6bb9bd380a11"), json!("a0eebc999c0b4ef8bb6d6bb9bd380a12")),
        ("n", json!("1.5"), json!(1.501)),
        ("c", json!("ab"), json!("a")),
    ] {
        let lookup = connect(&schema, &config, &[column]).unwrap();
        assert_eq!(
            found(&schema, &lookup, json!([[other], [key], [key]])),
            json!([null, {"v": 5}, {"v": 5}]),
            "{column}"
        );
    }
}

#[test]
fn a_key_that_is_none_of_the_column_fails_alone() {
    let Some(schema) = Schema::new("lookup_poison", USERS) else { return };
    schema.run("create table days (day date primary key); insert into days values ('2026-01-31')");
    let days = connect(&schema, &PostgresLookupConfig::table(&schema.url, "days"), &["day"]).unwrap();
    let mut keys = vec![json!(["2026-01-31"]); 64];
    keys[40] = json!(["2026-02-31"]);
    keys[63] = json!([["2026-01-31"]]);
    let answers = ask(&schema, &days, json!(keys));
    for (index, answer) in answers.iter().enumerate() {
        match (index, answer) {
            (40, Err(error)) => assert!(error.to_string().contains("2026-02-31"), "{error}"),
            (63, Err(error)) => assert!(error.to_string().contains("a list or an object"), "{error}"),
            (_, answer) => assert_eq!(answer.as_ref().unwrap(), &Some(json!({"day": "2026-01-31"}))),
        }
    }
    let by_id = connect(&schema, &users(&schema), &["id"]).unwrap();
    let answers = ask(&schema, &by_id, json!([["one"], [2]]));
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!((error.kind(), error.place().field.as_deref()), (ErrorKind::Malformed, Some("id")), "{error}");
    assert_eq!(answers[1].as_ref().unwrap().as_ref().unwrap()["name"], "Bob");
}

#[test]
fn of_several_rows_the_first_all_or_none() {
    let tables = format!(
        "create table t (k int, v int); insert into t values (1, 10), (1, 11), (2, 20);
        insert into t select 3, n from generate_series(0, {ROWS_MAX}) n"
    );
    let Some(schema) = Schema::new("lookup_rows", &tables) else { return };
    let lookup = |rows| {
        let config = PostgresLookupConfig { rows, ..query(&schema, "select v from t where k = $k order by v desc") };
        connect(&schema, &config, &["k"]).unwrap()
    };
    let keys = json!([[1], [2], [9]]);
    assert_eq!(found(&schema, &lookup(Rows::First), keys.clone()), json!([{"v": 11}, {"v": 20}, null]));
    let all = lookup(Rows::All);
    assert_eq!(found(&schema, &all, keys.clone()), json!([[{"v": 11}, {"v": 10}], [{"v": 20}], null]));
    let answers = ask(&schema, &all, json!([[3], [2]]));
    assert!(answers[0].as_ref().unwrap_err().to_string().contains("more rows for the key than 10000"));
    assert_eq!(answers[1].as_ref().unwrap(), &Some(json!([{"v": 20}])));
    let answers = ask(&schema, &lookup(Rows::Error), keys);
    assert!(answers[0].as_ref().unwrap_err().to_string().contains("more rows for the key than one"));
    assert_eq!(answers[1].as_ref().unwrap(), &Some(json!({"v": 20})));
}

#[test]
fn a_query_takes_the_key_by_name() {
    let Some(schema) = Schema::new("lookup_query", USERS) else { return };
    let sql = "select name || '!' as name, '$id' as text, $least::int8 as least from users -- $nobody\n
        where id = $id and id > $least; -- the end";
    let error = connect(&schema, &query(&schema, sql), &["least", "id"]).unwrap_err();
    assert!(error.to_string().contains("syntax error"), "{error}"); // a comment behind the semicolon
    let sql = sql.replace("; --", " --");
    let lookup = connect(&schema, &query(&schema, &sql), &["least", "id"]).unwrap();
    assert_eq!(
        found(&schema, &lookup, json!([[0, 7], [7, 7], [0, "2"]])),
        json!([{"name": "Zoë!", "text": "$id", "least": 0}, null, {"name": "Bob!", "text": "$id", "least": 0}])
    );
}

#[test]
fn what_does_not_fit_the_database_is_said_at_once() {
    let tables = format!(
        "{USERS}; drop role if exists lookup_stranger; create role lookup_stranger login password 'pw';
        grant usage on schema lookup_misfit to lookup_stranger"
    );
    let Some(schema) = Schema::new("lookup_misfit", &tables) else { return };
    let table = |name: &str| PostgresLookupConfig::table(&schema.url, name);
    let as_other = |from: &str, to: &str| PostgresLookupConfig {
        server: PostgresConfig::url(schema.url.replace(from, to)),
        ..table("users")
    };
    let columns = Some(vec!["nmae".to_owned()]);
    for (config, key, kind, expected) in [
        (table("user"), "id", ErrorKind::Config, "did you mean \"users\"?"),
        (table("nowhere.users"), "id", ErrorKind::Config, "there is no table \"nowhere.users\""),
        (PostgresLookupConfig { columns, ..table("users") }, "id", ErrorKind::Config, "did you mean \"name\"?"),
        (table("users"), "ident", ErrorKind::Config, "to be its key \"ident\""),
        (query(&schema, "select * from users"), "id", ErrorKind::Config, "does not use the key column \"id\""),
        (query(&schema, "select $idd, $id"), "id", ErrorKind::Config, "did you mean \"id\"?"),
        (query(&schema, "delete from users where id = $id"), "id", ErrorKind::Config, "needs a `select`"),
        (query(&schema, "select nmae from users where id = $id"), "id", ErrorKind::Config, "\"nmae\" does not exist"),
        (query(&schema, "select id, id from users where id = $id"), "id", ErrorKind::Config, "two columns \"id\""),
        (query(&schema, "selec $id"), "id", ErrorKind::Query, "syntax error"),
        (as_other("of-the-test-server", "hunter2"), "id", ErrorKind::Permission, "check the user and the password"),
        (as_other("/postgres?", "/nowhere?"), "id", ErrorKind::Config, "check the name of the database"),
        (
            as_other("inflight:of-the-test-server", "lookup_stranger:pw"),
            "id",
            ErrorKind::Permission,
            "permission denied",
        ),
    ] {
        let error = connect(&schema, &config, &[key]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("of-the-test-server") && !shown.contains("hunter2"), "{shown}");
    }
    let nobody = PostgresLookupConfig::table("postgres://me:hunter2@127.0.0.1:1/db", "users");
    let error = schema.wait(PostgresLookup::check_connect(&nobody, &["id".to_owned()])).unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    schema.wait(PostgresLookup::check_connect(&table("lookup_misfit.users"), &["id".to_owned()])).unwrap();
}

#[test]
fn of_several_hosts_the_first_that_answers_is_asked() {
    let Some(schema) = Schema::new("lookup_hosts", USERS) else { return };
    let config = |hosts: &str| PostgresLookupConfig {
        server: PostgresConfig::url(schema.url.replace("@", &format!("@{hosts},"))),
        ..users(&schema)
    };
    let lookup = connect(&schema, &config("127.0.0.1:1"), &["id"]).unwrap();
    assert_eq!(found(&schema, &lookup, json!([[2]])), json!([{"id": 2, "name": "Bob", "tier": null}]));
    let nobody = PostgresConfig::url("postgres://me:hunter2@127.0.0.1:1,127.0.0.1:2/db");
    let error = connect(&schema, &PostgresLookupConfig { server: nobody, ..users(&schema) }, &["id"]).unwrap_err();
    assert!(error.to_string().starts_with("127.0.0.1:1,127.0.0.1:2/db: cannot connect"), "{error}");
}

#[test]
fn nothing_is_ever_written() {
    let Some(schema) = Schema::new("lookup_readonly", USERS) else { return };
    schema.run(
        "create function spy(k int) returns int language sql as
        $$ update users set tier = 'seen' where id = k returning id $$",
    );
    let lookup = connect(&schema, &query(&schema, "select spy($k::int) as id"), &["k"]).unwrap();
    let error = schema.wait(lookup.lookup(&[vec![json!(1)]])).unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(schema.value("select tier from users where id = 1"), "gold");
}

#[test]
fn a_lost_connection_and_a_changed_table_are_no_errors() {
    let Some(schema) = Schema::new("lookup_lost", USERS) else { return };
    let mut config = PostgresLookupConfig { connections: 1, ..users(&schema) };
    config.server.url = Some(format!("{}&application_name=lookup_lost", schema.url).into());
    let lookup = connect(&schema, &config, &["id"]).unwrap();
    let name = |lookup: &PostgresLookup| found(&schema, lookup, json!([[1]]))[0]["name"].clone();
    assert_eq!(name(&lookup), "Ada");
    schema.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lookup_lost'");
    assert_eq!(name(&lookup), "Ada");
    schema.run("alter table users alter name type varchar(20), drop tier, add extra int default 5");
    assert_eq!(name(&lookup), "Ada");
    schema.run("drop table users");
    let error = schema.wait(lookup.lookup(&[vec![json!(1)]])).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && !error.is_retryable(), "{error}");
}

#[test]
fn a_server_that_takes_too_long_gives_up_by_itself() {
    let Some(schema) = Schema::new("lookup_timeout", "") else { return };
    let config = PostgresLookupConfig {
        statement_timeout: Some(Duration::from_millis(50)),
        ..query(&schema, "select pg_sleep($k::int)::text as slept")
    };
    let lookup = connect(&schema, &config, &["k"]).unwrap();
    let error = schema.wait(lookup.lookup(&[vec![json!(3600)]])).unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && error.is_retryable(), "{error}");
    assert_eq!(found(&schema, &lookup, json!([[0]])), json!([{"slept": ""}]));
}

#[test]
fn a_query_nobody_waits_for_is_cancelled_and_those_behind_it_are_answered() {
    let Some(schema) = Schema::new("lookup_cancel", "") else { return };
    let sql = "select pg_sleep($k::int)::text as slept /* lookup_cancel */";
    let config = PostgresLookupConfig { connections: 1, ..query(&schema, sql) };
    let lookup = connect(&schema, &config, &["k"]).unwrap();
    let running =
        "exists (select from pg_stat_activity where state = 'active' and query like '%pg_sleep%lookup_cancel%'
        and pid <> pg_backend_pid())";
    let now = [vec![json!(0)]];
    let answered = schema.wait(async {
        let long = [vec![json!(3600)]];
        let mut long = Box::pin(lookup.lookup(&long));
        // Polled, so that it is sent; and another one behind it.
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut long).await.is_err());
        let mut behind = Box::pin(lookup.lookup(&now));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut behind).await.is_err());
        drop(long);
        tokio::time::timeout(Duration::from_secs(60), behind).await.expect("never cancelled").unwrap()
    });
    assert_eq!(answered[0].as_ref().unwrap(), &Some(json!({"slept": ""})));
    schema.wait_for(&format!("select not {running}"));
    assert_eq!(found(&schema, &lookup, json!([[0]])), json!([{"slept": ""}]));
}

#[test]
fn many_at_once_share_a_few_connections() {
    let Some(schema) = Schema::new(
        "lookup_many",
        "create table squares (n int primary key, square int);
        insert into squares select n, n * n from generate_series(0, 9999) n; analyze squares",
    ) else {
        return;
    };
    let mut config = PostgresLookupConfig { connections: 3, ..PostgresLookupConfig::table(&schema.url, "squares") };
    config.server.url = Some(format!("{}&application_name=lookup_many", schema.url).into());
    let lookup = connect(&schema, &config, &["n"]).unwrap();
    let connections = "select count(*) from pg_stat_activity where application_name = 'lookup_many'";
    assert_eq!(schema.value(connections), 1);
    let answers = schema.wait(async {
        let ask = |call: u64| {
            let keys: Vec<Key> = (0..100).map(|n| vec![json!((call * 7919 + n * 31) % 12_000)]).collect();
            let lookup = &lookup;
            async move { (keys.clone(), lookup.lookup(&keys).await.unwrap()) }
        };
        futures_util::future::join_all((0..200).map(ask)).await
    });
    for (keys, answers) in answers {
        for (key, answer) in keys.iter().zip(answers) {
            let n = key[0].as_u64().unwrap();
            let expected = (n < 10_000).then(|| json!({"n": n, "square": n * n}));
            assert_eq!(answer.unwrap(), expected);
        }
    }
    assert_eq!(schema.value(connections), 3);
}
