//! A record on its way.

use std::sync::Arc;

use inflight_connectors::Record;
use inflight_timely::pipeline::{self, Id};
use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use super::outcomes::Outcomes;
use super::past::Past;
use super::portable;

/// A record with its place in the source, and what has become of it. Cheap to clone: all steps of a stage look at the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// Which part of the source it came from.
    pub(super) partition: u32,
    /// Place among the records of its partition, from 1.
    pub(super) number: u64,
    /// Of a message: its place in its partition, as its system tells it.
    pub(super) offset: Option<u64>,
    /// When: milliseconds since 1970.
    pub(super) read_at: u64,
    pub(super) outcomes: Outcomes,
    /// What only its dead letter would tell; most have nothing of it.
    pub(super) past: Option<Box<Past>>,
    pub(super) fate: Fate,
}

impl pipeline::Row for Row {
    fn id(&self) -> Id {
        Id { partition: self.partition, number: self.number }
    }
}

/// What has become of a record so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Fate {
    /// It is being enriched.
    Going(#[serde(with = "shared")] Arc<Going>),
    /// A step dropped it, as the pipeline says.
    Dropped,
    /// A step gave it up: the dead letter.
    Dead(#[serde(with = "portable")] Arc<Record>),
}

/// A record with the results that it has got, and what was tried for it in vain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Going {
    #[serde(with = "portable")]
    pub(super) record: Record,
    pub(super) attempts: Attempts,
}

impl Row {
    /// As it was read, a long time ago.
    pub(super) fn new(partition: u32, number: u64, record: Record) -> Self {
        let fate = Fate::Going(Arc::new(Going { record, attempts: Attempts::default() }));
        Self { partition, number, offset: None, read_at: 0, outcomes: Outcomes::default(), past: None, fate }
    }

    /// The record, if it is still being enriched.
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.fate {
            Fate::Going(going) => Some(&going.record),
            Fate::Dropped | Fate::Dead(_) => None,
        }
    }

    /// What was tried for it in vain, if it is still being enriched.
    pub(super) fn attempts(&self) -> Option<&Attempts> {
        match &self.fate {
            Fate::Going(going) => Some(&going.attempts),
            Fate::Dropped | Fate::Dead(_) => None,
        }
    }
}

/// For `#[serde(with)]`: a record that several look at.
mod shared {
    use serde::{Deserializer, Serializer};

    use super::{Arc, Deserialize, Going, Serialize};

    pub(super) fn serialize<S: Serializer>(going: &Arc<Going>, serializer: S) -> Result<S::Ok, S::Error> {
        Going::serialize(going, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Going>, D::Error> {
        Going::deserialize(deserializer).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::lookup::Answer;
    use super::super::outcomes::Outcome;
    use super::*;

    fn there_and_back<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> T {
        postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()
    }

    #[test]
    fn a_row_travels_to_the_last_bit() {
        let numbers = json!([0, -1, u64::MAX, i64::MIN, 0.1, -0.0, 5e-324, f64::MAX, 0.1 + 0.2, 1e23]);
        let record = json!({ "z": numbers, "a": { "ü": null, "b": [true, [], {}] }, "": "\u{0}\"" });
        let mut row = Row::new(3, 7, record.as_object().unwrap().clone());
        row.outcomes.set(5, Outcome::TimedOut);
        let back = there_and_back(&row);
        assert_eq!((back.partition, back.number, back.outcomes), (3, 7, row.outcomes));
        assert_eq!(Value::Object(back.record().unwrap().clone()).to_string(), record.to_string());
    }

    #[test]
    fn a_record_may_be_as_deep_as_sources_give_them() {
        let deep = format!("{}1{}", "{\"a\":".repeat(127), "}".repeat(127));
        let record: Record = serde_json::from_str(&deep).unwrap();
        let mut letter = Record::new();
        letter.insert("record".to_owned(), Value::Object(record));
        let row = Row { fate: Fate::Dead(Arc::new(letter.clone())), ..Row::new(0, 1, Record::new()) };
        let Fate::Dead(back) = there_and_back(&row).fate else { panic!("it lives") };
        assert_eq!(*back, letter);
    }

    #[test]
    fn fates_and_answers_travel() {
        let row = Row { fate: Fate::Dropped, ..Row::new(0, 1, Record::new()) };
        assert!(matches!(there_and_back(&row).fate, Fate::Dropped));
        let found = Answer::Found(json!({ "name": "Ada" }));
        for answer in [found, Answer::Missing, Answer::Skipped] {
            assert_eq!(there_and_back(&answer), answer);
        }
    }
}
