//! What is wrong with a pipeline file, where, and what to do about it.
//!
//! ```text
//! error: unknown key `capcity`
//!  --> flights.yaml:9:5
//!   |
//! 9 |     capcity: 10k
//!   |     ^^^^^^^ did you mean `capacity`?
//! ```

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Longest piece of a source line that is shown; longer lines are cut around the fault.
const SNIPPET_CHARS_MAX: usize = 100;

/// Most faults shown for one file; the rest is counted.
pub(crate) const FAULTS_SHOWN_MAX: usize = 20;

/// Longest message and longest label that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// Longest word that a suggestion is sought for: finding one takes time and memory of its length squared.
const WORD_BYTES_MAX: usize = 64;

/// One thing that is wrong, at one place of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the text the carets stand under. An empty range gets one caret.
    pub at: Range<usize>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, in one line, written beside the carets. May be empty.
    pub label: String,
}

impl Fault {
    /// A fault at these bytes.
    pub fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        let (message, label) = (message.into(), String::new());
        Self { at, message, label }
    }

    /// The same fault with a word beside the carets.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

/// Everything that was found wrong with one file, in the order of its lines.
///
/// `Display` writes what a person reads: each fault with file, line, column, the line itself, and carets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    name: String,
    text: String,
    faults: Vec<Fault>,
}

impl Faults {
    /// The faults of the file called `name` with this text.
    pub fn new(name: &str, text: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.at.start);
        faults.dedup();
        let (name, text) = (name.to_owned(), text.to_owned());
        Self { name, text, faults }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The single faults, in the order of the lines.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }

    fn write_fault(&self, f: &mut fmt::Formatter<'_>, fault: &Fault) -> fmt::Result {
        let place = Place::of(&self.text, fault.at.start);
        let snippet = Snippet::cut(&place, fault.at.len());
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "error: {}", shortened(&fault.message))?;
        writeln!(f, "{gutter}--> {}:{}:{}", self.name, place.line, place.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", snippet.text)?;
        let carets = "^".repeat(snippet.width);
        let under = format!("{}{carets} {}", " ".repeat(snippet.indent), shortened(&fault.label));
        writeln!(f, "{gutter} | {}", under.trim_end())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().take(FAULTS_SHOWN_MAX).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.write_fault(f, fault)?;
        }
        match self.faults.len().saturating_sub(FAULTS_SHOWN_MAX) {
            0 => Ok(()),
            more => writeln!(f, "\nand {more} more errors"),
        }
    }
}

impl std::error::Error for Faults {}

/// A position as people count: lines and columns from 1, columns in characters.
struct Place<'a> {
    line: usize,
    column: usize,
    text: &'a str,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, offset: usize) -> Self {
        let offset = text.floor_char_boundary(offset);
        let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[offset..].find('\n').map_or(text.len(), |n| offset + n);
        Self {
            line: text[..start].matches('\n').count() + 1,
            // A byte order mark has no width.
            column: text[start..offset].trim_start_matches('\u{feff}').chars().count() + 1,
            text: text[start..end].trim_start_matches('\u{feff}').trim_end(),
        }
    }
}

/// The part of a line that is shown, and where the carets go under it.
struct Snippet {
    text: String,
    indent: usize,
    width: usize,
}

impl Snippet {
    fn cut(place: &Place<'_>, bytes: usize) -> Self {
        let before = place.column - 1;
        let start_byte = place.text.char_indices().nth(before).map_or(place.text.len(), |(at, _)| at);
        let end_byte = place.text.floor_char_boundary(start_byte.saturating_add(bytes));
        let marked = place.text[start_byte..end_byte.max(start_byte)].chars().count();
        let first = match before {
            near if near + marked < SNIPPET_CHARS_MAX => 0,
            far => far.saturating_sub(SNIPPET_CHARS_MAX / 4),
        };
        let length = place.text.chars().count();
        let mut text: String = place
            .text
            .chars()
            .skip(first)
            .take(SNIPPET_CHARS_MAX)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if first + SNIPPET_CHARS_MAX < length {
            text.push_str(" ...");
        }
        let lead = if first > 0 { "... " } else { "" };
        let indent = before - first;
        let width = marked.clamp(1, SNIPPET_CHARS_MAX.saturating_sub(indent).max(1));
        let (text, indent) = (format!("{lead}{text}"), indent + lead.len());
        Self { text, indent, width }
    }
}

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}

/// The word of `known` that `given` was probably meant to be: at most a third of its letters, or one, differ.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > WORD_BYTES_MAX {
        return None;
    }
    let given = given.to_lowercase();
    known
        .into_iter()
        .filter(|word| word.len() <= WORD_BYTES_MAX)
        .map(|word| (strsim::damerau_levenshtein(&given, &word.to_lowercase()), word))
        .filter(|(changes, word)| *changes <= (word.chars().count() / 3).max(1))
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, word)| word)
}

/// "did you mean `a`?", or all that is known when nothing comes near.
pub fn suggestion(given: &str, known: &[&str]) -> String {
    match did_you_mean(given, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.is_empty() => String::new(),
        None => format!("known here: {}", listed(known)),
    }
}

/// `a, b, c`, in the order given.
pub fn listed(words: &[&str]) -> String {
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, fault: Fault) -> String {
        Faults::new("a.yaml", text, vec![fault]).to_string()
    }

    #[test]
    fn a_fault_shows_its_line_with_carets_under_the_place() {
        let text = "a: 1\nbé:  twö # x\n";
        let at = text.find("tw").unwrap();
        let fault = Fault::new(at..at + "twö".len(), "not a number").with_label("write 2");
        assert_eq!(
            rendered(text, fault),
            "error: not a number\n --> a.yaml:2:6\n  |\n2 | bé:  twö # x\n  |      ^^^ write 2\n"
        );
    }

    #[test]
    fn a_fault_at_the_end_of_an_empty_file_has_one_caret() {
        assert_eq!(rendered("", Fault::new(0..0, "empty")), "error: empty\n --> a.yaml:1:1\n  |\n1 | \n  | ^\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_fault() {
        let text = format!("{}HERE{}", "x".repeat(5000), "y".repeat(5000));
        let shown = rendered(&text, Fault::new(5000..5004, "odd"));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], " --> a.yaml:1:5001");
        let caret = lines[4].find('^').unwrap();
        assert_eq!(&lines[3][caret..caret + 4], "HERE");
        assert!(lines.iter().all(|line| line.len() < 130), "{shown}");
    }

    #[test]
    fn carets_never_leave_the_line() {
        let text = "a: |\n  many\n  lines\n";
        let shown = rendered(text, Fault::new(0..text.len(), "all of it"));
        assert_eq!(shown.lines().last(), Some("  | ^^^^"));
    }

    #[test]
    fn faults_come_in_the_order_of_the_lines_and_once() {
        let fault = |at: usize| Fault::new(at..at, format!("fault {at}"));
        let faults = Faults::new("a", "123\n456", vec![fault(4), fault(0), fault(4)]);
        let order: Vec<usize> = faults.iter().map(|fault| fault.at.start).collect();
        assert_eq!(order, [0, 4]);
    }

    #[test]
    fn too_many_faults_are_counted() {
        let all = (0..30).map(|at| Fault::new(at..at, "x")).collect();
        let shown = Faults::new("a", &" ".repeat(30), all).to_string();
        assert!(shown.ends_with("\nand 10 more errors\n"), "{shown}");
    }

    #[test]
    fn suggestions_need_some_likeness() {
        assert_eq!(suggestion("capcity", &["capacity", "key"]), "did you mean `capacity`?");
        assert_eq!(suggestion("zzz", &["capacity", "key"]), "known here: capacity, key");
    }
}
