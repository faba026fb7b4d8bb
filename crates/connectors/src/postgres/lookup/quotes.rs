//! What PostgreSQL quotes, and its comments.

use crate::parameters::{name_at, string_length, until};

/// The length of the quoted text or comment that the text begins with, if it does.
pub(super) fn quoted_length(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with("--") {
        return Some(until(text, "\n", 2));
    }
    if text.starts_with("/*") {
        return Some(comment_length(text));
    }
    if text.starts_with('"') {
        return Some(until(text, "\"", 1)); // a doubled one begins another
    }
    if text.starts_with('\'') {
        let escapes = before.is_some_and(|c| c.eq_ignore_ascii_case(&'e'));
        return Some(string_length(text, escapes));
    }
    let tag = text.strip_prefix('$').map(name_at)?;
    let opening = &text[..tag.len() + 1];
    text[opening.len()..].starts_with('$').then(|| until(text, &format!("{opening}$"), opening.len() + 1))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::replaced;

    fn marked(query: &str) -> String {
        replaced(query, quoted_length, |name| Ok::<_, ()>(format!("<{name}>"))).unwrap()
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
        assert_eq!(replaced("select $a", quoted_length, |name| Err::<String, _>(name.to_owned())), Err("a".to_owned()));
    }
}
