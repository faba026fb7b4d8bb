//! Rust source as the checks see it: code without comments and literals, production without tests.

use std::path::Path;

/// A Rust file.
pub(crate) struct Source {
    pub(crate) path: String,
    /// The code above the tests: comments, texts and characters are blanks, line ends stay.
    pub(crate) code: String,
    /// All of it is test code.
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut code = code_only(text);
        code.truncate(production_end(&code));
        let is_test = path.contains("/tests/")
            || Path::new(path).file_stem().is_some_and(|stem| ["tests", "model"].iter().any(|test| stem == *test));
        Self { path: path.to_owned(), code, is_test }
    }

    pub(crate) fn lines(&self) -> usize {
        self.code.lines().count()
    }

    /// Name, number of the first line, and lines of the body of each function.
    pub(crate) fn functions(&self) -> Vec<(&str, usize, usize)> {
        let found = self.code.match_indices("fn ").filter(|(at, _)| !self.code[..*at].ends_with(is_word));
        found.filter_map(|(at, _)| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<(&str, usize, usize)> {
        let after = &self.code[at + 3..];
        let name = &after[..after.find(|c| !is_word(c))?];
        if name.is_empty() {
            return None; // a function pointer
        }
        let open = body(after)?;
        let mut depth = 0_usize;
        for (index, c) in after[open..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let lines = after[open..open + index].matches('\n').count();
                return Some((name, self.line(at), lines.saturating_sub(1)));
            }
        }
        None
    }

    /// The number of the line that holds this byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

/// Where the body of a function opens; none for one that a trait only declares.
fn body(signature: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (index, c) in signature.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(index),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the modules of tests at the bottom begin.
fn production_end(code: &str) -> usize {
    let mut at = 0;
    let mut in_tests = None;
    for line in code.lines() {
        match in_tests {
            Some(start) if line.starts_with("mod ") && line.ends_with('{') => return start,
            Some(_) if line.starts_with("#[") => {}
            // Attributes keep their names when literals are blanked.
            _ => in_tests = (line == "#[cfg(test)]" || line.starts_with("#[cfg(all(test,")).then_some(at),
        }
        at += line.len() + 1;
    }
    code.len()
}

fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = no_code(rest, code.chars().next_back());
        let (skipped, after) = rest.split_at(length.max(first.len_utf8()));
        match length {
            0 => code.push(first),
            _ => code.extend(skipped.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
        }
        rest = after;
    }
    code
}

/// How many bytes from here are a comment or a literal; 0 when this is code.
fn no_code(rest: &str, before: Option<char>) -> usize {
    let to = |end: Option<usize>| end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        to(rest.find('\n'))
    } else if rest.starts_with("/*") {
        block_comment(rest)
    } else if rest.starts_with('"') {
        quoted(rest, '"')
    } else if let Some(inner) = rest.strip_prefix('\'') {
        let mut inner = inner.chars();
        match (inner.next(), inner.next()) {
            (Some('\\'), _) | (Some(_), Some('\'')) => quoted(rest, '\''),
            _ => 0, // a lifetime
        }
    } else if !before.is_some_and(is_word) {
        raw(rest)
    } else {
        0
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw(rest: &str) -> usize {
    let Some(after) = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix)) else { return 0 };
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    if !after[hashes..].starts_with('"') {
        return 0;
    }
    let content = rest.len() - after.len() + hashes + 1;
    let end = format!("\"{}", &after[..hashes]);
    rest[content..].find(&end).map_or(rest.len(), |at| content + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ \n d */ e", "a              \n      e"),
            (r#"f("x\"y", 'z')"#, "f(      ,    )"),
            (r"f('\'', '\\')", "f(    ,     )"),
            ("r#\"a\"b\"# + br\"c\" + r#type", "         +       + r#type"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("for r in bar {}", "for r in bar {}"),
        ] {
            assert_eq!(code_only(text), code, "{text}");
        }
    }

    #[test]
    fn tests_at_the_bottom_are_left_out() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(Source::new("src/a.rs", text).lines(), 2);
        let text = "fn a() {}\n#[cfg(all(test, feature = \"x\"))]\nmod model {\n    fn b() {}\n}\n";
        assert_eq!(Source::new("src/a.rs", text).lines(), 1);
        let text = "fn a() {}\n#[cfg(test)]\nmod tests;\n";
        assert_eq!(Source::new("src/a.rs", text).lines(), 3);
        assert!(Source::new("crates/a/tests/b.rs", "").is_test && Source::new("src/a/tests.rs", "").is_test);
    }

    #[test]
    fn functions_are_measured_by_their_bodies() {
        let text = "\
fn one() -> [u8; 2] {
    a
}
trait T {
    fn declared(&self);
    fn two(
        &self,
        call: fn(u8) -> u8,
    ) -> u8
    where
        Self: Sized,
    {
        if a { \"}\" }
        b
    }
}
fn none() {}
";
        let source = Source::new("src/a.rs", text);
        assert_eq!(source.functions(), [("one", 1, 1), ("two", 6, 2), ("none", 17, 0)]);
    }
}
