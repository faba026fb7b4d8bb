//! Records on their way into one statement.

use serde_json::Value;

/// Some records as one JSON list, and where each of them ends.
pub(super) struct Batch {
    /// Records before the first of these.
    before: u64,
    json: String,
    /// Where each record ends, without the comma behind it.
    ends: Vec<usize>,
}

impl Batch {
    /// An empty one, for what comes after so many records.
    pub(super) fn after(before: u64) -> Self {
        Self { before, json: "[".to_owned(), ends: Vec::new() }
    }

    /// Adds a record; the names of its fields are JSON texts.
    pub(super) fn push<'a>(&mut self, fields: impl Iterator<Item = (&'a str, &'a Value)>) {
        if !self.ends.is_empty() {
            self.json.push(',');
        }
        self.json.push('{');
        for (at, (name, value)) in fields.enumerate() {
            if at > 0 {
                self.json.push(',');
            }
            self.json += name;
            self.json.push(':');
            self.json += &value.to_string();
        }
        self.json.push('}');
        self.ends.push(self.json.len());
    }

    /// Nothing is pushed any more.
    pub(super) fn close(&mut self) {
        self.json.push(']');
    }

    pub(super) fn json(&self) -> &str {
        &self.json
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.json.len()
    }

    /// The number of the record at this index, from 1.
    pub(super) fn record(&self, index: usize) -> u64 {
        self.before + index as u64 + 1
    }

    /// The number of the next record to be pushed.
    pub(super) fn next_record(&self) -> u64 {
        self.record(self.len())
    }

    /// The records from `from` to before `to`, as a list.
    pub(super) fn part(&self, from: usize, to: usize) -> String {
        if from >= to {
            return "[]".to_owned();
        }
        // Before each record stands the bracket or a comma.
        let begin = if from == 0 { 1 } else { self.ends[from - 1] + 1 };
        format!("[{}]", &self.json[begin..self.ends[to - 1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_lists_of_their_own() {
        let mut batch = Batch::after(10);
        for n in 0..3 {
            batch.push([("\"a\"", &json!(n)), ("\"b\"", &json!("x"))].into_iter());
        }
        assert_eq!(batch.next_record(), 14);
        batch.close();
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let row = |n| json!({"a": n, "b": "x"});
        assert_eq!(parsed(batch.json()), json!([row(0), row(1), row(2)]));
        assert_eq!(parsed(&batch.part(0, 3)), parsed(batch.json()));
        assert_eq!(parsed(&batch.part(1, 2)), json!([row(1)]));
        assert_eq!(parsed(&batch.part(2, 2)), json!([]));
        assert_eq!((batch.len(), batch.record(0)), (3, 11));
    }
}
