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
        | Code::Authentication => ErrorKind::Permission,
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

/// Whether the library goes on by itself after this, so that there is nothing to do but wait.
pub(super) fn passes(error: &KafkaError) -> bool {
    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    !fatal
        && error
            .rdkafka_error_code()
            .is_some_and(|code| matches!(kind(code), ErrorKind::Unavailable | ErrorKind::Timeout))
}
