//! `cargo xtask tidy`: the rules of CONTRIBUTING.md that a program can check.

use std::fmt;
use std::fs;
use std::process::Command;

use crate::source::Source;
use crate::workspace::{Workspace, root};

mod clocks;
mod layers;
mod lengths;
mod links;
mod names;
mod words;

/// What is wrong, and where.
#[derive(Debug, PartialEq)]
pub(crate) struct Complaint {
    path: String,
    /// 0 when it is about the file as a whole.
    line: usize,
    what: String,
}

impl Complaint {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// A text file of the repository.
pub(crate) struct Text {
    path: String,
    text: String,
}

/// Prints every complaint; an error if there is one.
pub(crate) fn run() -> Result<(), String> {
    let texts = texts()?;
    let sources: Vec<Source> = texts
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| Source::new(&file.path, &file.text))
        .collect();
    let ratchet = texts.iter().find(|file| file.path == lengths::RATCHET).map_or("", |file| file.text.as_str());
    let mut complaints = layers::check(&Workspace::read()?.packages, &texts);
    complaints.extend(layers::check_connectors(&sources));
    complaints.extend(lengths::check(&sources, ratchet));
    complaints.extend(clocks::check(&sources));
    complaints.extend(texts.iter().flat_map(|file| names::check(&file.path)));
    complaints.extend(texts.iter().flat_map(words::check));
    complaints.extend(texts.iter().flat_map(|file| links::check(file, |path| root().join(path).exists())));
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("{} files, {} complaints", texts.len(), complaints.len());
    if complaints.is_empty() { Ok(()) } else { Err(format!("{} complaints", complaints.len())) }
}

/// What git knows or would add, as far as it is text.
fn texts() -> Result<Vec<Text>, String> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git")
        .current_dir(root())
        .args(arguments)
        .output()
        .map_err(|error| format!("git, which lists the files to check: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let paths = String::from_utf8_lossy(&output.stdout);
    let read = |path: &str| Some(Text { path: path.to_owned(), text: fs::read_to_string(root().join(path)).ok()? });
    Ok(paths.split_terminator('\0').filter_map(read).collect())
}
