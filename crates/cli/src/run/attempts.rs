//! Attempts that failed, for those who read a dead letter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inflight::{BatchResult, Cause};
use inflight_connectors::Error;
use inflight_timely::checkpoint::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keeper::since_1970_now;
use super::letter;
use super::lookup::Answer;
use super::row::Row;

/// Attempts of one step that a letter tells of, at most: the first, and the latest.
pub(super) const TOLD_MAX: usize = 16;

/// What was tried for a record in vain, by all steps that look at it now. Nearly always nothing, and then nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Vec<Attempt>>);

/// One that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Attempt {
    #[serde(with = "text")]
    step: Arc<str>,
    /// Among those of the step, from 1.
    number: u32,
    why: Ended,
}

/// How it ended: the same for all records of a call that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ended {
    /// Since 1970.
    began: Duration,
    took: Duration,
    #[serde(with = "text")]
    failure: Arc<str>,
    #[serde(with = "text")]
    error: Arc<str>,
}

impl Attempts {
    fn add(&self, step: &Arc<str>, why: Ended) {
        let mut all = self.all();
        let of_step = |attempt: &Attempt| attempt.step == *step;
        let number = all.iter().rfind(|attempt| of_step(attempt)).map_or(0, |last| last.number) + 1;
        if all.iter().filter(|attempt| of_step(attempt)).count() >= TOLD_MAX
            && let Some((second, _)) = all.iter().enumerate().filter(|(_, attempt)| of_step(attempt)).nth(1)
        {
            all.remove(second);
        }
        all.push(Attempt { step: Arc::clone(step), number, why });
    }

    /// Those of a step, as a letter has them.
    pub(super) fn told(&self, step: &str, hide: impl Fn(&str) -> String) -> Vec<Value> {
        let told = |Attempt { number, why, .. }: &Attempt| {
            json!({
                "attempt": number,
                "began_at": rfc3339(why.began),
                "took_ms": u64::try_from(why.took.as_millis()).unwrap_or(u64::MAX),
                "failure": *why.failure,
                "error": hide(&why.error),
            })
        };
        self.all().iter().filter(|attempt| *attempt.step == *step).map(told).collect()
    }

    /// The step has got what it wanted.
    pub(super) fn forget(&mut self, step: &str) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).retain(|attempt| *attempt.step != *step);
    }

    fn all(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Attempts {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.all().clone()))
    }
}

impl Serialize for Attempts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Attempts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|all| Self(Mutex::new(all)))
    }
}

/// An attempt under way, for all records of a call. It is noted when it fails, or is dropped before it ended.
pub(super) struct Begun<'a> {
    step: &'a Arc<str>,
    rows: &'a [Row],
    began: Instant,
    has_ended: bool,
}

impl<'a> Begun<'a> {
    pub(super) fn now(step: &'a Arc<str>, rows: &'a [Row]) -> Self {
        Self { step, rows, began: Instant::now(), has_ended: false }
    }

    /// It has ended, with these.
    pub(super) fn ended(mut self, answers: &BatchResult<Answer, Error>) {
        self.has_ended = true;
        match answers {
            Ok(answers) if answers.len() == self.rows.len() => {
                let failed =
                    self.rows.iter().zip(answers).filter_map(|(row, answer)| Some((row, answer.as_ref().err()?)));
                failed.for_each(|(row, error)| self.note(row, &self.failed(error)));
            }
            Ok(_) => self.note_all("unanswered", &Cause::<Error>::Unanswered.to_string()),
            Err(error) => {
                let why = self.failed(error);
                self.rows.iter().for_each(|row| self.note(row, &why));
            }
        }
    }

    fn failed(&self, error: &Error) -> Ended {
        self.because(letter::kind(error), error.to_string())
    }

    fn because(&self, failure: String, error: String) -> Ended {
        let took = self.began.elapsed();
        let began = since_1970_now().saturating_sub(took);
        Ended { began, took, failure: failure.into(), error: error.into() }
    }

    fn note_all(&self, failure: &str, error: &str) {
        let why = self.because(failure.to_owned(), error.to_owned());
        self.rows.iter().for_each(|row| self.note(row, &why));
    }

    fn note(&self, row: &Row, why: &Ended) {
        if let Some(attempts) = row.attempts() {
            attempts.add(self.step, why.clone());
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let (failure, error) = match std::thread::panicking() {
            true => ("panic", "the look-up panicked"),
            false => ("given_up", "there was no answer in time, and the call was given up"),
        };
        self.note_all(failure, error);
    }
}

/// For `#[serde(with)]`: a text that several have.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

#[cfg(test)]
mod tests {
    use inflight_connectors::Record;

    use super::*;

    fn row() -> Row {
        Row::new(0, 1, Record::new())
    }

    fn told(row: &Row, step: &str) -> Vec<Value> {
        row.attempts().unwrap().told(step, str::to_owned)
    }

    /// The numbers of those that are told.
    fn numbers(row: &Row, step: &str) -> Vec<u64> {
        told(row, step).iter().map(|attempt| attempt["attempt"].as_u64().unwrap()).collect()
    }

    #[test]
    fn the_first_and_the_latest_are_told_for_each_step() {
        let row = row();
        let steps: [Arc<str>; 2] = ["user".into(), "shop".into()];
        for time in 1..=40 {
            drop(Begun::now(&steps[0], std::slice::from_ref(&row)));
            if time <= 2 {
                drop(Begun::now(&steps[1], std::slice::from_ref(&row)));
            }
        }
        assert_eq!(numbers(&row, "user"), [&[1][..], &(26..=40).collect::<Vec<_>>()].concat());
        assert_eq!(numbers(&row, "shop"), [1, 2]);
        assert_eq!(told(&row, "user").len(), TOLD_MAX);
    }

    #[test]
    fn whatever_ends_an_attempt_badly_is_noted_and_nothing_else() {
        let (rows, step) = ([row(), row()], Arc::from("user"));
        let begun = || Begun::now(&step, &rows);
        begun().ended(&Ok(vec![Ok(Answer::Missing), Ok(Answer::Missing)]));
        assert!(told(&rows[0], "user").is_empty());
        let error = "{\"kind\":\"busy\",\"message\":\"s3cret is locked\",\"place\":{},\"source\":[]}";
        let error = || serde_json::from_str::<Error>(error).unwrap();
        begun().ended(&Ok(vec![Ok(Answer::Missing), Err(error())]));
        begun().ended(&Err(error()));
        begun().ended(&Ok(Vec::new()));
        drop(begun());
        std::thread::scope(|threads| {
            let panics = threads.spawn(|| {
                let _begun = begun();
                panic!("no");
            });
            assert!(panics.join().is_err());
        });
        let failures =
            |row: &Row| told(row, "user").iter().map(|attempt| attempt["failure"].clone()).collect::<Vec<_>>();
        assert_eq!(failures(&rows[0]), ["busy", "unanswered", "given_up", "panic"]);
        assert_eq!(failures(&rows[1]), ["busy", "busy", "unanswered", "given_up", "panic"]);
        let hidden = rows[0].attempts().unwrap().told("user", |text| text.replace("s3cret", "***"));
        assert_eq!(hidden[0]["error"], "*** is locked");
        assert!(hidden[0]["began_at"].as_str().is_some_and(|time| time.ends_with('Z')));
    }

    #[test]
    fn they_travel_with_their_record_until_the_step_has_its_answer() {
        let (row, step) = (row(), Arc::from("user"));
        drop(Begun::now(&step, std::slice::from_ref(&row)));
        let mut back: Attempts = postcard::from_bytes(&postcard::to_stdvec(row.attempts().unwrap()).unwrap()).unwrap();
        assert_eq!(*back.all(), *row.attempts().unwrap().all());
        back.forget("shop");
        assert_eq!(back.all().len(), 1);
        back.forget("user");
        assert!(back.all().is_empty());
    }
}
