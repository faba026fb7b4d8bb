//! From the tree of a file to the types that describe it, with faults that name the place.
//!
//! A serde deserializer over [`Node`]. What it adds to serde: unknown keys are all found before anything else, each
//! with the key that was probably meant; keys that are planned but do not work yet are refused as such; every error
//! stands at the value, or at the key, that it is about; and a value that came from a variable is not printed.

mod access;
mod error;

use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

use self::access::{Choice, Group, List};
use self::error::{DecodeError, unknown_word};
use crate::fault::{Fault, listed};
use crate::yaml::{Entry, Node, Value};

/// Decodes a value; `key_at` is the key that names it.
///
/// `None` when there were faults, which are then among `faults`: those of all keys of a group, not only the first.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, key_at: &Range<usize>, faults: &mut Vec<Fault>) -> Option<T> {
    let error = match T::deserialize(Decoder { node, key_at }) {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let mut found = error.faults(node, key_at);
    let mut rest = node.clone();
    // Serde stops at the first fault, so the keys that are wrong are taken out until nothing more is found.
    while let Value::Group(entries) = &mut rest.value
        && remove_faulty(entries, &found)
    {
        faults.append(&mut found);
        let first = entries.first()?.key_at.start;
        let again = T::deserialize(Decoder { node: &rest, key_at }).err();
        found = again.map(|error| error.faults(&rest, key_at)).unwrap_or_default();
        // A key that seems to be missing now may be one that was taken out.
        found.retain(|fault| fault.at.start >= first);
    }
    faults.append(&mut found);
    None
}

/// Removes the entries in which these faults stand; whether there were any.
fn remove_faulty(entries: &mut Vec<Entry>, faults: &[Fault]) -> bool {
    let holder = |fault: &Fault| entries.iter().rposition(|entry| entry.key_at.start <= fault.at.start);
    let faulty: BTreeSet<usize> = faults.iter().filter_map(holder).collect();
    // From the end, so that positions stay what they are.
    faulty.iter().rev().for_each(|index| drop(entries.remove(*index)));
    !faulty.is_empty()
}

/// The entries of a group whose keys must be among `known`; other keys become faults.
pub(crate) fn group<'a>(node: &'a Node, known: &[&str], faults: &mut Vec<Fault>) -> &'a [Entry] {
    match &node.value {
        Value::Group(entries) => {
            faults.extend(unknown_keys(entries, known));
            entries
        }
        _ => {
            let message = format!("expected a group of keys ({}), found {}", listed(known), found(node));
            faults.push(Fault::new(node.at.clone(), message));
            &[]
        }
    }
}

/// What stands there, in words. Never the text of a secret.
pub(crate) fn found(node: &Node) -> String {
    match (&node.typed, &node.value) {
        (Some(typed), _) => format!("the text `{typed}`"),
        (_, Value::Null) => "nothing".to_owned(),
        (_, Value::Bool(value)) => format!("`{value}`"),
        (_, Value::Unsigned(value)) => format!("the number {value}"),
        (_, Value::Signed(value)) => format!("the number {value}"),
        (_, Value::Float(value)) => format!("the number {value}"),
        (_, Value::Text(text)) => format!("the text `{text}`"),
        (_, Value::List(_)) => "a list".to_owned(),
        (_, Value::Group(_)) => "a group of keys".to_owned(),
    }
}

fn unknown_keys<'a>(entries: &'a [Entry], known: &'a [&str]) -> impl Iterator<Item = Fault> + 'a {
    let unknown = entries.iter().filter(|entry| !known.contains(&entry.key.as_str()));
    unknown.map(|entry| unknown_word("key", &entry.key, known, entry.key_at.clone()))
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
    key_at: &'a Range<usize>,
}

impl<'a> Decoder<'a> {
    fn placed<T>(self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        result.map_err(|error| error.placed(self.node, self.key_at))
    }

    fn expected<T>(self, what: &str) -> Result<T, DecodeError> {
        self.placed(Err(de::Error::custom(format_args!("expected {what}, found {}", found(self.node)))))
    }

    /// What a variable stands for is always a text; where a number is wanted, it may be one.
    fn number_of_variable(self) -> Option<u64> {
        match (&self.node.typed, &self.node.value) {
            (Some(_), Value::Text(text)) => text.parse().ok(),
            _ => None,
        }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(nodes) => visitor.visit_seq(List { nodes: nodes.iter(), key_at: self.key_at }),
            Value::Group(entries) => visitor.visit_map(Group::of(entries)),
        }
    }
}

macro_rules! any {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.placed(self.visit(visitor))
        })*
    };
}

macro_rules! whole_number {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match (&self.node.value, self.number_of_variable()) {
                (Value::Unsigned(_) | Value::Signed(_), _) => self.placed(self.visit(visitor)),
                (_, Some(number)) => self.placed(visitor.visit_u64(number)),
                _ => self.expected("a whole number"),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = DecodeError;

    any! {
        deserialize_any deserialize_f32 deserialize_f64 deserialize_char deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_identifier
    }

    whole_number! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Bool(_) => self.placed(self.visit(visitor)),
            _ => self.expected("true or false"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Text(_) => self.placed(self.visit(visitor)),
            Value::Bool(_) | Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => self.placed(Err(
                de::Error::custom(format_args!("expected a text, found {}\nput it in quotes", found(self.node))),
            )),
            _ => self.expected("a text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Null => {
                let fault = Fault::new(self.key_at.clone(), "the key has no value");
                Err(DecodeError::Placed(vec![fault.with_label("give it one, or leave the key out")]))
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::List(_) => self.placed(self.visit(visitor)),
            _ => self.expected("a list, such as [a, b]"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Group(_) => self.placed(self.visit(visitor)),
            _ => self.expected("a group of keys, such as { name: value }"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let Value::Group(entries) = &self.node.value else {
            return self.expected(&format!("a group of keys ({})", listed(fields)));
        };
        let mut unknown: Vec<Fault> = unknown_keys(entries, fields).collect();
        if unknown.is_empty() {
            return self.placed(self.visit(visitor));
        }
        // What else is wrong is worth knowing too, so the known keys are decoded all the same.
        let known = entries.iter().filter(|entry| fields.contains(&entry.key.as_str()));
        if let Err(DecodeError::Placed(faults)) = self.placed(visitor.visit_map(Group::of(known))) {
            unknown.extend(faults);
        }
        Err(DecodeError::Placed(unknown))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let (word, word_at, content) = match &self.node.value {
            Value::Text(word) => (word, &self.node.at, None),
            Value::Group(entries) => match entries.as_slice() {
                [one] => (&one.key, &one.key_at, Some(&one.node)),
                [] => return self.expected(&format!("one of {}", listed(variants))),
                [_, second, ..] => {
                    let fault = Fault::new(second.key_at.clone(), "one key too many");
                    let label = format!("exactly one of {} goes here", listed(variants));
                    return Err(DecodeError::Placed(vec![fault.with_label(label)]));
                }
            },
            _ => return self.expected(&format!("one of {}", listed(variants))),
        };
        if !variants.contains(&word.as_str()) {
            let word = self.node.typed.as_ref().unwrap_or(word);
            return Err(DecodeError::Placed(vec![unknown_word("word", word, variants, word_at.clone())]));
        }
        self.placed(visitor.visit_enum(Choice { word, word_at, content }))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::yaml;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shelf {
        name: String,
        #[serde(default)]
        books: Vec<Book>,
        #[serde(default)]
        light: Light,
        depth: Option<u8>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Book {
        pages: u16,
        read: Option<bool>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Light {
        #[default]
        Off,
        Lamp(Lamp),
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Lamp {
        watts: u8,
    }

    fn shelf(text: &str) -> Result<Shelf, Vec<(String, String, String)>> {
        let root = yaml::read(text).unwrap();
        let mut faults = Vec::new();
        let shelf = decode(&root, &(0..0), &mut faults);
        let shown = |fault: Fault| (text[fault.at].to_owned(), fault.message, fault.label);
        shelf.ok_or_else(|| faults.into_iter().map(shown).collect())
    }

    fn fault(text: &str) -> (String, String, String) {
        let mut faults = shelf(text).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.remove(0)
    }

    fn three(at: &str, message: &str, label: &str) -> (String, String, String) {
        (at.to_owned(), message.to_owned(), label.to_owned())
    }

    #[test]
    fn what_is_right_is_decoded() {
        let shelf = shelf("{ name: a, books: [{ pages: 3, read: true }], light: { lamp: { watts: 5 } } }").unwrap();
        let books = vec![Book { pages: 3, read: Some(true) }];
        let light = Light::Lamp(Lamp { watts: 5 });
        assert_eq!(shelf, Shelf { name: "a".to_owned(), books, light, depth: None });
    }

    #[test]
    fn a_word_alone_has_an_empty_group() {
        assert_eq!(shelf("{ name: a, light: lamp }").unwrap().light, Light::Lamp(Lamp::default()));
        assert_eq!(shelf("{ name: a, light: off }").unwrap().light, Light::Off);
    }

    #[test]
    fn every_unknown_key_is_found_and_what_else_is_wrong() {
        let faults = shelf("{ nam: a, name: a, dept: 3, books: 7, metrics: x }").unwrap_err();
        let expected = [
            three("nam", "unknown key `nam`", "did you mean `name`?"),
            three("dept", "unknown key `dept`", "did you mean `depth`?"),
            three("metrics", "`metrics` is not supported yet", "known here: name, books, light, depth"),
            three("7", "expected a list, such as [a, b], found the number 7", ""),
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn several_wrong_values_are_found_at_once() {
        let faults = shelf("{ books: [{ pages: x, read: 1 }], dept: 1, name: 7, light: lmap, depth: -1 }").unwrap_err();
        let places: Vec<&str> = faults.iter().map(|(at, ..)| at.as_str()).collect();
        assert_eq!(places, ["dept", "x", "7", "lmap", "-1"]);
    }

    #[test]
    fn types_are_told_in_words() {
        assert_eq!(fault("{ name: 5 }"), three("5", "expected a text, found the number 5", "put it in quotes"));
        let (at, message, _) = fault("{ name: a, books: [{ pages: many }] }");
        assert_eq!((at.as_str(), message.as_str()), ("many", "expected a whole number, found the text `many`"));
        let (at, message, _) = fault("{ name: a, books: [{ pages: 3, read: yes }] }");
        assert_eq!((at.as_str(), message.as_str()), ("yes", "expected true or false, found the text `yes`"));
        let (at, message, _) = fault("{ name: a, depth: 300 }");
        assert_eq!((at.as_str(), message.as_str()), ("300", "expected a smaller whole number, found the number 300"));
        let (_, message, _) = fault("[a]");
        assert_eq!(message, "expected a group of keys (name, books, light, depth), found a list");
    }

    #[test]
    fn a_missing_key_is_shown_at_the_key_above_it() {
        let (at, message, _) = fault("{ name: a, books: [{ read: true }] }");
        assert_eq!((at.as_str(), message.as_str()), ("books", "key `pages` is missing here"));
    }

    #[test]
    fn choices_tell_what_there_is_to_choose() {
        let expected = three("lmap", "unknown word `lmap`", "did you mean `lamp`?");
        assert_eq!(fault("{ name: a, light: lmap }"), expected);
        let expected = three("off", "`off` stands alone: nothing belongs under it", "found the number 3");
        assert_eq!(fault("{ name: a, light: { off: 3 } }"), expected);
        let expected = three("off", "one key too many", "exactly one of off, lamp goes here");
        assert_eq!(fault("{ name: a, light: { lamp: {}, off: 3 } }"), expected);
    }

    #[test]
    fn a_secret_is_shown_as_typed() {
        let mut root = yaml::read("{ light: secret, depth: 7x, pages: '7' }").unwrap();
        root.each_text(&mut |node, _| node.typed = Some("${env:X}".to_owned()));
        let mut faults = Vec::new();
        let number = |key: &str, faults: &mut Vec<Fault>| {
            let (node, key_at) = root.nearest(&[key]);
            decode::<u8>(node, &key_at, faults)
        };
        assert_eq!(number("pages", &mut faults), Some(7));
        assert_eq!(number("depth", &mut faults), None);
        assert_eq!(faults[0].message, "expected a whole number, found the text `${env:X}`");
        let (light, key_at) = root.nearest(&["light"]);
        assert_eq!(decode::<Light>(light, &key_at, &mut faults), None);
        assert_eq!(faults[1].message, "unknown word `${env:X}`");
    }
}
