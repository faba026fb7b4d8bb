//! What look-ups by SQL have in common: a table or a query, and what becomes of several rows for one key.

use std::collections::HashSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Answer, Error, ErrorKind};

/// Rows for one key, with [`Rows::All`]; more are an error of that key.
pub const ROWS_MAX: usize = 10_000;

/// The most connections of a look-up that are accepted.
pub const MAX_CONNECTIONS: usize = 64;

const MAX_STATEMENT_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What a look-up answers with when there are several rows for one key.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// With the first the server comes upon; a query with `order by` says which that is.
    #[default]
    First,
    /// With a list of all of them, [`ROWS_MAX`] at most.
    All,
    /// With an error.
    Error,
}

impl Rows {
    /// How many rows to ask for: one more than wanted shows that there are too many.
    pub(crate) fn asked_for(self) -> usize {
        match self {
            Self::First => 1,
            Self::Error => 2,
            Self::All => ROWS_MAX + 1,
        }
    }

    /// What the rows that were found for a key make of it.
    pub(crate) fn answer(self, mut rows: Vec<Value>) -> Answer {
        let too_many = |most: &str| {
            let message = format!("there are more rows for the key than {most}; see `rows`");
            Err(Error::new(ErrorKind::Query, message))
        };
        match self {
            _ if rows.is_empty() => Ok(None),
            Self::First => Ok(Some(rows.swap_remove(0))),
            Self::Error if rows.len() > 1 => too_many("one"),
            Self::Error => Ok(rows.pop()),
            Self::All if rows.len() > ROWS_MAX => too_many(&ROWS_MAX.to_string()),
            Self::All => Ok(Some(Value::Array(rows))),
        }
    }
}

/// What is asked for, as the user wrote it.
pub(crate) struct Select<'a> {
    pub(crate) table: &'a Option<String>,
    pub(crate) columns: &'a Option<Vec<String>>,
    pub(crate) query: &'a Option<String>,
    pub(crate) connections: usize,
    pub(crate) statement_timeout: Option<Duration>,
}

impl Select<'_> {
    /// Whether it makes sense, as far as can be told without the server.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let is_out_of_bounds = |time: Duration| time.as_millis() == 0 || time > MAX_STATEMENT_TIMEOUT;
        let problem = match (self.table, self.query, self.columns) {
            (None, None, _) => "name the `table` to look up, or write a `query`",
            (Some(_), Some(_), _) => "`table` and `query` exclude each other; remove one of them",
            (None, Some(_), Some(_)) => "`columns` belongs to `table`; with `query` the statement names its columns",
            (_, _, Some(columns)) if columns.is_empty() => "`columns` is empty; remove it to get all columns",
            (_, _, Some(columns)) if has_duplicates(columns) => "`columns` names a column twice",
            _ if !(1..=MAX_CONNECTIONS).contains(&self.connections) => "`connections` must be 1 to 64",
            _ if self.statement_timeout.is_some_and(is_out_of_bounds) => "`statement_timeout` must be 1ms to 24h",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, problem))
    }
}

pub(crate) fn has_duplicates(names: &[String]) -> bool {
    let mut seen = HashSet::new();
    !names.iter().all(|name| seen.insert(name))
}
