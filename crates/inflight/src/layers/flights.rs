//! Which keys are being asked for, and who waits for the answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Key;
use super::mailbox::{Mailbox, Sender};

/// The keys on the wire. A clone is the same: functions that share it (one on each dataflow worker) join each other's calls.
pub struct Flights<K: Key, O, E>(Arc<Shared<K, O, E>>);

struct Shared<K: Key, O, E> {
    flights: Mutex<HashMap<K, Flight<K, O, E>>>,
    batches: AtomicU64,
    joined: AtomicU64,
}

/// A key on the wire.
struct Flight<K: Key, O, E> {
    /// Whose call it is: the number of a batch, and the key's place in it. None: of a call that has passed from hand to hand.
    leader: Option<(u64, usize)>,
    /// In the order they came.
    followers: Vec<Follower<K, O, E>>,
}

struct Follower<K: Key, O, E> {
    sender: Sender<News<K, O, E>>,
    /// It was there when the call began, which is as good as one of its own.
    from_the_start: bool,
}

/// What a record does about its key.
pub(super) enum Role<K: Key, O, E> {
    /// It makes the call.
    Lead(Lead<K, O, E>),
    /// It waits for a call that is on the wire.
    Follow,
    /// It has the key of another record of its batch, at this place.
    Same(usize),
}

/// What followers are told.
pub(super) enum News<K: Key, O, E> {
    Landed(Result<O, E>),
    TakeOver(Lead<K, O, E>),
}

/// Held by the one who makes the call. If it is dropped before the call has landed, be it on its way to another, the next one gets it.
pub(super) struct Lead<K: Key, O, E> {
    flights: Flights<K, O, E>,
    /// None: the call has landed, or another has taken over.
    key: Option<K>,
}

impl<K: Key, O, E> Flights<K, O, E> {
    /// Nothing on the wire.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared { flights: Mutex::default(), batches: AtomicU64::new(0), joined: AtomicU64::new(0) }))
    }

    /// Records that waited for the call of another so far, instead of making one.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.0.joined.load(Ordering::Relaxed)
    }

    /// What each record of a batch does about its key.
    pub(super) fn board(&self, keys: impl Iterator<Item = K>, mailbox: &Mailbox<News<K, O, E>>) -> Vec<Role<K, O, E>> {
        let batch = self.0.batches.fetch_add(1, Ordering::Relaxed);
        let mut flights = self.flights();
        let role = |(place, key): (usize, K)| match flights.entry(key) {
            Entry::Vacant(free) => {
                let key = Some(free.key().clone());
                free.insert(Flight { leader: Some((batch, place)), followers: Vec::new() });
                Role::Lead(Lead { flights: self.clone(), key })
            }
            Entry::Occupied(mut flight) => {
                self.0.joined.fetch_add(1, Ordering::Relaxed);
                match flight.get().leader {
                    Some((leader, first)) if leader == batch => Role::Same(first),
                    _ => {
                        flight.get_mut().join(mailbox.sender(place));
                        Role::Follow
                    }
                }
            }
        };
        keys.enumerate().map(role).collect()
    }

    /// The lead of a key, if its call has gone; otherwise it follows.
    pub(super) fn board_again(&self, key: K, place: usize, mailbox: &Mailbox<News<K, O, E>>) -> Option<Lead<K, O, E>> {
        match self.flights().entry(key) {
            Entry::Vacant(free) => {
                let key = Some(free.key().clone());
                free.insert(Flight { leader: None, followers: Vec::new() });
                Some(Lead { flights: self.clone(), key })
            }
            Entry::Occupied(mut flight) => {
                flight.get_mut().join(mailbox.sender(place));
                None
            }
        }
    }

    /// Who came last; those behind it are now there from the start of its call. The flight is over when there is nobody.
    fn heir(&self, key: &K) -> Option<Sender<News<K, O, E>>> {
        let mut flights = self.flights();
        let flight = flights.get_mut(key)?;
        flight.leader = None;
        let heir = flight.followers.pop();
        if heir.is_none() {
            flights.remove(key);
            return None;
        }
        flight.followers.iter_mut().for_each(|follower| follower.from_the_start = true);
        heir.map(|heir| heir.sender)
    }

    /// Who gets this result, and whether those are all: then the flight is over.
    fn land(&self, key: &K, result: &Result<O, E>) -> (Vec<Follower<K, O, E>>, bool) {
        let mut flights = self.flights();
        let Some(flight) = flights.get_mut(key) else { return (Vec::new(), true) };
        if result.is_ok() || flight.followers.iter().all(|follower| follower.from_the_start) {
            return (flights.remove(key).map_or_else(Vec::new, |flight| flight.followers), true);
        }
        (flight.followers.extract_if(.., |follower| follower.from_the_start).collect(), false)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<K, Flight<K, O, E>>> {
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key, O, E> Flight<K, O, E> {
    fn join(&mut self, sender: Sender<News<K, O, E>>) {
        if self.followers.len() == self.followers.capacity() {
            // Before it grows, those that were given up leave.
            self.followers.retain(|follower| !follower.sender.is_closed());
        }
        self.followers.push(Follower { sender, from_the_start: false });
    }
}

impl<K: Key, O: Clone, E: Clone> Lead<K, O, E> {
    /// Ends the flight: who comes from now on starts another. An error concerns those only who were there when the call began;
    /// one of the others makes a call for them all.
    pub(super) fn land(mut self, result: &Result<O, E>) {
        let Some(key) = &self.key else { return };
        let (followers, is_over) = self.flights.land(key, result);
        if is_over {
            self.key = None;
        }
        for follower in followers {
            // It may have been given up.
            drop(follower.sender.send(News::Landed(result.clone())));
        }
    }
}

impl<K: Key, O, E> Drop for Lead<K, O, E> {
    fn drop(&mut self) {
        while let Some(key) = self.key.take() {
            let Some(heir) = self.flights.heir(&key) else { return };
            let lead = Self { flights: self.flights.clone(), key: Some(key) };
            // An heir that was given up refuses.
            if let Err(News::TakeOver(mut refused)) = heir.send(News::TakeOver(lead)) {
                self.key = refused.key.take();
            }
        }
    }
}

impl<K: Key, O, E> Clone for Flights<K, O, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key, O, E> Default for Flights<K, O, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Key, O, E> fmt::Debug for Flights<K, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flights = self.flights();
        let waiting: usize = flights.values().map(|flight| flight.followers.len()).sum();
        let joined = self.joined();
        f.debug_struct("Flights")
            .field("calls", &flights.len())
            .field("waiting", &waiting)
            .field("joined", &joined)
            .finish_non_exhaustive()
    }
}
