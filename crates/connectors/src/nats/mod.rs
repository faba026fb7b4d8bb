//! NATS JetStream: streams to read from, and subjects to publish to.
//!
//! There are two ways to read. [`NatsSource`] reads a stream from a position that the reader keeps, so with a sink that
//! decides its epochs each message has its effect once. [`NatsConsumer`] shares a durable consumer with other readers, and
//! the server keeps how far they are: a message is acknowledged when what came of it is safe, so it may come again.
//!
//! Both pull, one request for a batch after the other, and each of them ends by itself: a request that does not is taken
//! for lost with the connection or the server that knew of it, and the consumer is looked up or made anew.

mod about;
mod config;
mod connect;
mod consumer;
mod pull;
mod sink;
mod source;

pub use config::{
    ACK_WAIT, COMMIT_EVERY, MAX_ACK_PENDING, NatsConfig, NatsSinkConfig, NatsSourceConfig, OnMalformed,
    PUBLISHES_AHEAD, Start, Until,
};
pub use consumer::{NatsAcks, NatsConsumer};
pub use sink::NatsSink;
pub use source::NatsSource;

/// Times that a server that does not answer is tried again, from a tenth of a second to two apart: about a minute.
pub const TRIES: u32 = 33;
