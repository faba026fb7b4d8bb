//! Texts with the columns of a key in them: `user:{id}`.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::key_text::key_text;
use crate::suggestion::{did_you_mean, list};
use crate::{Error, ErrorKind, Key};

/// A text in which each `{column}` stands for the value of a key column; `{{` and `}}` stand for braces.
#[derive(Clone, PartialEq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq)]
enum Piece {
    Text(String),
    /// The value of the key column with this index.
    Column(usize),
}

impl Template {
    /// Reads a template. `name` is what the user calls it.
    pub(crate) fn parse(name: &str, text: &str, columns: &[String]) -> Result<Self, Error> {
        let refuse = |problem: String| Error::new(ErrorKind::Config, format!("`{name}`: {problem}"));
        let mut pieces = Vec::new();
        let (mut literal, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            literal += &rest[..at];
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix(brace) {
                literal += brace;
                rest = behind;
                continue;
            }
            let column = if brace == "{" { rest.split_once('}') } else { None };
            let Some((column, behind)) = column else {
                return Err(refuse(format!("\"{brace}\" stands alone; write {brace}{brace} for the character itself")));
            };
            let index = columns.iter().position(|known| known == column).ok_or_else(|| {
                let known = || columns.iter().map(String::as_str);
                let hint = did_you_mean(column, known());
                refuse(format!("\"{{{column}}}\" is no column of the key{hint}; it has {}", list(known())))
            })?;
            pieces.extend((!literal.is_empty()).then(|| Piece::Text(std::mem::take(&mut literal))));
            pieces.push(Piece::Column(index));
            rest = behind;
        }
        literal += rest;
        pieces.extend((!literal.is_empty()).then_some(Piece::Text(literal)));
        Ok(Self { pieces })
    }

    /// Whether the value of this key column makes a difference.
    pub(crate) fn has(&self, column: usize) -> bool {
        self.pieces.contains(&Piece::Column(column))
    }

    /// The text for a key, each value passed through `encode`; none when a value in it is null.
    pub(crate) fn fill(&self, key: &Key, encode: impl Fn(&str) -> Cow<'_, str>) -> Result<Option<String>, Error> {
        let mut filled = String::with_capacity(self.pieces.len() * 16);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled += text,
                Piece::Column(index) => match key_text(key.get(*index).unwrap_or(&Value::Null))? {
                    Some(text) => filled += &encode(&text),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(filled))
    }
}

/// The text may be a URL with a password in it.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").finish_non_exhaustive()
    }
}

/// Refuses a key column that is not used: records would share answers that they should not.
pub(crate) fn all_used(columns: &[String], is_used: impl Fn(usize) -> bool, place: &str) -> Result<(), Error> {
    match (0..columns.len()).find(|index| !is_used(*index)) {
        None => Ok(()),
        Some(index) => {
            let name = &columns[index];
            let message = format!("the key column \"{name}\" is not used; put {{{name}}} into {place}");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Template, String> {
        let columns = ["id", "kind"].map(str::to_owned);
        Template::parse("get", text, &columns).map_err(|error| error.to_string())
    }

    fn filled(text: &str, key: Value) -> Result<Option<String>, String> {
        let key: Key = serde_json::from_value(key).unwrap();
        parse(text)?.fill(&key, |text| Cow::Borrowed(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_filled_in() {
        assert_eq!(filled("user:{id}", json!([7, "x"])), Ok(Some("user:7".to_owned())));
        assert_eq!(filled("{kind}:{id}:{kind}", json!([true, "a b"])), Ok(Some("a b:true:a b".to_owned())));
        assert_eq!(filled("{{{id}}}:{{x}}", json!(["7", ""])), Ok(Some("{7}:{x}".to_owned())));
        assert_eq!(filled("", json!([1, 2])), Ok(Some(String::new())));
        assert_eq!(filled("größe:{id}", json!([1.5, 2])), Ok(Some("größe:1.5".to_owned())));
    }

    #[test]
    fn null_is_missing_and_a_list_is_no_key() {
        assert_eq!(filled("{id}", json!([null, 1])), Ok(None));
        assert_eq!(filled("{id}", json!([1, null])), Ok(Some("1".to_owned())));
        assert!(filled("{id}", json!([[1], 1])).unwrap_err().contains("cannot be a key"));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, expected) in [
            ("user:{id", "\"{\" stands alone; write {{"),
            ("user:id}", "\"}\" stands alone; write }}"),
            ("user:{idd}", "did you mean \"id\"?"),
            ("{}", "is no column of the key; it has \"id\", \"kind\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && error.starts_with("`get`: "), "{error}");
        }
    }

    #[test]
    fn a_column_that_is_nowhere_is_refused() {
        let columns = ["id", "kind"].map(str::to_owned);
        let (one, both) = (parse("{id}").unwrap(), parse("{id}{kind}").unwrap());
        let error = all_used(&columns, |index| one.has(index), "`get`").unwrap_err();
        assert!(error.to_string().contains("\"kind\" is not used; put {kind} into `get`"), "{error}");
        all_used(&columns, |index| one.has(index) || both.has(index), "`get`").unwrap();
    }
}
