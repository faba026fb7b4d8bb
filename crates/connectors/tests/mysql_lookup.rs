//! Looking up in a real MySQL or MariaDB.

#![cfg(feature = "mysql")]
#![allow(clippy::unwrap_used)] // clippy knows test functions, but not the functions they call

mod mysql;

use std::time::Duration;

use inflight_connectors::mysql::{MysqlConfig, MysqlLookup, MysqlLookupConfig, ROWS_MAX, Rows, SslMode};
use inflight_connectors::{Answer, Error, ErrorKind, Key};
use mysql::Database;
use serde_json::{Value, json};

const USERS: &str = "create table users (id int primary key, name varchar(20) unique, tier varchar(9));
    insert into users values (1, 'Ada', 'gold'), (2, 'Bob', null), (7, 'Zoë', 'tin')";

fn users(database: &Database) -> MysqlLookupConfig {
    MysqlLookupConfig::table(&database.url, "users")
}

fn query(database: &Database, query: &str) -> MysqlLookupConfig {
    MysqlLookupConfig::query(&database.url, query)
}

fn only(column: &str, config: MysqlLookupConfig) -> MysqlLookupConfig {
    MysqlLookupConfig { columns: Some(vec![column.to_owned()]), ..config }
}

fn connect(database: &Database, config: &MysqlLookupConfig, key: &[&str]) -> Result<MysqlLookup, Error> {
    let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    database.wait(MysqlLookup::connect(config, &key))
}

fn ask(database: &Database, lookup: &MysqlLookup, keys: Value) -> Vec<Answer> {
    let keys: Vec<Key> = serde_json::from_value(keys).unwrap();
    database.wait(lookup.lookup(&keys)).unwrap()
}

/// What was found, a missing row as null.
fn found(database: &Database, lookup: &MysqlLookup, keys: Value) -> Value {
    ask(database, lookup, keys).into_iter().map(|answer| answer.unwrap().unwrap_or_default()).collect()
}

#[test]
fn each_key_is_answered_in_order_and_a_missing_one_is_not_an_error() {
    let Some(database) = Database::new("lookup_order", USERS) else { return };
    let (ada, zoe) = (json!({"id": 1, "name": "Ada", "tier": "gold"}), json!({"id": 7, "name": "Zoë", "tier": "tin"}));
    let bob = json!({"id": 2, "name": "Bob", "tier": null});
    let by_id = connect(&database, &users(&database), &["id"]).unwrap();
    assert_eq!(by_id.columns(), ["id", "name", "tier"]);
    let keys = json!([[7], [8], [null], ["1"], [7], [2.0], [2.5], [99_999_999_999_i64], [true]]);
    assert_eq!(found(&database, &by_id, keys), json!([zoe, null, null, ada, zoe, bob, null, null, ada]));
    assert_eq!(found(&database, &by_id, json!([])), json!([]));
    let error = database.wait(by_id.lookup(&[vec![]])).unwrap_err();
    assert!(error.to_string().contains("a key has 0 values for the columns \"id\""), "{error}");
    let error = ask(&database, &by_id, json!([["one"], [2]])).remove(0).unwrap_err();
    assert_eq!((error.kind(), error.place().field.as_deref()), (ErrorKind::Malformed, Some("id")), "{error}");
}

#[test]
fn texts_are_found_as_the_database_compares_them() {
    let tables = "create table t (ci varchar(20) collate utf8mb4_general_ci, bin varchar(20) collate utf8mb4_bin,
        exact varbinary(20), latin varchar(20) character set latin1, v int, unique (ci), unique (bin));
        insert into t values ('Ada', 'Ada', 'Ada', 'Ada', 1), ('straße', 'bob ', 'bob ', 'straße', 2)";
    let Some(database) = Database::new("lookup_collations", tables) else { return };
    let lookup =
        |column| connect(&database, &only("v", MysqlLookupConfig::table(&database.url, "t")), &[column]).unwrap();
    let (one, two) = (json!({"v": 1}), json!({"v": 2}));
    let keys = json!([["ADA"], ["ada"], ["Ada "], ["Eda"], ["Ada"], ["STRASE"], ["😀"]]);
    assert_eq!(found(&database, &lookup("ci"), keys), json!([one, one, one, null, one, two, null]));
    assert_eq!(found(&database, &lookup("bin"), json!([["ada"], ["Ada"], ["bob"]])), json!([null, one, two]));
    assert_eq!(
        found(&database, &lookup("exact"), json!([["Ada"], ["\\x416461"], ["bob"], ["bob "]])),
        json!([one, one, null, two])
    );
    // What the column cannot have is in no row, and fails nobody else.
    let keys = json!([["ada"], ["Ж"], ["straße"], ["日本"], ["Ada"]]);
    assert_eq!(found(&database, &lookup("latin"), keys), json!([one, null, two, null, one]));
}

#[test]
fn each_type_becomes_json() {
    let tables = "create table t (k int, small smallint, big bigint, huge bigint unsigned, f4 float, f8 double, n decimal(6,2),
        wide decimal(30,10), ok bool, many tinyint(1), b1 bit(1), b12 bit(12), v varchar(9), c char(3), txt text, bin binary(2), raw blob,
        j json, e enum('good', 'bad'), s set('a', 'b'), day date, at datetime(3), stamp timestamp(6) null, clock time(1), y year, nothing int);
        insert into t values (1, -3, 9223372036854775807, 18446744073709551615, 0.1, 1e300, 12.50,
        12345678901234567890.12, true, 5, b'1', b'100000000010', 'Zoë', 'x', '😀', x'00ff', x'00ff',
        '{\"b\": [1, null], \"a\": 2}', 'bad', 'a,b', '1969-12-31', '2026-01-31 12:00:00.250', '2026-01-31 10:00:00.000001',
        '-26:30:00.5', 2026, null)";
    let Some(database) = Database::new("lookup_types", "set time_zone = '+00:00'") else { return };
    database.run(tables);
    let expected = json!({
        "k": 1, "small": -3, "big": 9223372036854775807_i64, "huge": 18446744073709551615_u64, "f4": 0.1, "f8": 1e300, "n": 12.5,
        "wide": "12345678901234567890.1200000000", "ok": true, "many": 5, "b1": true, "b12": 2050, "v": "Zoë", "c": "x", "txt": "😀",
        "bin": "\\x00ff", "raw": "\\x00ff", "j": {"b": [1, null], "a": 2}, "e": "bad", "s": "a,b", "day": "1969-12-31",
        "at": "2026-01-31T12:00:00.25", "stamp": "2026-01-31T10:00:00.000001Z", "clock": "-26:30:00.5", "y": 2026, "nothing": null,
    });
    let table = MysqlLookupConfig::table(&database.url, "t");
    let by_key = connect(&database, &table, &["k"]).unwrap();
    assert_eq!(found(&database, &by_key, json!([[1], [2]])), json!([expected, null]));
    database.run("alter table t add primary key (k)");
    let by_primary_key = connect(&database, &table, &["k"]).unwrap();
    assert_eq!(found(&database, &by_primary_key, json!([[1], [2]])), json!([expected, null]));
    let by_query = connect(&database, &query(&database, "select * from t where k = $k"), &["k"]).unwrap();
    let mut answer = found(&database, &by_query, json!([[1]]));
    // MariaDB's JSON is a text, which is known of a table, not of the answers of a query.
    if answer[0]["j"].is_string() {
        answer[0]["j"] = serde_json::from_str(answer[0]["j"].as_str().unwrap()).unwrap();
    }
    assert_eq!(answer, json!([expected]));
}

#[test]
fn keys_of_several_columns_and_of_any_type_match_by_value() {
    let tables = "create table w (origin char(3), hour timestamp, temp decimal(6,2), primary key (origin, hour));
        insert into w values ('EWR', '2026-01-31 12:00:00', 20.50), ('JFK', '2026-01-31 12:00:00', -1);
        create table u (n decimal(6,2), f float, d date, b bit(12), y year, t time, huge bigint unsigned, e enum('x', 'y'), v int);
        insert into u values (1.50, 0.1, '2026-01-31', 2050, 2026, '12:00:00', 18446744073709551615, 'y', 5)";
    let Some(database) = Database::new("lookup_keys", "set time_zone = '+00:00'") else { return };
    database.run(tables);
    let weather = only("temp", MysqlLookupConfig::table(&database.url, "w"));
    let weather = connect(&database, &weather, &["hour", "origin"]).unwrap();
    let keys = json!([
        ["2026-01-31T13:00:00+01:00", "JFK"],
        ["2026-01-31T13:00:00Z", "JFK"],
        ["2026-01-31T12:00:00Z", "EWR"],
        ["2026-01-31T12:00:00Z", null],
        ["2026-01-31 12:00", "EWR"]
    ]);
    let (warm, cold) = (json!({"temp": 20.5}), json!({"temp": -1.0}));
    assert_eq!(found(&database, &weather, keys), json!([cold, null, warm, null, warm]));
    let five = json!({"v": 5});
    for (column, key, other) in [
        ("n", json!("1.5"), json!(1.501)),
        ("f", json!(0.1), json!(0.2)),
        ("d", json!("2026-01-31"), json!("2026-02-31")),
        ("b", json!(2050), json!(2051)),
        ("y", json!("2026"), json!(2025)),
        ("t", json!("12:00:00"), json!("12:00:01")),
        ("huge", json!(18446744073709551615_u64), json!(-1)),
        ("e", json!("y"), json!("z")),
    ] {
        let lookup = connect(&database, &only("v", MysqlLookupConfig::table(&database.url, "u")), &[column]).unwrap();
        assert_eq!(found(&database, &lookup, json!([[other], [key], [key]])), json!([null, five, five]), "{column}");
    }
}

#[test]
fn of_several_rows_the_first_all_or_none() {
    let tables = format!(
        "create table t (k int, v int, index (k)); insert into t values (1, 10), (1, 11), (2, 20);
        insert into t with recursive ns as (select 0 as n union all select n + 1 from ns where n < {ROWS_MAX}) select 3, n from ns"
    );
    let Some(database) = Database::new("lookup_rows", "set max_recursive_iterations = 100000") else { return };
    database.run(&tables);
    for config in
        [query(&database, "select v from t where k = $k order by v"), MysqlLookupConfig::table(&database.url, "t")]
    {
        let lookup = |rows| {
            let columns = config.table.as_ref().map(|_| vec!["v".to_owned()]);
            connect(&database, &MysqlLookupConfig { rows, columns, ..config.clone() }, &["k"]).unwrap()
        };
        let keys = json!([[1], [2], [9]]);
        assert_eq!(found(&database, &lookup(Rows::First), keys.clone()), json!([{"v": 10}, {"v": 20}, null]));
        let all = lookup(Rows::All);
        assert_eq!(found(&database, &all, keys.clone()), json!([[{"v": 10}, {"v": 11}], [{"v": 20}], null]));
        let answers = ask(&database, &all, json!([[3], [2]]));
        assert!(answers[0].as_ref().unwrap_err().to_string().contains("more rows for the key than 10000"));
        assert_eq!(answers[1].as_ref().unwrap(), &Some(json!([{"v": 20}])));
        let answers = ask(&database, &lookup(Rows::Error), keys);
        assert!(answers[0].as_ref().unwrap_err().to_string().contains("more rows for the key than one"));
        assert_eq!(answers[1].as_ref().unwrap(), &Some(json!({"v": 20})));
    }
}

#[test]
fn a_query_takes_the_key_by_name() {
    let Some(database) = Database::new("lookup_query", USERS) else { return };
    let sql = "select concat(name, '!') as name, '$id :x ?' as text, $least + 0 as least # $nobody\n
        from users where id = $id and id > $least; ";
    let lookup = connect(&database, &query(&database, sql), &["least", "id"]).unwrap();
    assert_eq!(
        found(&database, &lookup, json!([[0, 7], [7, 7], [0, "2"], [null, 2]])),
        json!([{"name": "Zoë!", "text": "$id :x ?", "least": 0}, null, {"name": "Bob!", "text": "$id :x ?", "least": 0}, null])
    );
}

#[test]
fn what_does_not_fit_the_database_is_said_at_once() {
    let tables = format!(
        "{USERS}; create table shapes (id int primary key, at point); create or replace user lookup_stranger@'127.0.0.1' identified by 'pw';
        grant insert on lookup_misfit.users to lookup_stranger@'127.0.0.1'"
    );
    let Some(database) = Database::new("lookup_misfit", &tables) else { return };
    let table = |name: &str| MysqlLookupConfig::table(&database.url, name);
    let as_other = |from: &str, to: &str| MysqlLookupConfig {
        server: MysqlConfig::url(database.url.replace(from, to)),
        ..table("users")
    };
    let columns = Some(vec!["nmae".to_owned()]);
    for (config, key, kind, expected) in [
        (table("user"), "id", ErrorKind::Config, "did you mean \"users\"?"),
        (table("nowhere.users"), "id", ErrorKind::Config, "there is no table that may be read, \"nowhere.users\""),
        (MysqlLookupConfig { columns, ..table("users") }, "id", ErrorKind::Config, "did you mean \"name\"?"),
        (table("users"), "ident", ErrorKind::Config, "to be its key \"ident\""),
        (table("shapes"), "id", ErrorKind::Config, "the column \"at\" is of a type of points"),
        (
            only("id", table("shapes")),
            "at",
            ErrorKind::Config,
            "the column \"at\" cannot be a key, as it is of type point",
        ),
        (query(&database, "select * from users"), "id", ErrorKind::Config, "does not use the key column \"id\""),
        (query(&database, "select $idd, $id"), "id", ErrorKind::Config, "did you mean \"id\"?"),
        (query(&database, "select $id, ?"), "id", ErrorKind::Config, "a `?` that is no column of the key"),
        (query(&database, "select $id, :x"), "id", ErrorKind::Config, "parameters that are no columns of the key"),
        (query(&database, "delete from users where id = $id"), "id", ErrorKind::Config, "a look-up only reads"),
        (query(&database, "do $id"), "id", ErrorKind::Config, "needs a `select`"),
        (query(&database, "select nmae from users where id = $id"), "id", ErrorKind::Config, "Unknown column 'nmae'"),
        (query(&database, "select name from usres where id = $id"), "id", ErrorKind::Config, "usres' doesn't exist"),
        (query(&database, "select id, id from users where id = $id"), "id", ErrorKind::Config, "two columns \"id\""),
        (query(&database, "selec $id"), "id", ErrorKind::Query, "error in your SQL syntax"),
        (as_other("of-the-test-server", "hunter2"), "id", ErrorKind::Permission, "check the user and the password"),
        (as_other("/lookup_misfit", "/nowhere"), "id", ErrorKind::Config, "check the name of the database"),
        (as_other("/lookup_misfit", ""), "id", ErrorKind::Config, "there is no table that may be read, \"users\""),
        (
            as_other("inflight:of-the-test-server", "lookup_stranger:pw"),
            "id",
            ErrorKind::Permission,
            "SELECT command denied",
        ),
    ] {
        let error = connect(&database, &config, &[key]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("of-the-test-server") && !shown.contains("hunter2"), "{shown}");
    }
    // By a way to prove oneself at which the driver panics.
    database.run(
        "install plugin if not exists ed25519 soname 'auth_ed25519'; drop user if exists lookup_ed@'127.0.0.1';
        create user lookup_ed@'127.0.0.1' identified via ed25519 using password('pw')",
    );
    let error = connect(&database, &as_other("inflight:of-the-test-server", "lookup_ed:pw"), &["id"]).unwrap_err();
    assert!(error.kind() == ErrorKind::Permission && error.to_string().contains("is not known here"), "{error}");
    let nobody = MysqlLookupConfig::table("mysql://me:hunter2@127.0.0.1:1/db", "users");
    let error = database.wait(MysqlLookup::check_connect(&nobody, &["id".to_owned()])).unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    database.wait(MysqlLookup::check_connect(&table("lookup_misfit.users"), &["id".to_owned()])).unwrap();
}

#[test]
fn of_several_hosts_the_first_that_answers_is_asked() {
    let Some(database) = Database::new("lookup_hosts", USERS) else { return };
    let config = |hosts: &str| MysqlLookupConfig {
        server: MysqlConfig::url(database.url.replace('@', &format!("@{hosts},"))),
        ..users(&database)
    };
    let lookup = connect(&database, &config("127.0.0.1:1"), &["id"]).unwrap();
    assert_eq!(found(&database, &lookup, json!([[2]])), json!([{"id": 2, "name": "Bob", "tier": null}]));
    let nobody = MysqlConfig::url("mysql://me:hunter2@127.0.0.1:1,127.0.0.1:2/db");
    let error = connect(&database, &MysqlLookupConfig { server: nobody, ..users(&database) }, &["id"]).unwrap_err();
    assert!(error.to_string().starts_with("127.0.0.1:1,127.0.0.1:2/db: cannot connect"), "{error}");
}

#[test]
fn connections_are_encrypted_for_the_server_that_is_trusted() {
    let Some(database) = Database::new("lookup_tls", USERS) else { return };
    let Ok(certificate) = std::env::var("INFLIGHT_TEST_MYSQL_CERTIFICATE") else {
        eprintln!("!!! SKIPPED: INFLIGHT_TEST_MYSQL_CERTIFICATE is not set: the server does not speak TLS");
        return;
    };
    let sql = "select variable_value from information_schema.session_status where variable_name = $name";
    let cipher = |mode, root: Option<&str>, host: &str| {
        let mut config = query(&database, sql);
        config.server.url = database.url.replace("127.0.0.1", host).into();
        (config.server.sslmode, config.server.sslrootcert) = (mode, root.map(Into::into));
        let lookup = connect(&database, &config, &["name"])?;
        Ok::<_, Error>(found(&database, &lookup, json!([["Ssl_cipher"]]))[0].to_string().contains("TLS"))
    };
    assert!(!cipher(Some(SslMode::Disable), None, "127.0.0.1").unwrap());
    assert!(cipher(None, None, "127.0.0.1").unwrap());
    assert!(cipher(Some(SslMode::Require), None, "127.0.0.1").unwrap());
    let verified = Some(SslMode::VerifyFull);
    assert!(cipher(verified, Some(&certificate), "localhost").unwrap());
    let error = cipher(verified, Some(&certificate), "127.0.0.1").unwrap_err();
    assert!(error.kind() == ErrorKind::Permission && error.to_string().contains("check `sslmode`"), "{error}");
    let error = cipher(verified, Some("none.pem"), "localhost").unwrap_err();
    assert!(error.to_string().contains("none.pem: `sslrootcert`"), "{error}");
}

#[test]
fn nothing_is_ever_written() {
    let Some(database) = Database::new("lookup_readonly", USERS) else { return };
    database.run_one(
        "create function spy(k int) returns int begin update users set tier = 'seen' where id = k; return k; end",
    );
    // The one notices it when the statement is prepared, the other when it is made.
    let lookup = connect(&database, &query(&database, "select spy($k) as id"), &["k"]);
    let error = lookup.and_then(|lookup| database.wait(lookup.lookup(&[vec![json!(1)]]))).unwrap_err();
    assert!(error.to_string().contains("READ ONLY"), "{error}");
    assert_eq!(database.count("select count(*) from users where tier = 'seen'"), 0);
}

#[test]
fn a_lost_connection_and_a_changed_table_are_no_errors() {
    let Some(database) = Database::new("lookup_lost", USERS) else { return };
    let config = MysqlLookupConfig { connections: 1, ..users(&database) };
    let lookup = connect(&database, &config, &["id"]).unwrap();
    let name = |lookup: &MysqlLookup| found(&database, lookup, json!([[1]]))[0]["name"].clone();
    assert_eq!(name(&lookup), "Ada");
    let own = "db = 'lookup_lost' and id <> connection_id()";
    let id = database.count(&format!("select id from information_schema.processlist where {own}"));
    database.run(&format!("kill {id}"));
    database.wait_for(&format!("select count(*) from information_schema.processlist where {own}"), 0);
    assert_eq!(name(&lookup), "Ada");
    database.run("alter table users modify name varchar(30), drop tier, add extra int default 5");
    assert_eq!(name(&lookup), "Ada");
    database.run("drop table users");
    let error = database.wait(lookup.lookup(&[vec![json!(1)]])).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && !error.is_retryable(), "{error}");
}

#[test]
fn a_server_that_takes_too_long_gives_up_by_itself() {
    let Some(database) = Database::new("lookup_timeout", "create table t (k int); insert into t values (0), (30)")
    else {
        return;
    };
    let config = MysqlLookupConfig {
        statement_timeout: Some(Duration::from_millis(50)),
        ..query(&database, "select sleep(k) as slept from t where k = $k")
    };
    let lookup = connect(&database, &config, &["k"]).unwrap();
    let error = database.wait(lookup.lookup(&[vec![json!(30)]])).unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && error.is_retryable(), "{error}");
    assert_eq!(found(&database, &lookup, json!([[0]])), json!([{"slept": 0}]));
}

#[test]
fn a_statement_nobody_waits_for_is_ended_and_those_behind_it_are_answered() {
    let Some(database) = Database::new("lookup_kill", "") else { return };
    let config =
        MysqlLookupConfig { connections: 1, ..query(&database, "select sleep($k) as slept /* lookup_kill */") };
    let lookup = connect(&database, &config, &["k"]).unwrap();
    let running = "select count(*) from information_schema.processlist where info like 'select sleep(%lookup_kill%'";
    let now = [vec![json!(0)]];
    let long = [vec![json!(3600)]];
    let mut long = Box::pin(lookup.lookup(&long));
    database.wait(async { tokio::time::timeout(Duration::from_millis(100), &mut long).await }).unwrap_err();
    database.wait_for(running, 1);
    let mut behind = Box::pin(lookup.lookup(&now));
    database.wait(async { tokio::time::timeout(Duration::from_millis(100), &mut behind).await }).unwrap_err();
    let answered = database.wait(async {
        drop(long);
        tokio::time::timeout(Duration::from_secs(60), behind).await
    });
    assert_eq!(answered.expect("never ended").unwrap()[0].as_ref().unwrap(), &Some(json!({"slept": 0})));
    database.wait_for(running, 0);
    assert_eq!(found(&database, &lookup, json!([[0]])), json!([{"slept": 0}]));
}

#[test]
fn many_at_once_share_a_few_connections() {
    let tables = "create table squares (n int primary key, square int);
        insert into squares with recursive ns as (select 0 as n union all select n + 1 from ns where n < 9999) select n, n * n from ns";
    let Some(database) = Database::new("lookup_many", "set max_recursive_iterations = 100000") else { return };
    database.run(tables);
    let config = MysqlLookupConfig { connections: 3, ..MysqlLookupConfig::table(&database.url, "squares") };
    let lookup = connect(&database, &config, &["n"]).unwrap();
    let connections =
        "select count(*) from information_schema.processlist where db = 'lookup_many' and id <> connection_id()";
    assert_eq!(database.count(connections), 1);
    let answers = database.wait(async {
        let ask = |call: u64| {
            let keys: Vec<Key> = (0..1 + call % 230).map(|n| vec![json!((call * 7919 + n * 31) % 12_000)]).collect();
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
    assert_eq!(database.count(connections), 3);
}
