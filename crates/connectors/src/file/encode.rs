//! Writing records down as JSON lines or CSV.

use serde_json::Value;

use super::{FileSinkConfig, Format};
use crate::suggestion::list;
use crate::{Error, ErrorKind, Record};

/// Turns records into lines.
pub(super) enum Encoder {
    JsonLines,
    Csv(CsvRows),
}

/// The first record decides the columns of a CSV file; each later one must have the same fields, in any order.
pub(super) struct CsvRows {
    delimiter: u8,
    null: String,
    header: Option<Vec<String>>,
}

impl Encoder {
    /// `columns` are those of the CSV file that is continued, if it has any rows.
    pub(super) fn new(config: &FileSinkConfig, columns: Option<Vec<String>>) -> Result<Self, Error> {
        Ok(match config.format()? {
            Format::JsonLines => Self::JsonLines,
            Format::Csv => Self::Csv(CsvRows {
                delimiter: config.delimiter() as u8, // checked to be ASCII
                null: config.null.clone().unwrap_or_default(),
                header: columns,
            }),
        })
    }

    /// The columns of the CSV file, once they are decided.
    pub(super) fn columns(&self) -> Option<&[String]> {
        match self {
            Self::JsonLines => None,
            Self::Csv(rows) => rows.header.as_deref(),
        }
    }

    /// Appends the line of `record`, and for the first CSV record the header before it. When that fails, `line` holds
    /// nothing of use and the encoder is as before.
    pub(super) fn encode(&mut self, record: &Record, line: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::JsonLines => {
                serde_json::to_writer(&mut *line, record).map_err(not_writable)?;
                line.push(b'\n');
                Ok(())
            }
            Self::Csv(rows) => rows.encode(record, line),
        }
    }
}

impl CsvRows {
    fn encode(&mut self, record: &Record, line: &mut Vec<u8>) -> Result<(), Error> {
        let Some(header) = &self.header else {
            if record.is_empty() {
                let message = "the first record has no fields, so there are no columns to write";
                return Err(Error::new(ErrorKind::Malformed, message));
            }
            self.push_row(record.keys().map(|name| Ok(name.clone())), line)?;
            self.push_row(record.values().map(|value| self.text(value)), line)?;
            self.header = Some(record.keys().cloned().collect());
            return Ok(());
        };
        if let Some(other) = difference(header, record) {
            return Err(Error::new(ErrorKind::Malformed, other));
        }
        self.push_row(header.iter().map(|name| self.text(&record[name])), line)
    }

    fn push_row(
        &self,
        fields: impl ExactSizeIterator<Item = Result<String, Error>>,
        line: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let alone = fields.len() == 1;
        for (index, field) in fields.enumerate() {
            if index > 0 {
                line.push(self.delimiter);
            }
            self.push_field(&field?, alone, line);
        }
        line.push(b'\n');
        Ok(())
    }

    /// Quotes a field where a reader needs it; an empty one that stands alone would be taken for a blank line.
    fn push_field(&self, field: &str, alone: bool, line: &mut Vec<u8>) {
        let special = |byte| matches!(byte, b'"' | b'\n' | b'\r') || byte == self.delimiter;
        if field.bytes().any(special) || (alone && field.is_empty()) {
            line.push(b'"');
            line.extend_from_slice(field.replace('"', "\"\"").as_bytes());
            line.push(b'"');
        } else {
            line.extend_from_slice(field.as_bytes());
        }
    }

    /// Lists and objects are written as JSON in one field.
    fn text(&self, value: &Value) -> Result<String, Error> {
        match value {
            Value::Null => Ok(self.null.clone()),
            Value::String(text) => Ok(text.clone()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                serde_json::to_string(value).map_err(not_writable)
            }
        }
    }
}

/// How the fields of `record` differ from the columns, in words.
fn difference(header: &[String], record: &Record) -> Option<String> {
    let missing: Vec<_> = header.iter().map(String::as_str).filter(|name| !record.contains_key(*name)).collect();
    if record.len() == header.len() && missing.is_empty() {
        return None;
    }
    let added: Vec<_> = record.keys().map(String::as_str).filter(|name| !header.iter().any(|h| h == name)).collect();
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("lacks {}", list(missing)));
    }
    if !added.is_empty() {
        parts.push(format!("adds {}", list(added)));
    }
    Some(format!(
        "the first record decides the columns of a CSV file, and this one {}; write JSON lines, or give all records \
         the same fields",
        parts.join(" and ")
    ))
}

fn not_writable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Malformed, format!("the record cannot be written as JSON: {error}")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn csv(config: FileSinkConfig, records: &[Value]) -> Result<String, Error> {
        let mut encoder = Encoder::new(&config, None)?;
        let mut text = Vec::new();
        for record in records {
            encoder.encode(record.as_object().unwrap(), &mut text)?;
        }
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn values_are_written_as_people_expect() {
        let record = json!({ "s": "a", "n": 1.5, "b": true, "nothing": null, "deep": {"x": [1]} });
        let text = csv(FileSinkConfig::new("a.csv"), &[record]).unwrap();
        assert_eq!(text, "s,n,b,nothing,deep\na,1.5,true,,\"{\"\"x\"\":[1]}\"\n");
    }

    #[test]
    fn special_characters_are_quoted_and_read_back() {
        let records = [
            json!({"a,b": "x,y", "c": "say \"hi\""}),
            json!({"a,b": "two\nlines", "c": "\r"}),
            json!({"a,b": "", "c": ""}),
        ];
        let text = csv(FileSinkConfig::new("a.csv"), &records).unwrap();
        let read: Vec<_> = super::super::Csv::new(text.as_bytes(), &super::super::CsvOptions::default())
            .unwrap()
            .map(|record| Value::Object(record.unwrap()))
            .collect();
        assert_eq!(read, records);
    }

    #[test]
    fn an_empty_field_that_stands_alone_is_no_blank_line() {
        assert_eq!(csv(FileSinkConfig::new("a.csv"), &[json!({"a": ""})]).unwrap(), "a\n\"\"\n");
    }

    #[test]
    fn delimiter_and_null_are_configured() {
        let config =
            FileSinkConfig { delimiter: Some(';'), null: Some("NA".to_owned()), ..FileSinkConfig::new("a.csv") };
        assert_eq!(csv(config, &[json!({"a": null, "b": "1,2;3"})]).unwrap(), "a;b\nNA;\"1,2;3\"\n");
    }

    #[test]
    fn later_records_may_order_their_fields_otherwise() {
        let records = [json!({"a": 1, "b": 2}), json!({"b": 4, "a": 3})];
        assert_eq!(csv(FileSinkConfig::new("a.csv"), &records).unwrap(), "a,b\n1,2\n3,4\n");
    }

    #[test]
    fn later_records_with_other_fields_are_refused_with_their_names() {
        let refusal = |record| csv(FileSinkConfig::new("a.csv"), &[json!({"a": 1, "b": 2}), record]).unwrap_err();
        assert!(refusal(json!({"a": 1})).to_string().contains("lacks \"b\";"));
        assert!(refusal(json!({"a": 1, "b": 2, "c": 3})).to_string().contains("adds \"c\";"));
        assert!(refusal(json!({"a": 1, "c": 2})).to_string().contains("lacks \"b\" and adds \"c\""));
        assert_eq!(csv(FileSinkConfig::new("a.csv"), &[json!({})]).unwrap_err().kind(), ErrorKind::Malformed);
    }
}
