//! How far a reader is behind the ends of its partitions, by what the library tells of them now and then.

use std::collections::HashMap;

use serde::Deserialize;

/// How often the library tells, in milliseconds.
pub(super) const TOLD_EVERY_MS: &str = "500";

/// Where the library does not know an offset.
const UNKNOWN: i64 = -1;

/// A partition as the library tells of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Behind the last message that may be read.
    end: i64,
    /// Behind the last message that was fetched, and what is no message after it: the ends of transactions.
    fetched: i64,
    /// Behind the last message that was handed to us; unknown before the first.
    handed: i64,
}

/// What is left to be read.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// By the index that the host knows partitions by.
    told: Option<Vec<(u32, Told)>>,
    /// Behind the last message that went to the host, by index.
    places: HashMap<u32, i64>,
    /// There was nothing more of what was fetched.
    is_idle: bool,
}

impl Lag {
    pub(super) fn is_told(&mut self, told: Vec<(u32, Told)>) {
        self.told = Some(told);
        self.is_idle = false;
    }

    pub(super) fn handed_over(&mut self, index: u32, after: i64) {
        self.places.insert(index, after);
        self.is_idle = false;
    }

    pub(super) fn is_idle(&mut self) {
        self.is_idle = true;
    }

    /// Messages, as far as that is known: nobody is asked for it.
    pub(super) fn behind(&self, is_over: impl Fn(u32) -> bool) -> Option<u64> {
        let told = self.told.as_ref()?;
        let open = told.iter().filter(|(index, _)| !is_over(*index));
        let behind = open.map(|(index, told)| {
            let place = match self.places.get(index) {
                _ if self.is_idle => told.fetched,
                Some(place) => *place,
                None if told.handed > UNKNOWN => told.handed,
                None => told.fetched,
            };
            u64::try_from(told.end - place).unwrap_or_default()
        });
        Some(behind.sum())
    }
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    partitions: HashMap<i32, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    fetch_state: String,
    next_offset: i64,
    app_offset: i64,
    ls_offset: i64,
}

/// The partitions that are read, in what the library tells (as JSON, see STATISTICS.md of librdkafka).
pub(super) fn read(statistics: &[u8]) -> Option<Vec<Told>> {
    let statistics: Statistics = serde_json::from_slice(statistics).ok()?;
    let of_topic = |(topic, Topic { partitions }): (String, Topic)| {
        partitions.into_iter().map(move |(partition, at)| (topic.clone(), partition, at))
    };
    let is_read = |(_, _, at): &(String, i32, Partition)| at.fetch_state == "active" && at.ls_offset > UNKNOWN;
    let told = |(topic, partition, at): (String, i32, Partition)| Told {
        topic,
        partition,
        end: at.ls_offset,
        fetched: at.next_offset,
        handed: at.app_offset,
    };
    Some(statistics.topics.into_iter().flat_map(of_topic).filter(is_read).map(told).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn partitions_that_are_read_are_told_of() {
        let at = |state: &str, end: i64| json!({ "fetch_state": state, "next_offset": 7, "app_offset": -1001, "ls_offset": end, "more": [] });
        let statistics = json!({ "topics": { "t": { "topic": "t", "partitions": {
            "-1": at("none", -1001), "0": at("active", 9), "1": at("stopped", 9), "2": at("active", -1001) } } } });
        let told = Told { topic: "t".to_owned(), partition: 0, end: 9, fetched: 7, handed: -1001 };
        assert_eq!(read(statistics.to_string().as_bytes()), Some(vec![told]));
        assert_eq!(read(b"{}"), Some(vec![]));
        assert_eq!(read(b"7"), None);
    }

    #[test]
    fn what_is_left_goes_down_as_messages_are_handed_over() {
        let told = |end, fetched| Told { topic: "t".to_owned(), partition: 0, end, fetched, handed: -1001 };
        let mut lag = Lag::default();
        assert_eq!(lag.behind(|_| false), None);
        lag.is_told(vec![(0, told(100, 40)), (1, told(50, 50))]);
        lag.handed_over(0, 10);
        assert_eq!(lag.behind(|_| false), Some(90));
        assert_eq!(lag.behind(|index| index == 0), Some(0));
        // The end of a transaction, at 50, is nothing to be read.
        lag.handed_over(1, 49);
        assert_eq!(lag.behind(|_| false), Some(91));
        lag.is_idle();
        assert_eq!(lag.behind(|_| false), Some(60));
        // What was written since is not known yet.
        lag.handed_over(0, 120);
        assert_eq!(lag.behind(|_| false), Some(1));
    }
}
