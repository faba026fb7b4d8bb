//! What must fit between a checkpoint and the pipeline that goes on from it.
//!
//! A checkpoint keeps the [`Shape`] of the pipeline that wrote it: what its source is, what its steps ask for, where its output goes. What
//! decides only how fast or how patiently that is done may change between runs: limits, timeouts, retries, batches, caches, workers, processes,
//! what becomes of records without an answer, and where a database lies.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::args::Accept;
use crate::explain::normal;
use crate::pipeline::Pipeline;

/// The parts of a pipeline that what is in a checkpoint depends on. Values that came from variables are not in it: one that is exchanged
/// for another is not noticed.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Name and content, in the order of the file.
    steps: Map<String, Value>,
    source: Value,
    sinks: Value,
}

/// What of a step a record in flight depends on: what it is asked, and in which order records leave.
const OF_STEP: [&str; 2] = ["key", "order"];
/// What of a system the answer depends on.
const OF_SYSTEM: [&str; 4] = ["table", "columns", "query", "rows"];
/// What of a source no position depends on.
const OF_ANY_SOURCE: [&str; 8] =
    ["max_line_bytes", "commit_every", "on_malformed", "brokers", "properties", "url", "ack_wait", "max_ack_pending"];
/// Keys of a step that are its own; the others are systems.
const NO_SYSTEM: [&str; 16] = [
    "key",
    "order",
    "capacity",
    "concurrency",
    "timeout",
    "deadline",
    "retries",
    "batch",
    "single_flight",
    "cache",
    "hedge",
    "rate_limit",
    "breaker",
    "destination",
    "on_missing",
    "on_error",
];

impl Shape {
    /// That of a pipeline.
    ///
    /// # Errors
    /// When the pipeline cannot be written down, which none is known to cause.
    pub fn of(pipeline: &Pipeline) -> anyhow::Result<Self> {
        let mut normal = normal(pipeline)?;
        let mut source = normal["source"].take();
        if let Some(config) = source.as_object_mut().and_then(|source| source.values_mut().next()?.as_object_mut()) {
            for key in OF_ANY_SOURCE {
                config.shift_remove(key);
            }
        }
        let steps = normal["enrich"].as_object().into_iter().flatten();
        let steps = steps.map(|(name, step)| (name.clone(), step_shape(step))).collect();
        let mut sinks = Map::new();
        for name in ["sink", "dead_letter"] {
            sinks.extend(normal.get_mut(name).map(|sink| (name.to_owned(), sink.take())));
        }
        Ok(Self { steps, source, sinks: sinks.into() })
    }

    /// Reads the text that [`to_string`](ToString::to_string) has written.
    ///
    /// # Errors
    /// That it is no such text.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut shape: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut part = |name: &str| shape.shift_remove(name).ok_or_else(|| format!("it has no `{name}`"));
        let Value::Object(steps) = part("enrich")? else { return Err("its steps are no group".to_owned()) };
        Ok(Self { steps, source: part("source")?, sinks: part("sinks")? })
    }

    /// Whether the sink under this key of the file is the same there.
    pub fn has_same_sink(&self, other: &Self, name: &str) -> bool {
        self.sinks[name] == other.sinks[name]
    }

    /// What is different in a pipeline of that shape.
    pub fn changes(&self, to: &Self) -> Changes {
        let mut changes = Changes { enrich: step_changes(&self.steps, &to.steps), ..Changes::default() };
        differences("source", &self.source, &to.source, &mut changes.source);
        differences("", &self.sinks, &to.sinks, &mut changes.sink);
        changes
    }
}

impl fmt::Display for Shape {
    /// One line of JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        json!({ "enrich": self.steps, "source": self.source, "sinks": self.sinks }).fmt(f)
    }
}

fn step_shape(step: &Value) -> Value {
    let mut shape = Map::new();
    for (key, value) in step.as_object().into_iter().flatten() {
        if OF_STEP.contains(&key.as_str()) {
            shape.insert(key.clone(), value.clone());
        } else if let (false, Value::Object(system)) = (NO_SYSTEM.contains(&key.as_str()), value) {
            let asked = system.iter().filter(|(key, _)| OF_SYSTEM.contains(&key.as_str()));
            shape.insert(key.clone(), asked.map(|(key, value)| (key.clone(), value.clone())).collect());
        }
    }
    shape.into()
}

/// What is different between two pipelines, in words, each as `what: before -> now`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the steps.
    pub enrich: Vec<String>,
    /// In the source.
    pub source: Vec<String>,
    /// In the sinks.
    pub sink: Vec<String>,
}

impl Changes {
    /// Whether a run may go on, when these parts may differ.
    ///
    /// # Errors
    /// All differences that are not accepted, and the ways out.
    pub fn check(&self, accept: &[Accept]) -> Result<(), String> {
        let parts = [
            (Accept::Enrich, &self.enrich, ENRICH),
            (Accept::Source, &self.source, SOURCE),
            (Accept::Sink, &self.sink, SINK),
        ];
        let refused = parts.iter().filter(|(part, changes, _)| !changes.is_empty() && !accept.contains(part));
        let (mut changed, mut ways_out) = (String::new(), String::new());
        for (_, changes, way_out) in refused {
            changes.iter().for_each(|change| changed += &format!("\n  {change}"));
            ways_out += &format!("\n  {way_out}");
        }
        if changed.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the pipeline has changed since the checkpoint was written:{changed}\nways out:{ways_out}\n  {ANEW}"
        ))
    }
}

const ENRICH: &str = "--accept enrich  go on; records in flight go through all steps as they are now, with the fields \
                      that earlier steps gave them, which a step of the same name writes again";
const SOURCE: &str = "--accept source  go on behind what was read of each file of the same name; other files are read \
                      from their start";
const SINK: &str = "--accept sink    go on; the new output begins with what comes from now on, and the old one stays \
                    as it is";
const ANEW: &str = "--from-scratch   begin anew, with nothing of what was done";

fn step_changes(before: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let mut changes = Vec::new();
    let mut new: Vec<&String> = now.keys().filter(|name| !before.contains_key(*name)).collect();
    for (name, step) in before {
        match now.get(name) {
            Some(same) => differences(&format!("step `{name}`"), step, same, &mut changes),
            None => match new.iter().position(|new| now[*new] == *step) {
                Some(renamed) => changes.push(format!("step `{name}` is now called `{}`", new.remove(renamed))),
                None => changes.push(format!("step `{name}` is gone")),
            },
        }
    }
    changes.extend(new.into_iter().map(|name| format!("step `{name}` is new")));
    if changes.is_empty() && !before.keys().eq(now.keys()) {
        let listed = |steps: &Map<String, Value>| steps.keys().cloned().collect::<Vec<_>>().join(", ");
        changes.push(format!("the steps stand in another order: {} -> {}", listed(before), listed(now)));
    }
    changes
}

/// Each value that is not the same, with the keys that lead to it.
fn differences(place: &str, before: &Value, now: &Value, changes: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
            for key in keys {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                differences(&place, &before[key], &now[key], changes);
            }
        }
        _ if before == now => {}
        _ => changes.push(format!("{place}: {} -> {}", shown(before), shown(now))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;

    const BEFORE: &str = "\
source: { file: { path: in.csv } }
enrich:
  plane: { sqlite: { database: d.db, table: planes, columns: [seats] }, key: { tailnum: .tailnum } }
  maker: { sqlite: { database: d.db, table: makers }, key: { id: .plane.seats } }
sink: { file: { path: out.jsonl } }
";

    fn shape(text: &str) -> Shape {
        Shape::of(&Pipeline::check(file::parse("p.yaml", text).unwrap()).unwrap()).unwrap()
    }

    /// What is different when this is put in the place of that.
    fn changes(replace: &str, with: &str) -> Changes {
        assert!(BEFORE.contains(replace), "{replace}");
        let before = Shape::read(&shape(BEFORE).to_string()).unwrap();
        before.changes(&shape(&BEFORE.replacen(replace, with, 1)))
    }

    #[test]
    fn how_fast_and_how_patiently_may_change() {
        for (replace, with) in [
            ("{ tailnum: .tailnum }", "{ tailnum: .tailnum }, capacity: 7, concurrency: 2, batch: 1, retries: 0"),
            (
                "{ tailnum: .tailnum }",
                "{ tailnum: .tailnum }, timeout: 9s, deadline: 1m, on_missing: drop, on_error: keep",
            ),
            ("database: d.db", "database: e.db, busy_timeout: 3s"),
            ("in.csv", "in.csv, max_line_bytes: 100"),
            ("sink:", "workers: 4\ncheckpoint: { dir: c, every: 3s }\ncluster: { hosts: [a:1, b:1] }\nsink:"),
        ] {
            assert_eq!(changes(replace, with), Changes::default(), "{with}");
        }
    }

    #[test]
    fn what_the_records_in_flight_depend_on_may_not() {
        for (replace, with, expected) in [
            ("{ tailnum: .tailnum }", "{ tailnum: .tail }", "step `plane`.key.tailnum: .tailnum -> .tail"),
            ("{ tailnum: .tailnum }", "{ tailnum: .tailnum, y: .y }", "step `plane`.key.y: (none) -> .y"),
            ("{ tailnum: .tailnum }", "{ tailnum: .tailnum }, order: none", "step `plane`.order: input -> none"),
            ("table: planes", "table: jets", "step `plane`.sqlite.table: planes -> jets"),
            ("[seats]", "[seats, year]", "step `plane`.sqlite.columns: [\"seats\"] -> [\"seats\",\"year\"]"),
            ("  maker:", "  firm:", "step `maker` is now called `firm`"),
            (
                "  plane:",
                "  more: { sqlite: { database: d, table: t }, key: { a: .a } }\n  plane:",
                "step `more` is new",
            ),
        ] {
            let expected = Changes { enrich: vec![expected.to_owned()], ..Changes::default() };
            assert_eq!(changes(replace, with), expected, "{with}");
        }
        let maker = BEFORE.lines().nth(3).unwrap();
        assert_eq!(changes(&format!("{maker}\n"), "").enrich, ["step `maker` is gone"]);
        let plane = BEFORE.lines().nth(2).unwrap();
        let swapped = changes(&format!("{plane}\n{maker}"), &format!("{maker}\n{plane}"));
        assert_eq!(swapped.enrich, ["the steps stand in another order: plane, maker -> maker, plane"]);
    }

    #[test]
    fn sources_and_sinks_are_told_apart() {
        let source = changes("in.csv", "other.jsonl");
        assert_eq!(source.source, ["source.file.path: in.csv -> other.jsonl", "source.file.format: csv -> json_lines"]);
        assert_eq!((source.enrich.len(), source.sink.len()), (0, 0));
        assert_eq!(changes("out.jsonl", "new.jsonl").sink, ["sink.file.path: out.jsonl -> new.jsonl"]);
        let added = changes("sink:", "dead_letter: { file: { path: d.jsonl } }\nsink:").sink;
        assert!(added[0].starts_with("dead_letter: (none) -> {\"file\":"), "{added:?}");
    }

    #[test]
    fn what_is_not_accepted_is_refused_with_the_ways_out() {
        let changes = Changes { enrich: vec!["step `a` is new".into()], sink: vec!["b -> c".into()], source: vec![] };
        let refused = changes.check(&[Accept::Source]).unwrap_err();
        let lines: Vec<&str> = refused.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "the pipeline has changed since the checkpoint was written:",
                "  step `a` is new",
                "  b -> c",
                "ways out:"
            ]
        );
        assert_eq!(lines.len(), 7);
        for (line, flag) in lines[4..].iter().zip(["--accept enrich", "--accept sink", "--from-scratch"]) {
            assert!(line.starts_with(&format!("  {flag} ")), "{line}");
        }
        assert!(!changes.check(&[Accept::Enrich]).unwrap_err().contains("--accept enrich"));
        assert_eq!(changes.check(&[Accept::Enrich, Accept::Sink]), Ok(()));
        assert_eq!(Changes::default().check(&[]), Ok(()));
    }

    #[test]
    fn secrets_are_not_in_it() {
        struct Hunter;
        impl crate::variables::Variables for Hunter {
            fn environment(&self, _: &str) -> Option<String> {
                Some("hunter2".to_owned())
            }
            fn file(&self, _: &str) -> Result<String, String> {
                Err(String::new())
            }
        }
        let text = BEFORE.replace("table: planes", "table: '${env:T}'").replace("out.jsonl", "'${env:T}.jsonl'");
        let pipeline = Pipeline::check(file::parse_with("p.yaml", &text, &Hunter).unwrap()).unwrap();
        let shape = Shape::of(&pipeline).unwrap().to_string();
        assert!(!shape.contains("hunter") && shape.contains("\"table\":\"***\""), "{shape}");
    }

    #[test]
    fn what_is_no_shape_is_refused() {
        assert!(Shape::read("").is_err() && Shape::read("{}").is_err() && Shape::read("[1]").is_err());
    }
}
