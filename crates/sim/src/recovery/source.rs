//! The sources: numbers, in batches of any size, with pauses.

use std::collections::BTreeMap;
use std::task::Waker;

use inflight_timely::pipeline::{Id, Partition, Position, Produced, Source};

use super::fault::Fault;
use super::row::Record;
use super::world::Shared;
use crate::Rng;

pub(super) struct Numbers {
    pub(super) world: Shared,
    pub(super) waker: Waker,
    pub(super) rng: Rng,
    /// The epoch that is open.
    pub(super) epoch: u64,
    /// Of its partitions: how many have been read, and how many there are.
    pub(super) partitions: BTreeMap<u32, (u64, u64)>,
    pub(super) fault: Option<Fault>,
}

impl Source<Record> for Numbers {
    fn assign(&mut self, partition: Partition) {
        let read = partition.position.and_then(|at| at.parse().ok()).unwrap_or(0);
        let all = self.world.lock().scenario.partitions.get(partition.index as usize).copied();
        self.partitions.insert(partition.index, (read, all.unwrap_or_default()));
    }

    fn produce(&mut self, most: u64) -> Produced<Record> {
        let mut world = self.world.lock();
        world.asked(self.partitions.keys().copied(), most);
        let open: Vec<u32> =
            self.partitions.iter().filter(|(_, (read, all))| read < all).map(|(index, _)| *index).collect();
        if open.is_empty() {
            return Produced::End;
        }
        if self.rng.one_in(4) {
            drop(world);
            self.waker.wake_by_ref();
            return Produced::Nothing;
        }
        let all: u64 = self.partitions.values().map(|(_, all)| all).sum();
        let mut records = Vec::new();
        for _ in 0..self.rng.within(1, most.min(if all > 60 { 40 } else { 12 })) {
            let partition = self.rng.pick(&open);
            if let Some((read, _)) = self.partitions.get_mut(&partition).filter(|(read, all)| read < all) {
                *read += 1;
                let id = Id { partition, number: *read };
                world.has_read(id);
                records.push(Record::new(id));
            }
        }
        Produced::Records(records)
    }

    fn positions(&mut self) -> Vec<Position> {
        self.world.lock().cut(self.epoch);
        self.epoch += 1;
        let late = u64::from(self.fault == Some(Fault::PositionsLate));
        let position = |(&partition, (read, all)): (&u32, &(u64, u64))| {
            let at = if *read > 0 { (read + late).min(*all) } else { *read };
            Position { partition, at: at.to_string() }
        };
        self.partitions.iter().map(position).collect()
    }
}
