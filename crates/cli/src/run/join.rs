//! What becomes of a record when all steps of a stage are done with it.

use std::sync::Arc;

use inflight::{Cause, Completed};
use inflight_timely::pipeline::Join;
use serde_json::Value;

use super::letter::{self, Why};
use super::lookup::{Answer, Error};
use super::outcomes::Outcome;
use super::row::{Fate, Row};
use super::stop::Stop;
use super::tally::Tally;
use crate::file::{OnError, OnMissing};
use crate::pipeline::{Pipeline, Step};
use crate::variables::Secrets;

type Done = Completed<Row, Answer, Error>;

/// The join of the stage whose steps are at `places`.
pub(super) fn join(
    pipeline: &Pipeline,
    places: &[usize],
    stop: Arc<Stop>,
    tally: Arc<Tally>,
) -> Join<Row, Answer, Error> {
    let secrets = pipeline.secrets.clone();
    let steps: Vec<(usize, Step)> = places.iter().map(|&place| (place, pipeline.steps[place].clone())).collect();
    let names: Vec<String> = pipeline.steps.iter().map(|step| step.name.clone()).collect();
    Box::new(move |parts| {
        let mut row = parts.first()?.input.clone();
        // Who is still here after a stage has got a value from each step of it.
        let mut found: Vec<&str> =
            row.outcomes.iter().filter_map(|(place, _)| names.get(place)).map(String::as_str).collect();
        // All parts first: when they are gone, nobody else holds the record, and it is not copied to be written to.
        let settled: Vec<Settled> = steps
            .iter()
            .zip(parts)
            .map(|((place, step), part)| {
                if let Some(outcome) = outcome(&part) {
                    row.outcomes.set(*place, outcome);
                }
                settle(step, part, &secrets)
            })
            .collect();
        for ((_, step), settled) in steps.iter().zip(settled) {
            if let Err(why) = apply(&mut row, step, settled, &found) {
                tally.count(row.outcomes);
                stop.fail(format!("{}, look-up `{}`: {why}", place(&row, &tally), step.name));
                return None;
            }
            found.push(&step.name);
        }
        Some(row)
    })
}

/// Where a row comes from, for people.
fn place(row: &Row, tally: &Tally) -> String {
    match (row.offset, tally.name_of(row.partition)) {
        (None, _) => format!("record {}", row.number),
        (Some(offset), Some(name)) => format!("{name}, the message at offset {offset}"),
        (Some(offset), None) => format!("record {}, the message at offset {offset}", row.number),
    }
}

/// What the pipeline says about a result.
enum Settled {
    Value(Value),
    Drop,
    Dead(Why),
    Fail(Why),
    /// The record was taken out before.
    Out,
}

fn settle(step: &Step, part: Done, secrets: &Secrets) -> Settled {
    let why = |failure: String, error: &str| Why {
        failure,
        error: secrets.hide(error),
        attempts: part.attempts,
        elapsed: part.elapsed,
        each: part.input.attempts().map_or_else(Vec::new, |all| all.told(&step.name, |text| secrets.hide(text))),
    };
    let missing = || why("missing".to_owned(), "there is no answer for its key");
    match part.result {
        Ok(Answer::Found(value)) => Settled::Value(value),
        Ok(Answer::Skipped) => Settled::Out,
        Ok(Answer::Missing) => match &step.on_missing {
            OnMissing::Keep => Settled::Value(Value::Null),
            OnMissing::Default(value) => Settled::Value(value.clone().into()),
            OnMissing::Drop => Settled::Drop,
            OnMissing::DeadLetter => Settled::Dead(missing()),
            OnMissing::Fail => Settled::Fail(missing()),
        },
        Err(cause) => match &step.on_error {
            OnError::Keep => Settled::Value(Value::Null),
            OnError::Drop => Settled::Drop,
            OnError::Default(value) => Settled::Value(value.clone().into()),
            OnError::DeadLetter => Settled::Dead(why(letter::failure(&cause), &cause.to_string())),
            OnError::Fail => Settled::Fail(why(letter::failure(&cause), &cause.to_string())),
        },
    }
}

/// Does to a row what was settled; the results of the steps called `found` are in it already.
fn apply(row: &mut Row, step: &Step, settled: Settled, found: &[&str]) -> Result<(), Why> {
    let Fate::Going(going) = &mut row.fate else { return Ok(()) };
    match settled {
        Settled::Value(value) => {
            let going = Arc::make_mut(going);
            going.attempts.forget(&step.name);
            if let Some(replaced) = going.record.insert(step.name.clone(), value) {
                row.past.get_or_insert_default().replaced.insert(step.name.clone(), replaced);
            }
        }
        Settled::Drop => row.fate = Fate::Dropped,
        Settled::Dead(why) => {
            let going = Arc::clone(going);
            row.fate = Fate::Dead(Arc::new(letter::letter(row, &going.record, found, step, why)));
        }
        Settled::Fail(why) => return Err(why),
        Settled::Out => {}
    }
    Ok(())
}

/// What is counted: nothing for a record that was taken out before.
fn outcome(part: &Done) -> Option<Outcome> {
    part.input.record()?;
    match &part.result {
        Ok(Answer::Found(_)) => Some(Outcome::Found),
        Ok(Answer::Missing) => Some(Outcome::Missing),
        Ok(Answer::Skipped) => None,
        Err(Cause::TimedOut { .. }) => Some(Outcome::TimedOut),
        Err(_) => Some(Outcome::Failed),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use inflight::Cause;
    use serde_json::json;

    use super::*;
    use crate::file;

    fn step(policies: &str) -> Step {
        let text = format!(
            "source: stdin\nenrich:\n  user: {{ sqlite: {{ database: d, table: t }}, key: {{ id: .id }}{policies} }}\n\
             sink: stdout\ndead_letter: {{ file: {{ path: dead.jsonl }} }}\n"
        );
        Pipeline::check(file::parse("p.yaml", &text).unwrap()).unwrap().steps.remove(0)
    }

    fn going(value: Value) -> Row {
        Row::new(0, 7, value.as_object().unwrap().clone())
    }

    /// A record with this result after the step; the error when the run fails.
    fn after(policies: &str, result: Result<Answer, Cause<Error>>) -> Result<Row, String> {
        let step = step(policies);
        let mut row = going(json!({ "id": 1 }));
        let part =
            Completed { input: row.clone(), timestamp: None, result, attempts: 2, elapsed: Duration::from_millis(30) };
        apply(&mut row, &step, settle(&step, part, &Secrets::default()), &[]).map_err(|why| why.to_string())?;
        Ok(row)
    }

    fn kept(row: Result<Row, String>) -> Value {
        row.unwrap().record().map(|record| Value::Object(record.clone())).unwrap()
    }

    fn failed() -> Result<Answer, Cause<Error>> {
        Err(Cause::Panicked("no".to_owned()))
    }

    #[test]
    fn what_was_found_stands_under_the_name_of_the_step() {
        let answer = Answer::Found(json!({ "name": "Ada" }));
        assert_eq!(kept(after("", Ok(answer))), json!({ "id": 1, "user": { "name": "Ada" } }));
    }

    #[test]
    fn a_record_without_an_answer_goes_where_on_missing_says() {
        let after = |policy: &str| after(&format!(", on_missing: {policy}"), Ok(Answer::Missing));
        assert_eq!(kept(after("keep")), json!({ "id": 1, "user": null }));
        assert_eq!(kept(after("{ default: { name: none } }")), json!({ "id": 1, "user": { "name": "none" } }));
        assert!(matches!(after("drop").unwrap().fate, Fate::Dropped));
        let Fate::Dead(letter) = after("dead_letter").unwrap().fate else { panic!("it is no dead letter") };
        assert_eq!((&letter["error"], &letter["step"]), (&json!("there is no answer for its key"), &json!("user")));
        assert_eq!(letter["failure"], "missing");
        assert_eq!(after("fail").unwrap_err(), "there is no answer for its key (2 attempts, 30 ms)");
    }

    #[test]
    fn a_record_whose_lookup_failed_goes_where_on_error_says() {
        let after = |policy: &str| after(&format!(", on_error: {policy}"), failed());
        assert_eq!(kept(after("keep")), json!({ "id": 1, "user": null }));
        assert_eq!(kept(after("{ default: { name: none } }")), json!({ "id": 1, "user": { "name": "none" } }));
        assert!(matches!(after("drop").unwrap().fate, Fate::Dropped));
        let Fate::Dead(letter) = after("dead_letter").unwrap().fate else { panic!("it is no dead letter") };
        let error = Cause::<Error>::Panicked("no".to_owned()).to_string();
        let mut letter = Value::Object((*letter).clone());
        assert!(letter["failed_at"].take().as_str().is_some_and(|time| time.ends_with('Z')));
        let story = json!({
            "source": null, "record_number": 7, "source_offset": null, "read_at": "1970-01-01T00:00:00.000Z", "failed_at": null, "step": "user",
            "key": { "id": 1 }, "failure": "panic", "error": error, "attempts": 2, "elapsed_ms": 30, "each_attempt": [],
            "replays": 0, "attempts_in_all": 2, "before": [], "found": {},
            "record": { "id": 1 }
        });
        assert_eq!(letter, story);
        assert_eq!(after("fail").unwrap_err(), format!("{error} (2 attempts, 30 ms)"));
    }

    #[test]
    fn what_was_taken_out_before_is_neither_counted_nor_failed() {
        let step = step("");
        for fate in [Fate::Dropped, Fate::Dead(Arc::default())] {
            let mut row = Row { fate, ..going(json!({})) };
            let part = Completed {
                input: row.clone(),
                timestamp: None,
                result: failed(),
                attempts: 1,
                elapsed: Duration::ZERO,
            };
            assert!(outcome(&part).is_none());
            assert!(apply(&mut row, &step, settle(&step, part, &Secrets::default()), &[]).is_ok());
            assert!(row.record().is_none());
        }
    }
}
