//! Looking up in memory.

use std::collections::HashMap;

use serde_json::Value;

use super::MemoryLookupConfig;
use crate::file::FileSource;
use crate::suggestion::{did_you_mean, list};
use crate::{Answer, Error, ErrorKind, Key, Record, Source as _};

/// Rows read from the file at a time.
const ROWS_AT_A_TIME: usize = 1024;

/// Looks up rows by their fields, all of them held in memory.
///
/// Values are compared as texts: `"7"`, `7` and `7.0` are the same key. Of several rows with the same key the first is the answer; a
/// row in which a field of the key is absent or null is never found.
///
/// ```
/// use inflight_connectors::memory::{MemoryLookup, MemoryLookupConfig};
/// use serde_json::json;
///
/// # fn main() -> Result<(), inflight_connectors::Error> {
/// let rows = serde_json::from_value(json!([{"code": "EWR", "city": "Newark"}])).unwrap();
/// let airports = MemoryLookup::open(&MemoryLookupConfig::rows(rows), &["code".to_owned()])?;
///
/// let answers = airports.lookup(&[vec![json!("EWR")], vec![json!("ZZZ")]])?;
/// assert_eq!(answers[0].as_ref().unwrap().as_ref().unwrap()["city"], "Newark");
/// assert_eq!(*answers[1].as_ref().unwrap(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryLookup {
    rows: HashMap<Vec<String>, Value>,
    key_columns: Vec<String>,
}

impl MemoryLookup {
    /// Reads all rows.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense, the file cannot be read, no row has one of the columns, or there are
    /// more rows than `max_rows`.
    pub fn open(config: &MemoryLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        config.check()?;
        if key_columns.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the lookup has no key; name at least one key column"));
        }
        let mut table = Table::new(config, key_columns);
        match &config.file {
            None => config.rows.iter().flatten().try_for_each(|row| table.add(row.clone()))?,
            Some(file) => {
                let mut source = FileSource::open(file)?;
                let mut rows = Vec::with_capacity(ROWS_AT_A_TIME);
                while source.read_batch(ROWS_AT_A_TIME, &mut rows)? > 0 {
                    rows.drain(..).try_for_each(|row| table.add(row)).map_err(|error| error.in_file(&file.path))?;
                }
            }
        }
        let table = table.check();
        match &config.file {
            None => table,
            Some(file) => table.map_err(|error| error.in_file(&file.path)),
        }
    }

    /// Answers each key, in the order of `keys`. A key with a null in it is missing.
    ///
    /// # Errors
    ///
    /// When a key has the wrong number of values.
    pub fn lookup(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        if let Some(key) = keys.iter().find(|key| key.len() != self.key_columns.len()) {
            let columns = list(self.key_columns.iter().map(String::as_str));
            let message = format!("a key has {} values for the columns {columns}", key.len());
            return Err(Error::new(ErrorKind::Config, message));
        }
        let find = |key: &Key| {
            let texts = key.iter().map(text).collect::<Result<Option<Vec<_>>, Error>>()?;
            Ok(texts.and_then(|texts| self.rows.get(&texts).cloned()))
        };
        Ok(keys.iter().map(find).collect())
    }
}

/// Rows on their way into memory.
struct Table<'a> {
    config: &'a MemoryLookupConfig,
    key_columns: &'a [String],
    rows: HashMap<Vec<String>, Value>,
    read: usize,
    /// The columns that some row has, of those that are wanted.
    seen: Vec<String>,
    /// Those of the first row, to say what there is.
    first: Vec<String>,
}

impl<'a> Table<'a> {
    fn new(config: &'a MemoryLookupConfig, key_columns: &'a [String]) -> Self {
        Self { config, key_columns, rows: HashMap::new(), read: 0, seen: Vec::new(), first: Vec::new() }
    }

    fn add(&mut self, mut row: Record) -> Result<(), Error> {
        self.read += 1;
        if self.read > self.config.max_rows {
            let message = format!("there are more than {} rows; see `max_rows`", self.config.max_rows);
            return Err(Error::new(ErrorKind::TooLong, message));
        }
        if self.read == 1 {
            self.first = row.keys().cloned().collect();
        }
        for name in self.key_columns.iter().chain(self.config.columns.iter().flatten()) {
            if row.contains_key(name) && !self.seen.contains(name) {
                self.seen.push(name.clone());
            }
        }
        let value = |name: &String| text(row.get(name).unwrap_or(&Value::Null)).ok().flatten();
        let Some(key) = self.key_columns.iter().map(value).collect::<Option<Vec<_>>>() else { return Ok(()) };
        if let Some(columns) = &self.config.columns {
            let wanted = columns.iter().map(|name| (name.clone(), row.remove(name).unwrap_or_default()));
            row = wanted.collect();
        }
        self.rows.entry(key).or_insert(Value::Object(row));
        Ok(())
    }

    fn check(self) -> Result<MemoryLookup, Error> {
        let mut wanted = self.key_columns.iter().chain(self.config.columns.iter().flatten());
        if let Some(name) = wanted.find(|name| !self.seen.contains(name)).filter(|_| self.read > 0) {
            let known = || self.first.iter().map(String::as_str);
            let hint = did_you_mean(name, known());
            let message = format!("no row has a field \"{name}\"{hint}; the first has {}", list(known()));
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(MemoryLookup { rows: self.rows, key_columns: self.key_columns.to_vec() })
    }
}

/// The value as it is compared; none for null.
fn text(value: &Value) -> Result<Option<String>, Error> {
    /// Doubles are whole numbers up to here.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(match number.as_f64().filter(|_| number.is_f64()) {
            Some(double) if double.fract() == 0.0 && double.abs() <= EXACT => format!("{double:.0}"),
            _ => number.to_string(),
        })),
        Value::Bool(flag) => Ok(Some(flag.to_string())),
        Value::Array(_) | Value::Object(_) => {
            let message = "a list or an object cannot be a key; take one of its fields";
            Err(Error::new(ErrorKind::Malformed, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn open(rows: Value, key: &[&str]) -> Result<MemoryLookup, String> {
        let config = MemoryLookupConfig::rows(serde_json::from_value(rows).unwrap());
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        MemoryLookup::open(&config, &key).map_err(|error| error.to_string())
    }

    fn found(lookup: &MemoryLookup, keys: Value) -> Value {
        let keys: Vec<Key> = serde_json::from_value(keys).unwrap();
        lookup.lookup(&keys).unwrap().into_iter().map(|answer| answer.unwrap().unwrap_or_default()).collect()
    }

    #[test]
    fn rows_are_found_by_all_fields_of_the_key() {
        let rows = json!([{"a": 1, "b": "x", "c": 1}, {"a": "1", "b": "x", "c": 2}, {"a": 2.0, "b": true}, {"a": 3}]);
        let lookup = open(rows, &["b", "a"]).unwrap();
        let keys =
            json!([["x", 1], ["x", "1"], ["x", 1.0], [true, 2], ["true", "2"], ["x", null], ["x", 9], [null, 3]]);
        let (one, two) = (json!({"a": 1, "b": "x", "c": 1}), json!({"a": 2.0, "b": true}));
        assert_eq!(found(&lookup, keys), json!([one, one, one, two, two, null, null, null]));
        assert!(lookup.lookup(&[vec![json!(1)]]).unwrap_err().to_string().contains("a key has 1 values"));
        assert!(lookup.lookup(&[vec![json!([1]), json!(1)]]).unwrap()[0].is_err());
    }

    #[test]
    fn what_does_not_fit_the_rows_is_refused() {
        assert!(open(json!([{"code": 1}]), &["cod"]).unwrap_err().contains("did you mean \"code\"?"));
        let rows = serde_json::from_value(json!([{"a": 1}, {"a": 2}])).unwrap();
        let config = MemoryLookupConfig { max_rows: 1, ..MemoryLookupConfig::rows(rows) };
        let error = MemoryLookup::open(&config, &["a".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("more than 1 rows"), "{error}");
    }

    #[test]
    fn a_file_is_read_as_sources_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("airports.csv");
        std::fs::write(&path, "code,city,feet\nEWR,Newark,18\nJFK,New York,13\nEWR,Other,0\n").unwrap();
        let config = MemoryLookupConfig { columns: Some(vec!["city".to_owned()]), ..MemoryLookupConfig::file(&path) };
        let lookup = MemoryLookup::open(&config, &["code".to_owned()]).unwrap();
        assert_eq!(found(&lookup, json!([["EWR"], ["LGA"]])), json!([{"city": "Newark"}, null]));
        let error =
            MemoryLookup::open(&MemoryLookupConfig { max_rows: 2, ..config }, &["code".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("airports.csv: there are more than 2 rows"), "{error}");
    }
}
