//! Four orders.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use inflight::{AsyncDataStream, AsyncStreamExt, Options, Order};

use crate::service::{KEYS, Service, all_ok, ms, scatter, wait};

const RECORDS: u64 = 2_000;

async fn results(order: Order, service: &Service) -> Vec<u64> {
    let service = service.clone();
    let lookup = move |n: u64| {
        let service = service.clone();
        async move { Ok::<_, ()>(service.answer(ms(1 + scatter(n) % 50), n).await) }
    };
    all_ok(wait(order, stream::iter(0..RECORDS), lookup, Options::new().capacity(64))).await
}

#[tokio::test(start_paused = true)]
async fn ordered_results_come_in_the_order_of_the_records() {
    let service = Service::default();
    let results = results(Order::Ordered, &service).await;
    assert!(results.into_iter().eq(0..RECORDS));
    assert!(service.most() > 32, "and calls overlap all the same: {}", service.most());
}

#[tokio::test(start_paused = true)]
async fn unordered_results_come_as_they_complete() {
    let latency = |n: u64| async move {
        tokio::time::sleep(ms([30, 10, 20, 40][n as usize])).await;
        Ok::<_, ()>(n)
    };
    let results = all_ok(stream::iter(0..4).unordered_wait(latency, Options::new())).await;
    assert_eq!(results, [1, 2, 0, 3]);
}

#[tokio::test(start_paused = true)]
async fn every_order_gives_each_record_once() {
    for order in Order::ALL {
        let mut results = results(order, &Service::default()).await;
        results.sort_unstable();
        assert!(results.into_iter().eq(0..RECORDS), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn keyed_results_come_in_the_order_of_the_records_of_their_key() {
    for order in [Order::KeyOrdered, Order::KeySerial] {
        let results = results(order, &Service::default()).await;
        assert!(!results.is_sorted(), "{order:?}: keys do not wait for each other");
        for key in 0..KEYS {
            let of_key = results.iter().filter(|n| *n % KEYS == key);
            assert!(of_key.is_sorted(), "{order:?}, key {key}");
        }
    }
}

/// The most calls of one key that were on the wire at the same time.
async fn most_calls_of_one_key(order: Order) -> usize {
    let services: Arc<Mutex<HashMap<u64, Service>>> = Arc::default();
    let of_key = Arc::clone(&services);
    let lookup = move |n: u64| {
        let service = of_key.lock().unwrap().entry(n % KEYS).or_default().clone();
        async move { Ok::<_, ()>(service.answer(ms(1 + scatter(n) % 50), n).await) }
    };
    all_ok(wait(order, stream::iter(0..500), lookup, Options::new())).await;
    let services = services.lock().unwrap();
    services.values().map(Service::most).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_key_overlap_unless_they_are_serial() {
    assert!(most_calls_of_one_key(Order::KeyOrdered).await > 1);
    assert_eq!(most_calls_of_one_key(Order::KeySerial).await, 1);
}

#[tokio::test(start_paused = true)]
async fn flinks_entry_points_keep_their_orders() {
    let slow_first = |n: u64| async move {
        tokio::time::sleep(ms(100 - n)).await;
        Ok::<_, ()>(n)
    };
    let input = || stream::iter(0..6);
    let key = |n: &u64| n % 2;
    let ordered = AsyncDataStream::ordered_wait(input(), slow_first, ms(1_000), 10);
    assert_eq!(all_ok(ordered).await, [0, 1, 2, 3, 4, 5]);
    let unordered = AsyncDataStream::unordered_wait(input(), slow_first, ms(1_000), 10);
    assert_eq!(all_ok(unordered).await, [5, 4, 3, 2, 1, 0]);
    let key_ordered = AsyncDataStream::key_ordered_wait(input(), key, slow_first, ms(1_000), 10);
    assert_eq!(all_ok(key_ordered).await, [1, 3, 5, 0, 2, 4]);
    let key_serial = AsyncDataStream::key_serial_wait(input(), key, slow_first, ms(1_000), 10);
    assert_eq!(all_ok(key_serial).await, [1, 0, 3, 2, 5, 4]);
}

// B3: a record that fails, or whose time is up, leaves when its turn comes, not with the next one that completes.
#[tokio::test(start_paused = true)]
async fn a_failure_leaves_by_itself() {
    for order in Order::ALL {
        let fails = |n: u64| async move {
            match n {
                0 => Err("no"),
                1 => std::future::pending().await,
                n => Ok(n),
            }
        };
        let input = stream::iter([0, 1]).chain(stream::pending());
        let mut results = wait(order, input, fails, Options::new().timeout(ms(10)));
        assert!(results.next().await.unwrap().is_err(), "{order:?}");
        assert!(results.next().await.unwrap().is_err(), "{order:?}");
    }
}
