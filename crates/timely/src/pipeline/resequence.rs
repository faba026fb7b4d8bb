//! Putting the records of each partition back in their order, when several workers have had them.

use std::collections::{BTreeMap, VecDeque};

use super::Row;

/// Holds a record until all before it in its partition have come.
pub(super) struct Resequencer<R> {
    partitions: BTreeMap<u32, Line<R>>,
}

struct Line<R> {
    next: u64,
    waiting: BTreeMap<u64, R>,
}

impl<R> Default for Line<R> {
    fn default() -> Self {
        Self { next: 1, waiting: BTreeMap::new() }
    }
}

impl<R: Row> Resequencer<R> {
    /// `next`: the number of the next record of each partition; 1 unless said otherwise.
    pub(super) fn new(next: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let line = |next| Line { next, waiting: BTreeMap::new() };
        Self { partitions: next.into_iter().map(|(partition, next)| (partition, line(next))).collect() }
    }

    /// Takes a record in; what may go on goes to `ready`.
    pub(super) fn push(&mut self, record: R, ready: &mut VecDeque<R>) {
        let id = record.id();
        let line = self.partitions.entry(id.partition).or_default();
        if id.number != line.next {
            line.waiting.insert(id.number, record);
            return;
        }
        line.next += 1;
        ready.push_back(record);
        while let Some(entry) = line.waiting.first_entry().filter(|entry| *entry.key() == line.next) {
            ready.push_back(entry.remove());
            line.next += 1;
        }
    }

    /// The number of the next record of each partition.
    pub(super) fn next(&self) -> Vec<(u32, u64)> {
        self.partitions.iter().map(|(partition, line)| (*partition, line.next)).collect()
    }

    /// What waits.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &R> {
        self.partitions.values().flat_map(|line| line.waiting.values())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::super::Id;
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Numbered(u32, u64);

    impl Row for Numbered {
        fn id(&self) -> Id {
            Id { partition: self.0, number: self.1 }
        }
    }

    fn through(resequencer: &mut Resequencer<Numbered>, records: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let mut ready = VecDeque::new();
        records.iter().for_each(|&(partition, number)| resequencer.push(Numbered(partition, number), &mut ready));
        ready.into_iter().map(|Numbered(partition, number)| (partition, number)).collect()
    }

    #[test]
    fn each_partition_comes_in_its_order() {
        let mut resequencer = Resequencer::new([]);
        assert_eq!(through(&mut resequencer, &[(0, 2), (1, 1), (0, 3)]), [(1, 1)]);
        assert_eq!(resequencer.waiting().count(), 2);
        assert_eq!(through(&mut resequencer, &[(0, 1), (1, 3), (1, 2)]), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]);
        assert_eq!(resequencer.next(), [(0, 4), (1, 4)]);
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let mut resequencer = Resequencer::new([(7, 5)]);
        assert_eq!(through(&mut resequencer, &[(7, 6), (7, 5), (8, 1)]), [(7, 5), (7, 6), (8, 1)]);
    }
}
