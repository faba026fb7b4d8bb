//! The sink of the pipeline: hands everything to the writer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inflight_timely::pipeline::{Cut, Row, Sink};

use super::row::Record;
use super::world::Shared;
use super::writer::Writer;

/// The writer, shared by the sink and whoever gives it its turns.
#[derive(Clone)]
pub(super) struct Desk(Arc<Mutex<Writer>>);

impl Desk {
    pub(super) fn new(writer: Writer) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Counter {
    pub(super) desk: Desk,
    pub(super) world: Shared,
    /// For how many records the writer has room; without, it works at once.
    pub(super) room: Option<usize>,
}

impl Counter {
    fn at_once(&self, writer: &mut Writer) {
        while self.room.is_none() && writer.is_busy() {
            // Without power, nobody hears of it.
            drop(writer.work());
        }
    }
}

impl Sink<Record> for Counter {
    fn take(&mut self, records: &mut VecDeque<Record>) {
        let mut writer = self.desk.lock();
        let room = self.room.map_or(usize::MAX, |room| room.saturating_sub(writer.backlog()));
        let taken: Vec<Record> = records.drain(..records.len().min(room)).collect();
        if taken.is_empty() {
            return;
        }
        {
            let mut world = self.world.lock();
            taken.iter().for_each(|record| world.has_arrived(record.id()));
        }
        writer.rows(taken);
        self.at_once(&mut writer);
    }

    fn checkpoint(&mut self, cut: Cut) {
        let mut writer = self.desk.lock();
        writer.checkpoint(cut);
        self.at_once(&mut writer);
    }

    fn completed(&mut self) -> Option<u64> {
        self.desk.lock().completed()
    }
}
