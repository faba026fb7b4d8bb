//! A dead letter: a record that a look-up gave up, with the whole story.
//!
//! Every letter has every field, so that all of them fit one table. `README.md` says what each of them means.

use std::collections::BTreeMap;
use std::time::Duration;

use inflight::{Cause, Clock};
use inflight_connectors::{Error, Malformed, Record};
use inflight_timely::checkpoint::rfc3339;
use serde_json::{Value, json};

use super::now::since_1970_now;
use super::past::Past;
use super::row::Row;
use crate::pipeline::Step;

/// The field that the thread fills in which knows the sources by name.
const SOURCE: &str = "source";

/// Earlier failures that a letter tells of, at most: the latest ones.
pub(super) const BEFORE_MAX: usize = 16;

/// What of a failure is kept when its record fails again.
const OF_A_FAILURE: [&str; 7] = ["read_at", "failed_at", "step", "failure", "error", "attempts", "elapsed_ms"];

/// Why a step gave a record up.
#[derive(Debug)]
pub(super) struct Why {
    /// What kind of failure: one word.
    pub(super) failure: String,
    /// In one sentence, without secrets.
    pub(super) error: String,
    pub(super) attempts: u32,
    pub(super) elapsed: Duration,
    /// Each of the attempts, as it is told.
    pub(super) each: Vec<Value>,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.attempts == 1 { "" } else { "s" };
        write!(f, "{} ({} attempt{plural}, {} ms)", self.error, self.attempts, self.elapsed.as_millis())
    }
}

/// The kind of a failure in one word: what ran out, or the kind of the error.
pub(super) fn failure(cause: &Cause<Error>) -> String {
    let word = match cause {
        Cause::Error(error) => {
            return kind(error);
        }
        Cause::TimedOut { clock: Clock::Attempt, .. } => "timeout",
        Cause::TimedOut { clock: Clock::Deadline, .. } => "deadline",
        Cause::TimedOut { clock: Clock::Drain, .. } => "drain",
        Cause::Unanswered => "unanswered",
        Cause::Panicked(_) => "panic",
        _ => "error",
    };
    word.to_owned()
}

/// The kind of an error in one word.
pub(super) fn kind(error: &Error) -> String {
    let kind = serde_json::to_value(error.kind()).ok();
    kind.as_ref().and_then(Value::as_str).unwrap_or("error").to_owned()
}

/// The letter of a record that now is `record`, with the results of the steps called `found` in it.
pub(super) fn letter(row: &Row, record: &Record, found: &[&str], step: &Step, why: Why) -> Record {
    let (original, results) = apart(record, found, row.past.as_deref());
    let key: BTreeMap<&str, &Value> =
        step.key.iter().map(|(column, path)| (column.as_str(), path.find(record).unwrap_or(&Value::Null))).collect();
    let earlier = row.past.as_ref().map(|past| &past.letter).filter(|letter| !letter.is_empty());
    let told = |name: &str| earlier.and_then(|letter| letter.get(name)).cloned();
    let counted = |name: &str| told(name).and_then(|count| count.as_u64()).unwrap_or_default();
    let fields = [
        (SOURCE, told(SOURCE).unwrap_or_default()),
        ("record_number", told("record_number").unwrap_or_else(|| json!(row.number))),
        (
            "source_offset",
            if earlier.is_some() { told("source_offset").unwrap_or_default() } else { json!(row.offset) },
        ),
        ("read_at", json!(rfc3339(Duration::from_millis(row.read_at)))),
        ("failed_at", json!(rfc3339(since_1970_now()))),
        ("step", json!(step.name)),
        ("key", json!(key)),
        ("failure", json!(why.failure)),
        ("error", json!(why.error)),
        ("attempts", json!(why.attempts)),
        ("elapsed_ms", json!(u64::try_from(why.elapsed.as_millis()).unwrap_or(u64::MAX))),
        ("each_attempt", Value::Array(why.each)),
        ("replays", json!(earlier.map_or(0, |_| counted("replays") + 1))),
        ("attempts_in_all", json!(counted("attempts_in_all") + u64::from(why.attempts))),
        ("before", earlier.map_or_else(Vec::new, before).into()),
        ("found", Value::Object(results)),
        ("record", Value::Object(original)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The failures that a letter of a replayed record tells of besides its own: those of the letter before, and that one.
fn before(letter: &Record) -> Vec<Value> {
    let own = OF_A_FAILURE.iter().map(|name| ((*name).to_owned(), letter.get(*name).cloned().unwrap_or_default()));
    let mut before = letter.get("before").and_then(Value::as_array).cloned().unwrap_or_default();
    before.push(Value::Object(own.collect()));
    before.drain(..before.len().saturating_sub(BEFORE_MAX));
    before
}

/// Why something is no dead letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoLetter {
    /// The field that gives it away.
    field: &'static str,
    problem: &'static str,
}

impl std::fmt::Display for NoLetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { field, problem } = self;
        write!(
            f,
            "this is no dead letter: its field `{field}` {problem}; replay takes what a pipeline wrote to `dead_letter`"
        )
    }
}

/// The record of a letter as it was read, and its story so far.
///
/// # Errors
/// Why it is no letter.
pub(super) fn open(mut letter: Record) -> Result<(Record, Past), NoLetter> {
    let no = |field, problem| NoLetter { field, problem };
    for field in ["step", "error"] {
        match letter.get(field) {
            Some(Value::String(_)) => {}
            Some(_) => return Err(no(field, "is no text")),
            None => return Err(no(field, "is not there")),
        }
    }
    let record = match letter.shift_remove("record").map(untyped) {
        Some(Value::Object(record)) => record,
        Some(_) => return Err(no("record", "is no record")),
        None => return Err(no("record", "is not there")),
    };
    for told_once in ["found", "each_attempt"] {
        letter.shift_remove(told_once);
    }
    for field in ["record_number", "source_offset", "attempts", "elapsed_ms", "replays", "attempts_in_all", "before"] {
        if let Some(value) = letter.get_mut(field) {
            *value = untyped(value.take());
        }
    }
    Ok((record, Past { replaced: Record::new(), letter }))
}

/// What CSV and some tables have as text.
fn untyped(value: Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    }
}

/// The letter of a message that is no record.
pub(super) fn malformed(number: u64, offset: u64, read_at: u64, malformed: Malformed) -> Record {
    let fields = [
        (SOURCE, Value::Null),
        ("record_number", json!(number)),
        ("source_offset", json!(offset)),
        ("read_at", json!(rfc3339(Duration::from_millis(read_at)))),
        ("failed_at", json!(rfc3339(since_1970_now()))),
        ("step", json!("source")),
        ("key", json!({})),
        ("failure", json!("malformed")),
        ("error", json!(malformed.error.to_string())),
        ("attempts", json!(0)),
        ("elapsed_ms", json!(0)),
        ("each_attempt", json!([])),
        ("replays", json!(0)),
        ("attempts_in_all", json!(0)),
        ("before", json!([])),
        ("found", json!({})),
        ("record", Value::Object(malformed.original)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The letter as it is written: with the name of the source that its record came from, unless it has one.
pub(super) fn addressed(letter: &Record, source: Option<&str>) -> Record {
    let mut letter = letter.clone();
    if let (Some(place @ Value::Null), Some(source)) = (letter.get_mut(SOURCE), source) {
        *place = source.into();
    }
    letter
}

/// The record as it was read, and the results that it has got since.
fn apart(record: &Record, found: &[&str], past: Option<&Past>) -> (Record, Record) {
    let (mut original, mut results) = (record.clone(), Record::new());
    for step in found {
        let before = past.and_then(|past| past.replaced.get(*step)).cloned();
        let result = match before {
            Some(before) => original.insert((*step).to_owned(), before),
            None => original.shift_remove(*step),
        };
        results.extend(result.map(|result| ((*step).to_owned(), result)));
    }
    (original, results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: Value) -> Record {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_was_read_is_told_from_what_was_found() {
        let now = record(json!({ "id": 1, "plane": { "seats": 2 }, "n": 7, "user": null }));
        let (original, results) = apart(&now, &["plane", "user"], None);
        assert_eq!(json!([original, results]), json!([{ "id": 1, "n": 7 }, { "plane": { "seats": 2 }, "user": null }]));
        // A field of the record that had the name of a step has its value and its place again.
        let past = Past { replaced: record(json!({ "plane": "N1" })), ..Past::default() };
        let (original, _) = apart(&now, &["plane", "user"], Some(&past));
        assert_eq!(Value::Object(original).to_string(), r#"{"id":1,"plane":"N1","n":7}"#);
    }

    #[test]
    fn every_failure_has_a_word() {
        let of = |clock| failure(&Cause::TimedOut { clock, last: None });
        assert_eq!([Clock::Attempt, Clock::Deadline, Clock::Drain].map(of), ["timeout", "deadline", "drain"]);
        assert_eq!(failure(&Cause::Unanswered), "unanswered");
        assert_eq!(failure(&Cause::Panicked(String::new())), "panic");
        let missing = inflight_connectors::sqlite::SqliteSink::open(
            &inflight_connectors::sqlite::SqliteSinkConfig::new("/nowhere/at.all", "t"),
        );
        assert_eq!(failure(&Cause::Error(missing.unwrap_err())), "not_found");
    }

    #[test]
    fn a_letter_keeps_the_address_that_it_has() {
        let address = |letter: Value, source| addressed(&record(letter), source)["source"].clone();
        assert_eq!(address(json!({ "source": null }), Some("in.csv")), "in.csv");
        assert_eq!(address(json!({ "source": "old.csv" }), Some("in.csv")), "old.csv");
        assert_eq!(address(json!({ "source": null }), None), Value::Null);
    }

    #[test]
    fn a_letter_is_opened_from_json_and_from_csv() {
        let json = json!({ "source": "in.csv", "record_number": 7, "step": "user", "error": "no", "attempts": 3,
            "before": [{ "step": "user" }], "found": {}, "record": { "id": "1" } });
        let csv = json!({ "source": "in.csv", "record_number": "7", "step": "user", "error": "no", "attempts": "3",
            "before": "[{\"step\":\"user\"}]", "found": "{}", "record": "{\"id\":\"1\"}" });
        for letter in [json, csv] {
            let (original, past) = open(record(letter)).unwrap();
            assert_eq!(Value::Object(original), json!({ "id": "1" }));
            let kept = json!({ "source": "in.csv", "record_number": 7, "step": "user", "error": "no", "attempts": 3,
                "before": [{ "step": "user" }] });
            assert_eq!(Value::Object(past.letter), kept);
        }
    }

    #[test]
    fn what_is_no_letter_is_told_by_its_field() {
        let why = |letter: Value| open(record(letter)).unwrap_err().to_string();
        assert_eq!(
            why(json!({ "id": 1 })),
            "this is no dead letter: its field `step` is not there; replay takes what a pipeline wrote to `dead_letter`"
        );
        assert!(why(json!({ "step": 7 })).contains("`step` is no text"));
        assert!(why(json!({ "step": "a", "error": "b" })).contains("`record` is not there"));
        assert!(why(json!({ "step": "a", "error": "b", "record": "[1]" })).contains("`record` is no record"));
    }

    #[test]
    fn only_the_latest_failures_are_told() {
        let mut letter = record(json!({ "error": "0", "step": "user" }));
        for time in 1..100 {
            let told = before(&letter);
            assert_eq!(told.len(), time.min(BEFORE_MAX));
            assert_eq!(told.last().unwrap()["error"], (time - 1).to_string());
            letter.insert("before".to_owned(), told.into());
            letter.insert("error".to_owned(), time.to_string().into());
        }
    }
}
