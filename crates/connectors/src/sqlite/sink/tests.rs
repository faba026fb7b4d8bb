use std::time::Duration;

use rusqlite::types::ValueRef;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

struct Database {
    folder: TempDir,
}

impl Database {
    fn new(sql: &str) -> Self {
        let database = Self { folder: tempfile::tempdir().unwrap() };
        database.connect().execute_batch(sql).unwrap();
        database
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("out.db")
    }

    fn connect(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn config(&self) -> SqliteSinkConfig {
        SqliteSinkConfig { busy_timeout: Duration::ZERO, ..SqliteSinkConfig::new(self.path(), "t") }
    }

    fn create(&self) -> SqliteSinkConfig {
        SqliteSinkConfig { create: true, ..self.config() }
    }

    /// The rows of `select`, each as a JSON list.
    fn rows(&self, select: &str) -> Vec<Value> {
        let connection = self.connect();
        let mut statement = connection.prepare(select).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let value = |at| match row.get_ref(at).unwrap() {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(integer) => integer.into(),
                ValueRef::Real(real) => real.into(),
                ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap().into(),
                ValueRef::Blob(_) => panic!("a blob"),
            };
            Ok(Value::Array((0..columns).map(value).collect()))
        };
        statement.query_map([], row).unwrap().map(Result::unwrap).collect()
    }

    fn ids(&self) -> Vec<i64> {
        self.rows("select id from t order by rowid").iter().map(|row| row[0].as_i64().unwrap()).collect()
    }
}

fn record(value: Value) -> Record {
    value.as_object().unwrap().clone()
}

fn with_epochs(config: &SqliteSinkConfig, generation: u64) -> Result<SqliteSink, Error> {
    SqliteSink::open_with_epochs(config, Epochs::new("orders", generation))
}

fn write_all(sink: &mut SqliteSink, ids: impl IntoIterator<Item = i64>) {
    ids.into_iter().for_each(|id| sink.write(&record(json!({ "id": id }))).unwrap());
}

fn write(config: &SqliteSinkConfig, records: &[Value]) -> Result<(), Error> {
    let mut sink = Box::new(SqliteSink::open(config)?);
    records.iter().try_for_each(|value| sink.write(&record(value.clone())))?;
    sink.finish()
}

#[test]
fn values_are_kept_as_they_are() {
    let database = Database::new("");
    let values = json!({ "i": -7, "r": 1.0, "s": "5", "t": true, "f": false, "n": null, "deep": { "b": [1, "x"] } });
    write(&database.create(), &[values]).unwrap();
    assert_eq!(database.rows("select * from t"), [json!([-7, 1.0, "5", 1, 0, null, "{\"b\":[1,\"x\"]}"])]);
    assert_eq!(database.rows("select typeof(r), typeof(s) from t"), [json!(["real", "text"])]);
}

#[test]
fn fields_go_to_columns_of_their_names_and_absent_ones_take_the_default() {
    let database = Database::new("create table t (id integer primary key, name text default 'nobody', extra)");
    write(&database.config(), &[json!({"name": "Ada", "id": 1}), json!({"ID": 2}), json!({"id": 3, "extra": 1})])
        .unwrap();
    let expected = [json!([1, "Ada", null]), json!([2, "nobody", null]), json!([3, "nobody", 1])];
    assert_eq!(database.rows("select * from t order by id"), expected);
}

#[test]
fn columns_may_be_chosen_and_filled_from_anywhere_in_the_record() {
    let database = Database::new("create table t (id, \"full name\" default 'nobody')");
    let columns = [("id", ".id"), ("full name", ".user.name")];
    let columns = columns.map(|(column, field)| (column.to_owned(), field.parse().unwrap())).into();
    let records = [json!({"id": 1, "user": {"name": "Ada"}, "more": 1}), json!({"id": 2})];
    write(&SqliteSinkConfig { columns, ..database.config() }, &records).unwrap();
    assert_eq!(database.rows("select * from t"), [json!([1, "Ada"]), json!([2, null])]);
}

#[test]
fn with_a_key_the_last_record_of_each_counts() {
    let records = [json!({"id": 1, "n": 1}), json!({"id": 2, "n": 2}), json!({"id": 1, "n": 3}), json!({"id": 2})];
    let made = Database::new("create table t (id unique, n, kept default 7)");
    let not_made = Database::new("");
    for (database, config) in [(&made, made.config()), (&not_made, not_made.create())] {
        write(&SqliteSinkConfig { key: vec!["id".to_owned()], ..config }, &records).unwrap();
        assert_eq!(database.rows("select id, n from t order by id"), [json!([1, 3]), json!([2, 2])]);
    }
    assert_eq!(made.rows("select distinct kept from t"), [json!([7])]);
}

fn refusal(config: &SqliteSinkConfig, records: &[Value]) -> Error {
    write(config, records).unwrap_err()
}

#[test]
fn what_does_not_fit_names_record_and_column_and_what_to_do() {
    let database = Database::new("create table t (id integer not null unique, name text) strict");
    let config = database.config();
    let keyed = SqliteSinkConfig { key: vec!["id".to_owned()], ..config.clone() };
    let ok = json!({"id": 1, "name": "Ada"});
    for (config, value, kind, expected) in [
        (&config, json!({"id": 2, "nam": "x"}), ErrorKind::Config, "no column \"nam\" (did you mean \"name\"?)"),
        (&config, json!({"id": 1}), ErrorKind::Malformed, "UNIQUE constraint failed: t.id; correct"),
        (&config, json!({"id": null}), ErrorKind::Malformed, "NOT NULL constraint failed: t.id"),
        (&config, json!({"id": "x"}), ErrorKind::Malformed, "cannot store TEXT value in INTEGER column t.id"),
        (
            &config,
            json!({"id": u64::MAX}),
            ErrorKind::Malformed,
            "column \"id\", record 2: 18446744073709551615 is more",
        ),
        (&config, json!({}), ErrorKind::Malformed, "has no fields"),
        (&keyed, json!({"name": "x"}), ErrorKind::Malformed, "the key column \"id\" gets no value"),
        (&keyed, json!({"id": null}), ErrorKind::Malformed, "the key column \"id\" gets no value"),
    ] {
        let error = refusal(config, &[ok.clone(), value]);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected) && error.to_string().contains("record 2"), "{error}");
        assert!(error.to_string().starts_with(&database.path().display().to_string()), "{error}");
        assert_eq!(database.rows("select * from t"), [] as [Value; 0], "what was not flushed is not there");
    }
}

#[test]
fn a_record_that_is_refused_leaves_the_others() {
    let database = Database::new("create table t (id unique)");
    let mut sink = Box::new(SqliteSink::open(&database.config()).unwrap());
    write_all(&mut sink, [1, 2]);
    assert!(sink.write(&record(json!({"id": 2}))).is_err());
    write_all(&mut sink, [3]);
    sink.finish().unwrap();
    assert_eq!(database.ids(), [1, 2, 3]);
}

#[test]
fn what_does_not_fit_the_database_is_told_when_it_is_opened() {
    let database = Database::new("create table t (id, name); create view v as select 1 as id");
    let key = |key: &str| SqliteSinkConfig { key: vec![key.to_owned()], ..database.config() };
    let missing = database.folder.path().join("none.db");
    for (config, expected) in [
        (SqliteSinkConfig { table: "orders".to_owned(), ..database.config() }, "create it, or add `create: true`"),
        (SqliteSinkConfig { database: missing, ..database.config() }, "the database does not exist"),
        (SqliteSinkConfig { table: "v".to_owned(), ..database.config() }, "cannot write to the table"),
        (key("id"), "create unique index ... on \"t\" (\"id\")"),
        (key("idd"), "no column \"idd\" (did you mean \"id\"?)"),
        (SqliteSinkConfig { columns: [("x".to_owned(), ".id".parse().unwrap())].into(), ..database.config() }, "\"x\""),
    ] {
        let error = SqliteSink::open(&config).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn without_epochs_rows_are_there_after_a_flush_and_after_a_bounded_number() {
    let database = Database::new("create table t (id)");
    let mut sink = Box::new(SqliteSink::open(&database.config()).unwrap());
    assert_eq!((sink.guarantee(), sink.decided().unwrap()), (Guarantee::AtLeastOnce, None));
    write_all(&mut sink, [1]);
    assert_eq!(database.ids(), [0_i64; 0]);
    sink.flush().unwrap();
    assert_eq!(database.ids(), [1]);
    let bound = i64::try_from(ROWS_PER_TRANSACTION).unwrap();
    write_all(&mut sink, 2..bound + 1);
    assert_eq!(database.ids().len(), 1);
    write_all(&mut sink, [bound + 1, bound + 2]);
    assert_eq!(database.ids().len() as i64, bound + 1);
    drop(sink);
    assert_eq!(database.ids().len() as i64, bound + 1, "a crash takes back what was not committed");
}

#[test]
fn an_epoch_is_there_with_its_commit_and_not_before() {
    let database = Database::new("create table t (id)");
    let mut sink = Box::new(with_epochs(&database.config(), 1).unwrap());
    assert_eq!((sink.guarantee(), sink.decided().unwrap()), (Guarantee::ExactlyOnce, Some(0)));
    write_all(&mut sink, 0..3000);
    sink.flush().unwrap();
    assert_eq!(sink.prepare(1).unwrap(), "");
    assert_eq!(database.ids(), [0_i64; 0]);
    sink.commit(1).unwrap();
    sink.commit(1).unwrap();
    assert_eq!((database.ids().len(), sink.decided().unwrap()), (3000, Some(1)));
    // An epoch without records counts too.
    sink.prepare(2).unwrap();
    sink.commit(2).unwrap();
    assert_eq!(sink.decided().unwrap(), Some(2));
    assert_eq!(database.rows("select * from inflight_epochs"), [json!(["orders", 2, 1])]);
    sink.finish().unwrap();
}

#[test]
fn a_crash_at_any_step_leaves_whole_epochs_and_the_database_knows_which() {
    for create in [false, true] {
        let database = Database::new(if create { "" } else { "create table t (id)" });
        let config = SqliteSinkConfig { create, ..database.config() };
        let (mut generation, mut crashes) = (0, 0);
        loop {
            generation += 1;
            let mut sink = Box::new(with_epochs(&config, generation).unwrap());
            let mut epoch = sink.decided().unwrap().unwrap();
            // Each life gets one step further: a record, the preparation, the commit.
            let mut steps = crashes;
            let mut lives = || {
                steps -= 1;
                steps >= 0
            };
            let survived = 'life: {
                while epoch < 4 {
                    epoch += 1;
                    let start = (epoch as i64 - 1) * 3;
                    for id in start..start + 3 {
                        if !lives() {
                            break 'life false;
                        }
                        write_all(&mut sink, [id]);
                    }
                    if !lives() {
                        break 'life false;
                    }
                    sink.prepare(epoch).unwrap();
                    if !lives() {
                        break 'life false;
                    }
                    sink.commit(epoch).unwrap();
                }
                lives()
            };
            if survived {
                sink.finish().unwrap();
                break;
            }
            crashes += 1;
            drop(sink);
            if database.connect().table_exists(None, "t").unwrap() {
                let decided = database.rows("select epoch from inflight_epochs")[0][0].as_i64().unwrap();
                assert_eq!(database.ids(), (0..decided * 3).collect::<Vec<_>>());
            }
        }
        assert!(crashes > 5, "{crashes}");
        assert_eq!(database.ids(), (0..12).collect::<Vec<_>>());
    }
}

#[test]
fn a_run_that_was_superseded_cannot_commit() {
    let database = Database::new("create table t (id)");
    let mut old = with_epochs(&database.config(), 1).unwrap();
    let mut new = with_epochs(&database.config(), 2).unwrap();
    write_all(&mut old, [1]);
    let error = old.commit(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed);
    assert!(error.to_string().contains("where pipeline = 'orders'"), "{error}");
    assert!(Box::new(old).finish().unwrap_err().to_string().contains("was not committed"));
    write_all(&mut new, [2]);
    new.commit(1).unwrap();
    assert_eq!(database.ids(), [2]);
    assert_eq!(with_epochs(&database.config(), 1).unwrap_err().kind(), ErrorKind::Changed);
}

#[test]
fn pipelines_count_their_epochs_each_for_itself() {
    let database = Database::new("create table t (id)");
    let other = |generation| SqliteSink::open_with_epochs(&database.config(), Epochs::new("it's", generation)).unwrap();
    let mut one = with_epochs(&database.config(), 5).unwrap();
    let mut two = other(1);
    one.commit(7).unwrap();
    two.commit(1).unwrap();
    assert_eq!((one.decided().unwrap(), two.decided().unwrap()), (Some(7), Some(1)));
    other(9);
    assert!(two.commit(2).unwrap_err().to_string().contains("where pipeline = 'it''s'"));
}

#[test]
fn a_locked_database_is_busy_and_the_commit_can_be_tried_again() {
    let database = Database::new("create table t (id); insert into t values (0)");
    let mut sink = with_epochs(&database.config(), 1).unwrap();
    write_all(&mut sink, [1]);
    let other = database.connect();
    other.busy_timeout(Duration::ZERO).unwrap();
    assert!(other.execute("insert into t values (9)", []).is_err(), "an epoch holds the right to write");
    let mut reading = other.prepare("select id from t").unwrap();
    let mut rows = reading.raw_query();
    rows.next().unwrap();
    let error = sink.commit(1).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Busy, true), "{error}");
    drop(rows);
    sink.commit(1).unwrap();
    assert_eq!((database.ids(), sink.decided().unwrap()), (vec![0, 1], Some(1)));
    other.execute_batch("begin immediate").unwrap();
    assert_eq!(sink.write(&record(json!({"id": 2}))).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(with_epochs(&database.config(), 2).unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn a_transaction_that_sqlite_gave_up_stays_lost() {
    let database = Database::new("create table t (id unique on conflict rollback)");
    let mut sink = Box::new(with_epochs(&database.config(), 1).unwrap());
    write_all(&mut sink, [1]);
    let lost = sink.write(&record(json!({"id": 1}))).unwrap_err();
    // What comes later would be an epoch with a hole in it.
    assert_eq!(sink.write(&record(json!({"id": 2}))).unwrap_err().to_string(), lost.to_string());
    assert_eq!(sink.prepare(1).unwrap_err().to_string(), lost.to_string());
    assert_eq!(sink.commit(1).unwrap_err().to_string(), lost.to_string());
    assert_eq!(sink.decided().unwrap(), Some(0));
    assert_eq!(sink.finish().unwrap_err().to_string(), lost.to_string());
    assert_eq!(database.ids(), [0_i64; 0]);
}

#[test]
fn a_full_disk_is_an_error_of_its_own_kind() {
    let database = Database::new("create table t (id, text)");
    let mut sink = with_epochs(&database.config(), 1).unwrap();
    lock(&sink.shared).connection.execute_batch("pragma max_page_count = 20").unwrap();
    let big = record(json!({"id": 1, "text": "x".repeat(30_000)}));
    let error = (0..100).find_map(|_| sink.write(&big).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    drop(sink);
    assert_eq!(database.ids(), [0_i64; 0]);
}

#[test]
fn two_tables_share_a_transaction() {
    let database = Database::new("create table t (id); create table more (id unique on conflict rollback)");
    let mut sink = with_epochs(&database.config(), 1).unwrap();
    let more = SqliteSinkConfig { table: "more".to_owned(), ..database.config() };
    let mut beside = Box::new(sink.beside(&more).unwrap());
    write_all(&mut sink, [1]);
    write_all(&mut beside, [2]);
    // Its commit is none: what is written there counts with the epoch of the other.
    beside.commit(1).unwrap();
    assert_eq!((database.ids(), database.rows("select * from more")), (vec![], vec![]));
    sink.commit(1).unwrap();
    assert_eq!((database.ids(), database.rows("select * from more")), (vec![1], vec![json!([2])]));
    assert_eq!((beside.decided().unwrap(), beside.guarantee()), (None, Guarantee::ExactlyOnce));
    // What one of them loses, both have lost.
    write_all(&mut sink, [3]);
    let lost = beside.write(&record(json!({"id": 2}))).unwrap_err();
    assert_eq!(sink.commit(2).unwrap_err().to_string(), lost.to_string());
    let elsewhere = SqliteSinkConfig { database: "elsewhere.db".into(), ..more };
    assert!(sink.beside(&elsewhere).unwrap_err().to_string().contains("two databases cannot share a transaction"));
    drop(sink);
    assert_eq!(database.ids(), [1]);
}

#[test]
fn the_last_of_two_that_share_it_closes_the_database() {
    let database = Database::new("");
    let mut sink = Box::new(SqliteSink::open(&database.create()).unwrap());
    let more = SqliteSinkConfig { table: "more".to_owned(), ..database.create() };
    let mut beside = Box::new(sink.beside(&more).unwrap());
    write_all(&mut beside, [2]);
    write_all(&mut sink, [1]);
    beside.finish().unwrap();
    sink.finish().unwrap();
    assert_eq!((database.ids(), database.rows("select * from more")), (vec![1], vec![json!([2])]));
}
