//! Attempts that failed, for those who read a dead letter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight_timely::checkpoint::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
pub(super) struct Ended {
    /// Since 1970.
    pub(super) began: Duration,
    pub(super) took: Duration,
    #[serde(with = "text")]
    pub(super) failure: Arc<str>,
    #[serde(with = "text")]
    pub(super) error: Arc<str>,
}

impl Attempts {
    pub(super) fn add(&self, step: &Arc<str>, why: Ended) {
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
    use super::*;

    fn ended() -> Ended {
        Ended { began: Duration::ZERO, took: Duration::ZERO, failure: "busy".into(), error: "no".into() }
    }

    /// The numbers of those that are told.
    fn numbers(attempts: &Attempts, step: &str) -> Vec<u64> {
        attempts.told(step, str::to_owned).iter().map(|attempt| attempt["attempt"].as_u64().unwrap()).collect()
    }

    #[test]
    fn the_first_and_the_latest_are_told_for_each_step() {
        let attempts = Attempts::default();
        let steps: [Arc<str>; 2] = ["user".into(), "shop".into()];
        for time in 1..=40 {
            attempts.add(&steps[0], ended());
            if time <= 2 {
                attempts.add(&steps[1], ended());
            }
        }
        assert_eq!(numbers(&attempts, "user"), [&[1][..], &(26..=40).collect::<Vec<_>>()].concat());
        assert_eq!(numbers(&attempts, "shop"), [1, 2]);
        assert_eq!(numbers(&attempts, "user").len(), TOLD_MAX);
    }

    #[test]
    fn they_travel_with_their_record_until_the_step_has_its_answer() {
        let attempts = Attempts::default();
        attempts.add(&"user".into(), ended());
        let mut back: Attempts = postcard::from_bytes(&postcard::to_stdvec(&attempts).unwrap()).unwrap();
        assert_eq!(*back.all(), *attempts.all());
        back.forget("shop");
        assert_eq!(back.all().len(), 1);
        back.forget("user");
        assert!(back.all().is_empty());
    }
}
