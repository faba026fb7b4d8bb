//! The example data: what is in it, counted by other means, is what the connectors find.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)] // clippy knows test functions, but not the functions they call

use std::path::{Path, PathBuf};

use inflight_connectors::file::{ColumnType, FileSource, FileSourceConfig};
use inflight_connectors::sqlite::{SqliteLoadConfig, SqliteLookup, SqliteLookupConfig, SqliteTableConfig, load};
use inflight_connectors::{FieldPath, Key, Record, Source};
use serde_json::{Value, json};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights").join(name)
}

fn flights() -> Vec<Record> {
    let columns = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "hour"];
    let config = FileSourceConfig {
        null: vec!["NA".to_owned()],
        columns: columns.map(|name| (name.to_owned(), ColumnType::Int)).into(),
        ..FileSourceConfig::new(data("flights-2013-01.csv.gz"))
    };
    let mut source = FileSource::open(&config).unwrap();
    let mut flights = Vec::new();
    while source.read_batch(1000, &mut flights).unwrap() > 0 {}
    flights
}

fn tables() -> SqliteLoadConfig {
    let table = |csv: &str, key: &[&str]| SqliteTableConfig {
        null: vec!["NA".to_owned()],
        ..SqliteTableConfig::new(data(csv), key.iter().copied())
    };
    SqliteLoadConfig {
        tables: [
            ("airlines".to_owned(), table("airlines.csv", &["carrier"])),
            ("airports".to_owned(), table("airports.csv.gz", &["faa"])),
            ("planes".to_owned(), table("planes.csv.gz", &["tailnum"])),
            ("weather".to_owned(), table("weather.csv.gz", &["origin", "time_hour"])),
        ]
        .into(),
    }
}

/// How many of the flights have an answer, and how many no key to ask with.
fn count(flights: &[Record], mut lookup: SqliteLookup, key: &[&str]) -> (usize, usize) {
    let paths: Vec<FieldPath> = key.iter().map(|path| path.parse().unwrap()).collect();
    let value = |flight, path: &FieldPath| path.find(flight).cloned().unwrap_or_default();
    let keys: Vec<Key> = flights.iter().map(|flight| paths.iter().map(|path| value(flight, path)).collect()).collect();
    let found = keys.chunks(100).flat_map(|keys| lookup.lookup(keys).unwrap()).flatten().count();
    (found, keys.iter().filter(|key| key.contains(&Value::Null)).count())
}

#[test]
fn each_lookup_finds_what_is_there_and_misses_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("flights.db");
    let report = load(&database, &tables()).unwrap();
    let rows: Vec<_> =
        report.tables.iter().map(|table| (table.name.as_str(), table.rows, table.duplicate_keys)).collect();
    assert_eq!(rows, [("airlines", 16, 0), ("airports", 1458, 0), ("planes", 3322, 0), ("weather", 26115, 0)]);

    let flights = flights();
    assert_eq!(flights.len(), 27_004);
    let first = json!({"dep_time": 517, "tailnum": "N14228", "time_hour": "2013-01-01T10:00:00Z"});
    assert!(first.as_object().unwrap().iter().all(|(name, value)| flights[0][name] == *value));
    assert_eq!(flights.iter().filter(|flight| flight["dep_time"].is_null()).count(), 521);

    for (table, columns, key, expected) in [
        ("planes", &["tailnum"][..], &[".tailnum"][..], (22_525, 155)),
        ("airports", &["faa"], &[".dest"], (26_324, 0)),
        ("airlines", &["carrier"], &[".carrier"], (27_004, 0)),
        ("weather", &["origin", "time_hour"], &[".origin", ".time_hour"], (26_952, 0)),
    ] {
        let columns: Vec<_> = columns.iter().map(|name| (*name).to_owned()).collect();
        let lookup = SqliteLookup::open(&SqliteLookupConfig::table(&database, table), &columns).unwrap();
        assert!(!lookup.reads_whole_table().unwrap(), "{table}");
        assert_eq!(count(&flights, lookup, key), expected, "{table}");
    }
}
