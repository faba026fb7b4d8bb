//! `KeyOrdered` and `KeySerial`: the records held of one key, chained in the order they came.
//!
//! ```text
//!  key -> tail          first <-> second <-> tail
//!                         |
//!                         may start (KeySerial), may leave
//! ```
//! A record stays in its chain until its slot is free, that is, until it has left *and* its call has ended: a call given up
//! but still on the wire keeps the key's next call from starting. Idle keys cost nothing.

use alloc::vec;
use alloc::vec::Vec;

use crate::entry::NONE;

#[derive(Debug)]
pub(crate) struct KeyChains {
    tails: Table,
    links: Vec<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    key: u64,
    previous: u32,
    next: u32,
    decided: bool,
    left: bool,
}

impl KeyChains {
    pub(crate) fn new() -> Self {
        Self { tails: Table::new(), links: Vec::new() }
    }

    #[inline]
    pub(crate) fn admit(&mut self, index: u32, key: u64) {
        let previous = self.tails.replace(key, index);
        if previous != NONE {
            self.links[previous as usize].next = index;
        }
        let link = Link { key, previous, next: NONE, decided: false, left: false };
        match self.links.get_mut(index as usize) {
            Some(slot) => *slot = link,
            None => {
                debug_assert_eq!(self.links.len(), index as usize, "slots grow one by one");
                self.links.push(link);
            }
        }
    }

    /// Whether no earlier record of its key is held, or on the wire.
    #[inline]
    pub(crate) fn is_first(&self, index: u32) -> bool {
        self.links[index as usize].previous == NONE
    }

    /// The record is decided. Whether it may leave: no earlier record of its key has yet to.
    #[inline]
    pub(crate) fn decide(&mut self, index: u32) -> bool {
        let link = &mut self.links[index as usize];
        link.decided = true;
        let previous = link.previous;
        previous == NONE || self.links[previous as usize].left
    }

    /// The record has left. The next of its key, if that may leave now.
    #[inline]
    pub(crate) fn leave(&mut self, index: u32) -> Option<u32> {
        let link = &mut self.links[index as usize];
        link.left = true;
        let next = link.next;
        (next != NONE && self.links[next as usize].decided).then_some(next)
    }

    /// The record's slot is about to be free. The next of its key, if that is the first now.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) -> Option<u32> {
        let Link { key, previous, next, .. } = self.links[index as usize];
        if next == NONE {
            if previous == NONE {
                self.tails.remove(key);
            } else {
                self.tails.replace(key, previous);
            }
        } else {
            self.links[next as usize].previous = previous;
        }
        if previous != NONE {
            self.links[previous as usize].next = next;
        }
        (previous == NONE && next != NONE).then_some(next)
    }
}

/// Key to slot, by open addressing with linear probing; at most half full, so that probes stay short.
#[derive(Debug)]
struct Table {
    /// Key and slot; the slot is [`NONE`] where nothing is.
    cells: Vec<(u64, u32)>,
    len: usize,
}

impl Table {
    const SMALLEST: usize = 16;

    fn new() -> Self {
        Self { cells: vec![(0, NONE); Self::SMALLEST], len: 0 }
    }

    /// Puts `index` under `key` and returns what was there.
    #[inline]
    fn replace(&mut self, key: u64, index: u32) -> u32 {
        if (self.len + 1) * 2 > self.cells.len() {
            self.grow();
        }
        let cell = self.find(key);
        let old = core::mem::replace(&mut self.cells[cell], (key, index)).1;
        self.len += usize::from(old == NONE);
        old
    }

    /// Empties the cell of `key` and closes the gap behind it.
    fn remove(&mut self, key: u64) {
        let mut gap = self.find(key);
        if self.cells[gap].1 == NONE {
            return;
        }
        self.len -= 1;
        let mut probe = gap;
        loop {
            probe = (probe + 1) & self.mask();
            let (other, index) = self.cells[probe];
            if index == NONE {
                break;
            }
            // It may move into the gap only if the gap is on its way from home.
            let from_home = |cell: usize| cell.wrapping_sub(self.home(other)) & self.mask();
            if from_home(gap) < from_home(probe) {
                self.cells[gap] = (other, index);
                gap = probe;
            }
        }
        self.cells[gap].1 = NONE;
    }

    /// The cell of `key`, or the empty one where it would go.
    #[inline]
    fn find(&self, key: u64) -> usize {
        let mut cell = self.home(key);
        while self.cells[cell].1 != NONE && self.cells[cell].0 != key {
            cell = (cell + 1) & self.mask();
        }
        cell
    }

    #[inline]
    const fn home(&self, key: u64) -> usize {
        crate::retry::mix(key) as usize & self.mask()
    }

    #[inline]
    const fn mask(&self) -> usize {
        self.cells.len() - 1
    }

    fn grow(&mut self) {
        let doubled = vec![(0, NONE); self.cells.len() * 2];
        let old = core::mem::replace(&mut self.cells, doubled);
        for (key, index) in old {
            if index != NONE {
                let cell = self.find(key);
                self.cells[cell] = (key, index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    #[test]
    fn the_next_of_a_key_waits_for_a_call_that_is_still_on_the_wire() {
        let mut chains = KeyChains::new();
        chains.admit(0, 7);
        chains.admit(1, 7);
        assert!(chains.decide(0));
        assert_eq!(chains.leave(0), None);
        assert!(!chains.is_first(1), "0 has left, but its slot is not free");
        assert_eq!(chains.remove(0), Some(1));
        assert!(chains.is_first(1));
    }

    #[test]
    fn a_decided_record_leaves_after_those_before_it() {
        let mut chains = KeyChains::new();
        for index in 0..3 {
            chains.admit(index, 7);
        }
        assert!(!chains.decide(2));
        assert!(!chains.decide(1));
        assert!(chains.decide(0));
        assert_eq!(chains.leave(0), Some(1));
        assert_eq!(chains.leave(1), Some(2));
    }

    #[test]
    fn a_key_is_forgotten_with_its_last_record() {
        let mut chains = KeyChains::new();
        for key in 0..1000 {
            chains.admit(0, key);
            assert_eq!(chains.remove(0), None);
        }
        assert_eq!(chains.tails.len, 0);
        assert_eq!(chains.tails.cells.len(), Table::SMALLEST);
    }

    #[test]
    fn the_table_agrees_with_a_map() {
        let (mut table, mut map) = (Table::new(), BTreeMap::new());
        for step in 0..20_000u64 {
            let key = crate::retry::mix(step) % 64;
            if crate::retry::mix(!step).is_multiple_of(3) {
                table.remove(key);
                map.remove(&key);
            } else {
                let old = table.replace(key, step as u32);
                assert_eq!(old, map.insert(key, step as u32).unwrap_or(NONE));
            }
            assert_eq!(table.len, map.len());
        }
        for (key, index) in map {
            assert_eq!(table.cells[table.find(key)], (key, index));
        }
    }
}
