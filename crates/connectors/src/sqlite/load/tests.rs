use super::*;
use crate::sqlite::{SqliteLookup, SqliteLookupConfig};
use serde_json::json;
use std::path::PathBuf;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn planes(&self, csv: &str) -> SqliteLoadConfig {
        fs::write(self.path("planes.csv"), csv).unwrap();
        let table = SqliteTableConfig {
            null: vec!["NA".into()],
            columns: [
                ("year".into(), ColumnType::Int),
                ("speed".into(), ColumnType::Float),
                ("jet".into(), ColumnType::Bool),
            ]
            .into(),
            ..SqliteTableConfig::new(self.path("planes.csv"), ["tailnum"])
        };
        SqliteLoadConfig { tables: [("planes".into(), table)].into() }
    }
}

const PLANES: &str = "tailnum,year,speed,jet\n001,1999,NA,true\nNA,NA,12.5,NA\n001,2001,1e3,0\nNA,1,1,1\n";

#[test]
fn a_table_has_the_types_and_nulls_of_its_configuration() {
    let folder = Folder::new();
    let report = load(&folder.path("a.db"), &folder.planes(PLANES)).unwrap();
    let table = TableReport { name: "planes".into(), rows: 4, duplicate_keys: 1 };
    assert_eq!(report, LoadReport { built: true, tables: vec![table] });

    let connection = Connection::open(folder.path("a.db")).unwrap();
    let mut statement = connection.prepare("select tailnum, year, speed, jet from planes order by rowid").unwrap();
    let rows: Vec<[SqlValue; 4]> = statement
        .query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let text = |text: &str| SqlValue::Text(text.into());
    assert_eq!(rows[0], [text("001"), SqlValue::Integer(1999), SqlValue::Null, SqlValue::Integer(1)]);
    assert_eq!(rows[1], [SqlValue::Null, SqlValue::Null, SqlValue::Real(12.5), SqlValue::Null]);
    assert_eq!(rows[2], [text("001"), SqlValue::Integer(2001), SqlValue::Real(1000.0), SqlValue::Integer(0)]);
    assert_eq!(folder.names(), ["a.db", "planes.csv"]);
}

#[test]
fn what_is_loaded_can_be_looked_up_by_an_index() {
    let folder = Folder::new();
    load(&folder.path("a.db"), &folder.planes(PLANES)).unwrap();
    let config = SqliteLookupConfig::table(folder.path("a.db"), "planes");
    let mut lookup = SqliteLookup::open(&config, &["tailnum".into()]).unwrap();
    assert!(!lookup.reads_whole_table().unwrap());
    let answers = lookup.lookup(&[vec![json!("001")], vec![json!(1)], vec![json!("NA")]]).unwrap();
    assert_eq!(answers[0].as_ref().unwrap()["year"], 1999);
    assert_eq!(answers[1..], [None, None]);
}

#[test]
fn an_existing_database_is_left_alone_by_load_if_missing_and_replaced_by_load() {
    let folder = Folder::new();
    let (database, config) = (folder.path("a.db"), folder.planes(PLANES));
    assert!(load_if_missing(&database, &config).unwrap().built);
    let config = folder.planes("tailnum,year,speed,jet\n");
    assert_eq!(load_if_missing(&database, &config).unwrap(), LoadReport::default());
    assert_eq!(load(&database, &config).unwrap().tables[0].rows, 0);
}

#[test]
fn a_bad_value_is_an_error_with_its_line_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let config = folder.planes("tailnum,year,speed,jet\nN1,1999,1,1\nN2,soon,1,1\n");
    let error = load_if_missing(&folder.path("a.db"), &config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let place = error.place();
    assert_eq!((place.line, place.field.as_deref()), (Some(3), Some("year")));
    assert_eq!(place.file, Some(folder.path("planes.csv")));
    assert_eq!(folder.names(), ["planes.csv"]);
}

#[test]
fn a_failed_load_leaves_the_old_database() {
    let folder = Folder::new();
    load(&folder.path("a.db"), &folder.planes(PLANES)).unwrap();
    let before = fs::read(folder.path("a.db")).unwrap();
    load(&folder.path("a.db"), &folder.planes("tailnum,year,speed,jet\nbad\n")).unwrap_err();
    assert_eq!(fs::read(folder.path("a.db")).unwrap(), before);
}

#[test]
fn what_a_crash_left_is_no_obstacle() {
    let folder = Folder::new();
    fs::write(folder.path("a.db.partial"), "half a database").unwrap();
    fs::write(folder.path("a.db-journal"), "half a journal").unwrap();
    fs::write(folder.path("a.db-wal"), "half a log").unwrap();
    load_if_missing(&folder.path("a.db"), &folder.planes(PLANES)).unwrap();
    assert_eq!(folder.names(), ["a.db", "planes.csv"]);
}

#[test]
fn two_loads_at_once_do_not_mix() {
    let folder = Folder::new();
    let config = folder.planes(PLANES);
    let other = PartialFile::create(&folder.path("a.db")).unwrap();
    let error = load_if_missing(&folder.path("a.db"), &config).unwrap_err();
    assert!(error.is_retryable());
    assert!(error.to_string().contains("another process"), "{error}");
    drop(other);
    load_if_missing(&folder.path("a.db"), &config).unwrap();
}

#[test]
fn a_full_disk_is_an_error_of_its_own_kind() {
    let folder = Folder::new();
    let rows: String = (0..10_000).map(|n| format!("N{n},{n},1,1\n")).collect();
    let config = folder.planes(&format!("tailnum,year,speed,jet\n{rows}"));
    let mut connection = Connection::open(folder.path("a.db")).unwrap();
    connection.execute_batch("pragma max_page_count = 10").unwrap(); // SQLite then reports what a full disk reports
    let error = load_table(&mut connection, "planes", &config.tables["planes"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull);
    assert!(error.to_string().contains("make room"), "{error}");
}

#[test]
fn a_folder_that_does_not_exist_is_an_error_that_names_it() {
    let folder = Folder::new();
    let error = load(&folder.path("none/a.db"), &folder.planes(PLANES)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("none/a.db"), "{error}");
}

#[test]
fn a_csv_file_that_does_not_exist_is_an_error_that_names_it() {
    let folder = Folder::new();
    let config = folder.planes(PLANES);
    fs::remove_file(folder.path("planes.csv")).unwrap();
    let error = load(&folder.path("a.db"), &config).unwrap_err();
    assert_eq!((error.kind(), &error.place().file), (ErrorKind::NotFound, &Some(folder.path("planes.csv"))));
}

#[test]
fn a_key_that_is_not_in_the_header_is_refused_with_a_suggestion() {
    let folder = Folder::new();
    let mut config = folder.planes(PLANES);
    config.tables.get_mut("planes").unwrap().key = vec!["tail_num".into()];
    let error = load(&folder.path("a.db"), &config).unwrap_err();
    assert!(error.to_string().contains("did you mean \"tailnum\"?"), "{error}");
}

#[test]
fn columns_that_differ_only_in_case_are_refused_as_sqlite_does() {
    let folder = Folder::new();
    let mut config = folder.planes("a,A,tailnum\n");
    config.tables.get_mut("planes").unwrap().columns.clear();
    let error = load(&folder.path("a.db"), &config).unwrap_err();
    assert!(error.to_string().contains("duplicate column name"), "{error}");
}
