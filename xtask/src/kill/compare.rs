//! Whether two outputs are the same: byte by byte, or as a set of lines.

/// A part of an output.
pub(super) struct Piece {
    /// What it is called.
    pub(super) name: &'static str,
    /// Whether the order of its lines counts.
    pub(super) in_order: bool,
    pub(super) bytes: Vec<u8>,
}

/// How many bytes were compared.
///
/// # Errors
/// The first difference.
pub(super) fn compare(expected: &[Piece], found: &[Piece]) -> Result<u64, String> {
    let mut bytes = 0;
    for (expected, found) in expected.iter().zip(found) {
        let (mut theirs, mut ours) = (lines(&expected.bytes), lines(&found.bytes));
        if !expected.in_order {
            theirs.sort_unstable();
            ours.sort_unstable();
        }
        // Without an order the ends of the lines are compared by their number.
        if expected.in_order && expected.bytes == found.bytes || !expected.in_order && theirs == ours {
            bytes += found.bytes.len() as u64;
            continue;
        }
        return Err(format!("{}: {}", expected.name, difference(&theirs, &ours)));
    }
    Ok(bytes)
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

fn difference(expected: &[&[u8]], found: &[&[u8]]) -> String {
    let (all, there) = (expected.len(), found.len());
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    let shown = |lines: &[&[u8]]| lines.get(same).map_or_else(|| "nothing".to_owned(), |line| shortened(line));
    format!(
        "{there} lines instead of {all}; the first difference is in line {}\n  expected: {}\n  found:    {}",
        same + 1,
        shown(expected),
        shown(found)
    )
}

fn shortened(line: &[u8]) -> String {
    const MOST: usize = 300;
    let text = String::from_utf8_lossy(line);
    text.trim_end().chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(in_order: bool, expected: &str, found: &str) -> Result<u64, String> {
        let piece = |text: &str| [Piece { name: "out", in_order, bytes: text.into() }];
        compare(&piece(expected), &piece(found))
    }

    #[test]
    fn bytes_or_sets_are_the_same_or_the_first_difference_is_told() {
        assert_eq!(compared(true, "a\nb\n", "a\nb\n"), Ok(4));
        assert_eq!(compared(false, "a\nb\n", "b\na\n"), Ok(4));
        for (in_order, found, expected) in [
            (true, "b\na\n", "line 1"),
            (true, "a\n", "1 lines instead of 2; the first difference is in line 2"),
            (true, "a\nb\nb\n", "3 lines instead of 2; the first difference is in line 3"),
            (true, "a\nb", "line 2"),
            (false, "b\na\na\n", "3 lines instead of 2"),
            (false, "a\na\n", "line 2\n  expected: b\n  found:    a"),
        ] {
            let difference = compared(in_order, "a\nb\n", found).unwrap_err();
            assert!(difference.contains(expected), "{difference}");
        }
    }
}
