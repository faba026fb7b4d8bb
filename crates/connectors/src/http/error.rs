//! What goes wrong with a request, in words and kinds that tell what to do.

use std::error::Error as _;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::{Error, ErrorKind};

/// The error for a request that got no answer while doing `what`, as in "cannot ask".
pub(super) fn failed(what: &str, error: reqwest::Error) -> Error {
    // The URL may have a secret in it.
    let error = error.without_url();
    let words = words(&error);
    let (kind, advice) = match () {
        () if error.is_builder() => (ErrorKind::Config, "check the configuration"),
        () if words.contains("certificate") => (ErrorKind::Permission, "check `ca_file` and the name of the host"),
        () if error.is_timeout() => (ErrorKind::Timeout, "check that the server can be reached"),
        () if error.is_connect() => (ErrorKind::Unavailable, "check that the server runs and can be reached"),
        () => (ErrorKind::Unavailable, "the connection broke; try again"),
    };
    Error::new(kind, format!("{what}: {words}; {advice}")).caused_by(error)
}

/// The error that a status stands for, if it stands for one.
pub(super) fn refused(status: StatusCode, headers: &HeaderMap) -> Option<Error> {
    let (kind, advice) = match status.as_u16() {
        200..=299 => return None,
        300..=399 => (ErrorKind::Config, "it has moved; write the URL it is at now"),
        401 | 407 => (ErrorKind::Permission, "check what `headers` or `url` say about who asks"),
        403 => (ErrorKind::Permission, "it is not allowed to the one who asks"),
        405 => (ErrorKind::Config, "check `method`"),
        408 => (ErrorKind::Timeout, "try again"),
        429 => (ErrorKind::Busy, "ask more slowly: see `concurrency` and `rate_limit`"),
        503 => (ErrorKind::Busy, "try again in a while"),
        501 | 505 => (ErrorKind::Query, "check `method` and `url`"),
        500..=599 => (ErrorKind::Unavailable, "try again when the service is well"),
        _ => (ErrorKind::Malformed, "check the record; if it means that there is no answer, put it into `missing`"),
    };
    let reason = status.canonical_reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let error = Error::new(kind, format!("the service answers {}{reason}; {advice}", status.as_u16()));
    Some(match retry_after(headers) {
        Some(pause) if error.is_retryable() => error.worth_asking_after(pause),
        _ => error,
    })
}

/// The pause the server asks for: in seconds, or until a date, which is compared with the server's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    Some(date(text)?.duration_since(now).unwrap_or_default())
}

/// The client says what it was doing, its sources why that failed.
fn words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = inner.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, headers: &[(&str, &str)]) -> Error {
        let header = |&(name, value): &(&str, &str)| {
            (name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap())
        };
        refused(StatusCode::from_u16(status).unwrap(), &headers.iter().map(header).collect()).unwrap()
    }

    #[test]
    fn classes_of_statuses_have_their_kinds() {
        for (status, kind) in [
            (301, ErrorKind::Config),
            (400, ErrorKind::Malformed),
            (401, ErrorKind::Permission),
            (422, ErrorKind::Malformed),
            (429, ErrorKind::Busy),
            (500, ErrorKind::Unavailable),
            (503, ErrorKind::Busy),
            (599, ErrorKind::Unavailable),
        ] {
            assert_eq!(refusal(status, &[]).kind(), kind, "{status}");
        }
        assert!(refused(StatusCode::OK, &HeaderMap::new()).is_none());
    }

    #[test]
    fn the_pause_is_what_the_server_asks_for() {
        let pause = |headers: &[(&str, &str)]| refusal(429, headers).retry_after().map(|pause| pause.as_secs());
        assert_eq!(pause(&[]), None);
        assert_eq!(pause(&[("retry-after", "7")]), Some(7));
        let (date, later) = ("Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 10:01:05 GMT");
        assert_eq!(pause(&[("retry-after", later), ("date", date)]), Some(65));
        assert_eq!(pause(&[("retry-after", date), ("date", later)]), Some(0));
        assert_eq!(pause(&[("retry-after", later)]), None);
        assert_eq!(pause(&[("retry-after", "soon"), ("date", date)]), None);
        assert_eq!(refusal(400, &[("retry-after", "7")]).retry_after(), None);
    }
}
