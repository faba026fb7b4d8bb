//! The way to a field of a record: `.user.name`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Record;

/// The way to a field of a record, as written in pipeline files: `.a` or `.a.b`.
///
/// A name with dots, spaces or other unusual characters is put in double quotes: `."first name".short`.
///
/// ```
/// use inflight_connectors::FieldPath;
/// use serde_json::json;
///
/// let path: FieldPath = ".user.name".parse().unwrap();
/// let record = json!({ "user": { "name": "Ada" } });
/// assert_eq!(path.find(record.as_object().unwrap()), Some(&json!("Ada")));
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath {
    names: Vec<String>,
}

/// Why a text is not a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPathError(String);

impl FieldPath {
    /// The names along the way, at least one.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The value the path leads to; `None` when a field on the way is absent or is not an object.
    pub fn find<'a>(&self, record: &'a Record) -> Option<&'a Value> {
        let (first, rest) = self.names.split_first()?;
        rest.iter().try_fold(record.get(first)?, |value, name| value.as_object()?.get(name))
    }
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, FieldPathError> {
        let fail = |what: String| Err(FieldPathError(format!("\"{text}\" is not a field path: {what}")));
        if text.is_empty() || text == "." {
            return fail("it names no field; write a dot and a name, as in .user".to_owned());
        }
        if !text.starts_with('.') {
            return fail(format!("it must begin with a dot; did you mean \".{text}\"?"));
        }
        let mut names = Vec::new();
        let mut rest = text;
        while let Some(step) = rest.strip_prefix('.') {
            let (name, after) = match step.strip_prefix('"') {
                Some(quoted) => match quoted.split_once('"') {
                    Some(parts) => parts,
                    None => return fail("a double quote is not closed".to_owned()),
                },
                None => step.split_at(step.find(|c| !is_plain(c)).unwrap_or(step.len())),
            };
            if name.is_empty() {
                return fail(format!("a name is missing after {:?}", &text[..text.len() - step.len()]));
            }
            names.push(name.to_owned());
            rest = after;
        }
        match rest.chars().next() {
            None => Ok(Self { names }),
            Some('[') => fail("elements of lists cannot be reached; only names can, as in .user.name".to_owned()),
            Some(c) => fail(format!("unexpected {c:?}; put a name with unusual characters in double quotes")),
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

impl TryFrom<String> for FieldPath {
    type Error = FieldPathError;

    fn try_from(text: String) -> Result<Self, FieldPathError> {
        text.parse()
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.iter().try_for_each(|name| {
            if name.chars().all(is_plain) { write!(f, ".{name}") } else { write!(f, ".\"{name}\"") }
        })
    }
}

impl fmt::Display for FieldPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FieldPathError {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<FieldPath, String> {
        text.parse().map_err(|error: FieldPathError| error.to_string())
    }

    #[test]
    fn paths_lead_to_nested_fields() {
        let record = json!({ "a": { "b": { "c": 1 }, "x.y": 2 }, "n": null });
        let find = |path: &str| parse(path).unwrap().find(record.as_object().unwrap()).cloned();
        assert_eq!(find(".a.b.c"), Some(json!(1)));
        assert_eq!(find(".a.\"x.y\""), Some(json!(2)));
        assert_eq!(find(".n"), Some(json!(null)));
        assert_eq!(find(".n.b"), None);
        assert_eq!(find(".nothing.b"), None);
    }

    #[test]
    fn paths_are_written_as_they_are_read() {
        for text in [".a", ".a.b-c.d_1", ".\"first name\".é", ".\"a.b\".c"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_paths_say_what_is_wrong() {
        for (text, expected) in [
            ("", "names no field"),
            (".", "names no field"),
            ("user", "did you mean \".user\"?"),
            (".a..b", "a name is missing after \".a.\""),
            (".a.", "a name is missing after \".a.\""),
            (".a[0]", "elements of lists"),
            (".a b", "unexpected ' '"),
            (".\"a", "not closed"),
            (".\"\"", "a name is missing"),
            (".\"a\"b", "unexpected 'b'"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_in_a_file_is_a_text() {
        let path: FieldPath = serde_json::from_value(json!(".a.b")).unwrap();
        assert_eq!(serde_json::to_value(&path).unwrap(), json!(".a.b"));
        assert!(serde_json::from_value::<FieldPath>(json!("a")).unwrap_err().to_string().contains("begin with a dot"));
        assert_eq!(schemars::schema_for!(FieldPath).get("type"), Some(&json!("string")));
    }
}
