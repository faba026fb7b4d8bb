//! What SQLite reports, in words and kinds that tell what to do.

use rusqlite::ErrorCode;

use crate::{Error, ErrorKind};

/// The error for a failure of SQLite while doing `what`, as in "cannot read".
pub(super) fn sqlite_error(what: &str, error: rusqlite::Error) -> Error {
    let (kind, advice) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Busy,
            "another connection holds the database; wait for its transaction to end, or raise `busy_timeout`",
        ),
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::Corrupt, "the file is no SQLite database, or an encrypted one; check the path")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            (ErrorKind::Corrupt, "the database is damaged; restore it, or delete it if it can be built again")
        }
        Some(ErrorCode::DiskFull) => (ErrorKind::DiskFull, "make room and run again"),
        Some(ErrorCode::CannotOpen) => (ErrorKind::Io, "check that it is a file and that its folder can be read"),
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            (ErrorKind::Permission, "check the permissions of the file and its folder")
        }
        Some(ErrorCode::SystemIoFailure) => (ErrorKind::Io, "the disk or file system failed; see the system's log"),
        _ => (ErrorKind::Query, "check the statement and the tables it names"),
    };
    Error::new(kind, format!("{what}: {}; {advice}", own_words(&error))).caused_by(error)
}

/// SQLite's message without the statement, which rusqlite puts after it.
fn own_words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}
