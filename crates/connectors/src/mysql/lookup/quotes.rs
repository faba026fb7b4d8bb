//! What MySQL quotes, and its comments.

use crate::parameters::{string_length, until};

/// The length of the quoted text or comment that the text begins with, if it does.
pub(super) fn quoted_length(text: &str, _before: Option<char>) -> Option<usize> {
    if text.starts_with('#') {
        return Some(until(text, "\n", 1));
    }
    if let Some(behind) = text.strip_prefix("--") {
        // Without a blank it is two signs: 5--1 is 6.
        return behind.chars().next().is_none_or(char::is_whitespace).then(|| until(text, "\n", 2));
    }
    if text.starts_with("/*") {
        return Some(until(text, "*/", 2));
    }
    if text.starts_with('`') {
        return Some(until(text, "`", 1)); // a doubled one begins another
    }
    text.starts_with(['\'', '"']).then(|| string_length(text, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::replaced;

    #[test]
    fn names_are_replaced_where_they_are_parameters() {
        for (query, expected) in [
            ("select a from t where b = $b and c=$c_1", "select a from t where b = <b> and c=<c_1>"),
            ("'$a' $a \"$a\" $a `$a` $a", "'$a' <a> \"$a\" <a> `$a` <a>"),
            ("'it''s $a' '\\'$a' \"\\\"$a\" $a", "'it''s $a' '\\'$a' \"\\\"$a\" <a>"),
            ("'\"$a' \"'$a\" `'` $a", "'\"$a' \"'$a\" `'` <a>"),
            ("-- $a\n$a # $a\n5--$a /* $a /* */ $a", "-- $a\n<a> # $a\n5--<a> /* $a /* */ <a>"),
            ("t$a $1 5$a", "t$a $1 5$a"),
            ("$größe 'never ends $a", "<größe> 'never ends $a"),
            ("--", "--"),
            ("", ""),
        ] {
            let marked = replaced(query, quoted_length, |name| Ok::<_, ()>(format!("<{name}>"))).unwrap();
            assert_eq!(marked, expected, "{query}");
        }
    }
}
