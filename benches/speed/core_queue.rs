//! The queue alone, without futures: every record is accepted, called, completed, and leaves.

use std::collections::VecDeque;
use std::hint::black_box;

use inflight_core::{Action, CallId, Completion, Config, Order, Queue, Time};

use crate::lot::{BURST, Pick};
use crate::measure::{Sample, Window};
use crate::subjects::LIMIT;

/// Rounds of `batch` records, all of which complete before the next round.
pub(crate) fn rounds(order: Order, batch: usize, records: u64) -> Sample {
    let mut queue = queue(order, batch);
    let window = Window::open();
    let (mut left, mut now) = (0, 0);
    while left < records {
        now += 10_000;
        let time = Time::from_nanos(now);
        while queue.has_room() {
            queue.handle_record(time, now, None, now);
        }
        while let Action::Call(call) = queue.poll(time) {
            queue.handle_completion(time, call, [Completion::Done(now)]);
        }
        left += leave(&mut queue);
    }
    window.close(left)
}

/// Always `in_flight` calls on the wire, that end [`BURST`] at a time, chosen by `pick`.
pub(crate) fn steady(order: Order, in_flight: usize, pick: Pick, records: u64) -> Sample {
    let mut queue = queue(order, in_flight);
    let (mut on_wire, mut now, mut seed) = (VecDeque::<CallId>::new(), 0, 1);
    let mut left = 0;
    let mut round = || {
        now += 10_000;
        let time = Time::from_nanos(now);
        let burst = if on_wire.len() == in_flight { BURST } else { 0 };
        for _ in 0..burst {
            if let Some(call) = pick.take(&mut on_wire, &mut seed) {
                queue.handle_completion(time, call, [Completion::Done(now)]);
            }
        }
        let left = leave(&mut queue);
        while queue.has_room() {
            queue.handle_record(time, now, None, now);
        }
        while let Action::Call(call) = queue.poll(time) {
            on_wire.push_back(call);
        }
        left
    };
    while left < 2 * in_flight as u64 {
        left += round();
    }
    let window = Window::open();
    left = 0;
    while left < records {
        left += round();
    }
    window.close(left)
}

fn queue(order: Order, capacity: usize) -> Queue<u64, u64> {
    let mut config = Config::new(order, capacity);
    config.deadline = Some(LIMIT);
    Queue::new(config).expect("the configuration is in range")
}

fn leave(queue: &mut Queue<u64, u64>) -> u64 {
    let mut left = 0;
    while let Some(emitted) = queue.emit() {
        black_box(emitted);
        left += 1;
    }
    left
}
