//! YAML text into a tree that knows where each value stands.
//!
//! The only file that knows which YAML parser is used. Strict YAML 1.2: `yes` and `on` are words and not booleans,
//! `<<` merges nothing, tags are refused. JSON is a subset of it.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, MergeKeyPolicy, Spanned};

use crate::fault::{FAULTS_SHOWN_MAX, Fault};

/// Largest pipeline file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting that is read: no pipeline file comes near it, and a small stack bears it.
pub const DEPTH_MAX: usize = 32;

/// One value of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands, in bytes of the text.
    pub at: Range<usize>,
    /// What it is.
    pub value: Value,
    /// The text as typed, when it held a variable. The value is then a secret: never print it, print this.
    pub typed: Option<String>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are YAML's")]
pub enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Group(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands, in bytes of the text.
    pub key_at: Range<usize>,
    /// The value.
    pub node: Node,
}

/// Reads one document.
///
/// # Errors
/// Text that is no YAML, more than one document, keys given twice (all of them), a file too large.
pub fn read(text: &str) -> Result<Node, Vec<Fault>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        return Err(vec![Fault::new(0..0, message)]);
    }
    let options = serde_saphyr::options! {
        // Found by `find_duplicates`, all at once.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
    };
    let tree: Spanned<Tree> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| vec![syntax_fault(text, &error)])?;
    let root = into_node(text, tree);
    let mut faults = Vec::new();
    find_duplicates(text, &root, &mut faults);
    if faults.is_empty() { Ok(root) } else { Err(faults) }
}

impl Node {
    /// The value under these keys (of groups) or positions (of lists), or the nearest value above it that is there,
    /// with the place of the key that names it.
    pub fn nearest(&self, path: &[&str]) -> (&Self, Range<usize>) {
        let mut found = (self, self.at.clone());
        for part in path {
            found = match &found.0.value {
                Value::Group(entries) => match entries.iter().find(|entry| entry.key == *part) {
                    Some(entry) => (&entry.node, entry.key_at.clone()),
                    None => break,
                },
                Value::List(nodes) => match part.parse().ok().and_then(|index: usize| nodes.get(index)) {
                    Some(node) => (node, node.at.clone()),
                    None => break,
                },
                _ => break,
            };
        }
        found
    }

    /// Calls `visit` for each text of the tree, with the path that leads to it.
    pub fn each_text(&mut self, visit: &mut impl FnMut(&mut Self, &[String])) {
        self.each_text_under(&mut Vec::new(), visit);
    }

    fn each_text_under(&mut self, path: &mut Vec<String>, visit: &mut impl FnMut(&mut Self, &[String])) {
        match &mut self.value {
            Value::Text(_) => visit(self, path),
            Value::List(nodes) => {
                for (index, node) in nodes.iter_mut().enumerate() {
                    path.push(index.to_string());
                    node.each_text_under(path, visit);
                    path.pop();
                }
            }
            Value::Group(entries) => {
                for entry in entries {
                    path.push(entry.key.clone());
                    entry.node.each_text_under(path, visit);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => {}
        }
    }
}

fn syntax_fault(text: &str, error: &Error) -> Fault {
    let at = error.location().map_or(0, |location| {
        let line = usize::try_from(location.line()).unwrap_or(1).max(1);
        let column = usize::try_from(location.column()).unwrap_or(1).max(1);
        offset(text, line, column)
    });
    let message = error.without_snippet().to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    let message = if message.starts_with("multiple YAML documents") {
        "a pipeline file holds one document; a second one starts here".to_owned()
    } else {
        format!("not valid YAML: {message}")
    };
    Fault::new(at..at, message)
}

/// The byte at which a line and a column (both from 1, in characters) stand.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = match line {
        1 => 0,
        _ => text.match_indices('\n').nth(line - 2).map_or(text.len(), |(at, _)| at + 1),
    };
    let in_line = text[start..].char_indices().nth(column - 1);
    in_line.map_or(text.len(), |(at, _)| start + at)
}

fn find_duplicates(text: &str, node: &Node, faults: &mut Vec<Fault>) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| find_duplicates(text, node, faults)),
        Value::Group(entries) => {
            let mut seen = std::collections::HashMap::new();
            for entry in entries {
                if let Some(first) = seen.insert(&entry.key, &entry.key_at) {
                    // Each costs a look through the text, and more would not be shown.
                    if faults.len() > FAULTS_SHOWN_MAX {
                        return;
                    }
                    let line = text[..text.floor_char_boundary(first.start)].matches('\n').count() + 1;
                    let fault = Fault::new(entry.key_at.clone(), format!("key `{}` is given twice", entry.key));
                    faults.push(fault.with_label(format!("first given in line {line}")));
                }
                find_duplicates(text, &entry.node, faults);
            }
        }
        _ => {}
    }
}

/// What the parser builds; `Spanned` is the parser's way to tell places.
enum Tree {
    Leaf(Value),
    List(Vec<Spanned<Self>>),
    Group(Vec<(Spanned<Key>, Spanned<Self>)>),
}

/// A key is a word whatever YAML takes it for: `null: [NA]` has the key `null`.
enum Key {
    Text(String),
    AsWritten,
}

fn into_node(text: &str, tree: Spanned<Tree>) -> Node {
    let at = bytes(tree.referenced.span());
    let value = match tree.value {
        Tree::Leaf(value) => value,
        Tree::List(items) => Value::List(items.into_iter().map(|item| into_node(text, item)).collect()),
        Tree::Group(pairs) => {
            Value::Group(pairs.into_iter().map(|(key, value)| into_entry(text, key, value)).collect())
        }
    };
    Node { at, value, typed: None }
}

fn into_entry(text: &str, key: Spanned<Key>, value: Spanned<Tree>) -> Entry {
    let key_at = bytes(key.referenced.span());
    let key = match key.value {
        Key::Text(key) => key,
        Key::AsWritten => text.get(key_at.clone()).unwrap_or_default().to_owned(),
    };
    Entry { key, key_at, node: into_node(text, value) }
}

fn bytes(span: serde_saphyr::Span) -> Range<usize> {
    let number = |value: Option<u64>| value.and_then(|value| usize::try_from(value).ok()).unwrap_or_default();
    let start = number(span.byte_offset());
    start..start.saturating_add(number(span.byte_len()))
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word as key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Key, E> {
        Ok(Key::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Key, E> {
        Ok(Key::AsWritten)
    }

    fn visit_none<E>(self) -> Result<Key, E> {
        Ok(Key::AsWritten)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Key, E> {
        Ok(Key::AsWritten)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Key, E> {
        Ok(Key::AsWritten)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Key, E> {
        Ok(Key::AsWritten)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Key, E> {
        Ok(Key::AsWritten)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Signed(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut group = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            group.push(entry);
        }
        Ok(Tree::Group(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, String, String) {
        let faults = read(text).unwrap_err();
        (faults[0].at.start, faults[0].message.clone(), faults[0].label.clone())
    }

    #[test]
    fn values_know_their_bytes() {
        let text = "é: 1\nb: { c: [x, \"y z\"] }\n";
        let root = read(text).unwrap();
        let (node, key_at) = root.nearest(&["b", "c", "1"]);
        assert_eq!(&text[node.at.clone()], "\"y z\"");
        assert_eq!(&text[key_at], "\"y z\"");
        assert_eq!(&text[root.nearest(&["é"]).1], "é");
    }

    #[test]
    fn what_is_not_there_is_shown_at_what_is_above_it() {
        let text = "a: { b: 1 }\n";
        let root = read(text).unwrap();
        assert_eq!(&text[root.nearest(&["a", "x", "y"]).1], "a");
    }

    #[test]
    fn words_are_not_booleans() {
        let root = read("[yes, no, on, true, NA, ~, 0x10, '1']").unwrap();
        let Value::List(items) = root.value else { panic!("a list") };
        let values: Vec<Value> = items.into_iter().map(|item| item.value).collect();
        let text = |word: &str| Value::Text(word.to_owned());
        let numbers = [Value::Null, Value::Unsigned(16), text("1")];
        assert_eq!(values[..5], [text("yes"), text("no"), text("on"), Value::Bool(true), text("NA")]);
        assert_eq!(values[5..], numbers);
    }

    #[test]
    fn keys_are_words() {
        let root = read("null: 1\n~: 2\n007: 3\ntrue: 4\n1.50: 5\n'': 6\n-3: 7\n").unwrap();
        let Value::Group(entries) = root.value else { panic!("a group") };
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["null", "~", "007", "true", "1.50", "", "-3"]);
        assert!(fault("? [a, b]\n: 1\n").1.starts_with("not valid YAML"), "{:?}", fault("? [a, b]\n: 1\n"));
    }

    #[test]
    fn every_duplicate_key_is_found() {
        let text = "a: 1\nb: { c: 1, c: 2 }\na: 2\n";
        let faults = read(text).unwrap_err();
        assert_eq!(faults.len(), 2);
        assert_eq!(faults[1].message, "key `a` is given twice");
        assert_eq!(faults[1].label, "first given in line 1");
        assert_eq!(faults[1].at, 23..24);
    }

    #[test]
    fn bad_yaml_has_a_place() {
        assert_eq!(fault("a: b: c").0, 4);
        assert_eq!(fault("a:\n\tb: 1").0, 4);
        assert!(fault("a: b: c").1.starts_with("not valid YAML: mapping values are not allowed"));
        assert_eq!(fault("a: 1\n---\nb: 2").1, "a pipeline file holds one document; a second one starts here");
        assert_eq!(fault("a: !secret x").0, 11);
    }

    #[test]
    fn bombs_are_refused() {
        assert!(fault(&"[".repeat(100_000)).1.starts_with("not valid YAML"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let above = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{above}]\n"));
        }
        assert!(fault(&bomb).1.starts_with("not valid YAML"));
        assert!(fault(&" ".repeat(FILE_BYTES_MAX + 1)).1.starts_with("the file has 1048577 bytes"));
    }

    #[test]
    fn deep_nesting_is_refused_on_a_small_stack() {
        let text = "{ a: ".repeat(400);
        let faults =
            std::thread::Builder::new().stack_size(2 << 20).spawn(move || read(&text)).unwrap().join().unwrap();
        assert!(faults.is_err());
    }
}
