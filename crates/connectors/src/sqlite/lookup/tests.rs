use super::*;
use serde_json::json;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

struct Database {
    folder: TempDir,
    connection: Connection,
}

impl Database {
    fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("a.db")).unwrap();
        connection.execute_batch(sql).unwrap();
        Self { folder, connection }
    }

    fn planes() -> Self {
        Self::new(
            "create table planes (tailnum text, year int, seats int);
             create index planes_key on planes (tailnum);
             insert into planes values ('N1', 1999, 149), ('N2', null, 55), ('N1', 2001, 7);",
        )
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    fn table(&self, table: &str) -> SqliteLookupConfig {
        SqliteLookupConfig { busy_timeout: Duration::ZERO, ..SqliteLookupConfig::table(self.path(), table) }
    }

    fn query(&self, sql: &str) -> SqliteLookupConfig {
        SqliteLookupConfig::query(self.path(), sql)
    }
}

fn open(config: &SqliteLookupConfig, key: &[&str]) -> Result<SqliteLookup, Error> {
    SqliteLookup::open(config, &key.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

fn answers(lookup: &mut SqliteLookup, keys: Value) -> Vec<Value> {
    let keys: Vec<Key> = serde_json::from_value(keys).unwrap();
    lookup.lookup(&keys).unwrap().into_iter().map(|row| row.map_or(Value::Null, Value::Object)).collect()
}

#[test]
fn each_key_is_answered_in_order_and_a_missing_one_is_not_an_error() {
    let database = Database::planes();
    let mut lookup = open(&database.table("planes"), &["tailnum"]).unwrap();
    let found = answers(&mut lookup, json!([["N2"], ["NX"], ["N1"], ["N2"]]));
    let n2 = json!({"tailnum": "N2", "year": null, "seats": 55});
    assert_eq!(found, [n2.clone(), json!(null), json!({"tailnum": "N1", "year": 1999, "seats": 149}), n2]);
    assert_eq!(answers(&mut lookup, json!([])), [] as [Value; 0]);
}

#[test]
fn a_null_in_the_key_is_missing_even_when_the_table_holds_a_null() {
    let database = Database::new("create table t (a, b, c); insert into t values (null, 1, 1), (1, 1, 2)");
    let mut lookup = open(&database.table("t"), &["a", "b"]).unwrap();
    let found = answers(&mut lookup, json!([[null, 1], [1, null], [1, 1]]));
    assert_eq!(found, [json!(null), json!(null), json!({"a": 1, "b": 1, "c": 2})]);
}

#[test]
fn a_null_in_the_key_of_a_query_is_not_asked_for_either() {
    let database = Database::planes();
    let mut lookup = open(&database.query("select seats from planes where year is $year"), &["year"]).unwrap();
    assert_eq!(answers(&mut lookup, json!([[null], [1999]])), [json!(null), json!({"seats": 149})]);
}

#[test]
fn all_keys_of_a_call_see_the_same_state_while_another_connection_writes() {
    const ROUNDS: usize = 200;
    let database =
        Database::new("pragma journal_mode = wal; create table t (k, v); insert into t values (1, 0), (2, 0)");
    let mut lookup = open(&database.table("t"), &["k"]).unwrap();
    let keys: Vec<Key> = (0..100).map(|n| vec![json!(1 + n % 2)]).collect();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let Database { folder: _folder, connection } = database;
    let writing = std::thread::spawn(move || {
        connection.execute_batch("pragma synchronous = off").unwrap();
        let mut commits = 0_u64;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            connection.execute("update t set v = v + 1", []).unwrap();
            commits += 1;
        }
        commits
    });
    for _ in 0..ROUNDS {
        let answers = lookup.lookup(&keys).unwrap();
        let states: Vec<_> = answers.iter().map(|row| row.as_ref().unwrap()["v"].as_i64().unwrap()).collect();
        assert!(states.iter().all(|state| *state == states[0]), "two states in one call: {states:?}");
    }
    drop(stop);
    assert!(writing.join().unwrap() > 0);
}

#[test]
fn of_several_rows_the_first_by_rowid_is_the_answer() {
    let database = Database::new(
        "create table t (id integer primary key, a, b); create index t_ab on t (a, b desc);
         insert into t values (7, 1, 'later'), (3, 1, 'first')",
    );
    let mut lookup = open(&database.table("t"), &["a"]).unwrap();
    assert_eq!(answers(&mut lookup, json!([[1]])), [json!({"id": 3, "a": 1, "b": "first"})]);
}

#[test]
fn composite_keys_match_on_all_columns_in_the_order_given() {
    let database =
        Database::new("create table w (origin text, hour text, temp real); insert into w values ('A','1',20.5)");
    let mut lookup = open(&database.table("w"), &["hour", "origin"]).unwrap();
    let found = answers(&mut lookup, json!([["1", "A"], ["A", "1"]]));
    assert_eq!(found, [json!({"origin": "A", "hour": "1", "temp": 20.5}), json!(null)]);
}

#[test]
fn only_the_columns_asked_for_are_answered() {
    let database = Database::planes();
    let config = SqliteLookupConfig { columns: Some(vec!["seats".into(), "year".into()]), ..database.table("planes") };
    let mut lookup = open(&config, &["tailnum"]).unwrap();
    assert_eq!(lookup.columns(), ["seats", "year"]);
    assert_eq!(answers(&mut lookup, json!([["N1"]])), [json!({"seats": 149, "year": 1999})]);
}

#[test]
fn numbers_and_texts_find_each_other_as_sqlite_has_it() {
    let database = Database::new("create table t (i integer, s text); insert into t values (7, '8')");
    let mut by_int = open(&database.table("t"), &["i"]).unwrap();
    assert!(answers(&mut by_int, json!([[7], ["7"], [7.0]])).iter().all(Value::is_object));
    assert!(answers(&mut by_int, json!([["7x"], [7.5], [u64::MAX]])).iter().all(Value::is_null));
    let mut by_text = open(&database.table("t"), &["s"]).unwrap();
    assert!(answers(&mut by_text, json!([["8"], [8]])).iter().all(Value::is_object));
}

#[test]
fn names_with_unusual_characters_work() {
    let database = Database::new(
        "create table \"my \"\"table\" (\"a b\", \"select\"); insert into \"my \"\"table\" values (1, 2)",
    );
    let mut lookup = open(&database.table("my \"table"), &["a b"]).unwrap();
    assert_eq!(answers(&mut lookup, json!([[1]])), [json!({"a b": 1, "select": 2})]);
}

#[test]
fn views_and_tables_without_rowid_can_be_looked_up() {
    let database = Database::new(
        "create table t (k text primary key, v int) without rowid; insert into t values ('a', 1);
         create view doubled as select k, 2 * v as v from t;",
    );
    let mut table = open(&database.table("t"), &["k"]).unwrap();
    assert_eq!(answers(&mut table, json!([["a"]])), [json!({"k": "a", "v": 1})]);
    let mut view = open(&database.table("doubled"), &["k"]).unwrap();
    assert_eq!(answers(&mut view, json!([["a"]])), [json!({"k": "a", "v": 2})]);
}

#[test]
fn a_query_takes_the_key_by_name() {
    let database = Database::planes();
    let sql = "select max(seats) as seats from planes where tailnum = $tailnum or year = :year or seats = @year";
    let mut lookup = open(&database.query(sql), &["year", "tailnum"]).unwrap();
    assert_eq!(answers(&mut lookup, json!([[0, "N2"], [2001, "N2"]])), [json!({"seats": 55}), json!({"seats": 55})]);
    assert_eq!(answers(&mut lookup, json!([[149, "N2"]])), [json!({"seats": 149})]);
}

#[test]
fn queries_that_cannot_work_are_refused_when_opened() {
    let database = Database::planes();
    for (sql, expected) in [
        ("select seats from planes where tailnum = $talnum", "did you mean \"tailnum\"?"),
        ("select seats from planes where tailnum = ?", "names no key column; write it as $tailnum"),
        ("select seats from planes", "does not use the key column \"tailnum\""),
        ("select year, seats as year from planes where tailnum = $tailnum", "two columns \"year\""),
        ("delete from planes where tailnum = $tailnum", "needs a `select`"),
        ("delete from planes where tailnum = $tailnum returning seats", "needs a `select`"),
        ("select seats from plains where tailnum = $tailnum", "no such table: plains"),
        ("selekt", "syntax error"),
        ("", "needs a `select`"),
        ("select 1 where 1 = $tailnum; select 2", "Multiple statements"),
    ] {
        let error = open(&database.query(sql), &["tailnum"]).unwrap_err();
        assert!(error.to_string().contains(expected), "{sql}: {error}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn unknown_tables_and_columns_are_refused_with_a_suggestion() {
    let database = Database::planes();
    let error = open(&database.table("plane"), &["tailnum"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("no table \"plane\" (did you mean \"planes\"?)"), "{error}");
    let error = open(&database.table("planes"), &["tail_num"]).unwrap_err();
    assert!(error.to_string().contains("did you mean \"tailnum\"?"), "{error}");
    let config = SqliteLookupConfig { columns: Some(vec!["seat".into()]), ..database.table("planes") };
    let error = open(&config, &["tailnum"]).unwrap_err();
    assert!(error.to_string().contains("did you mean \"seats\"?"), "{error}");
    assert!(open(&database.table("planes"), &[]).unwrap_err().to_string().contains("no key"));
}

#[test]
fn keys_that_cannot_be_asked_for_are_errors() {
    let database = Database::planes();
    let mut lookup = open(&database.table("planes"), &["tailnum"]).unwrap();
    let error = lookup.lookup(&[vec![json!(["N1"])]]).unwrap_err();
    assert_eq!(error.place().field.as_deref(), Some("tailnum"));
    assert!(error.to_string().contains("cannot be a key"));
    let error = lookup.lookup(&[vec![json!("N1"), json!(1)]]).unwrap_err();
    assert!(error.to_string().contains("2 values for the columns \"tailnum\""), "{error}");
}

#[test]
fn values_that_json_does_not_have_are_errors_that_name_the_column() {
    let database =
        Database::new("create table t (k, v); insert into t values (1, x'00ff'), (2, 9e999), (3, cast(x'ff' as text))");
    let mut lookup = open(&database.table("t"), &["k"]).unwrap();
    for (key, expected) in [(1, "a blob"), (2, "infinite"), (3, "not valid UTF-8")] {
        let error = lookup.lookup(&[vec![json!(key)]]).unwrap_err();
        assert_eq!(error.place().field.as_deref(), Some("v"));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_table_without_an_index_is_noticed() {
    let database = Database::planes();
    let whole = |key| open(&database.table("planes"), &[key]).unwrap().reads_whole_table().unwrap();
    assert!(whole("seats"));
    assert!(!whole("tailnum"));
}

#[test]
fn a_missing_database_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    let error = open(&SqliteLookupConfig::table(&path, "t"), &["k"]).unwrap_err();
    assert_eq!((error.kind(), error.place().file.as_deref()), (ErrorKind::NotFound, Some(path.as_path())));
    assert!(!path.exists());
    let error = open(&SqliteLookupConfig::table(folder.path(), "t"), &["k"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "a folder: {error}");
}

#[test]
fn the_database_is_opened_for_reading_only() {
    let database = Database::planes();
    let lookup = open(&database.table("planes"), &["tailnum"]).unwrap();
    let error = lookup.connection.execute("delete from planes", []).unwrap_err();
    assert_eq!(sqlite_error("x", error).kind(), ErrorKind::Permission);
}

#[test]
fn a_locked_database_is_busy_and_answers_again_when_it_is_free() {
    let database = Database::planes();
    let mut lookup = open(&database.table("planes"), &["tailnum"]).unwrap();
    database.connection.execute_batch("begin exclusive").unwrap();

    for keys in [vec![vec![json!("N1")]], vec![vec![json!("N1")], vec![json!("N2")]]] {
        let error = lookup.lookup(&keys).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.is_retryable());
        assert!(error.to_string().contains("raise `busy_timeout`"), "{error}");
    }
    let error = open(&database.table("planes"), &["tailnum"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);

    database.connection.execute_batch("commit").unwrap();
    assert!(answers(&mut lookup, json!([["N1"], ["N2"]])).iter().all(Value::is_object));
}

#[test]
fn a_lookup_waits_for_a_lock_that_is_given_back_in_time() {
    let database = Database::planes();
    let config = SqliteLookupConfig { busy_timeout: Duration::from_secs(60), ..database.table("planes") };
    let mut lookup = open(&config, &["tailnum"]).unwrap();
    database.connection.execute_batch("begin exclusive; update planes set seats = 150 where tailnum = 'N1'").unwrap();
    let waiting = std::thread::spawn(move || answers(&mut lookup, json!([["N1"]])));
    database.connection.execute_batch("commit").unwrap();
    assert_eq!(waiting.join().unwrap()[0]["seats"], 150);
}

#[test]
fn a_lookup_leaves_no_lock_behind() {
    let database = Database::planes();
    let mut lookup = open(&database.table("planes"), &["tailnum"]).unwrap();
    answers(&mut lookup, json!([["N1"], ["N2"]]));
    lookup.lookup(&[vec![json!("N1")], vec![json!([])]]).unwrap_err();
    answers(&mut lookup, json!([["N1"]]));
    database.connection.busy_timeout(Duration::ZERO).unwrap();
    database.connection.execute_batch("begin exclusive; commit").unwrap();
}

#[test]
fn changes_are_seen_by_the_next_lookup() {
    let database = Database::planes();
    let mut lookup = open(&database.table("planes"), &["tailnum"]).unwrap();
    assert_eq!(answers(&mut lookup, json!([["N3"]])), [json!(null)]);
    database.connection.execute_batch("insert into planes values ('N3', 1, 2)").unwrap();
    assert!(answers(&mut lookup, json!([["N3"]]))[0].is_object());
    database.connection.execute_batch("drop table planes").unwrap();
    let error = lookup.lookup(&[vec![json!("N3")]]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Query);
    assert!(error.to_string().contains("no such table: planes"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    fs::write(&path, "tailnum,seats\nN1,149\n".repeat(100)).unwrap();
    let error = open(&SqliteLookupConfig::table(&path, "planes"), &["tailnum"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("file is not a database"), "{error}");
    assert!(!error.is_retryable());
}

#[test]
fn a_damaged_database_is_corrupt() {
    let database = Database::planes();
    let path = database.path();
    let mut lookup = open(&database.table("planes"), &["tailnum"]).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a); // every page but the first, which holds the schema
    fs::write(&path, bytes).unwrap();
    for error in [
        lookup.lookup(&[vec![json!("N1")]]).unwrap_err(),
        open(&database.table("planes"), &["tailnum"]).unwrap().lookup(&[vec![json!("N1")]]).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("malformed") && error.to_string().contains("restore it"), "{error}");
    }
}

#[test]
fn a_lookup_can_move_to_another_thread() {
    fn send<T: Send>() {}
    send::<SqliteLookup>();
}
