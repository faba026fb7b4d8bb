//! Parameters with names: `$id` in a query.

/// The query with each named parameter replaced by what `replace` makes of its name. What stands in quotes and comments
/// is left alone; so are `$1` and the like, which the server refuses.
pub(super) fn replaced<E>(query: &str, mut replace: impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
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
fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !is_of_name(c)).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the quoted text or comment that the text begins with, if it does.
fn quoted_length(text: &str, before: Option<char>) -> Option<usize> {
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("--") {
        return Some(until("\n", 2));
    }
    if text.starts_with("/*") {
        return Some(comment_length(text));
    }
    if text.starts_with('"') {
        return Some(until("\"", 1)); // a doubled one begins another
    }
    if text.starts_with('\'') {
        let escapes = before.is_some_and(|c| c.eq_ignore_ascii_case(&'e'));
        return Some(string_length(text, escapes));
    }
    let tag = text.strip_prefix('$').map(name_at)?;
    let opening = &text[..tag.len() + 1];
    text[opening.len()..].starts_with('$').then(|| until(&format!("{opening}$"), opening.len() + 1))
}

/// Comments nest.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match (rest.starts_with(b"/*"), rest.starts_with(b"*/")) {
            (true, _) => (depth, at) = (depth + 1, at + 2),
            (_, true) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_length(text: &str, escapes: bool) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if escapes => drop(bytes.next()),
            b'\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(query: &str) -> String {
        replaced(query, |name| Ok::<_, ()>(format!("<{name}>"))).unwrap()
    }

    #[test]
    fn names_are_replaced_where_they_are_parameters() {
        for (query, expected) in [
            ("select a from t where b = $b and c=$c_1::int", "select a from t where b = <b> and c=<c_1>::int"),
            ("$a$b", "$a$b"), // a quote that never ends
            ("select $größe, $größe", "select <größe>, <größe>"),
            ("'$a' $a \"$a\" $a", "'$a' <a> \"$a\" <a>"),
            ("'it''s $a' E'\\'$a' $a", "'it''s $a' E'\\'$a' <a>"),
            ("'\\' $a", "'\\' <a>"),
            ("-- $a\n$a /* $a /* $a */ $a */ $a", "-- $a\n<a> /* $a /* $a */ $a */ <a>"),
            ("$$ $a $$ $x$ $a $$ $x$ $a", "$$ $a $$ $x$ $a $$ $x$ <a>"),
            ("t$a $1 5$a", "t$a $1 5$a"),
            ("'never ends $a", "'never ends $a"),
            ("", ""),
        ] {
            assert_eq!(marked(query), expected, "{query}");
        }
    }

    #[test]
    fn an_unknown_name_is_reported() {
        assert_eq!(replaced("select $a", |name| Err::<String, _>(name.to_owned())), Err("a".to_owned()));
    }
}
