//! `${env:NAME}`, `${env:NAME:-default}` and `${file:path}` in the texts of a pipeline file.
//!
//! They are put in after the YAML is parsed, so a value can never add a key, and only inside texts. Whatever comes
//! from them counts as a secret: it is never printed. A dollar sign that is not followed by a brace is a dollar sign;
//! `$${` stands for `${`.

use std::ops::Range;
use std::path::PathBuf;

use crate::fault::Fault;
use crate::yaml::{Node, Value};

/// Largest file that `${file:path}` reads, in bytes.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where the values of variables come from.
pub trait Variables {
    /// The environment variable of this name, if it is set.
    fn environment(&self, name: &str) -> Option<String>;

    /// The content of this file, without the line break at its end.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn file(&self, path: &str) -> Result<String, String>;
}

/// The environment of this process, and files relative to a folder.
#[derive(Debug)]
pub struct ProcessVariables {
    /// The folder of the pipeline file.
    pub folder: PathBuf,
}

impl Variables for ProcessVariables {
    fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let path = self.folder.join(path);
        let size = path.metadata().map_err(|error| error.to_string())?.len();
        if size > SECRET_BYTES_MAX {
            return Err(format!("it has {size} bytes, and at most {SECRET_BYTES_MAX} are read"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

/// No variable is set and no file is there: for checking a text by itself.
#[derive(Debug, Clone, Copy)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn environment(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("files are not read here".to_owned())
    }
}

/// What came from variables, and where it stands: neither is ever printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The keys that lead to each text with a variable in it.
    paths: Vec<Vec<String>>,
    values: Vec<String>,
}

/// What is printed in the place of a secret.
pub const HIDDEN: &str = "***";

/// Shorter values are not blotted out of running text: they would black out ordinary words.
const BLOT_CHARS_MIN: usize = 4;

impl Secrets {
    /// Whether the value under this path came from a variable, in whole or in part.
    pub fn covers(&self, path: &[String]) -> bool {
        self.paths.iter().any(|secret| path.starts_with(secret))
    }

    /// The text with every value that came from a variable blotted out; for messages of other systems.
    pub fn hide(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), HIDDEN))
    }

    fn add(&mut self, path: &[String], value: &str) {
        self.paths.push(path.to_vec());
        if value.chars().count() >= BLOT_CHARS_MIN {
            self.values.push(value.to_owned());
            // The longest first, so that no part of it is left over.
            self.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.paths.len())
    }
}

/// Puts the values in the place of the variables, everywhere below `root`.
pub fn substitute(root: &mut Node, variables: &dyn Variables, faults: &mut Vec<Fault>) -> Secrets {
    let mut secrets = Secrets::default();
    root.each_text(&mut |node, path| {
        let Value::Text(text) = &node.value else { return };
        if !text.contains("${") {
            return;
        }
        match expand(text, variables, &node.at) {
            Ok(Expanded { text: value, secret }) => {
                if secret {
                    secrets.add(path, &value);
                    node.typed = Some(text.clone());
                }
                node.value = Value::Text(value);
            }
            Err(fault) => faults.push(fault),
        }
    });
    secrets
}

struct Expanded {
    text: String,
    secret: bool,
}

fn expand(text: &str, variables: &dyn Variables, at: &Range<usize>) -> Result<Expanded, Fault> {
    let mut expanded = Expanded { text: String::with_capacity(text.len()), secret: false };
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let before = &rest[..start];
        let inside = &rest[start + 2..];
        if let Some(escaped) = before.strip_suffix('$') {
            expanded.text.push_str(escaped);
            expanded.text.push_str("${");
            rest = inside;
            continue;
        }
        let Some(end) = inside.find('}') else {
            let fault = Fault::new(at.clone(), "a variable starts with `${` and never ends");
            return Err(fault.with_label("close it with `}`, or write `$${` for the two characters themselves"));
        };
        expanded.text.push_str(before);
        expanded.text.push_str(&look_up(&inside[..end], variables, at)?);
        expanded.secret = true;
        rest = &inside[end + 1..];
    }
    expanded.text.push_str(rest);
    Ok(expanded)
}

fn look_up(variable: &str, variables: &dyn Variables, at: &Range<usize>) -> Result<String, Fault> {
    let fault = |message: String, label: &str| Err(Fault::new(at.clone(), message).with_label(label));
    let (kind, rest) = variable.split_once(':').unwrap_or(("", variable));
    match kind {
        "env" => {
            let (name, default) = rest.split_once(":-").map_or((rest, None), |(name, default)| (name, Some(default)));
            match (variables.environment(name), default) {
                (Some(value), _) => Ok(value),
                (None, Some(default)) => Ok(default.to_owned()),
                (None, None) => fault(
                    format!("the environment variable `{name}` is not set"),
                    &format!("set it, or give a default: ${{env:{name}:-...}}"),
                ),
            }
        }
        "file" => match variables.file(rest) {
            Ok(value) => Ok(value),
            Err(why) => {
                fault(format!("cannot read the file `{rest}`: {why}"), "paths start at the pipeline file's folder")
            }
        },
        "exec" => fault(
            format!("`${{{variable}}}` would run a program: a pipeline file runs none"),
            "run it before, and hand over its output as ${env:NAME} or ${file:path}",
        ),
        _ => fault(
            format!("`${{{variable}}}` is no variable"),
            "write ${env:NAME}, ${env:NAME:-default} or ${file:path}; $${ for the characters themselves",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    struct Fixed;

    impl Variables for Fixed {
        fn environment(&self, name: &str) -> Option<String> {
            (name == "USER").then(|| "a: b # ${env:USER}".to_owned())
        }

        fn file(&self, path: &str) -> Result<String, String> {
            if path == "dir/dsn" { Ok("hunter2".to_owned()) } else { Err("no such file".to_owned()) }
        }
    }

    fn put_in(text: &str) -> Result<String, String> {
        let expanded = expand(text, &Fixed, &(0..0)).map_err(|fault| fault.message)?;
        Ok(expanded.text)
    }

    #[test]
    fn values_are_put_in_once() {
        assert_eq!(put_in("<${env:USER}>"), Ok("<a: b # ${env:USER}>".to_owned()));
        assert_eq!(put_in("${file:dir/dsn}${env:X:-y}"), Ok("hunter2y".to_owned()));
        assert_eq!(put_in("${env:X:-}"), Ok(String::new()));
        assert_eq!(put_in("$5 and $${env:USER}"), Ok("$5 and ${env:USER}".to_owned()));
    }

    #[test]
    fn what_cannot_be_put_in_is_refused() {
        assert_eq!(put_in("${env:NO}").unwrap_err(), "the environment variable `NO` is not set");
        assert_eq!(put_in("${file:no}").unwrap_err(), "cannot read the file `no`: no such file");
        assert_eq!(put_in("${HOME}").unwrap_err(), "`${HOME}` is no variable");
        assert_eq!(put_in("x${env:A").unwrap_err(), "a variable starts with `${` and never ends");
        let error = put_in("${exec:id}").unwrap_err();
        assert_eq!(error, "`${exec:id}` would run a program: a pipeline file runs none");
    }

    #[test]
    fn secrets_know_their_places_and_values() {
        let mut root = yaml::read("a: { b: 'x${file:dir/dsn}', c: plain }\nd: ['${env:NO:-1}']\n").unwrap();
        let mut faults = Vec::new();
        let secrets = substitute(&mut root, &Fixed, &mut faults);
        assert_eq!(faults, []);
        let path = |text: &str| -> Vec<String> { text.split('.').map(str::to_owned).collect() };
        assert!(secrets.covers(&path("a.b")) && secrets.covers(&path("a.b.c")) && secrets.covers(&path("d.0")));
        assert!(!secrets.covers(&path("a.c")) && !secrets.covers(&path("a")));
        assert_eq!(secrets.hide("cannot open xhunter2: 1"), "cannot open ***: 1");
        assert_eq!(format!("{secrets:?}"), "2 secrets");
    }

    #[test]
    fn files_are_read_without_their_last_line_break() {
        let folder = std::env::temp_dir().join(format!("inflight-variables-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("secret"), "two\nlines\n").unwrap();
        std::fs::write(folder.join("large"), "x".repeat(SECRET_BYTES_MAX as usize + 1)).unwrap();
        let variables = ProcessVariables { folder: folder.clone() };
        assert_eq!(variables.file("secret"), Ok("two\nlines".to_owned()));
        assert!(variables.file("large").unwrap_err().starts_with("it has 65537 bytes"));
        assert!(variables.file("missing").is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
