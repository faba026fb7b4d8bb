//! What of a record is asked for, and what is found.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use inflight_connectors::{FieldPath, Key, Record};
use serde_json::Value;

use crate::run::row::Row;

/// A key, as layers pass it on: to clone it costs nothing.
pub(in crate::run) type Asked = Arc<Key>;

/// What the system has under a key, if anything.
pub(in crate::run) type Found = Option<Value>;

/// The values of the key's fields; `None` when one is absent or null.
pub(super) fn key(record: &Record, paths: &[FieldPath]) -> Option<Key> {
    paths.iter().map(|path| path.find(record).filter(|value| !value.is_null()).cloned()).collect()
}

/// Whether a field of the key is absent or null.
pub(super) fn is_missing(record: &Record, paths: &[FieldPath]) -> bool {
    paths.iter().any(|path| path.find(record).is_none_or(Value::is_null))
}

/// The number that stands for a record's key.
pub(super) fn key_number(paths: Arc<[FieldPath]>) -> impl Fn(&Row) -> u64 + Send + Sync + 'static {
    move |row| {
        let mut hasher = DefaultHasher::new();
        let key = row.record().and_then(|record| key(record, &paths));
        // A value's text tells it from all others of its kind; a record without a key is in nobody's way.
        match key {
            Some(key) => Value::Array(key).to_string().hash(&mut hasher),
            None => (row.partition, row.number).hash(&mut hasher),
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::row::Fate;

    fn record(value: Value) -> Record {
        value.as_object().unwrap().clone()
    }

    fn row(number: u64, value: Value) -> Row {
        Row::new(0, number, record(value))
    }

    #[test]
    fn a_key_has_all_its_fields_in_the_order_of_the_pipeline() {
        let paths: Vec<FieldPath> = [".b.c", ".a"].map(|path| path.parse().unwrap()).into();
        assert_eq!(key(&record(json!({ "a": 1, "b": { "c": "x" } })), &paths), Some(vec![json!("x"), json!(1)]));
        for absent in [json!({ "a": 1 }), json!({ "a": null, "b": { "c": "x" } }), json!({ "a": 1, "b": 2 })] {
            assert!(is_missing(&record(absent.clone()), &paths));
            assert_eq!(key(&record(absent), &paths), None);
        }
    }

    #[test]
    fn records_of_one_key_have_one_number_and_those_without_are_in_nobodys_way() {
        let number = key_number([".a".parse().unwrap()].into());
        let of = |value: Value| number(&row(1, value));
        assert_eq!(of(json!({ "a": "x", "b": 1 })), of(json!({ "b": 2, "a": "x" })));
        assert_ne!(of(json!({ "a": "x" })), of(json!({ "a": "y" })));
        assert_ne!(of(json!({ "a": 1 })), of(json!({ "a": "1" })));
        assert_ne!(number(&row(1, json!({}))), number(&row(2, json!({}))));
        let dropped = |number| Row { fate: Fate::Dropped, ..row(number, json!({})) };
        assert_ne!(number(&dropped(1)), number(&dropped(2)));
    }
}
