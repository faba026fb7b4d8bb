//! Files and functions that fit into a head. What does not yet is on a list that may only shrink.

use super::Complaint;
use crate::source::Source;

pub(crate) const RATCHET: &str = "xtask/ratchet.txt";

/// Lines of a file, its tests not counted.
const FILE_LINES: usize = 500;
/// Lines of the body of a function.
const FUNCTION_LINES: usize = 70;

/// Each file and function that is too long, and each line of `ratchet` that is not needed any more.
pub(crate) fn check(sources: &[Source], ratchet: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut used = vec![false; ratchet.lines().count()];
    for source in sources.iter().filter(|source| !source.is_test) {
        let file = [("file", source.path.clone(), 0, source.lines(), FILE_LINES)];
        let functions = source
            .functions()
            .into_iter()
            .map(|(name, line, lines)| ("function", format!("{}::{name}", source.path), line, lines, FUNCTION_LINES));
        for (kind, name, line, lines, most) in
            file.into_iter().chain(functions).filter(|(.., lines, most)| lines > most)
        {
            let permitted = ratchet.lines().position(|entry| permits(entry, kind, &name, lines));
            match permitted {
                Some(index) => used[index] = true,
                None => {
                    let what = format!("this {kind} has {lines} lines, at most {most} are good: take it apart");
                    complaints.push(Complaint::new(&source.path, line, what));
                }
            }
        }
    }
    let is_entry = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
    let unused = ratchet.lines().enumerate().filter(|(index, line)| is_entry(line) && !used[*index]);
    complaints
        .extend(unused.map(|(index, _)| Complaint::new(RATCHET, index + 1, "this is not needed any more: delete it")));
    complaints
}

/// Whether this line of the ratchet is about that, and allows so many lines.
fn permits(entry: &str, kind: &str, name: &str, lines: usize) -> bool {
    let words: Vec<&str> = entry.split_whitespace().collect();
    matches!(words.as_slice(), [of, most, what]
        if *of == kind && *what == name && most.parse::<usize>().is_ok_and(|most| lines <= most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(lines: usize) -> Source {
        Source::new("src/a.rs", &format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines)))
    }

    fn complaints(lines: usize, ratchet: &str) -> Vec<String> {
        check(&[source(lines)], ratchet).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn long_functions_and_files_are_found() {
        assert_eq!(complaints(70, ""), [""; 0]);
        assert_eq!(complaints(71, ""), ["src/a.rs:1: this function has 71 lines, at most 70 are good: take it apart"]);
        assert_eq!(complaints(600, "").len(), 2);
    }

    #[test]
    fn the_ratchet_only_shrinks() {
        assert_eq!(complaints(80, "# why\nfunction 80 src/a.rs::long\n"), [""; 0]);
        assert_eq!(complaints(81, "function 80 src/a.rs::long\n").len(), 2);
        assert_eq!(
            complaints(70, "function 80 src/a.rs::long\n"),
            ["xtask/ratchet.txt:1: this is not needed any more: delete it"]
        );
    }

    #[test]
    fn tests_may_be_long() {
        assert!(check(&[Source::new("a/tests/b.rs", &"\n".repeat(900))], "").is_empty());
    }
}
