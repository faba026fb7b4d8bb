//! Words that do not belong in a repository: reminders, paths of one machine, numbers of issues.

use super::{Complaint, Text};

/// Put together so that this file does not complain about itself.
const REMINDERS: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];
const MACHINE_PATHS: [&str; 4] =
    [concat!("/", "work/"), concat!("/", "tmp/"), concat!("/", "root/"), concat!("/", "home/")];
/// Where prose and code are; other files are data.
const KINDS: [&str; 7] = [".rs", ".md", ".toml", ".yaml", ".yml", ".sh", ".txt"];

/// Every such word in this file.
pub(crate) fn check(file: &Text) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !KINDS.iter().any(|kind| file.path.ends_with(kind)) && file.path != ".ci/run" {
        return complaints;
    }
    for (index, line) in file.text.lines().enumerate() {
        let mut complain = |what: String| complaints.push(Complaint::new(&file.path, index + 1, what));
        if let Some(word) = REMINDERS.iter().find(|word| has_word(line, word)) {
            complain(format!("`{word}`: do it now, or delete the note"));
        }
        if let Some(path) = MACHINE_PATHS.iter().find(|path| starts_a_path(line, path)) {
            complain(format!("`{path}` is a path of one machine"));
        }
        if let Some(issue) = issue(line) {
            complain(format!("`{issue}`: say what it is about; a number means nothing to a reader"));
        }
    }
    complaints
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_letter) && !line[at + word.len()..].starts_with(is_letter))
}

fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./}{".contains(c)))
}

/// A hash and a number, as issues are called.
fn issue(line: &str) -> Option<&str> {
    line.match_indices('#').find_map(|(at, _)| {
        let digits = line[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let end = at + 1 + digits;
        let alone = !line[..at].ends_with(|c: char| c.is_alphanumeric() || ":{/&\"'\\-".contains(c))
            && !line[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
        (digits > 0 && alone).then(|| &line[at..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(line: &str) -> usize {
        check(&Text { path: "a.rs".to_owned(), text: line.to_owned() }).len()
    }

    #[test]
    fn reminders_paths_and_issue_numbers_are_found() {
        for line in [
            concat!("// TO", "DO: later"),
            concat!("let a = todo", "!();"),
            concat!("see `/", "tmp/a`"),
            concat!("cd /", "work/main"),
            concat!("fixed (#", "12)"),
            concat!("as in #", "7"),
        ] {
            assert_eq!(count(line), 1, "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_them_is_fine() {
        for line in
            ["TODOS", "a/tmp/b", "{:#010x}", "# 12 things", "r#\"1\"#", "&#39;", "color: #ffcc00", "page.md#2-more"]
        {
            assert_eq!(count(line), 0, "{line}");
        }
    }

    #[test]
    fn data_is_not_prose() {
        assert!(check(&Text { path: "a.csv".to_owned(), text: concat!("TO", "DO").to_owned() }).is_empty());
    }
}
