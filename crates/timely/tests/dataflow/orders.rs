//! The four orders, with many batches, timers and threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inflight::{Abandoned, Completed, Options, Order};
use inflight_timely::AsyncWait;

use crate::clients::{Callbacks, Crowd, by_timer, scrambled};
use crate::{outcomes, runtime};

const RECORDS: u64 = 3_000;
const KEYS: u64 = 17;

type Outcomes = Vec<Completed<u64, u64, Abandoned>>;

fn key(number: u64) -> u64 {
    scrambled(number) % KEYS
}

/// Batches of one to some 60 records, 0 to RECORDS.
fn batches() -> Vec<Vec<u64>> {
    let mut numbers = 0..RECORDS;
    let sizes = (0..).map(|batch| 1 + scrambled(batch) as usize % 60);
    let batches = sizes.map(|size| numbers.by_ref().take(size).collect::<Vec<_>>());
    batches.take_while(|batch| !batch.is_empty()).collect()
}

fn options() -> Options<u64, u64, Abandoned> {
    Options::new().capacity(200).concurrency(50).deadline(Duration::from_secs(100))
}

/// Every record has its own result, and leaves in the order that was asked for.
fn check(order: Order, out: &Outcomes) {
    for completed in out {
        assert_eq!(completed.result, Ok(completed.input * 2));
    }
    let inputs: Vec<u64> = out.iter().map(|completed| completed.input).collect();
    let mut sorted = inputs.clone();
    sorted.sort_unstable();
    assert!(sorted.iter().copied().eq(0..RECORDS), "each record once");
    let mut by_key = BTreeMap::<u64, Vec<u64>>::new();
    for &input in &inputs {
        by_key.entry(key(input)).or_default().push(input);
    }
    match order {
        Order::Ordered => assert_eq!(inputs, sorted),
        Order::Unordered => assert_ne!(inputs, sorted, "calls of such different lengths cannot end in order"),
        Order::KeyOrdered | Order::KeySerial => {
            assert!(by_key.values().all(|inputs| inputs.is_sorted()));
            assert_ne!(inputs, sorted, "keys do not wait for each other");
        }
    }
}

#[test]
fn timers_wake_the_calls() {
    let runtime = runtime();
    for order in Order::ALL {
        let out = outcomes(batches(), |records| {
            records.wait(runtime.handle(), order, Some(Box::new(|number| key(*number))), by_timer, options())
        });
        check(order, &out);
    }
}

#[test]
fn threads_complete_the_calls() {
    let runtime = runtime();
    for order in Order::ALL {
        let client = Callbacks::new(3);
        let ask = move |number| {
            let client = client.clone();
            async move { client.double(number).await }
        };
        let out = outcomes(batches(), |records| {
            records.wait(runtime.handle(), order, Some(Box::new(|number| key(*number))), ask, options())
        });
        match order {
            // Whether they get out of order is up to the threads.
            Order::Unordered | Order::KeyOrdered | Order::KeySerial if out.is_sorted_by_key(|done| done.input) => {}
            _ => check(order, &out),
        }
    }
}

#[test]
fn the_methods_mean_the_orders() {
    let runtime = runtime();
    let out = outcomes(batches(), |records| records.ordered_wait(runtime.handle(), by_timer, options()));
    check(Order::Ordered, &out);
    let out = outcomes(batches(), |records| records.unordered_wait(runtime.handle(), by_timer, options()));
    check(Order::Unordered, &out);
    let by_key = |number: &u64| key(*number);
    let out = outcomes(batches(), |records| records.key_ordered_wait(runtime.handle(), by_key, by_timer, options()));
    check(Order::KeyOrdered, &out);
    let out = outcomes(batches(), |records| records.key_serial_wait(runtime.handle(), by_key, by_timer, options()));
    check(Order::KeySerial, &out);
}

#[test]
fn a_key_has_one_call_at_a_time_and_keys_overlap() {
    let runtime = runtime();
    let (all, each) = (Arc::new(Crowd::default()), Arc::new(Vec::from_iter((0..KEYS).map(|_| Crowd::default()))));
    let (everyone, keys) = (Arc::clone(&all), Arc::clone(&each));
    let call = move |number: u64| {
        let (all, each) = (Arc::clone(&everyone), Arc::clone(&keys));
        async move {
            all.enter();
            each[key(number) as usize].enter();
            let result = by_timer(number).await;
            each[key(number) as usize].leave();
            all.leave();
            result
        }
    };
    let by_key = |number: &u64| key(*number);
    outcomes(batches(), |records| records.key_serial_wait(runtime.handle(), by_key, call, options()));
    assert!(each.iter().all(|key| key.most() == 1));
    assert!(all.most() > 1, "keys overlap");
}

#[test]
fn concurrency_bounds_the_calls() {
    let runtime = runtime();
    let crowd = Arc::new(Crowd::default());
    let wire = Arc::clone(&crowd);
    let call = move |number: u64| {
        let wire = Arc::clone(&wire);
        async move {
            wire.enter();
            let result = by_timer(number).await;
            wire.leave();
            result
        }
    };
    outcomes(batches(), |records| records.ordered_wait(runtime.handle(), call, options().concurrency(7)));
    assert_eq!(crowd.most(), 7);
    assert_eq!(crowd.now(), 0);
}

#[test]
fn more_records_than_a_turn_takes() {
    let runtime = runtime();
    for capacity in [1, 100, 100_000] {
        let ready = |number: u64| async move { Ok::<_, Abandoned>(number * 2) };
        let out = outcomes(vec![(0..50_000u64).collect()], |records| {
            records.ordered_wait(runtime.handle(), ready, Options::new().capacity(capacity))
        });
        assert!(out.into_iter().map(|completed| completed.result).eq((0..50_000).map(|number| Ok(number * 2))));
    }
}
