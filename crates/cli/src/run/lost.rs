//! A sink that is lost in mid-run: if it can be renewed, that is waited for.

use inflight_connectors::{Error, ErrorKind, Origin, Record, Sink};

use super::outage::Outage;

/// Does to a sink what may have to be done once more when it is renewed.
pub(super) fn insist<T>(
    sink: &mut dyn Sink,
    outage: &Outage,
    mut call: impl FnMut(&mut dyn Sink) -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        match call(sink) {
            Err(error) if goes_by(&error) => outage.outlasts_loss(error, || sink.renew())?,
            done => return done,
        }
    }
}

/// Writes a record. When the sink has to be renewed, it is there all the same.
pub(super) fn write_to(
    sink: &mut dyn Sink,
    outage: &Outage,
    origin: Option<Origin<'_>>,
    record: &Record,
) -> Result<(), Error> {
    let written = match origin {
        Some(origin) => sink.write_from(origin, record),
        None => sink.write(record),
    };
    match written {
        Err(error) if goes_by(&error) => outage.outlasts_loss(error, || sink.renew()),
        written => written,
    }
}

fn goes_by(error: &Error) -> bool {
    error.is_retryable() || error.kind() == ErrorKind::Undecided
}
