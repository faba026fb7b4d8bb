//! Links in Markdown that lead to files.

use super::{Complaint, Text};

/// Every link of this file to a file that `exists` does not know. `exists` takes a path from the root of the repository.
pub(crate) fn check(file: &Text, exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !file.path.ends_with(".md") {
        return complaints;
    }
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut in_code = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        for target in targets(line).filter(|_| !in_code) {
            let path = target.split('#').next().unwrap_or_default();
            // An anchor, another site, or an item that rustdoc links to.
            let elsewhere = path.is_empty() || [":/", "mailto:", "::"].iter().any(|mark| path.contains(mark));
            if !elsewhere && !resolve(folder, path).is_some_and(|path| exists(&path)) {
                complaints.push(Complaint::new(&file.path, index + 1, format!("there is no {path} to link to")));
            }
        }
    }
    complaints
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split([')', ' ']).next())
}

/// The path from the root; none if it leads out of the repository.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        let file = Text { path: path.to_owned(), text: text.to_owned() };
        let exists = |path: &str| ["LICENSE", "docs/a.md"].contains(&path);
        check(&file, exists).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_to_files_must_lead_somewhere() {
        assert_eq!(
            broken("docs/b.md", "[a](a.md) [l](../LICENSE#top) [w](https://a.b/c) [h](#here) [O](crate::Options)"),
            [""; 0]
        );
        assert_eq!(broken("docs/b.md", "x\n[c](c.md)"), ["docs/b.md:2: there is no c.md to link to"]);
        assert_eq!(broken("docs/b.md", "[up](../../LICENSE)").len(), 1);
        assert_eq!(broken("b.md", "```\n[c](c.md)\n```\n"), [""; 0]);
    }
}
