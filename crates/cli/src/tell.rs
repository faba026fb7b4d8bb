//! What is said to people: on standard error.

use std::io::Write;

/// Writes to standard error; when that is gone or full there is nobody left to tell, and the work goes on.
pub(crate) fn tell(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}
