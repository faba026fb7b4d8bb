//! Answers, and how long each may be used.

use std::time::Duration;

use inflight_core::Time;

use super::Key;
use super::cache::CacheOptions;

/// A bounded cache from elsewhere, which knows what is used often; here it learns what is old.
pub(crate) struct Store<K, O> {
    entries: quick_cache::sync::Cache<K, Entry<O>>,
    options: CacheOptions<O>,
}

#[derive(Clone)]
struct Entry<O> {
    output: O,
    /// When the call began that brought it: the answer is at least as new.
    since: Time,
    fresh_until: Time,
    gone_at: Time,
}

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known<O> {
    Fresh(O),
    /// Too old, but it may be used once more while a newer one is fetched; not after `gone_at`.
    Stale {
        output: O,
        gone_at: Time,
    },
    Nothing,
}

impl<K: Key, O: Clone> Store<K, O> {
    pub(crate) fn new(options: CacheOptions<O>) -> Self {
        Self { entries: quick_cache::sync::Cache::new(options.entries), options }
    }

    pub(crate) fn look(&self, key: &K, now: Time) -> Known<O> {
        match self.entries.get(key) {
            Some(Entry { output, fresh_until, .. }) if now < fresh_until => Known::Fresh(output),
            Some(Entry { output, gone_at, .. }) if now < gone_at => Known::Stale { output, gone_at },
            _ => Known::Nothing,
        }
    }

    /// Keeps what a call brought that began at `since`, unless a later one was faster.
    pub(crate) fn keep(&self, key: K, output: O, since: Time) {
        if self.entries.peek(&key).is_some_and(|entry| entry.since > since) {
            return;
        }
        let (ttl, stale_for) = if (self.options.is_missing)(&output) {
            (self.options.missing_ttl, Duration::ZERO)
        } else {
            (self.options.ttl, self.options.stale_for)
        };
        let fresh_until = since + ttl;
        self.entries.insert(key, Entry { output, since, fresh_until, gone_at: fresh_until + stale_for });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn store() -> Store<u32, Option<&'static str>> {
        let (ttl, missing_ttl) = (Duration::from_secs(60), Duration::from_secs(5));
        Store::new(CacheOptions {
            stale_for: Duration::from_secs(30),
            ..CacheOptions::with_missing(100, ttl, missing_ttl)
        })
    }

    #[test]
    fn fresh_then_stale_then_gone() {
        let store = store();
        assert_eq!(store.look(&1, at(0)), Known::Nothing);
        store.keep(1, Some("one"), at(10));
        assert_eq!(store.look(&1, at(69)), Known::Fresh(Some("one")));
        assert_eq!(store.look(&1, at(70)), Known::Stale { output: Some("one"), gone_at: at(100) });
        assert_eq!(store.look(&1, at(99)), Known::Stale { output: Some("one"), gone_at: at(100) });
        assert_eq!(store.look(&1, at(100)), Known::Nothing);
    }

    #[test]
    fn missing_keys_have_their_own_time_and_are_never_stale() {
        let store = store();
        store.keep(1, None, at(0));
        assert_eq!(store.look(&1, at(4)), Known::Fresh(None));
        assert_eq!(store.look(&1, at(5)), Known::Nothing);
    }

    #[test]
    fn a_slow_call_does_not_undo_what_a_later_one_brought() {
        let store = store();
        store.keep(1, Some("new"), at(2));
        store.keep(1, Some("old"), at(1));
        assert_eq!(store.look(&1, at(3)), Known::Fresh(Some("new")));
        store.keep(1, Some("newer"), at(3));
        assert_eq!(store.look(&1, at(3)), Known::Fresh(Some("newer")));
    }

    #[test]
    fn what_is_used_stays_when_there_is_no_room() {
        let store = store();
        for key in 0..100_000 {
            store.keep(key, Some("value"), at(0));
            assert!(store.entries.len() <= 128, "{}", store.entries.len());
            assert!(key < 10 || store.look(&3, at(1)) == Known::Fresh(Some("value")), "{key}");
        }
    }
}
