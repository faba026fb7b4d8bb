//! The handover under many interleavings: no wake-up is lost on either side, everything goes over once and in order, and a snapshot
//! holds what has not been taken.
//!
//! A lost wake-up is a deadlock here, which the model checker reports.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use shuttle::{check_pct, check_random, future, thread};

use super::{HANDOVER_LIMIT, Handover};
use crate::host::Request;

const SCHEDULES: usize = 20_000;
/// Depth of the bugs that the priority schedules look for.
const DEPTH: usize = 3;
/// Enough to fill the handover several times.
const ITEMS: u32 = 3 * HANDOVER_LIMIT as u32 + 1;

/// Items; a snapshot is the items not taken and how many there were; the news is how many there were.
type Link = Handover<u32, (Vec<u32>, u32), u32>;

/// Hands over `0..ITEMS`; of these, the last only when it is asked to drain.
fn produce(link: &Link) {
    let (mut next, mut out, mut drained) = (0, VecDeque::new(), false);
    future::block_on(poll_fn(|cx| {
        loop {
            while let Some(request) = link.take_request() {
                match request {
                    Request::Snapshot => {
                        link.answer(|waiting| (waiting.iter().chain(&out).copied().collect(), next));
                    }
                    Request::Drain(_) => drained = true,
                }
            }
            let end = if drained { ITEMS } else { ITEMS - 1 };
            let room = HANDOVER_LIMIT.saturating_sub(link.look(VecDeque::len));
            let until = end.min(next + room as u32);
            let busy = next < until;
            out.extend(next..until);
            next = until;
            assert!(link.push(&mut out, next) <= HANDOVER_LIMIT, "no more wait than may");
            if next == ITEMS {
                return Poll::Ready(());
            }
            if !busy && link.sleep(room == 0, cx.waker()) {
                return Poll::Pending;
            }
        }
    }));
    link.end(None, false);
}

/// Takes until there are `count` more, or the end.
fn take(link: &Link, count: usize, taken: &mut Vec<u32>) {
    let goal = taken.len() + count;
    let mut batch = VecDeque::new();
    while taken.len() < goal && future::block_on(poll_fn(|cx| link.poll_take(&mut batch, cx))) {
        taken.extend(batch.drain(..));
    }
}

fn everything_goes_over_once() {
    let link = Arc::new(Link::new());
    let theirs = Arc::clone(&link);
    let producer = thread::spawn(move || produce(&theirs));
    let mut taken = Vec::new();
    take(&link, ITEMS as usize - 1, &mut taken);
    link.request(Request::Drain(Duration::ZERO));
    take(&link, usize::MAX - ITEMS as usize, &mut taken);
    assert!(taken.into_iter().eq(0..ITEMS));
    producer.join().expect("the producer ends");
    assert_eq!(link.news(), ITEMS);
}

fn a_snapshot_holds_what_was_not_taken() {
    let link = Arc::new(Link::new());
    let theirs = Arc::clone(&link);
    thread::spawn(move || produce(&theirs));
    let mut taken = Vec::new();
    link.request(Request::Drain(Duration::ZERO));
    for count in [1, 2, 3] {
        take(&link, count, &mut taken);
        link.request(Request::Snapshot);
        let (held, accepted) = match future::block_on(poll_fn(|cx| link.poll_snapshot(cx))) {
            Some(snapshot) => snapshot,
            None => (link.look(|waiting| waiting.iter().copied().collect()), link.news()),
        };
        assert!(taken.iter().chain(&held).copied().eq(0..accepted), "{taken:?} and {held:?} of {accepted}");
    }
    take(&link, usize::MAX / 2, &mut taken);
    assert!(taken.into_iter().eq(0..ITEMS));
    assert!(!link.is_lost());
}

#[test]
fn everything_goes_over_once_under_random_schedules() {
    check_random(everything_goes_over_once, SCHEDULES);
}

#[test]
fn everything_goes_over_once_under_priority_schedules() {
    check_pct(everything_goes_over_once, SCHEDULES, DEPTH);
}

#[test]
fn a_snapshot_holds_what_was_not_taken_under_random_schedules() {
    check_random(a_snapshot_holds_what_was_not_taken, SCHEDULES);
}

#[test]
fn a_snapshot_holds_what_was_not_taken_under_priority_schedules() {
    check_pct(a_snapshot_holds_what_was_not_taken, SCHEDULES, DEPTH);
}
