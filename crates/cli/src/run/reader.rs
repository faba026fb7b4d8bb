//! The thread that reads for a worker: its files one after the other, or messages of all its partitions at a time.

use std::collections::VecDeque;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::task::Waker;
use std::time::Duration;

use inflight_connectors::file::FileSource;
use inflight_connectors::{Event, Messages, Position, Record};
use inflight_timely::pipeline::Partition;

use super::stop::Stop;
use crate::progress::Gauges;

/// Records read at a time.
const BATCH: usize = 256;
/// Batches read ahead.
pub(super) const BATCHES_AHEAD: usize = 4;
/// How long messages are waited for before it is looked whether anybody still wants them.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How soon it is noticed that there is room again.
const NO_ROOM: Duration = Duration::from_millis(5);

/// What the thread hands over. When it hands over nothing more and has not said why, it has panicked.
pub(super) enum Read {
    /// These, of the partition with this index, which stood there before.
    Records {
        partition: u32,
        before: Position,
        records: Vec<Record>,
        first: bool,
    },
    /// The partition has ended.
    Ended {
        partition: u32,
        at: Position,
    },
    /// What has come, of any partition.
    Messages(Vec<Event>),
    Failed(String),
    /// All have ended.
    End,
}

pub(super) const PANICKED: &str = "the thread that reads has panicked: this is a bug, please report it";

/// Who takes what is read, for as long as it is wanted.
pub(super) struct Taker {
    pub(super) batches: SyncSender<Read>,
    pub(super) waker: Waker,
    pub(super) wanted: Weak<()>,
}

impl Taker {
    /// Waits until there is room; whether it was taken.
    fn hand_over(&self, read: Read) -> bool {
        let sent = self.batches.send(read).is_ok();
        self.waker.wake_by_ref();
        sent
    }
}

/// The thread for files: it ends with the last of them, at its first error, or when nobody takes its batches any more.
pub(super) fn read_files(
    partitions: VecDeque<Partition>,
    open: impl Fn(&Partition) -> Result<FileSource, String>,
    gauges: &Gauges,
    taker: &Taker,
) {
    for partition in partitions {
        let goes_on = match open(&partition) {
            Ok(source) => read(source, partition.index, gauges, |read| taker.hand_over(read)),
            Err(error) => {
                taker.hand_over(Read::Failed(error));
                false
            }
        };
        if !goes_on {
            return;
        }
    }
    taker.hand_over(Read::End);
}

/// One partition; whether the next one may follow.
pub(super) fn read(
    mut source: impl inflight_connectors::Source,
    partition: u32,
    gauges: &Gauges,
    mut hand_over: impl FnMut(Read) -> bool,
) -> bool {
    let mut seen = source.progress().bytes_read;
    gauges.bytes_read.fetch_add(seen, Ordering::Relaxed);
    gauges.bytes_total.fetch_add(source.progress().bytes_total.unwrap_or(0), Ordering::Relaxed);
    let mut first = true;
    loop {
        let before = source.position();
        let mut records = Vec::with_capacity(BATCH);
        let read = source.read_batch(BATCH, &mut records);
        let now = source.progress().bytes_read;
        gauges.bytes_read.fetch_add(now.saturating_sub(seen), Ordering::Relaxed);
        seen = now.max(seen);
        let (read, goes_on) = match read {
            Ok(0) => return hand_over(Read::Ended { partition, at: source.position() }),
            Ok(_) => (Read::Records { partition, before, records, first }, true),
            Err(error) => (Read::Failed(error.to_string()), false),
        };
        // When nobody takes it, the run is over already.
        if !hand_over(read) || !goes_on {
            return false;
        }
        first = false;
    }
}

/// The thread for messages. It never waits without a sign of life to their server, and goes on giving such signs when
/// nothing more is to be read, until nobody wants anything of it: what was read may still have to be acknowledged.
pub(super) fn read_messages(mut source: Box<dyn Messages>, stop: &Stop, gauges: &Gauges, taker: &Taker) {
    let is_wanted = || taker.wanted.strong_count() > 0;
    let mut behind = None;
    let mut full: Option<Read> = None;
    let mut open = true;
    while is_wanted() {
        let mut events = Vec::new();
        let reads = open && full.is_none() && !stop.is_draining();
        let (most, wait) = if reads { (BATCH, LOOK_EVERY) } else { (0, NO_ROOM) };
        match source.poll(most, wait, &mut events) {
            Ok(goes_on) => open &= goes_on,
            Err(error) => {
                full.into_iter().chain([Read::Failed(error.to_string())]).all(|read| taker.hand_over(read));
                return;
            }
        }
        behind = told_behind(gauges, behind, source.behind());
        if reads && !events.is_empty() {
            // Read, and not begun with.
            let messages = events.iter().filter(|event| matches!(event, Event::Message(_))).count();
            gauges.behind.fetch_add(messages as u64, Ordering::Relaxed);
            full = Some(Read::Messages(events));
        } else if reads && !open {
            full = Some(Read::End);
        }
        let Some(read) = full.take() else { continue };
        match taker.batches.try_send(read) {
            Ok(()) => taker.waker.wake_by_ref(),
            Err(TrySendError::Full(read)) => full = Some(read),
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
}

/// Corrects what this reader has said before of how far it is behind; returns what it says now.
fn told_behind(gauges: &Gauges, before: Option<u64>, now: Option<u64>) -> Option<u64> {
    if before.is_none() && now.is_some() {
        gauges.behind_known.fetch_add(1, Ordering::Relaxed);
    }
    let now = now.or(before);
    let (less, more) = (before.unwrap_or_default(), now.unwrap_or_default());
    gauges.behind.fetch_add(more.wrapping_sub(less), Ordering::Relaxed);
    now
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    use inflight_connectors::{Error, Message, Progress};
    use serde_json::json;

    use super::*;

    /// A source whose every reading is given.
    struct Readings(Vec<fn() -> usize>);

    impl inflight_connectors::Source for Readings {
        fn read_batch(&mut self, _: usize, into: &mut Vec<Record>) -> Result<usize, Error> {
            let count = self.0.remove(0)();
            into.extend(std::iter::repeat_n(json!({ "id": 1 }).as_object().unwrap().clone(), count));
            Ok(count)
        }

        fn progress(&self) -> Progress {
            Progress::default()
        }

        fn position(&self) -> Position {
            Position::default()
        }
    }

    #[test]
    fn a_reader_ends_when_nobody_takes_its_batches() {
        // The second reading would panic.
        assert!(!read(Readings(vec![|| 2]), 0, &Gauges::default(), |_| false));
    }

    /// Messages without an end, and how often there was only a sign of life.
    struct Endless {
        after: u64,
        touched: Arc<std::sync::atomic::AtomicU64>,
    }

    impl Messages for Endless {
        fn poll(&mut self, max: usize, _: Duration, into: &mut Vec<Event>) -> Result<bool, Error> {
            self.touched.fetch_add(u64::from(max == 0), Ordering::Relaxed);
            if max > 0 {
                self.after += 1;
                let message =
                    Message { partition: 0, assignment: 0, offset: 0, after: self.after, content: Ok(Record::new()) };
                into.push(Event::Message(message));
            }
            Ok(true)
        }
    }

    #[test]
    fn without_room_and_while_draining_messages_are_not_read_but_kept_in_touch_with() {
        let (batches, taken) = sync_channel(1);
        let want = Arc::new(());
        let taker = Taker { batches, waker: Waker::noop().clone(), wanted: Arc::downgrade(&want) };
        let touched = Arc::<std::sync::atomic::AtomicU64>::default();
        let source = Box::new(Endless { after: 0, touched: Arc::clone(&touched) });
        let stop = Stop::new();
        let thread_stop = Arc::clone(&stop);
        let thread = std::thread::spawn(move || read_messages(source, &thread_stop, &Gauges::default(), &taker));
        let is_touched = |before: u64| {
            while touched.load(Ordering::Relaxed) <= before {
                std::thread::yield_now();
            }
            touched.load(Ordering::Relaxed)
        };
        is_touched(3);
        let places = |read: Read| match read {
            Read::Messages(events) => events
                .into_iter()
                .map(|event| match event {
                    Event::Message(message) => message.after,
                    Event::Ended { .. } => 0,
                })
                .collect(),
            _ => vec![],
        };
        // One is in the channel, one was in the hands of the thread.
        assert_eq!(places(taken.recv().unwrap()), [1]);
        assert_eq!(places(taken.recv().unwrap()), [2]);
        stop.drain();
        let before = is_touched(touched.load(Ordering::Relaxed) + 1);
        let rest: Vec<u64> = taken.try_iter().flat_map(places).collect();
        is_touched(before + 2);
        assert!(rest.len() <= 3 && taken.try_iter().count() <= 1, "{rest:?}");
        drop(want);
        thread.join().unwrap();
    }
}
