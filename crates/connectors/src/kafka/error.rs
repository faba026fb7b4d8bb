//! What the client library says, in our words.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::{Error, ErrorKind};

/// The error for `what` that failed, as in "cannot commit the offsets".
pub(super) fn kafka_error(what: &str, error: KafkaError) -> Error {
    let (kind, hint) = match error.rdkafka_error_code() {
        Some(code) => (kind(code), hint(code)),
        None if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => {
            (ErrorKind::Config, "")
        }
        None => (ErrorKind::Io, ""),
    };
    // What caused it would only say the same once more.
    Error::new(kind, format!("{what}: {}{hint}", words(&error)))
}

/// Without the names of types that the library puts in front.
fn words(error: &KafkaError) -> String {
    match (error, error.rdkafka_error_code()) {
        (KafkaError::Transaction(error), _) => error.string(),
        (KafkaError::ClientConfig(_, _, name, _), _) => {
            format!("`{name}` in `properties` is no setting, or has a wrong value")
        }
        (_, Some(code)) => code.to_string(),
        _ => error.to_string(),
    }
}

fn kind(code: Code) -> ErrorKind {
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::BrokerNotAvailable
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::NetworkException => ErrorKind::Unavailable,
        Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut | Code::TimedOutQueue => {
            ErrorKind::Timeout
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => ErrorKind::NotFound,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::SSL => ErrorKind::Permission,
        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::FencedInstanceId
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::AssignmentLost
        | Code::OffsetOutOfRange
        | Code::AutoOffsetReset => ErrorKind::Changed,
        Code::MessageSizeTooLarge => ErrorKind::TooLong,
        _ => ErrorKind::Io,
    }
}

fn hint(code: Code) -> &'static str {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic => "; create the topic, or name another",
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => {
            "; another run of this pipeline has taken over, or an epoch took longer than transaction.timeout.ms"
        }
        Code::AutoOffsetReset | Code::OffsetOutOfRange => {
            "; messages that were not read yet are gone, as after the retention of the topic: begin anew"
        }
        Code::MessageSizeTooLarge => "; the topic and `message.max.bytes` in `properties` say how long it may be",
        _ => "",
    }
}

/// What a report outside of any call says, if it is that the brokers do not let us in, or that we do not trust them.
pub(super) fn refusal(error: &KafkaError, reason: &str) -> Option<Error> {
    let (place, words) = without_timing(reason).split_once(": ")?;
    // `sasl_ssl://kafka-1:9093/bootstrap`
    let place = place.rsplit_once("://").map_or(place, |(_, place)| place);
    let place = place.split_once('/').map_or(place, |(place, _)| place);
    let message = match error.rdkafka_error_code()? {
        _ if WANTS_CERTIFICATE.iter().any(|words| reason.contains(words)) => {
            format!("{place} wants to see a certificate that it trusts; check `cert` and `key` of `tls`")
        }
        Code::SSL if reason.contains("certificate verify failed") => format!(
            "the certificate of {place} is not signed by an authority that is trusted, or is of another host; name the \
             file of its authority in `tls: {{ ca: FILE }}`, or the host as the certificate has it"
        ),
        Code::SSL => format!("no encrypted connection to {place}: {words}; check `tls` and the port"),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            format!("{place} does not let us in: {words}; check `user`, `password` and `mechanism`")
        }
        _ => return None,
    };
    Some(Error::new(ErrorKind::Permission, message))
}

/// What a broker says when it does not trust the client.
const WANTS_CERTIFICATE: [&str; 4] =
    ["alert certificate required", "alert bad certificate", "alert unknown ca", "alert certificate unknown"];

/// A report without how long what took, which tells nothing and is never the same.
pub(super) fn without_timing(reason: &str) -> &str {
    reason.split_once(" (after ").map_or(reason, |(reason, _)| reason)
}

/// Whether the library goes on by itself after this, so that there is nothing to do but wait.
pub(super) fn passes(error: &KafkaError) -> bool {
    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    !fatal
        && error
            .rdkafka_error_code()
            .is_some_and(|code| matches!(kind(code), ErrorKind::Unavailable | ErrorKind::Timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_is_told_so() {
        let told = |code, reason| {
            let code = KafkaError::Global(code);
            refusal(&code, reason).map(|error| error.to_string())
        };
        let timing = "(after 5ms in state AUTH_REQ, 1 identical error(s) suppressed)";
        let wrong =
            format!("sasl_ssl://kafka-1:9093/bootstrap: SASL authentication error: invalid credentials {timing}");
        let expected = "kafka-1:9093 does not let us in: SASL authentication error: invalid credentials; check `user`, \
                        `password` and `mechanism`";
        assert_eq!(told(Code::Authentication, &wrong).as_deref(), Some(expected));
        let untrusted = "ssl://kafka-1:9093/1: SSL handshake failed: certificate verify failed";
        assert!(told(Code::SSL, untrusted).unwrap().starts_with("the certificate of kafka-1:9093 is not signed by"));
        assert_eq!(told(Code::BrokerTransportFailure, "kafka-1:9093/1: Connection refused"), None);
    }
}
