//! What a pipeline writes, in which order, and where that is read again.

use std::fs;
use std::path::Path;

use super::compare::Piece;
use super::databases::{Databases, POSTGRES, sqlite_rows};

/// What is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// A file, in the order of the input.
    Ordered,
    /// The same, and answers are recorded.
    Recorded,
    /// A file, as records are finished.
    Unordered,
    /// A table of an SQLite database, in the order of the input.
    Sqlite,
    /// A table of PostgreSQL, which has no order.
    Postgres,
}

/// The file of the records.
const ENRICHED: &str = "enriched.jsonl";
/// The file of the flights whose destination is in no table.
const DEAD: &str = "dead.jsonl";
/// What of them is another time another.
const TIMES: [&[u8]; 3] = [b"\"read_at\":", b"\"failed_at\":", b"\"elapsed_ms\":"];
const DATABASE: &str = "enriched.db";
/// The table in it.
const TABLE: &str = "flights";

impl Output {
    /// All that can be looked at on this machine.
    pub(super) fn all(databases: &Databases) -> Vec<Self> {
        let mut all = vec![Self::Ordered, Self::Unordered, Self::Sqlite, Self::Postgres, Self::Recorded];
        all.retain(|output| match output {
            Self::Sqlite => databases.has_sqlite,
            Self::Postgres => databases.url.is_some(),
            Self::Ordered | Self::Unordered | Self::Recorded => true,
        });
        all
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Recorded => "recorded",
            Self::Unordered => "unordered",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// The example's steps, as they are for this output.
    pub(super) fn steps(self, steps: &str) -> String {
        if self == Self::Unordered {
            steps.replace("    key: {", "    order: none\n    key: {")
        } else {
            steps.to_owned()
        }
    }

    /// The rest of the pipeline file, behind the steps.
    pub(super) fn ends(self, folder: &Path) -> String {
        let sink = match self {
            Self::Sqlite => format!("{{ sqlite: {{ database: {DATABASE}, table: {TABLE}, create: true }} }}"),
            Self::Postgres => format!("{{ postgres: {{ url: '${{env:{POSTGRES}}}', table: {} }} }}", table(folder)),
            _ => format!("{{ file: {{ path: {ENRICHED} }} }}"),
        };
        format!("sink: {sink}\ndead_letter: {{ file: {{ path: {DEAD} }} }}\n")
    }

    /// More keys for `checkpoint`.
    pub(super) const fn checkpoint(self) -> &'static str {
        if let Self::Recorded = self { ", replay: recorded" } else { "" }
    }

    /// The file whose growth shows how far a run is.
    pub(super) const fn watched(self) -> &'static str {
        match self {
            Self::Sqlite | Self::Postgres => DEAD,
            Self::Ordered | Self::Recorded | Self::Unordered => ENRICHED,
        }
    }

    /// Makes what must be there before the first start.
    pub(super) fn prepare(self, folder: &Path, databases: &Databases) -> Result<(), String> {
        if self == Self::Postgres { databases.create(&table(folder)) } else { Ok(()) }
    }

    /// Removes what is not in the folder.
    pub(super) fn clear(self, folder: &Path, databases: &Databases) -> Result<(), String> {
        if self == Self::Postgres { databases.remove(&table(folder)) } else { Ok(()) }
    }

    /// Everything that was written.
    pub(super) fn read(self, folder: &Path, databases: &Databases) -> Result<Vec<Piece>, String> {
        let file = |name: &str| fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"));
        let (name, bytes) = match self {
            Self::Sqlite => (DATABASE, sqlite_rows(&folder.join(DATABASE), TABLE)?),
            Self::Postgres => ("the table", databases.rows(&table(folder))?),
            Self::Ordered | Self::Recorded | Self::Unordered => (ENRICHED, file(ENRICHED)?),
        };
        let records = Piece { name, in_order: !matches!(self, Self::Unordered | Self::Postgres), bytes };
        let dead = Piece { name: DEAD, in_order: self != Self::Unordered, bytes: without_times(&file(DEAD)?) };
        Ok(vec![records, dead])
    }

    /// Whether a file of this name may be left when all is done, besides those of the test.
    pub(super) fn leaves(self, name: &str) -> bool {
        match self {
            Self::Sqlite => [DATABASE, DEAD].contains(&name),
            Self::Postgres => name == DEAD,
            Self::Ordered | Self::Recorded | Self::Unordered => [ENRICHED, DEAD].contains(&name),
        }
    }
}

/// The table for what is written from this folder.
fn table(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    format!("flights_of_{}", name.replace('-', "_"))
}

/// Dead letters without when they failed and how long that took.
fn without_times(letters: &[u8]) -> Vec<u8> {
    let mut left = Vec::with_capacity(letters.len());
    let mut rest = letters;
    // From each value to the comma behind it: none of them has one in it, and other fields follow.
    while let Some(at) = TIMES.iter().filter_map(|time| Some(find(rest, time)? + time.len())).min() {
        let (before, after) = rest.split_at(at);
        left.extend_from_slice(before);
        rest = &after[after.iter().take_while(|byte| **byte != b',').count()..];
    }
    left.extend_from_slice(rest);
    left
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_left_out_of_dead_letters_and_nothing_else() {
        let letters = b"{\"read_at\":\"2026-01-01T00:00:00Z\",\"elapsed_ms\":12,\"a\":1}\n{\"elapsed_ms\":0,\"b\":2}\n";
        assert_eq!(without_times(letters), b"{\"read_at\":,\"elapsed_ms\":,\"a\":1}\n{\"elapsed_ms\":,\"b\":2}\n");
        assert_eq!(without_times(b"none"), b"none");
    }
}
