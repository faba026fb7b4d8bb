//! Timely's own time: an epoch is over when the last record of it has left, and not before.

use inflight::{Options, Order};
use inflight_timely::AsyncWait;
use timely::dataflow::operators::{Input, Probe};

use crate::clients::{Desk, scrambled};
use crate::{collected, on_a_worker, runtime, settle};

const EPOCHS: u64 = 6;
const BATCHES: u64 = 3;
const BATCH: u64 = 4;
const RECORDS: u64 = EPOCHS * BATCHES * BATCH;

fn epoch(number: u64) -> u64 {
    number / (BATCHES * BATCH)
}

/// Answers the calls in a random order, and looks at the frontier after each.
fn frontier_follows_what_has_left(order: Order, seed: u64) {
    let runtime = runtime();
    let desk = Desk::default();
    let client = desk.clone();
    on_a_worker(move |worker| {
        let ask = move |number| {
            let client = client.clone();
            async move { client.ask(number).await }
        };
        let (mut input, probe, out) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, records) = scope.new_input();
            let key = Some(Box::new(|number: &u64| number % 5) as Box<dyn Fn(&u64) -> u64 + Send + Sync>);
            let waited = records.wait(runtime.handle(), order, key, ask, Options::new().capacity(1_000));
            let (probe, results) = waited.results.probe();
            (input, probe, collected(results))
        });
        for first in (0..RECORDS).step_by(BATCH as usize) {
            input.advance_to(epoch(first));
            input.send_batch(&mut Vec::from_iter(first..first + BATCH));
        }
        input.close();
        settle(worker);
        assert!(order == Order::KeySerial || desk.asked() as u64 == RECORDS);

        let mut open: Vec<u64> = (0..RECORDS).collect();
        open.sort_by_key(|number| scrambled(number ^ (seed << 32)));
        if order == Order::KeySerial {
            open.sort_by_key(|number| number / 5);
        }
        for number in open {
            desk.answer(number);
            settle(worker);
            let left = Vec::from_iter(out.borrow().iter().map(|completed| completed.input));
            let oldest = (0..RECORDS).filter(|number| !left.contains(number)).map(epoch).min();
            match oldest {
                Some(oldest) => {
                    assert!(probe.less_equal(&oldest), "{order:?}: epoch {oldest} is closed, and has records left");
                    assert!(!probe.less_than(&oldest), "{order:?}: epoch {} is open, and has none", oldest - 1);
                }
                None => assert!(probe.done()),
            }
        }
        assert_eq!(out.borrow().len() as u64, RECORDS);
        assert!(!worker.has_dataflows());
    });
}

#[test]
fn an_epoch_closes_with_its_last_record() {
    for order in Order::ALL {
        for seed in 0..5 {
            frontier_follows_what_has_left(order, seed);
        }
    }
}

#[test]
fn epochs_without_records_pass_at_once() {
    let runtime = runtime();
    let desk = Desk::default();
    let client = desk.clone();
    on_a_worker(move |worker| {
        let ask = move |number| {
            let client = client.clone();
            async move { client.ask(number).await }
        };
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, records) = scope.new_input::<Vec<u64>>();
            let waited = records.unordered_wait(runtime.handle(), ask, Options::new());
            (input, waited.results.probe().0)
        });
        input.advance_to(3);
        settle(worker);
        assert!(!probe.less_than(&3));
        input.send(1);
        input.advance_to(9);
        settle(worker);
        assert!(probe.less_equal(&3));
        desk.answer(1);
        settle(worker);
        assert!(!probe.less_than(&9));
    });
}

#[test]
fn a_full_queue_holds_the_epochs_of_what_waits_outside() {
    let runtime = runtime();
    let desk = Desk::default();
    let client = desk.clone();
    on_a_worker(move |worker| {
        let ask = move |number| {
            let client = client.clone();
            async move { client.ask(number).await }
        };
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, records) = scope.new_input::<Vec<u64>>();
            let waited = records.unordered_wait(runtime.handle(), ask, Options::new().capacity(1));
            (input, waited.results.probe().0)
        });
        for number in 0..3 {
            input.send(number);
            input.advance_to(number + 1);
        }
        input.close();
        for number in 0..3 {
            settle(worker);
            assert_eq!(desk.asked(), 1, "one record is held, the others wait");
            assert!(probe.less_equal(&number) && !probe.less_than(&number));
            desk.answer(number);
        }
        settle(worker);
        assert!(probe.done());
    });
}
