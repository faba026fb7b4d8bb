//! Names of files that say nothing.

use super::Complaint;

const SAY_NOTHING: [&str; 7] = ["util", "utils", "common", "manager", "helper", "helpers", "misc"];

/// Whether the path has a name in it that could stand anywhere.
pub(crate) fn check(path: &str) -> Option<Complaint> {
    let word = path.split(['/', '_', '-', '.']).find(|word| SAY_NOTHING.contains(word))?;
    Some(Complaint::new(path, 0, format!("\"{word}\" says nothing: name the file after what it holds or decides")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_found_in_every_part() {
        for path in ["src/util.rs", "src/common/mod.rs", "src/task_manager.rs", "tests/test-helpers.rs"] {
            assert!(check(path).is_some(), "{path}");
        }
        for path in ["src/queue.rs", "src/commonly.rs", "src/utility_of_waiting.rs"] {
            assert!(check(path).is_none(), "{path}");
        }
    }
}
