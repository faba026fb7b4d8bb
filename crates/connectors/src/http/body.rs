//! The body of a request, with the columns of a key in it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::key_text::key_text;
use crate::template::Template;
use crate::{Error, ErrorKind, Key};

/// What stands for all keys as objects, in a request for many.
const ALL_KEYS: &str = "{*}";

/// JSON in which texts stand for values of a key.
#[derive(Debug)]
pub(super) enum Body {
    /// As it is.
    Plain(Value),
    /// The value of this key column, with its type; in a request for many keys the list of them.
    Column(usize),
    /// A longer text with values in it.
    Text(Template),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
    /// All keys as objects.
    AllKeys,
}

impl Body {
    pub(super) fn parse(typed: &Value, columns: &[String], for_many: bool) -> Result<Self, Error> {
        Ok(match typed {
            Value::String(text) if for_many && text == ALL_KEYS => Self::AllKeys,
            Value::String(text) => {
                let template = Template::parse("body", text, columns)?;
                let alone = columns.iter().position(|column| *text == format!("{{{column}}}"));
                let has_column = (0..columns.len()).any(|index| template.has(index));
                match alone {
                    Some(index) => Self::Column(index),
                    None if has_column && for_many => {
                        let message =
                            format!("`body`: \"{text}\" cannot stand for many keys; write \"{{column}}\" alone");
                        return Err(Error::new(ErrorKind::Config, message));
                    }
                    None => Self::Text(template),
                }
            }
            Value::Array(list) => {
                Self::List(list.iter().map(|item| Self::parse(item, columns, for_many)).collect::<Result<_, _>>()?)
            }
            Value::Object(object) => {
                let member = |(name, item): (&String, &Value)| {
                    Ok::<_, Error>((name.clone(), Self::parse(item, columns, for_many)?))
                };
                Self::Object(object.iter().map(member).collect::<Result<_, _>>()?)
            }
            plain => Self::Plain(plain.clone()),
        })
    }

    /// Whether the value of this key column makes a difference.
    pub(super) fn has(&self, column: usize) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Column(index) => *index == column,
            Self::Text(template) => template.has(column),
            Self::List(list) => list.iter().any(|item| item.has(column)),
            Self::Object(object) => object.iter().any(|(_, item)| item.has(column)),
            Self::AllKeys => true,
        }
    }

    /// For one key, whose values are none of them null.
    pub(super) fn of_one(&self, key: &Key) -> Result<Value, Error> {
        self.fill(&|index| key.get(index).cloned().unwrap_or_default(), &|| Value::Null, key)
    }

    /// For many keys, whose columns have these names.
    pub(super) fn of_many(&self, keys: &[&Key], columns: &[String]) -> Result<Value, Error> {
        let column = |index: usize| keys.iter().filter_map(|key| key.get(index).cloned()).collect();
        let object = |key: &&Key| -> Map<String, Value> { columns.iter().cloned().zip(key.iter().cloned()).collect() };
        let all = || keys.iter().map(object).collect();
        self.fill(&column, &all, &Vec::new())
    }

    fn fill(&self, column: &dyn Fn(usize) -> Value, all: &dyn Fn() -> Value, key: &Key) -> Result<Value, Error> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Column(index) => column(*index),
            Self::Text(template) => template.fill(key, |text| Cow::Borrowed(text))?.into(),
            Self::List(list) => list.iter().map(|item| item.fill(column, all, key)).collect::<Result<_, _>>()?,
            Self::Object(object) => {
                let member =
                    |(name, item): &(String, Self)| Ok::<_, Error>((name.clone(), item.fill(column, all, key)?));
                Value::Object(object.iter().map(member).collect::<Result<_, _>>()?)
            }
            Self::AllKeys => all(),
        })
    }
}

/// The values of a key as texts, which is how keys are compared; none when there is a null among them.
pub(super) fn texts(key: &Key) -> Result<Option<Vec<String>>, Error> {
    key.iter().map(|value| Ok(key_text(value)?.map(Cow::into_owned))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn columns() -> Vec<String> {
        ["id", "kind"].map(str::to_owned).to_vec()
    }

    #[test]
    fn values_keep_their_types_where_they_stand_alone() {
        let typed = json!({"id": "{id}", "text": "{kind}-{id}", "list": ["{kind}", 1, null], "plain": "{{x}}"});
        let body = Body::parse(&typed, &columns(), false).unwrap();
        assert!(body.has(0) && body.has(1));
        let expected = json!({"id": 7, "text": "true-7", "list": [true, 1, null], "plain": "{x}"});
        assert_eq!(body.of_one(&vec![json!(7), json!(true)]).unwrap(), expected);
    }

    #[test]
    fn many_keys_are_lists_or_objects() {
        let typed = json!({"ids": "{id}", "keys": "{*}", "fixed": "x"});
        let body = Body::parse(&typed, &columns(), true).unwrap();
        let keys = [vec![json!(7), json!("a")], vec![json!("8"), json!("b")]];
        let expected = json!({
            "ids": [7, "8"], "keys": [{"id": 7, "kind": "a"}, {"id": "8", "kind": "b"}], "fixed": "x",
        });
        assert_eq!(body.of_many(&keys.iter().collect::<Vec<_>>(), &columns()).unwrap(), expected);
        let error = Body::parse(&json!("a{id}"), &columns(), true).unwrap_err();
        assert!(error.to_string().contains("cannot stand for many keys"), "{error}");
    }

    #[test]
    fn a_column_that_is_not_known_is_refused() {
        let error = Body::parse(&json!({"a": ["{idd}"]}), &columns(), false).unwrap_err();
        assert!(error.to_string().contains("did you mean \"id\"?"), "{error}");
    }
}
