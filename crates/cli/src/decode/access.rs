//! The parts of lists, groups and choices, as serde asks for them.

use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::error::DecodeError;
use super::{Decoder, found};
use crate::fault::Fault;
use crate::yaml::{Entry, Node, Value};

/// A list, element by element.
pub(super) struct List<'a, I> {
    pub(super) nodes: I,
    pub(super) key_at: &'a Range<usize>,
}

impl<'de, 'a, I: Iterator<Item = &'a Node>> SeqAccess<'de> for List<'a, I> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.nodes.next() else { return Ok(None) };
        let decoder = Decoder { node, key_at: self.key_at };
        decoder.placed(seed.deserialize(decoder)).map(Some)
    }
}

/// A group, entry by entry.
pub(super) struct Group<'a, I> {
    entries: I,
    value: Option<&'a Entry>,
}

impl<'a, I: Iterator<Item = &'a Entry>> Group<'a, I> {
    pub(super) fn of(entries: impl IntoIterator<Item = &'a Entry, IntoIter = I>) -> Self {
        Self { entries: entries.into_iter(), value: None }
    }
}

impl<'de, 'a, I: Iterator<Item = &'a Entry>> MapAccess<'de> for Group<'a, I> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.value = self.entries.next();
        let Some(entry) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, DecodeError> = entry.key.as_str().into_deserializer();
        let placed = |error: DecodeError| match error {
            // A key that is wrong stands at the key, whatever the error is about.
            DecodeError::Loose { message, label, .. } => {
                DecodeError::Placed(vec![Fault::new(entry.key_at.clone(), message).with_label(label)])
            }
            placed => placed,
        };
        seed.deserialize(key).map(Some).map_err(placed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Some(entry) = self.value.take() else {
            return Err(de::Error::custom("a value without a key"));
        };
        let decoder = Decoder { node: &entry.node, key_at: &entry.key_at };
        decoder.placed(seed.deserialize(decoder))
    }
}

/// `word`, or `word: content`.
pub(super) struct Choice<'a> {
    pub(super) word: &'a str,
    pub(super) word_at: &'a Range<usize>,
    pub(super) content: Option<&'a Node>,
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let word: StrDeserializer<'_, DecodeError> = self.word.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.content {
            None => Ok(()),
            Some(node) => {
                let fault =
                    Fault::new(self.word_at.clone(), format!("`{}` stands alone: nothing belongs under it", self.word));
                Err(DecodeError::Placed(vec![fault.with_label(format!("found {}", found(node)))]))
            }
        }
    }

    /// A word alone is the same as the word with an empty group: `sink: stdout`.
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        self.with_content(|decoder| seed.deserialize(decoder))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.with_content(|decoder| decoder.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.with_content(|decoder| decoder.deserialize_struct("", fields, visitor))
    }
}

impl Choice<'_> {
    fn with_content<T>(self, decode: impl FnOnce(Decoder<'_>) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        let empty = Node { at: self.word_at.clone(), value: Value::Group(Vec::new()), typed: None };
        let decoder = Decoder { node: self.content.unwrap_or(&empty), key_at: self.word_at };
        decoder.placed(decode(decoder))
    }
}
