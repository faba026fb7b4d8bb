//! How long calls took of late, and from when on one takes suspiciously long.

use std::time::Duration;

/// Calls that are remembered.
const REMEMBERED: usize = 512;
/// Calls before anything is said about them.
const FEWEST: usize = 100;
/// Calls between two looks at all of them.
const LOOK_EVERY: usize = 64;

/// The latest calls.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    latest: Vec<Duration>,
    /// Where the next one goes.
    next: usize,
    unseen: usize,
    delay: Option<Duration>,
}

impl Latencies {
    pub(super) fn note(&mut self, took: Duration) {
        match self.latest.get_mut(self.next) {
            Some(oldest) => *oldest = took,
            None => self.latest.push(took),
        }
        self.next = (self.next + 1) % REMEMBERED;
        self.unseen += 1;
        if self.latest.len() >= FEWEST && (self.unseen >= LOOK_EVERY || self.delay.is_none()) {
            self.unseen = 0;
            self.delay = Some(suspicious(self.latest.clone()));
        }
    }

    /// How long a call may take before it looks stuck, once enough have been seen.
    pub(super) const fn delay(&self) -> Option<Duration> {
        self.delay
    }
}

/// See [`HedgeDelay::Adaptive`](super::HedgeDelay::Adaptive).
fn suspicious(mut latencies: Vec<Duration>) -> Duration {
    let count = latencies.len();
    let mut at = |percent: usize| *latencies.select_nth_unstable((count * percent / 100).min(count - 1)).1;
    let (median, p95, p98) = (at(50), at(95), at(98));
    p98.min(8 * median).max(p95).max(2 * median)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// After these calls, over and over.
    fn delay(calls: impl Iterator<Item = u64> + Clone) -> Duration {
        let mut latencies = Latencies::default();
        calls.cycle().take(2 * REMEMBERED).for_each(|millis| latencies.note(ms(millis)));
        latencies.delay().unwrap()
    }

    #[test]
    fn a_few_calls_say_nothing() {
        let mut latencies = Latencies::default();
        for _ in 0..FEWEST - 1 {
            latencies.note(ms(1));
            assert_eq!(latencies.delay(), None);
        }
        latencies.note(ms(1));
        assert_eq!(latencies.delay(), Some(ms(2)));
    }

    #[test]
    fn it_comes_from_the_body_and_not_from_the_stalls() {
        let varies = delay((1..=100).map(|call| call * call));
        assert!((ms(97 * 97)..=ms(99 * 99)).contains(&varies), "two in a hundred take longer: {varies:?}");
        assert_eq!(delay((0..100).map(|call| if call < 97 { 5 } else { 1_000 })), ms(40), "3 % stall");
        assert_eq!(
            delay((0..100).map(|call| if call < 90 { 5 } else { 1_000 })),
            ms(1_000),
            "one in ten is no exception"
        );
        assert_eq!(delay((0..100).map(|call| if call < 50 { 5 } else { 6 })), ms(12), "nothing is stuck here");
    }

    #[test]
    fn it_follows() {
        let mut latencies = Latencies::default();
        (0..REMEMBERED).for_each(|_| latencies.note(ms(5)));
        (0..REMEMBERED).for_each(|_| latencies.note(ms(50)));
        assert_eq!(latencies.delay(), Some(ms(100)));
        assert_eq!(latencies.latest.len(), REMEMBERED);
    }
}
