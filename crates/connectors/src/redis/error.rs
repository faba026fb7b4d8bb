//! What Redis reports, in words and kinds that tell what to do.

use redis::{RedisError, ServerError, ServerErrorKind};

use crate::{Error, ErrorKind};

/// The error for a failure while doing `what`, as in "cannot look up".
pub(super) fn redis_error(what: &str, error: RedisError) -> Error {
    let refusals = error.clone().into_server_errors();
    let (kind, message) = match (refusals.as_deref(), error.kind()) {
        (Some([(_, refusal), ..]), _) => refused(refusal),
        (_, redis::ErrorKind::AuthenticationFailed) => {
            (ErrorKind::Permission, format!("{}; check the user and the password", words(&error)))
        }
        (_, redis::ErrorKind::InvalidClientConfig) => {
            (ErrorKind::Config, format!("{}; check the configuration", words(&error)))
        }
        (_, redis::ErrorKind::Parse | redis::ErrorKind::UnexpectedReturnType) => {
            let message = format!("{}; check that a Redis server is at this address", words(&error));
            (ErrorKind::Unavailable, message)
        }
        _ => {
            let words = words(&error);
            let unreachable = (ErrorKind::Unavailable, "check that the server runs and can be reached");
            let (kind, advice) = known(&words).unwrap_or(unreachable);
            (kind, format!("{words}; {advice}"))
        }
    };
    Error::new(kind, format!("{what}: {message}")).caused_by(error)
}

/// The error for one command that was refused.
pub(super) fn refusal(what: &str, error: &ServerError) -> Error {
    let (kind, message) = refused(error);
    Error::new(kind, format!("{what}: {message}"))
}

fn refused(error: &ServerError) -> (ErrorKind, String) {
    let details = error.details().unwrap_or("no details");
    let (kind, advice) = match (error.kind(), error.code()) {
        (_, "WRONGTYPE") => (ErrorKind::Malformed, "see whether it is a string (`get`) or a hash (`hash`)"),
        (_, "WRONGPASS" | "NOAUTH") => (ErrorKind::Permission, "check the user and the password"),
        (Some(ServerErrorKind::NoPerm), _) => (ErrorKind::Permission, "allow it to the user with ACL SETUSER"),
        (_, "DENIED") => (ErrorKind::Permission, "see `protected-mode` in the server's configuration"),
        (Some(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain), _) | (_, "BUSY") => {
            (ErrorKind::Busy, "try again in a while")
        }
        (Some(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot), _) => {
            (ErrorKind::Config, "the server belongs to a cluster; write `cluster: true`")
        }
        (Some(ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown), _) => {
            (ErrorKind::Unavailable, "try again when the server is well")
        }
        _ => known(details).unwrap_or((ErrorKind::Query, "check the look-up")),
    };
    (kind, format!("{} {}; {advice}", error.code(), details.trim_end_matches('.')))
}

/// What has no code of its own, or comes without it.
fn known(words: &str) -> Option<(ErrorKind, &'static str)> {
    let all = [
        ("certificate", ErrorKind::Permission, "check `ca_file` and the name of the host"),
        ("max number of clients", ErrorKind::Unavailable, "use fewer connections, or raise maxclients of the server"),
        ("DB index", ErrorKind::Config, "check the number of the database in `url`"),
        ("AUTH", ErrorKind::Permission, "check the user and the password"),
    ];
    all.into_iter().find(|(word, ..)| words.contains(word)).map(|(_, kind, advice)| (kind, advice))
}

/// What the driver says, without its repetitions.
fn words(error: &RedisError) -> String {
    let text = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.to_string(),
    };
    text.trim_end_matches('.').to_owned()
}
