//! An attempt under way, which is told of when it fails.

use std::sync::Arc;
use std::time::Instant;

use inflight::{BatchResult, Cause};
use inflight_connectors::Error;

use crate::run::attempts::Ended;
use crate::run::letter;
use crate::run::now::since_1970_now;
use crate::run::row::Row;

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
    pub(super) fn ended<T>(mut self, answers: &BatchResult<T, Error>) {
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

#[cfg(test)]
mod tests {
    use inflight_connectors::Record;
    use serde_json::Value;

    use super::*;

    fn row() -> Row {
        Row::new(0, 1, Record::new())
    }

    fn told(row: &Row, step: &str) -> Vec<Value> {
        row.attempts().unwrap().told(step, str::to_owned)
    }

    #[test]
    fn whatever_ends_an_attempt_badly_is_noted_and_nothing_else() {
        let (rows, step) = ([row(), row()], Arc::from("user"));
        let begun = || Begun::now(&step, &rows);
        begun().ended(&Ok(vec![Ok(()), Ok(())]));
        assert!(told(&rows[0], "user").is_empty());
        let error = "{\"kind\":\"busy\",\"message\":\"s3cret is locked\",\"place\":{},\"source\":[]}";
        let error = || serde_json::from_str::<Error>(error).unwrap();
        begun().ended(&Ok(vec![Ok(()), Err(error())]));
        begun().ended::<()>(&Err(error()));
        begun().ended::<()>(&Ok(Vec::new()));
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
}
