//! What can go wrong, and with whom.

use std::fmt;
use std::io;
use std::time::Duration;

/// Another process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its index, from 0.
    pub process: usize,
    /// Where it listens, as in the list of hosts.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.process, self.address)
    }
}

/// Why workers did not run, or not to the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The layout makes no sense.
    #[error("{0}")]
    Layout(String),
    /// This process cannot listen on its own address.
    #[error("cannot listen on {address}, where process {process} is expected: {why}")]
    Listen {
        /// This process.
        process: usize,
        /// Its address.
        address: String,
        /// What the system says.
        why: String,
    },
    /// Some did not come to the set-up.
    #[error("{} did not appear within {within:?}{}", all(.peers), because(.why))]
    Absent {
        /// Those that did not.
        peers: Vec<Peer>,
        /// How long they were waited for.
        within: Duration,
        /// What the last attempts to reach them met with; empty for those that had to call us.
        why: String,
    },
    /// Somebody came who does not belong to this cluster.
    #[error("{peer} does not fit: {why}")]
    Unfit {
        /// Who.
        peer: Peer,
        /// What differs.
        why: String,
    },
    /// Another version of this program called, of which not even the index can be understood.
    #[error("a call from {address}: {why}")]
    OtherVersion {
        /// Where the call came from.
        address: String,
        /// What differs.
        why: String,
    },
    /// A process vanished: its connection broke, or it was silent for too long.
    #[error("lost {peer}: {how}")]
    Lost {
        /// Who.
        peer: Peer,
        /// What was seen of it.
        how: String,
    },
    /// Another process lost something first.
    #[error("{peer} gave up: {why}")]
    GaveUp {
        /// Who.
        peer: Peer,
        /// What it said.
        why: String,
    },
    /// A worker of this process panicked.
    #[error("worker {worker} panicked: {message}")]
    Panicked {
        /// Its index among all workers of all processes.
        worker: usize,
        /// What the panic said.
        message: String,
    },
    /// The work of a worker of this process returned an error, or left a dataflow unfinished.
    #[error("worker {worker} failed: {why}")]
    Failed {
        /// Its index among all workers of all processes.
        worker: usize,
        /// What it said.
        why: String,
    },
    /// The system has no thread or no connection for us.
    #[error("cannot start: {0}")]
    Resources(String),
}

impl ClusterError {
    pub(super) fn no_connections(error: io::Error) -> Self {
        Self::Resources(format!("connections cannot be set up: {error}"))
    }

    pub(super) fn no_thread(error: io::Error) -> Self {
        Self::Resources(format!("no thread to be had: {error}"))
    }

    pub(super) fn lost(peer: &Peer, how: impl Into<String>) -> Self {
        Self::Lost { peer: peer.clone(), how: how.into() }
    }
}

fn all(peers: &[Peer]) -> String {
    peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}
