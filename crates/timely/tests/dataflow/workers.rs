//! Two workers.

use std::sync::{Arc, Mutex};

use inflight::{Abandoned, Concurrency, Destination, DestinationOptions, Options};
use inflight_timely::AsyncWait;
use timely::dataflow::operators::{Exchange, Input, Inspect, Probe};

use crate::clients::{Crowd, by_timer, scrambled};
use crate::runtime;

const WORKERS: usize = 2;
const KEYS: u64 = 9;

/// Records of both workers meet by key: a key has one call at a time in all, and its records keep the order of their source.
#[test]
fn a_key_meets_one_worker() {
    const PER_WORKER: u64 = 1_000;
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let keys = Arc::new(Vec::from_iter((0..KEYS).map(|_| Crowd::default())));
    let out = Arc::new(Mutex::new(Vec::<(usize, u64)>::new()));
    let (crowds, collected) = (Arc::clone(&keys), Arc::clone(&out));
    let key = |number: &u64| scrambled(*number) % KEYS;

    let guards = timely::execute(timely::Config::process(WORKERS), move |worker| {
        let (crowds, out, index) = (Arc::clone(&crowds), Arc::clone(&collected), worker.index());
        let call = move |number: u64| {
            let crowds = Arc::clone(&crowds);
            async move {
                crowds[key(&number) as usize].enter();
                let result: Result<_, Abandoned> = by_timer(number).await;
                crowds[key(&number) as usize].leave();
                result
            }
        };
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, records) = scope.new_input::<Vec<u64>>();
            let waited =
                records.exchange(move |number| key(number)).key_serial_wait(&handle, key, call, Options::new());
            let results = waited.results.inspect(move |done| {
                assert_eq!(done.result, Ok(done.input * 2));
                out.lock().unwrap().push((index, done.input));
            });
            (input, results.probe().0)
        });
        for place in 0..PER_WORKER {
            input.send(index as u64 * 1_000_000 + place);
            if place % 50 == 0 {
                input.flush();
                worker.step();
            }
        }
        input.close();
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        assert!(probe.done());
    })
    .unwrap();
    for guard in guards.join() {
        guard.unwrap();
    }

    assert!(keys.iter().all(|key| key.most() == 1), "one call of a key at a time, on both workers together");
    let out = out.lock().unwrap();
    assert_eq!(out.len() as u64, WORKERS as u64 * PER_WORKER);
    assert!((0..WORKERS).all(|worker| out.iter().any(|(at, _)| *at == worker)), "both workers have keys");
    for source in 0..WORKERS as u64 {
        for which in 0..KEYS {
            let of_key = out.iter().filter(|(_, number)| number / 1_000_000 == source && key(number) == which);
            let of_key = Vec::from_iter(of_key);
            assert!(of_key.is_sorted_by_key(|(_, number)| number), "in the order of their source");
            assert!(of_key.iter().all(|(at, _)| *at == of_key[0].0), "on one worker");
        }
    }
}

/// Workers that share a destination sleep until the other's call has ended: one is on the wire at a time, and both come to their end.
#[test]
fn workers_share_a_destination() {
    const PER_WORKER: u64 = 200;
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let destination = Destination::new(DestinationOptions::new(Concurrency::Fixed(1))).unwrap();
    let everybody = Arc::new(Crowd::default());
    let (crowd, shared) = (Arc::clone(&everybody), destination.clone());
    let guards = timely::execute(timely::Config::process(WORKERS), move |worker| {
        let (crowd, options) = (Arc::clone(&crowd), Options::new().destination(shared.clone()));
        let call = move |number: u64| {
            let crowd = Arc::clone(&crowd);
            async move {
                crowd.enter();
                let result: Result<_, Abandoned> = by_timer(number).await;
                crowd.leave();
                result
            }
        };
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, records) = scope.new_input::<Vec<u64>>();
            records.ordered_wait(&handle, call, options).results.inspect(|done| assert!(done.result.is_ok()));
            input
        });
        (0..PER_WORKER).for_each(|number| input.send(number));
        input.close();
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    for guard in guards.unwrap().join() {
        guard.unwrap();
    }
    assert_eq!(everybody.most(), 1);
    let stats = destination.gauge();
    assert_eq!((stats.calls, stats.on_wire), (2 * PER_WORKER, 0));
}
