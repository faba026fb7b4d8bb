//! The external system of these tests: it answers after a while, and counts the calls it is serving.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Clone, Default)]
pub(crate) struct Service {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicUsize,
    serving: AtomicUsize,
}

impl Service {
    /// Serves a call, the how-manieth (from 1), until the guard is dropped.
    pub(crate) fn serve(&self) -> Serving {
        self.counts.serving.fetch_add(1, Ordering::SeqCst);
        let call = self.counts.calls.fetch_add(1, Ordering::SeqCst) + 1;
        Serving { counts: Arc::clone(&self.counts), call }
    }

    pub(crate) async fn answer<T>(&self, after: Duration, answer: T) -> T {
        let _serving = self.serve();
        tokio::time::sleep(after).await;
        answer
    }

    /// Calls made so far.
    pub(crate) fn calls(&self) -> usize {
        self.counts.calls.load(Ordering::SeqCst)
    }

    /// Calls being served now.
    pub(crate) fn serving(&self) -> usize {
        self.counts.serving.load(Ordering::SeqCst)
    }
}

pub(crate) struct Serving {
    counts: Arc<Counts>,
    pub(crate) call: usize,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.counts.serving.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Numbers that look random: the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
