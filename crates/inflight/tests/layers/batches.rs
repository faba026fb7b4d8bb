//! Layers around functions that take many records at once.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use inflight::layers::{Cache, CacheCounts, CacheOptions, Flights, bisected, cached, single_flight};
use inflight::{AsyncStreamExt, BatchFunction, BatchResult, Options};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::service::{Dice, Service, ms};

/// Answers each number with itself and the number of the call, after ten milliseconds.
#[derive(Clone, Default)]
struct Lookup {
    service: Service,
    /// What was asked, call by call.
    asked: Arc<Mutex<Vec<Vec<u64>>>>,
    /// Calls that fail with this error, from the first on.
    fails: Arc<Mutex<Vec<&'static str>>>,
    /// Calls that never end, from the first on.
    hangs: usize,
    poison: HashSet<u64>,
    closed: Arc<Mutex<bool>>,
}

impl Lookup {
    fn asked(&self) -> Vec<Vec<u64>> {
        self.asked.lock().unwrap().clone()
    }
}

impl BatchFunction<u64> for Lookup {
    type Output = (u64, usize);
    type Error = &'static str;

    async fn invoke(&self, ids: Vec<u64>) -> BatchResult<(u64, usize), &'static str> {
        let serving = self.service.serve();
        self.asked.lock().unwrap().push(ids.clone());
        let fails = self.fails.lock().unwrap().pop();
        if serving.call <= self.hangs {
            std::future::pending::<()>().await;
        }
        sleep(ms(10)).await;
        match fails {
            Some(error) => Err(error),
            None if ids.iter().any(|id| self.poison.contains(id)) => Err("poison"),
            None => Ok(ids.into_iter().map(|id| Ok((id, serving.call))).collect()),
        }
    }

    async fn close(&mut self) -> Result<(), &'static str> {
        *self.closed.lock().unwrap() = true;
        Ok(())
    }
}

fn key(id: &u64) -> u64 {
    *id
}

fn values(results: BatchResult<(u64, usize), &'static str>) -> Vec<u64> {
    results.unwrap().into_iter().map(|result| result.unwrap().0).collect()
}

#[tokio::test(start_paused = true)]
async fn equal_keys_of_a_batch_are_asked_for_once() {
    let lookup = Lookup::default();
    let users = single_flight(lookup.clone(), key);
    assert_eq!(values(users.invoke(vec![7, 8, 7, 9, 8]).await), [7, 8, 7, 9, 8]);
    assert_eq!(lookup.asked(), [[7, 8, 9]]);
    assert_eq!(users.flights().joined(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_asks_for_what_is_not_on_the_wire_and_joins_the_rest() {
    let lookup = Lookup::default();
    let users = single_flight(lookup.clone(), key);
    let begin = Instant::now();
    let later = async {
        sleep(ms(5)).await;
        users.invoke(vec![2, 3, 1]).await
    };
    let (first, second) = tokio::join!(users.invoke(vec![1, 2]), later);
    assert_eq!((values(first), values(second)), (vec![1, 2], vec![2, 3, 1]));
    assert_eq!(lookup.asked(), [vec![1, 2], vec![3]]);
    assert_eq!(begin.elapsed().as_millis(), 15);
}

#[tokio::test(start_paused = true)]
async fn batches_on_different_workers_join_each_other() {
    let lookup = Lookup::default();
    let flights = Flights::new();
    let [one, other] = [(); 2].map(|()| single_flight(lookup.clone(), key).sharing(&flights));
    let (first, second) = tokio::join!(one.invoke(vec![1, 2]), other.invoke(vec![1, 2]));
    assert_eq!((values(first), values(second)), (vec![1, 2], vec![1, 2]));
    assert_eq!((lookup.service.calls(), flights.joined()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_leaves_behind_is_taken_over_with_one_call() {
    let lookup = Lookup { hangs: 1, ..Lookup::default() };
    let users = single_flight(lookup.clone(), key);
    let mut first = Box::pin(users.invoke(vec![1, 2, 3]));
    assert!(timeout(ms(1), first.as_mut()).await.is_err());
    let mut second = Box::pin(users.invoke(vec![3, 2, 4]));
    assert!(timeout(ms(20), second.as_mut()).await.is_err(), "4 is there, but 3 and 2 hang");
    drop(first);
    assert_eq!(values(second.await), [3, 2, 4]);
    assert_eq!(lookup.asked(), [vec![1, 2, 3], vec![4], vec![2, 3]]);
    assert!(format!("{users:?}").contains("calls: 0, waiting: 0"), "{users:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_concerns_those_who_were_there_when_the_call_began() {
    let lookup = Lookup { fails: Arc::new(Mutex::new(vec!["down"])), ..Lookup::default() };
    let users = single_flight(lookup.clone(), key);
    let (first, second, third) =
        tokio::join!(users.invoke(vec![1, 1]), users.invoke(vec![1]), users.invoke(vec![1, 2]));
    assert_eq!(first, Ok(vec![Err("down"), Err("down")]));
    assert_eq!((values(second), values(third)), (vec![1], vec![1, 2]));
    assert_eq!(lookup.asked(), [[1], [2], [1]], "one call for both of the others");

    // When that call fails too, it was theirs.
    let lookup = Lookup { fails: Arc::new(Mutex::new(vec!["down", "down"])), ..Lookup::default() };
    let users = single_flight(lookup.clone(), key);
    let all = join_all((0..10).map(|_| users.invoke(vec![1]))).await;
    assert!(all.iter().all(|result| *result == Ok(vec![Err("down")])), "{all:?}");
    assert_eq!(lookup.service.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_few_or_too_many_is_nobodys() {
    struct TooFew;
    impl BatchFunction<u64> for TooFew {
        type Output = (u64, usize);
        type Error = &'static str;
        async fn invoke(&self, _: Vec<u64>) -> BatchResult<(u64, usize), &'static str> {
            Ok(vec![Ok((0, 0))])
        }
    }
    let cache: CacheOptions<(u64, usize)> = CacheOptions::new(10, Duration::from_secs(60));
    assert_eq!(single_flight(TooFew, key).invoke(vec![1, 2, 3]).await, Ok(vec![]));
    assert_eq!(cached(TooFew, key, cache).invoke(vec![1, 2, 3]).await, Ok(vec![]));
    assert_eq!(bisected(TooFew, |_| true).invoke(vec![1, 2, 3]).await.unwrap().len(), 1, "as it came");
}

/// Batches with keys in common come and go at random, calls take their time or hang: no two calls of a key at a time, none hangs.
#[tokio::test(start_paused = true)]
async fn whatever_happens_no_batch_with_time_left_hangs() {
    for seed in 0..20 {
        let on_the_wire = Arc::new(Mutex::new(HashSet::new()));
        let lookup = Slow { on_the_wire: Arc::clone(&on_the_wire), dice: Mutex::new(Dice(seed + 100)) };
        let users = single_flight(lookup, key);
        let mut dice = Dice(seed);
        let batches = (0..300).map(|_| {
            let ids: Vec<u64> = (0..=dice.roll(5)).map(|_| dice.roll(8)).collect();
            let (comes, patience) = (dice.roll(2_000), (dice.roll(4) > 0).then_some(dice.roll(100)));
            let users = &users;
            async move {
                sleep(ms(comes)).await;
                // One call in five hangs for three seconds.
                let patience = patience.unwrap_or(600_000);
                let answer = timeout(ms(patience), users.invoke(ids.clone())).await;
                assert!(answer.is_ok() || patience <= 100, "seed {seed}: hangs");
                if let Ok(answer) = answer {
                    let expected: Vec<_> = ids.into_iter().map(Ok).collect();
                    assert_eq!(answer, Ok(expected), "each has the answer of its own key");
                }
            }
        });
        join_all(batches.collect::<Vec<_>>()).await;
        assert!(format!("{users:?}").contains("calls: 0, waiting: 0"), "seed {seed}: {users:?}");
        assert!(on_the_wire.lock().unwrap().is_empty());
    }
}

struct Slow {
    on_the_wire: Arc<Mutex<HashSet<u64>>>,
    dice: Mutex<Dice>,
}

impl BatchFunction<u64> for Slow {
    type Output = u64;
    type Error = ();

    async fn invoke(&self, ids: Vec<u64>) -> BatchResult<u64, ()> {
        struct Off<'a>(&'a Mutex<HashSet<u64>>, Vec<u64>);
        impl Drop for Off<'_> {
            fn drop(&mut self) {
                let mut on_the_wire = self.0.lock().unwrap();
                on_the_wire.retain(|id| !self.1.contains(id));
            }
        }
        {
            let mut on_the_wire = self.on_the_wire.lock().unwrap();
            assert!(ids.iter().all(|id| on_the_wire.insert(*id)), "one call of a key at a time");
        }
        let _off = Off(&self.on_the_wire, ids.clone());
        let takes = {
            let mut dice = self.dice.lock().unwrap();
            if dice.roll(5) == 0 { 3_000 } else { dice.roll(50) }
        };
        sleep(ms(takes)).await;
        Ok(ids.into_iter().map(Ok).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_only_what_is_not_in_the_cache_is_asked_for() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, CacheOptions::new(100, Duration::from_secs(60)));
    assert_eq!(values(users.invoke(vec![1, 2]).await), [1, 2]);
    assert_eq!(values(users.invoke(vec![3, 2, 4, 1]).await), [3, 2, 4, 1]);
    assert_eq!(values(users.invoke(vec![4, 3]).await), [4, 3]);
    assert_eq!(lookup.asked(), [[1, 2], [3, 4]]);
    assert_eq!(users.gauge().counts(), CacheCounts { hits: 4, stale: 0, misses: 4, refreshed: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_leaves_those_that_were_known_alone() {
    let lookup = Lookup { fails: Arc::new(Mutex::new(vec!["down"])), ..Lookup::default() };
    let users = cached(lookup.clone(), key, CacheOptions::new(100, Duration::from_secs(60)));
    assert_eq!(users.invoke(vec![1]).await, Ok(vec![Err("down")]));
    assert_eq!(values(users.invoke(vec![1]).await), [1], "errors are not kept");
    lookup.fails.lock().unwrap().push("down");
    assert_eq!(users.invoke(vec![2, 1]).await, Ok(vec![Err("down"), Ok((1, 2))]));
}

/// Known records take neither a place on the wire nor one in a batch, and leave when it is their turn.
#[tokio::test(start_paused = true)]
async fn what_is_in_the_cache_needs_no_call_and_keeps_its_place() {
    let lookup = Lookup::default();
    let cache: Cache<u64, (u64, usize)> = Cache::new(CacheOptions::new(100, Duration::from_secs(60)));
    let users = cached(lookup.clone(), key, cache.clone());
    assert_eq!(values(users.invoke(vec![1, 2, 3]).await), [1, 2, 3]);
    let options = Options::new().capacity(100).concurrency(1).batch(2, ms(1));
    let input = [9, 1, 8, 2, 7, 3, 6];
    let results: Vec<u64> =
        stream::iter(input).ordered_wait(users, options).map(|user| user.unwrap().0).collect().await;
    assert_eq!(results, input);
    assert_eq!(lookup.asked()[1..], [vec![9, 8], vec![7, 6]]);
    assert_eq!(cache.gauge().counts(), CacheCounts { hits: 3, stale: 0, misses: 7, refreshed: 0 });
}

#[tokio::test(start_paused = true)]
async fn an_answer_past_its_time_is_given_out_and_renewed_once_for_all_workers() {
    let lookup = Lookup::default();
    const TTL: Duration = Duration::from_secs(60);
    let cache = Cache::new(CacheOptions { stale_for: TTL, ..CacheOptions::new(100, TTL) });
    let [one, other] = [(); 2].map(|()| cached(lookup.clone(), key, cache.clone()));
    assert_eq!(values(one.invoke(vec![1]).await), [1]);
    advance(TTL).await;
    assert_eq!((one.known(&1), other.known(&1)), (Some((1, 1)), Some((1, 1))));
    sleep(ms(20)).await;
    assert_eq!((one.known(&1), other.known(&1)), (Some((1, 2)), Some((1, 2))));
    assert_eq!(cache.gauge().counts(), CacheCounts { hits: 2, stale: 2, misses: 1, refreshed: 1 });
}

#[tokio::test(start_paused = true)]
async fn one_bad_record_among_64_costs_13_calls_and_no_neighbour_its_answer() {
    for bad in 0..64 {
        let lookup = Lookup { poison: [bad].into(), ..Lookup::default() };
        let results = bisected(lookup.clone(), |error| *error == "poison").invoke((0..64).collect()).await.unwrap();
        for (id, result) in results.into_iter().enumerate() {
            match result {
                Ok((answer, _)) => assert_eq!(answer, id as u64),
                Err(error) => assert_eq!((id as u64, error), (bad, "poison")),
            }
        }
        assert_eq!(lookup.service.calls(), 13, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_number_of_bad_records_is_found_with_less_than_two_calls_each() {
    let mut dice = Dice(5);
    for _ in 0..100 {
        let (records, share) = (1 + dice.roll(100), 1 + dice.roll(10));
        let poison: HashSet<u64> = (0..records).filter(|_| dice.roll(10) < share).collect();
        let lookup = Lookup { poison: poison.clone(), ..Lookup::default() };
        let results = bisected(lookup.clone(), |error| *error == "poison").invoke((0..records).collect()).await;
        // A batch of one that fails fails as a batch.
        let results = results.unwrap_or_else(|error| vec![Err(error)]);
        let bad =
            results.iter().zip(0..).filter(|(result, _)| result.is_err()).map(|(_, id)| id).collect::<HashSet<_>>();
        assert_eq!((results.len() as u64, bad), (records, poison));
        assert!(lookup.service.calls() < 2 * records as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_of_the_service_is_not_looked_for_in_the_records() {
    let lookup = Lookup { fails: Arc::new(Mutex::new(vec!["down"])), ..Lookup::default() };
    assert_eq!(bisected(lookup.clone(), |error| *error == "poison").invoke(vec![1, 2]).await, Err("down"));
    assert_eq!(lookup.service.calls(), 1);
    // It goes down on the way: what was answered stays.
    let fails = vec!["down", "poison"];
    let lookup = Lookup { fails: Arc::new(Mutex::new(fails)), ..Lookup::default() };
    let results = bisected(lookup.clone(), |error| *error == "poison").invoke(vec![1, 2, 3, 4]).await;
    assert_eq!(results, Ok(vec![Err("down"); 4]));
    assert_eq!(lookup.service.calls(), 2);
}

/// On threads, where batches are given up while others pass them the lead of some of their keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_do_not_lose_the_lead_of_a_key_between_them() {
    struct Yields;
    impl BatchFunction<u64> for Yields {
        type Output = u64;
        type Error = ();
        async fn invoke(&self, ids: Vec<u64>) -> BatchResult<u64, ()> {
            tokio::task::yield_now().await;
            Ok(ids.into_iter().map(|id| if id == 0 { Err(()) } else { Ok(id) }).collect())
        }
    }
    let flights = Flights::new();
    let tasks = (0..8).map(|task| {
        let users = single_flight(Yields, key).sharing(&flights);
        tokio::spawn(async move {
            let mut dice = Dice(task);
            for _ in 0..500 {
                let ids: Vec<u64> = (0..=dice.roll(6)).map(|_| dice.roll(10)).collect();
                let mut call = pin!(users.invoke(ids));
                for _ in 0..dice.roll(4) {
                    if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            let all: Vec<u64> = (0..10).collect();
            let expected = all.iter().map(|id| if *id == 0 { Err(()) } else { Ok(*id) }).collect();
            assert_eq!(timeout(Duration::from_secs(60), users.invoke(all)).await, Ok(Ok(expected)));
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(format!("{flights:?}").contains("calls: 0, waiting: 0"), "{flights:?}");
}
