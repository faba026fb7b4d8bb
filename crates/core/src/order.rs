//! Which decided records may leave: the queue's order, put together from its three ideas.
//!
//! | order | [`Arrival`] | [`KeyChains`] | [`Fences`] |
//! |---|---|---|---|
//! | `Ordered` | yes | | |
//! | `Unordered` | | | yes |
//! | `KeyOrdered` | | may leave | yes |
//! | `KeySerial` | | may start, may leave | yes |

use alloc::vec::Vec;

use crate::arrival::Arrival;
use crate::config::{Config, EventTime, Order};
use crate::fences::{Control, Exit, Fences};
use crate::keys::KeyChains;
use crate::mutant::Mutant;
use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) struct Departures {
    keys: Option<KeyChains>,
    serial: bool,
    exits: Exits,
}

#[derive(Debug)]
enum Exits {
    Arrival(Arrival, Option<Timestamp>),
    Fences(Fences),
}

impl Departures {
    pub(crate) fn new(config: &Config, watermark: Option<Timestamp>) -> Self {
        let event_time = if config.has(Mutant::S15) { EventTime::Frontier } else { config.event_time };
        Self {
            keys: config.order.is_keyed().then(KeyChains::new),
            serial: config.order == Order::KeySerial && !config.has(Mutant::S91),
            exits: match config.order {
                Order::Ordered => Exits::Arrival(Arrival::default(), watermark),
                _ => Exits::Fences(Fences::new(event_time, watermark, !config.has(Mutant::B28))),
            },
        }
    }

    /// A record is accepted into slot `index`.
    #[inline]
    pub(crate) fn admit(&mut self, index: u32, sequence: u64, key: u64, timestamp: Option<Timestamp>) {
        if let Some(keys) = &mut self.keys {
            keys.admit(index, key);
        }
        match &mut self.exits {
            Exits::Arrival(arrival, _) => arrival.admit(index),
            Exits::Fences(fences) => fences.admit(index, sequence, timestamp),
        }
    }

    /// A watermark or idle status arrives. False: it told nothing new and is dropped.
    pub(crate) fn arrive(&mut self, sequence: u64, control: Control) -> bool {
        match &mut self.exits {
            Exits::Fences(fences) => fences.arrive(sequence, control),
            Exits::Arrival(arrival, watermark) => {
                if let Control::Watermark(at) = control {
                    if watermark.is_some_and(|last| at <= last) {
                        return false;
                    }
                    *watermark = Some(at);
                }
                arrival.arrive(sequence, control);
                true
            }
        }
    }

    #[inline]
    pub(crate) fn may_start(&self, index: u32) -> bool {
        !self.serial || self.keys.as_ref().is_none_or(|keys| keys.is_first(index))
    }

    #[inline]
    pub(crate) fn decide(&mut self, index: u32) {
        if self.keys.as_mut().is_none_or(|keys| keys.decide(index)) {
            self.release(index);
        }
    }

    /// Takes what may leave next.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Exit> {
        let exit = match &mut self.exits {
            Exits::Arrival(arrival, _) => arrival.next(),
            Exits::Fences(fences) => fences.next(),
        };
        if let Some(Exit::Record(index)) = exit
            && let Some(next) = self.keys.as_mut().and_then(|keys| keys.leave(index))
        {
            self.release(next);
        }
        exit
    }

    /// The slot of a record that has left is about to be free. A record that may start because of it.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) -> Option<u32> {
        self.keys.as_mut().and_then(|keys| keys.remove(index)).filter(|_| self.serial)
    }

    /// Watermarks and idle statuses held, with their places, in arrival order.
    pub(crate) fn controls(&self) -> Vec<(u64, Control)> {
        match &self.exits {
            Exits::Arrival(arrival, _) => arrival.controls().collect(),
            Exits::Fences(fences) => fences.controls().collect(),
        }
    }

    #[inline]
    pub(crate) fn controls_held(&self) -> usize {
        match &self.exits {
            Exits::Arrival(arrival, _) => arrival.controls_held(),
            Exits::Fences(fences) => fences.controls_held(),
        }
    }

    #[inline]
    fn release(&mut self, index: u32) {
        match &mut self.exits {
            Exits::Arrival(arrival, _) => arrival.release(index),
            Exits::Fences(fences) => fences.release(index),
        }
    }
}

/// Whether watermarks and statuses use up capacity, as in Flink (S3); otherwise they have as much room of their own.
pub(crate) fn controls_count(config: &Config) -> bool {
    config.event_time == EventTime::Strict
}
