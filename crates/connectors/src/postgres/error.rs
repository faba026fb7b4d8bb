//! What PostgreSQL reports, in words and kinds that tell what to do.

use std::error::Error as _;

use tokio_postgres::error::{DbError, SqlState};

use crate::{Error, ErrorKind};

/// The error for a failure while doing `what`, as in "cannot write".
pub(super) fn postgres_error(what: &str, error: tokio_postgres::Error) -> Error {
    let (kind, message) = match error.as_db_error() {
        Some(refusal) => refused(refusal),
        None => unreachable_server(&error),
    };
    Error::new(kind, format!("{what}: {message}")).caused_by(error)
}

fn refused(error: &DbError) -> (ErrorKind, String) {
    let (kind, advice) = kind_and_advice(error.code());
    let detail = error.detail().map(|detail| format!(" ({})", detail.trim_end_matches('.'))).unwrap_or_default();
    (kind, format!("{}{detail}; {advice}", error.message()))
}

fn kind_and_advice(code: &SqlState) -> (ErrorKind, &'static str) {
    match (code, code.code().get(..2).unwrap_or_default()) {
        (&SqlState::INVALID_PASSWORD, _) => (ErrorKind::Permission, "check the user and the password"),
        (_, "28") => (ErrorKind::Permission, "check the user, and what the server's pg_hba.conf allows it"),
        (&SqlState::INVALID_CATALOG_NAME, _) => (ErrorKind::Config, "check the name of the database"),
        (&SqlState::INSUFFICIENT_PRIVILEGE, _) => (ErrorKind::Permission, "grant it to the user"),
        (&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN | &SqlState::INVALID_SCHEMA_NAME, _) => {
            (ErrorKind::Config, "check the names, and the schema they are looked for in")
        }
        (&SqlState::INVALID_COLUMN_REFERENCE, _) => {
            (ErrorKind::Config, "create a unique index on the columns of `key`, or name others")
        }
        (&SqlState::INDETERMINATE_DATATYPE, _) => {
            (ErrorKind::Config, "say the type of the parameter in the query, as in $id::int")
        }
        (&SqlState::QUERY_CANCELED, _) => (ErrorKind::Timeout, "it took too long, or somebody cancelled it"),
        (&SqlState::LOCK_NOT_AVAILABLE, _) | (_, "40") => {
            (ErrorKind::Busy, "another transaction is in the way; try again when it has ended")
        }
        (&SqlState::DISK_FULL, _) => (ErrorKind::DiskFull, "make room on the server and run again"),
        (&SqlState::TOO_MANY_CONNECTIONS, _) => {
            (ErrorKind::Unavailable, "use fewer connections, or raise max_connections of the server")
        }
        (_, "08" | "53" | "57") => (ErrorKind::Unavailable, "try again when the server is well"),
        (_, "21" | "22" | "23") => (ErrorKind::Malformed, "correct the record, or the type of the column"),
        _ => (ErrorKind::Query, "check the statement and the tables it names"),
    }
}

/// The driver says what it was doing, its source why that failed.
fn unreachable_server(error: &tokio_postgres::Error) -> (ErrorKind, String) {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = inner.source();
    }
    let is_about_us = words.contains("invalid configuration") || words.contains("converting parameter");
    let is_about_trust = words.contains("certificate") || words.contains("TLS");
    match (is_about_us, is_about_trust) {
        (true, _) => (ErrorKind::Config, words),
        (_, true) => (ErrorKind::Permission, format!("{words}; check `sslmode` and `sslrootcert`")),
        _ => (ErrorKind::Unavailable, format!("{words}; check that the server runs and can be reached")),
    }
}
