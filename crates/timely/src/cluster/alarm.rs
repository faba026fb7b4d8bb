//! The first loss, told to all who have to stop.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use super::error::ClusterError;

/// Where a process is: at work, done with it, or beyond hope.
pub(super) struct Alarm {
    tell: Arc<dyn Fn(&str) + Send + Sync>,
    standing: Mutex<Standing>,
    changed: Condvar,
}

#[derive(Default)]
struct Standing {
    lost: Option<ClusterError>,
    /// Its workers have returned, and everything they sent has gone.
    done: bool,
    workers: Vec<Thread>,
    /// How many of them have not been dropped.
    alive: usize,
}

/// How a process stands.
pub(super) enum Stands {
    AtWork,
    Done,
    Lost(ClusterError),
}

impl Alarm {
    pub(super) fn new(tell: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { tell, standing: Mutex::default(), changed: Condvar::new() }
    }

    /// Something is lost. Only the first loss counts: all others follow from it.
    pub(super) fn raise(&self, lost: ClusterError) {
        let sentence = lost.to_string();
        let mut standing = self.standing();
        if standing.lost.is_some() {
            return;
        }
        standing.lost = Some(lost);
        drop(standing);
        (self.tell)(&sentence);
        self.standing().workers.iter().for_each(Thread::unpark);
        self.changed.notify_all();
    }

    /// The work is done.
    pub(super) fn done(&self) {
        self.standing().done = true;
        self.changed.notify_all();
    }

    /// What was lost, if anything was.
    pub(super) fn lost(&self) -> Option<ClusterError> {
        self.standing().lost.clone()
    }

    /// The thread that asks has a worker, until that is [gone](Self::gone), and is unparked when something is lost.
    pub(super) fn unpark_me(&self) {
        let mut standing = self.standing();
        standing.workers.push(thread::current());
        standing.alive += 1;
    }

    /// A worker has been dropped.
    pub(super) fn gone(&self) {
        self.standing().alive -= 1;
        self.changed.notify_all();
    }

    /// Waits so long, or until all workers are gone.
    pub(super) fn wait_for_workers(&self, at_most: Duration) {
        drop(self.changed.wait_timeout_while(self.standing(), at_most, |standing| standing.alive > 0));
    }

    /// Waits so long, or until the work is done or something is lost.
    pub(super) fn wait(&self, at_most: Duration) -> Stands {
        self.wait_while(at_most, |standing| standing.lost.is_none() && !standing.done)
    }

    /// Waits so long, or until something is lost.
    pub(super) fn wait_for_loss(&self, at_most: Duration) -> Stands {
        self.wait_while(at_most, |standing| standing.lost.is_none())
    }

    fn wait_while(&self, at_most: Duration, waits: impl Fn(&Standing) -> bool) -> Stands {
        let standing = self.changed.wait_timeout_while(self.standing(), at_most, |standing| waits(standing));
        let (standing, _) = standing.unwrap_or_else(PoisonError::into_inner);
        match (&standing.lost, standing.done) {
            (Some(lost), _) => Stands::Lost(lost.clone()),
            (None, true) => Stands::Done,
            (None, false) => Stands::AtWork,
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
