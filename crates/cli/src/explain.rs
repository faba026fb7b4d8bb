//! A pipeline with nothing left out: every default filled in, secrets hidden, and the plan drawn above it.
//!
//! What is printed is a pipeline file again (the plan stands in comments), so it can be kept, compared and run, except
//! for the secrets.

use std::path::Path;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use serde_saphyr::{FlowMap, FlowSeq};

use crate::entries::Entries;
use crate::fault::listed;
use crate::file::{Hosts, STANDARD};
use crate::pipeline::{Breaker, Cache, Checkpoint, Lookup, Pipeline, Sink, Source, Step, WORKERS};
use crate::units::Period;
use crate::variables::{HIDDEN, Secrets};

/// The pipeline as normalised YAML below a drawing of its plan.
///
/// # Errors
/// When the YAML cannot be written, which no pipeline is known to cause.
pub fn explain(pipeline: &Pipeline) -> anyhow::Result<String> {
    let normal = normal(pipeline)?;
    let yaml = serde_saphyr::to_string(&Block(&normal))?;
    let plan: Vec<String> =
        plan(pipeline, &normal).iter().map(|line| format!("# {line}").trim_end().to_owned()).collect();
    Ok(format!("{}\n\n{yaml}", plan.join("\n")))
}

/// The pipeline in the form of its file, with every default filled in and secrets hidden.
pub(crate) fn normal(pipeline: &Pipeline) -> anyhow::Result<Value> {
    let mut normal = normalised(pipeline)?;
    hide(&mut normal, &mut Vec::new(), &pipeline.secrets);
    Ok(normal)
}

fn normalised(pipeline: &Pipeline) -> anyhow::Result<Value> {
    let mut sections = Map::new();
    let mut add = |name: &str, value: Value| sections.insert(name.to_owned(), value);
    add("source", normalised_source(&pipeline.source, &pipeline.folder)?);
    if let Some(setup) = &pipeline.setup {
        let mut setup = setup.clone();
        setup.database = typed(&setup.database, &pipeline.folder).into();
        setup.tables.values_mut().for_each(|table| table.csv = typed(&table.csv, &pipeline.folder).into());
        add("setup", json!({ "sqlite": without_nulls(serde_json::to_value(setup)?) }));
    }
    let mut steps = Map::new();
    for step in &pipeline.steps {
        steps.insert(step.name.clone(), normalised_step(step, &pipeline.folder)?);
    }
    add("enrich", Value::Object(steps));
    for (name, sink) in [("sink", Some(&pipeline.sink)), ("dead_letter", pipeline.dead_letter.as_ref())] {
        if let Some(sink) = sink {
            add(name, normalised_sink(sink, &pipeline.folder)?);
        }
    }
    if let Some(Checkpoint { dir, every, keep, replay }) = &pipeline.checkpoint {
        let dir = typed(dir, &pipeline.folder);
        add("checkpoint", json!({ "dir": dir, "every": Period(*every), "keep": keep, "replay": replay }));
    }
    add("workers", pipeline.workers.into());
    if let Some(cluster) = &pipeline.cluster {
        let hosts = match &cluster.hosts {
            Hosts::File(path) => typed(path, &pipeline.folder).into(),
            Hosts::List(list) => json!(list),
        };
        let (connect_within, silent_after) = (Period(cluster.connect_within), Period(cluster.silent_after));
        add(
            "cluster",
            without_nulls(json!({
                "hosts": hosts,
                "process": cluster.process,
                "connect_within": connect_within,
                "silent_after": silent_after,
            })),
        );
    }
    Ok(Value::Object(sections))
}

fn normalised_source(source: &Source, folder: &Path) -> anyhow::Result<Value> {
    Ok(match source.clone() {
        Source::File(mut config) => {
            (config.format, config.compression) = (Some(config.format()?), Some(config.compression()));
            end(serde_json::to_value(config)?, "stdin", folder)
        }
        Source::Nats(config) => json!({ "nats": without_nulls(serde_json::to_value(config)?) }),
        #[cfg(feature = "kafka")]
        Source::Kafka(mut config) => {
            config.server.paths_mut().for_each(|path| *path = typed(path, folder).into());
            let mut config = kafka(config)?;
            if let Some(config) = config.as_object_mut() {
                config.retain(|key, value| key != "topic" || *value != "");
            }
            json!({ "kafka": config })
        }
    })
}

fn normalised_sink(sink: &Sink, folder: &Path) -> anyhow::Result<Value> {
    Ok(match sink.clone() {
        Sink::File(mut config) => {
            (config.format, config.compression) = (Some(config.format()?), Some(config.compression()));
            end(serde_json::to_value(config)?, "stdout", folder)
        }
        Sink::Sqlite(mut config) => {
            config.database = typed(&config.database, folder).into();
            json!({ "sqlite": without_nulls(serde_json::to_value(config)?) })
        }
        Sink::Postgres(mut config) => {
            if let Some(path) = &mut config.server.sslrootcert {
                *path = typed(path, folder).into();
            }
            json!({ "postgres": without_nulls(serde_json::to_value(config)?) })
        }
        Sink::Nats(config) => json!({ "nats": without_nulls(serde_json::to_value(config)?) }),
        #[cfg(feature = "kafka")]
        Sink::Kafka(mut config) => {
            config.server.paths_mut().for_each(|path| *path = typed(path, folder).into());
            json!({ "kafka": kafka(config)? })
        }
    })
}

/// `tls: {}` says something, though it is empty.
#[cfg(feature = "kafka")]
fn kafka(config: impl Serialize) -> anyhow::Result<Value> {
    let full = serde_json::to_value(config)?;
    let is_encrypted = full["tls"].is_object();
    let mut config = without_nulls(full);
    if let (true, Value::Object(config)) = (is_encrypted, &mut config) {
        config.entry("tls").or_insert_with(|| json!({}));
    }
    Ok(config)
}

fn normalised_step(step: &Step, folder: &Path) -> anyhow::Result<Value> {
    let mut lookup = step.lookup.clone();
    for path in lookup.paths_mut() {
        *path = typed(path, folder).into();
    }
    let system = lookup.configuration()?;
    let policies = &step.policies;
    let (most, budget) = (step.concurrency, policies.system.budget);
    let concurrency = match step.concurrency_from {
        Some(min) => json!({ "min": min, "max": most }),
        None => json!(most),
    };
    let mut normal = json!({
        step.lookup.system(): without_nulls(system),
        "key": Entries(step.key.clone()),
        "order": step.order,
        "capacity": step.capacity,
        "concurrency": concurrency,
        "timeout": Period(step.timeout),
        "deadline": Period(step.deadline),
        "retries": { "max": step.retries, "backoff": step.backoff, "on": step.retry_on, "budget": budget },
        "batch": { "size": step.batch_size, "linger": Period(step.batch_linger) },
        "single_flight": policies.single_flight,
        "cache": policies.cache.as_ref().map(Cache::normal),
        "hedge": policies.normal_hedge(),
        "rate_limit": policies.normal_rate(),
        "breaker": policies.system.breaker.as_ref().map(Breaker::normal),
        "destination": policies.system.name,
        "on_missing": step.on_missing,
        "on_error": step.on_error,
    });
    if let Some(keys) = normal.as_object_mut() {
        keys.retain(|_, value| !value.is_null());
    }
    Ok(normal)
}

/// A source or sink: standard input and output have a name of their own, and no path.
fn end(config: Value, standard: &str, folder: &Path) -> Value {
    let mut config = without_nulls(config);
    if config["path"] != STANDARD {
        let as_typed = |path: &mut Value| *path = typed(Path::new(path.as_str().unwrap_or_default()), folder).into();
        match config.get_mut("paths").and_then(Value::as_array_mut) {
            Some(paths) => paths.iter_mut().for_each(as_typed),
            None => as_typed(&mut config["path"]),
        }
        if let Some(config) = config.as_object_mut() {
            config.retain(|key, value| key != "path" || *value != "");
        }
        return json!({ "file": config });
    }
    if let Some(config) = config.as_object_mut() {
        config.shift_remove("path");
    }
    json!({ standard: config })
}

/// The path as it stands in the file.
fn typed(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// Without the keys that say nothing: null, and empty lists and groups.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(group) = &mut value {
        group.retain(|_, value| !matches!(value, Value::Null));
        group.values_mut().for_each(|value| *value = without_nulls(value.take()));
        group.retain(|_, value| *value != json!({}) && *value != json!([]));
    }
    value
}

fn hide(value: &mut Value, path: &mut Vec<String>, secrets: &Secrets) {
    if secrets.covers(path) {
        *value = HIDDEN.into();
        return;
    }
    let mut under = |key: String, value: &mut Value| {
        path.push(key);
        hide(value, path, secrets);
        path.pop();
    };
    match value {
        Value::Object(group) => group.iter_mut().for_each(|(key, value)| under(key.clone(), value)),
        Value::Array(list) => list.iter_mut().enumerate().for_each(|(index, value)| under(index.to_string(), value)),
        _ => {}
    }
}

/// Groups and lists that fit in a line, written in one.
struct Block<'a>(&'a Value);

/// Most characters that are written in one line.
const LINE_CHARS_MAX: usize = 80;

impl Serialize for Block<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fits = self.0.to_string().len() <= LINE_CHARS_MAX;
        match self.0 {
            Value::Object(group) if fits && !group.values().any(Value::is_object) => {
                FlowMap(group).serialize(serializer)
            }
            Value::Object(group) => serializer.collect_map(group.iter().map(|(key, value)| (key, Block(value)))),
            Value::Array(list) => FlowSeq(list).serialize(serializer),
            leaf => leaf.serialize(serializer),
        }
    }
}

/// The way of a record from top to bottom; steps of one stage run at the same time.
///
/// Drawn from the normalised form, in which no secret is left.
fn plan(pipeline: &Pipeline, normal: &Value) -> Vec<String> {
    let width = pipeline.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or_default();
    let mut lines = Vec::new();
    if let Some(tables) = normal["setup"]["sqlite"]["tables"].as_object() {
        let database = normal["setup"]["sqlite"]["database"].as_str().unwrap_or_default();
        let tables: Vec<&str> = tables.keys().map(String::as_str).collect();
        lines.push(format!("setup     sqlite {database}, built when it is missing: {}", listed(&tables)));
    }
    lines.push(format!("source    {}", end_in_words(&normal["source"])));
    for (number, stage) in pipeline.stages.iter().enumerate() {
        lines.push("  |".to_owned());
        for (index, step) in stage.iter().filter_map(|step| pipeline.steps.get(*step)).enumerate() {
            let title = if index == 0 { format!("stage {}", number + 1) } else { "  |".to_owned() };
            let words = step_in_words(&normal["enrich"][&step.name]);
            lines.push(format!("{title:<8}  {:<width$}  {words}", step.name));
        }
    }
    lines.push("  |".to_owned());
    let promised = |sink: &Sink| pipeline.guarantee(sink).map_or_else(String::new, |promised| format!("; {promised}"));
    lines.push(format!("sink      {}{}", end_in_words(&normal["sink"]), promised(&pipeline.sink)));
    if let (Some(dead_letter), Some(config)) = (normal.get("dead_letter"), &pipeline.dead_letter) {
        lines.push(format!("dead      {}{}", end_in_words(dead_letter), promised(config)));
    }
    lines.extend(who_runs_it(pipeline, normal));
    lines
}

/// Threads, processes and recovery, where they are other than one, one and none.
fn who_runs_it(pipeline: &Pipeline, normal: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let workers = (pipeline.workers > WORKERS).then(|| format!("{} workers", text(&normal["workers"])));
    let processes = pipeline.cluster.as_ref().map(|_| match &normal["cluster"]["hosts"] {
        Value::Array(list) => format!("{} processes", list.len()),
        path => format!("processes on the hosts in {}", text(path)),
    });
    match (workers, processes) {
        (None, None) => {}
        (Some(workers), None) => lines.push(format!("run by    {workers}; what a step may hold and call, each may")),
        (None, Some(processes)) => {
            lines.push(format!("run by    {processes}; what a step may hold and call, each may; process 0 writes"));
        }
        (Some(workers), Some(processes)) => lines.push(format!(
            "run by    {workers} in each of {processes}; what a step may hold and call, each worker may; process 0 writes"
        )),
    }
    if pipeline.checkpoint.is_some() {
        let checkpoint = &normal["checkpoint"];
        let [dir, every, keep] = ["dir", "every", "keep"].map(|key| text(&checkpoint[key]));
        lines.push(format!("recovery  a checkpoint every {every} in {dir}, the last {keep} kept"));
    }
    lines
}

fn end_in_words(end: &Value) -> String {
    let Some((kind, config)) = end.as_object().and_then(|end| end.iter().next()) else { return String::new() };
    let several = [&config["paths"], &config["topics"]].into_iter().filter_map(Value::as_array).flatten();
    let several: Vec<&str> = several.filter_map(Value::as_str).collect();
    let words =
        ["brokers", "topic", "stream", "subject", "path", "url", "host", "database", "dbname", "format", "compression"];
    let words = words.map(|word| config[word].as_str().unwrap_or_default());
    let words = several.into_iter().chain(words).filter(|word| !word.is_empty() && *word != "none");
    let table = config["table"].as_str().map(|table| format!("table {table}"));
    let group = ["group", "consumer"].into_iter().find_map(|key| Some(format!("{key} {}", config[key].as_str()?)));
    let words: Vec<String> = words.map(str::to_owned).chain(table).chain(group).collect();
    format!("{kind} {}", words.join(", "))
}

fn step_in_words(step: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let keys = step["key"].as_object().into_iter().flatten();
    let keys: Vec<String> = keys.map(|(column, path)| format!("{column} = {}", text(path))).collect();
    let kind = Lookup::SYSTEMS.into_iter().find(|kind| step.get(kind).is_some()).unwrap_or_default();
    let system = &step[kind];
    let place = ["database", "url", "host", "file"].iter().find_map(|key| system.get(key));
    let place = place.map(|place| text(place.get("path").unwrap_or(place))).unwrap_or_default();
    let asked =
        ["table", "get", "hash", "method"].iter().find_map(|key| Some(format!("{key} {}", text(system.get(key)?))));
    let asked = asked.unwrap_or_else(|| if kind == "memory" { "rows" } else { "query" }.to_owned());
    let calls = match (&step["concurrency"]["min"], &step["concurrency"]["max"]) {
        (Value::Null, _) => text(&step["concurrency"]),
        (min, max) => format!("{} to {}", text(min), text(max)),
    };
    format!(
        "{kind} {place}, {asked}, {}; {} order, {} calls at once, up to {} records in each, {} held",
        keys.join(" and "),
        text(&step["order"]),
        calls,
        text(&step["batch"]["size"]),
        text(&step["capacity"]),
    )
}
