//! `Ordered`: records and watermarks leave exactly as they came (S14).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::fences::{Control, Exit};

#[derive(Debug, Default)]
pub(crate) struct Arrival {
    line: VecDeque<Held>,
    /// By slot: the record in it may leave when it is its turn.
    released: Vec<bool>,
    controls: usize,
}

#[derive(Clone, Copy, Debug)]
enum Held {
    Record(u32),
    Control(u64, Control),
}

impl Arrival {
    #[inline]
    pub(crate) fn admit(&mut self, index: u32) {
        self.line.push_back(Held::Record(index));
        match self.released.get_mut(index as usize) {
            Some(released) => *released = false,
            None => {
                debug_assert_eq!(self.released.len(), index as usize, "slots grow one by one");
                self.released.push(false);
            }
        }
    }

    pub(crate) fn arrive(&mut self, sequence: u64, control: Control) {
        self.controls += 1;
        self.line.push_back(Held::Control(sequence, control));
    }

    #[inline]
    pub(crate) fn release(&mut self, index: u32) {
        self.released[index as usize] = true;
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<Exit> {
        let exit = match *self.line.front()? {
            Held::Record(index) if self.released[index as usize] => Exit::Record(index),
            Held::Record(_) => return None,
            Held::Control(_, control) => {
                self.controls -= 1;
                Exit::Control(control)
            }
        };
        self.line.pop_front();
        Some(exit)
    }

    pub(crate) fn controls(&self) -> impl Iterator<Item = (u64, Control)> {
        self.line.iter().filter_map(|held| match *held {
            Held::Control(sequence, control) => Some((sequence, control)),
            Held::Record(_) => None,
        })
    }

    pub(crate) const fn controls_held(&self) -> usize {
        self.controls
    }
}
