//! The main job: the flights of January, from the example's own file and data.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::workspace::{Ran, Workspace, json_lines};

const FLIGHTS: usize = 27_004;

/// A folder with a copy of the example.
fn example() -> Workspace {
    let workspace = Workspace::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights");
    for name in [
        "pipeline.yaml",
        "flights-2013-01.csv.gz",
        "planes.csv.gz",
        "airports.csv.gz",
        "airlines.csv",
        "weather.csv.gz",
    ] {
        fs::copy(folder.join(name), workspace.path().join(name)).unwrap();
    }
    workspace
}

/// The rows of the source, taken apart by hand: no field of it is quoted.
fn source(workspace: &Workspace) -> Vec<HashMap<String, String>> {
    let mut text = String::new();
    let file = fs::File::open(workspace.path().join("flights-2013-01.csv.gz")).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut lines = text.lines().map(|line| line.split(','));
    let header: Vec<&str> = lines.next().unwrap().collect();
    lines.map(|row| header.iter().map(ToString::to_string).zip(row.map(str::to_owned)).collect()).collect()
}

fn is_found(flight: &Value, lookup: &str) -> bool {
    match &flight[lookup] {
        Value::Object(_) => true,
        Value::Null => false,
        other => panic!("{other}"),
    }
}

fn summary_is_right(ran: &Ran) {
    assert!(ran.stderr.contains("27,004 records in, 27,004 out in "), "{ran:?}");
    assert_eq!(ran.row("plane")[..6], ["plane", "22,525", "4,479", "0", "0", "0"]);
    assert_eq!(ran.row("destination")[..6], ["destination", "26,324", "680", "0", "0", "0"]);
    assert_eq!(ran.row("airline")[..6], ["airline", "27,004", "0", "0", "0", "0"]);
    assert_eq!(ran.row("weather")[..6], ["weather", "26,952", "52", "0", "0", "0"]);
}

#[test]
fn all_flights_are_enriched_in_order_with_one_command() {
    let workspace = example();
    let ran = workspace.run(&["run", "pipeline.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("built flights.db\n  airlines: 16 rows\n  airports: 1,458 rows\n"), "{ran:?}");
    summary_is_right(&ran);
    // Progress is for terminals.
    assert!(!ran.stderr.contains("in flight") && !ran.stderr.contains('\r'), "{ran:?}");
    assert!(!workspace.has("enriched.jsonl.partial"));

    let output = workspace.read("enriched.jsonl");
    let flights = json_lines(&output);
    assert_eq!(flights.len(), FLIGHTS);
    for (place, (flight, row)) in flights.iter().zip(source(&workspace)).enumerate() {
        for text in ["carrier", "tailnum", "origin", "dest", "time_hour"] {
            let expected = if row[text] == "NA" { Value::Null } else { json!(row[text]) };
            assert_eq!(flight[text], expected, "{text} of record {place}");
        }
        for number in ["day", "flight", "dep_time", "arr_delay"] {
            let expected = row[number].parse::<i64>().map_or(Value::Null, Value::from);
            assert_eq!(flight[number], expected, "{number} of record {place}");
        }
    }
    let lookups = ["plane", "destination", "airline", "weather"];
    let found = |lookup: &str| flights.iter().filter(|flight| is_found(flight, lookup)).count();
    assert_eq!(lookups.map(found), [22_525, 26_324, 27_004, 26_952]);
    assert_eq!(flights.iter().filter(|flight| lookups.iter().all(|lookup| is_found(flight, lookup))).count(), 21_948);
    assert_eq!(flights.iter().filter(|flight| flight["tailnum"].is_null()).count(), 155);
    // The first one, whole: results stand behind the flight, in the order of the file.
    let first = &flights[0];
    assert_eq!(
        (&first["carrier"], &first["flight"], &first["plane"]["seats"]),
        (&json!("UA"), &json!(1545), &json!(149))
    );
    assert_eq!(first["airline"], json!({ "name": "United Air Lines Inc." }));
    let names: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names[names.len() - 4..], lookups);

    // Once more: nothing is built, and the first hundred are those of the whole run.
    let built = fs::metadata(workspace.path().join("flights.db")).unwrap().modified().unwrap();
    let ran = workspace.run(&["run", "pipeline.yaml", "--limit", "100", "--sink", "-"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.starts_with("100 records in, 100 out in "), "{ran:?}");
    let hundred: Vec<&str> = output.lines().take(100).collect();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), hundred);
    assert_eq!(fs::metadata(workspace.path().join("flights.db")).unwrap().modified().unwrap(), built);
    let ran = workspace.run(&["run", "pipeline.yaml", "--limit", "3", "--sink", "-", "--quiet"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), hundred[..3]);
}

#[test]
fn another_source_is_a_word_on_the_command_line() {
    let workspace = example();
    let mut text = String::new();
    let file = fs::File::open(workspace.path().join("flights-2013-01.csv.gz")).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let few: String = text.lines().take(6).map(|line| format!("{line}\n")).collect();
    workspace.write("elsewhere/few.csv", &few);
    let from_file =
        workspace.run(&["run", "pipeline.yaml", "-q", "--source", "elsewhere/few.csv", "--sink", "few.jsonl"]);
    assert_eq!((from_file.code, from_file.stderr.as_str()), (0, ""));
    assert_eq!(json_lines(&workspace.read("few.jsonl")).len(), 5);
    // Standard input has the format that the pipeline's own source has.
    let mut running =
        crate::running::Running::start(&workspace, &["run", "pipeline.yaml", "--source", "-", "--sink", "-"]);
    running.write(&few);
    running.close_stdin();
    let from_stdin = running.end();
    assert_eq!(from_stdin.code, 0, "{from_stdin:?}");
    assert_eq!(from_stdin.stdout, workspace.read("few.jsonl"));
}
