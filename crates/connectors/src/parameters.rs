//! Parameters with names: `$id` in a query.

/// The length of the quoted text or comment that a text begins with, if it does, by what stands before it.
pub(crate) type QuotedLength = fn(&str, Option<char>) -> Option<usize>;

/// The query with each named parameter replaced by what `replace` makes of its name. What stands in quotes and comments
/// is left alone; so are `$1` and the like, which the server refuses.
pub(crate) fn replaced<E>(
    query: &str,
    quoted_length: QuotedLength,
    mut replace: impl FnMut(&str) -> Result<String, E>,
) -> Result<String, E> {
    let mut result = String::with_capacity(query.len());
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let before = result.chars().next_back();
        let name = rest.strip_prefix('$').map(name_at).unwrap_or_default();
        let length = match first {
            // A dollar within a name belongs to it.
            '$' if before.is_some_and(is_of_name) => 1,
            '$' if !name.is_empty() && !rest[1 + name.len()..].starts_with('$') => {
                result += &replace(name)?;
                rest = &rest[1 + name.len()..];
                continue;
            }
            _ => quoted_length(rest, before).unwrap_or_else(|| first.len_utf8()),
        };
        result += &rest[..length];
        rest = &rest[length..];
    }
    Ok(result)
}

/// The name that the text begins with, if it does.
pub(crate) fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !is_of_name(c)).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Bytes of the text from where it begins until behind `end`, which is looked for from `from` on.
pub(crate) fn until(text: &str, end: &str, from: usize) -> usize {
    text[from..].find(end).map_or(text.len(), |at| from + at + end.len())
}

/// Bytes of the string that the text begins with, in quotes such as its first character.
pub(crate) fn string_length(text: &str, escapes: bool) -> usize {
    let quote = text.as_bytes().first().copied();
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if escapes => drop(bytes.next()),
            byte if Some(byte) == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
