//! The calls on the wire.

use alloc::vec::Vec;

use crate::entry::NONE;
use crate::time::Time;

/// A call. The generation tells a straggler of an earlier call in the same slot apart, so that it is never taken for this one's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl CallId {
    /// A number below the most calls ever on the wire at once, and unlike that of any other call on the wire: an index for the host's own table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallState {
    Free,
    OnWire,
    /// Nobody waits for its answer, but it has not ended.
    GivenUp,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) generation: u32,
    pub(crate) state: CallState,
    /// Its records, a list through `Entry::next_in_call`.
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// Records that wait for its answer.
    pub(crate) live: u32,
    pub(crate) started: Time,
}

#[derive(Debug)]
pub(crate) struct Calls {
    slots: Vec<Call>,
    free: Vec<u32>,
    pub(crate) given_up: usize,
}

impl Calls {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), given_up: 0 }
    }

    /// Calls that have not ended, given up or not.
    #[inline]
    pub(crate) fn on_wire(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub(crate) fn start(&mut self, now: Time) -> CallId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Call {
                generation: 0,
                state: CallState::Free,
                first: NONE,
                last: NONE,
                live: 0,
                started: now,
            });
            self.slots.len() as u32 - 1
        });
        let call = self.at_mut(index);
        call.state = CallState::OnWire;
        call.first = NONE;
        call.last = NONE;
        call.live = 0;
        call.started = now;
        CallId { index, generation: call.generation }
    }

    pub(crate) fn give_up(&mut self, index: u32) {
        self.at_mut(index).state = CallState::GivenUp;
        self.given_up += 1;
    }

    #[inline]
    pub(crate) fn end(&mut self, index: u32) {
        let call = self.at_mut(index);
        let was = core::mem::replace(&mut call.state, CallState::Free);
        call.generation = call.generation.wrapping_add(1);
        self.given_up -= usize::from(was == CallState::GivenUp);
        self.free.push(index);
    }

    #[inline]
    pub(crate) fn at(&self, index: u32) -> &Call {
        &self.slots[index as usize]
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> &mut Call {
        &mut self.slots[index as usize]
    }

    #[inline]
    pub(crate) fn id(&self, index: u32) -> CallId {
        CallId { index, generation: self.at(index).generation }
    }

    /// The call that `id` was given to, unless it has ended.
    #[inline]
    pub(crate) fn find(&self, id: CallId) -> Option<&Call> {
        self.slots.get(id.index()).filter(|call| call.generation == id.generation)
    }
}
