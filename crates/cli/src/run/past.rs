//! What only the dead letter of a record would tell.

use inflight_connectors::Record;
use serde::{Deserialize, Serialize};

use super::portable;

/// What is known of a record besides what it says now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    /// Fields as they were read, whose place the result of a step has taken.
    #[serde(with = "portable")]
    pub(super) replaced: Record,
    /// The letter that is replayed, without its record; empty if there is none.
    #[serde(with = "portable")]
    pub(super) letter: Record,
}
