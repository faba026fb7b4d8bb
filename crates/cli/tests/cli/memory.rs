//! Look-ups in memory.

use serde_json::json;

use crate::workspace::Workspace;

const PIPELINE: &str = "\
source: { file: { path: in.jsonl } }
enrich:
  airport:
    memory: { file: { path: data/airports.csv, columns: { feet: int } }, columns: [city, feet] }
    key: { code: .origin }
  zone:
    memory: { rows: [{ city: Newark, zone: EST }] }
    key: { city: .airport.city }
sink: stdout
";

#[test]
fn rows_of_a_file_and_of_the_pipeline_are_found() {
    let workspace = Workspace::with(PIPELINE);
    workspace.write("data/airports.csv", "code,city,feet,more\nEWR,Newark,18,x\nJFK,New York,13,y\n");
    workspace.write("in.jsonl", ["EWR", "ZZZ", "JFK"].map(|code| format!("{{\"origin\":\"{code}\"}}\n")).concat());
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = [
        json!({"origin": "EWR", "airport": {"city": "Newark", "feet": 18}, "zone": {"city": "Newark", "zone": "EST"}}),
        json!({"origin": "ZZZ", "airport": null, "zone": null}),
        json!({"origin": "JFK", "airport": {"city": "New York", "feet": 13}, "zone": null}),
    ];
    assert_eq!(ran.records(), expected);
    let shown = workspace.run(&["explain", "p.yaml"]).stdout;
    assert!(shown.contains("memory data/airports.csv, rows, code = .origin"), "{shown}");
    workspace.write("q.yaml", &shown);
    assert_eq!(workspace.run(&["run", "q.yaml"]).records(), expected);
}

#[test]
fn a_file_that_does_not_fit_fails_the_run_at_once() {
    let workspace = Workspace::with(&PIPELINE.replace("{ code: .origin }", "{ cod: .origin }"));
    workspace.write("in.jsonl", "{\"origin\":\"EWR\"}\n");
    let ran = workspace.run(&["run", "p.yaml"]);
    assert!(ran.code == 1 && ran.stderr.contains("data/airports.csv: cannot open"), "{ran:?}");
    workspace.write("data/airports.csv", "code,city,feet\nEWR,Newark,18\n");
    let ran = workspace.run(&["run", "p.yaml"]);
    assert!(ran.code == 1 && ran.stderr.contains("no row has a field \"cod\" (did you mean \"code\"?)"), "{ran:?}");
}
