//! The main job: the command of the README, end to end, on real data.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::step::{Outcome, call};
use crate::workspace::{cargo, root};

const PIPELINE: &str = "examples/flights/pipeline.yaml";
const ENRICHED: &str = "examples/flights/enriched.jsonl";
/// Flights that left New York in January 2013.
const FLIGHTS: usize = 27_004;
/// What is looked up for each of them.
const LOOK_UPS: [&str; 4] = ["plane", "destination", "airline", "weather"];

/// Runs it and counts what it wrote.
pub(crate) fn run() -> Outcome {
    let enriched = root().join(ENRICHED);
    if enriched.exists() {
        fs::remove_file(&enriched).map_err(|error| format!("{ENRICHED}: {error}"))?;
    }
    call(cargo().args(["run", "--release", "--", "run", PIPELINE]))?;
    Ok(examine(&read(&enriched)?)?)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn examine(text: &str) -> Result<(), String> {
    let mut found = [0; LOOK_UPS.len()];
    let mut flights = 0;
    for (index, line) in text.lines().enumerate() {
        let flight: Value = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))?;
        for (look_up, found) in LOOK_UPS.iter().zip(&mut found) {
            match flight.get(look_up) {
                None => return Err(format!("line {}: .{look_up} is absent", index + 1)),
                Some(Value::Null) => {}
                Some(_) => *found += 1,
            }
        }
        flights += 1;
    }
    println!("{flights} flights; found for {LOOK_UPS:?}: {found:?}");
    if flights != FLIGHTS {
        return Err(format!("{flights} flights were written, {FLIGHTS} expected"));
    }
    // Every flight has an airline; some tail numbers are NA, some airports and hours of weather are in no table.
    let [plane, destination, airline, weather] = found;
    if airline != FLIGHTS || [plane, destination, weather].iter().any(|found| *found == 0 || *found == FLIGHTS) {
        return Err(format!("found {found:?} of {FLIGHTS}: all airlines and most of the others are expected"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_or_broken_output_is_refused() {
        let flight = r#"{"plane":null,"destination":{},"airline":{},"weather":{}}"#;
        assert_eq!(examine(flight), Err(format!("1 flights were written, {FLIGHTS} expected")));
        assert_eq!(examine(r#"{"plane":null}"#), Err("line 1: .destination is absent".to_owned()));
        assert!(examine("{}\n{").is_err());
    }

    #[test]
    fn what_was_never_found_or_never_missing_is_refused() {
        let all = r#"{"plane":{},"destination":{},"airline":{},"weather":{}}"#;
        let none = r#"{"plane":null,"destination":null,"airline":{},"weather":null}"#;
        let flights = |missing: usize| [vec![none; missing], vec![all; FLIGHTS - missing]].concat().join("\n");
        assert_eq!(examine(&flights(1)), Ok(()));
        assert!(examine(&flights(0)).is_err());
        assert!(examine(&flights(FLIGHTS)).is_err());
    }
}
