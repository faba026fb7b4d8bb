//! What MySQL and MariaDB report, in words and kinds that tell what to do.

use mysql_async::{DriverError, IoError, ServerError};

use crate::{Error, ErrorKind};

/// The error for a failure while doing `what`, as in "cannot look up".
pub(super) fn mysql_error(what: &str, error: mysql_async::Error) -> Error {
    let (kind, message) = match &error {
        mysql_async::Error::Server(refusal) => refused(refusal),
        mysql_async::Error::Io(IoError::Tls(trust)) => untrusted(&trust.to_string()),
        mysql_async::Error::Io(IoError::Io(broken))
            if broken.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) =>
        {
            untrusted(&broken.to_string())
        }
        mysql_async::Error::Io(IoError::Io(broken)) if broken.kind() == std::io::ErrorKind::InvalidData => {
            (ErrorKind::Unavailable, format!("{broken}; check that a MySQL server is at this address"))
        }
        mysql_async::Error::Io(IoError::Io(broken)) => unreachable_server(&broken.to_string()),
        mysql_async::Error::Driver(trouble) => driver(trouble),
        other => unreachable_server(&other.to_string()),
    };
    Error::new(kind, format!("{what}: {message}")).caused_by(error)
}

fn refused(error: &ServerError) -> (ErrorKind, String) {
    let (kind, advice) = kind_and_advice(error.code, &error.state);
    (kind, format!("{}; {advice}", error.message.trim_end_matches('.')))
}

/// By the number where it says more than the state, which is the same for much.
fn kind_and_advice(code: u16, state: &str) -> (ErrorKind, &'static str) {
    match (code, state.get(..2).unwrap_or_default()) {
        (1045 | 1698, _) => (ErrorKind::Permission, "check the user and the password"),
        (1044 | 1142 | 1143 | 1227 | 1370, _) => (ErrorKind::Permission, "grant it to the user"),
        (1130, _) => (ErrorKind::Permission, "see which hosts the user may come from"),
        (1049, _) => (ErrorKind::Config, "check the name of the database"),
        (1046, _) => (ErrorKind::Config, "name the database in `url`, or before the table"),
        (1054 | 1146 | 1305, _) => (ErrorKind::Config, "check the names, and the database they are looked for in"),
        (1792, _) => (ErrorKind::Config, "a look-up only reads; ask by a `select`"),
        (1040 | 1203 | 1226, _) => {
            (ErrorKind::Unavailable, "use fewer connections, or raise max_connections of the server")
        }
        (1461, _) => (ErrorKind::Unavailable, "use fewer connections, or raise max_prepared_stmt_count of the server"),
        (1205 | 1213 | 3572, _) => (ErrorKind::Busy, "another transaction is in the way; try again when it has ended"),
        (1317 | 1969 | 3024, _) => (ErrorKind::Timeout, "it took too long, or somebody cancelled it"),
        (1021 | 1037 | 1038 | 1041 | 1053 | 1077..=1080 | 1129 | 1152..=1161 | 1927, _) | (_, "08") => {
            (ErrorKind::Unavailable, "try again when the server is well")
        }
        (1267 | 1292 | 1366 | 1525, _) | (_, "21" | "22" | "23") => {
            (ErrorKind::Malformed, "correct the record, or the type of the column")
        }
        _ => (ErrorKind::Query, "check the statement and the tables it names"),
    }
}

fn driver(error: &DriverError) -> (ErrorKind, String) {
    match error {
        DriverError::NoClientSslFlagFromServer => {
            let message = "the server does not encrypt; set that up there, or write `sslmode: disable`";
            (ErrorKind::Permission, message.to_owned())
        }
        DriverError::UnknownAuthPlugin { name } => (ErrorKind::Permission, unknown_authentication(name)),
        DriverError::MysqlOldPasswordDisabled => (ErrorKind::Permission, unknown_authentication("mysql_old_password")),
        DriverError::CleartextPluginDisabled => (ErrorKind::Permission, unknown_authentication("mysql_clear_password")),
        DriverError::MixedParams | DriverError::StmtParamsMismatch { .. } => (
            ErrorKind::Config,
            "the query has parameters that are no columns of the key; write them as in $id".to_owned(),
        ),
        other => unreachable_server(&other.to_string()),
    }
}

/// What is said of a user whose password is not checked in a way that is known here.
pub(super) fn unknown_authentication(plugin: &str) -> String {
    format!(
        "the user is to prove itself by {plugin}, which is not known here; let it have mysql_native_password or caching_sha2_password"
    )
}

fn untrusted(words: &str) -> (ErrorKind, String) {
    (ErrorKind::Permission, format!("{words}; check `sslmode` and `sslrootcert`"))
}

fn unreachable_server(words: &str) -> (ErrorKind, String) {
    (ErrorKind::Unavailable, format!("{}; check that the server runs and can be reached", words.trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_worth_another_attempt() {
        for (code, state, is_retryable) in [
            (1040, "08004", true),
            (1053, "08S01", true),
            (1205, "HY000", true),
            (1213, "40001", true),
            (1317, "70100", true),
            (1927, "70100", true),
            (1969, "70100", true),
            (3024, "HY000", true),
            (1045, "28000", false),
            (1064, "42000", false),
            (1146, "42S02", false),
            (1292, "22007", false),
        ] {
            let refusal = ServerError { code, state: state.to_owned(), message: "no.".to_owned() };
            let error = mysql_error("cannot look up", mysql_async::Error::Server(refusal));
            assert_eq!(error.is_retryable(), is_retryable, "{error}");
            assert!(error.to_string().starts_with("cannot look up: no; "), "{error}");
        }
    }
}
