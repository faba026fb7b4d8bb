//! What becomes of a record when all steps of a stage are done with it.

use std::sync::Arc;

use inflight::{Cause, Completed};
use inflight_connectors::Record;
use inflight_timely::pipeline::Join;
use serde_json::{Value, json};

use super::lookup::{Answer, Error};
use super::row::{Fate, Row};
use super::stop::Stop;
use super::tally::{Found, Tally};
use crate::file::{OnError, OnMissing};
use crate::pipeline::{Pipeline, Step};

type Done = Completed<Row, Answer, Error>;

/// The join of the stage whose steps are at `places`.
pub(super) fn join(
    pipeline: &Pipeline,
    places: &[usize],
    stop: Arc<Stop>,
    tally: Arc<Tally>,
) -> Join<Row, Answer, Error> {
    let steps: Vec<(usize, Step)> = places.iter().map(|&place| (place, pipeline.steps[place].clone())).collect();
    Box::new(move |parts| {
        let mut row = parts.first()?.input.clone();
        // All parts first: when they are gone, nobody else holds the record, and it is not copied to be written to.
        let settled: Vec<Settled> = steps
            .iter()
            .zip(parts)
            .map(|((place, step), part)| {
                tally.count(*place, found(&part));
                settle(step, part)
            })
            .collect();
        for ((_, step), settled) in steps.iter().zip(settled) {
            if let Err(why) = apply(&mut row, step, settled) {
                stop.fail(format!("record {}, look-up `{}`: {why}", row.number, step.name));
                return None;
            }
        }
        Some(row)
    })
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

fn settle(step: &Step, part: Done) -> Settled {
    let why = |text: String| Why { text, attempts: part.attempts, elapsed_ms: part.elapsed.as_millis() };
    match part.result {
        Ok(Answer::Found(record)) => Settled::Value(Value::Object(record)),
        Ok(Answer::Skipped) => Settled::Out,
        Ok(Answer::Missing) => match step.on_missing {
            OnMissing::Keep => Settled::Value(Value::Null),
            OnMissing::Drop => Settled::Drop,
            OnMissing::DeadLetter => Settled::Dead(why("there is no answer for its key".into())),
            OnMissing::Fail => Settled::Fail(why("there is no answer for its key".into())),
        },
        Err(cause) => match &step.on_error {
            OnError::Keep => Settled::Value(Value::Null),
            OnError::Drop => Settled::Drop,
            OnError::Default(value) => Settled::Value(value.clone().into()),
            OnError::DeadLetter => Settled::Dead(why(cause.to_string())),
            OnError::Fail => Settled::Fail(why(cause.to_string())),
        },
    }
}

fn apply(row: &mut Row, step: &Step, settled: Settled) -> Result<(), Why> {
    let number = row.number;
    let Fate::Going(record) = &mut row.fate else { return Ok(()) };
    match settled {
        Settled::Value(value) => drop(Arc::make_mut(record).insert(step.name.clone(), value)),
        Settled::Drop => row.fate = Fate::Dropped,
        Settled::Dead(why) => row.fate = Fate::Dead(Arc::new(dead_letter(number, step, record, why))),
        Settled::Fail(why) => return Err(why),
        Settled::Out => {}
    }
    Ok(())
}

struct Why {
    text: String,
    attempts: u32,
    elapsed_ms: u128,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.attempts == 1 { "" } else { "s" };
        write!(f, "{} ({} attempt{plural}, {} ms)", self.text, self.attempts, self.elapsed_ms)
    }
}

fn found(part: &Done) -> Option<Found> {
    match &part.result {
        Ok(Answer::Found(_)) => Some(Found::Found),
        Ok(Answer::Missing) => Some(Found::Missing),
        Ok(Answer::Skipped) => None,
        Err(Cause::TimedOut { .. }) => Some(Found::TimedOut),
        Err(_) => Some(Found::Failed),
    }
}

/// The record with the story of its failure.
fn dead_letter(number: u64, step: &Step, record: &Record, why: Why) -> Record {
    let mut letter = Record::new();
    letter.insert("record_number".into(), json!(number));
    letter.insert("step".into(), json!(step.name));
    letter.insert("error".into(), json!(why.text));
    letter.insert("attempts".into(), json!(why.attempts));
    letter.insert("elapsed_ms".into(), json!(why.elapsed_ms as u64));
    letter.insert("record".into(), Value::Object(record.clone()));
    letter
}
