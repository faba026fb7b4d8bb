//! Records of one key share a call, and nobody hangs when the one who makes it goes.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use inflight::layers::single_flight;
use inflight::{AsyncFunction, AsyncStreamExt, Cause, Clock, Failure, Options, Retry};
use tokio::time::{sleep, timeout};

use crate::service::{Dice, Service, ms};

/// Answers with the number of the call, after `after`; the first `hanging` calls never do.
fn hangs_at_first(
    service: &Service,
    hanging: usize,
    after: Duration,
) -> impl Fn(u64) -> Pin<Box<dyn Future<Output = Result<usize, &'static str>> + Send>> + Send + Sync + 'static {
    let service = service.clone();
    move |_| {
        let service = service.clone();
        Box::pin(async move {
            let serving = service.serve();
            if serving.call <= hanging {
                std::future::pending::<()>().await;
            }
            sleep(after).await;
            Ok(serving.call)
        })
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn records_of_one_key_in_flight_make_one_call() {
    let service = Service::default();
    let lookup = single_flight(hangs_at_first(&service, 0, ms(10)), |id: &u64| id % 2);
    let results = stream::iter(0..10_000).ordered_wait(lookup, Options::new().capacity(10_000));
    let calls: Vec<usize> = results.map(Result::unwrap).collect().await;
    assert_eq!(service.calls(), 2, "one of each key");
    for (id, call) in calls.into_iter().enumerate() {
        assert_eq!(call, id % 2 + 1, "the answer is that of its own key");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_the_answer_makes_a_call_of_its_own() {
    let service = Service::default();
    let lookup = single_flight(hangs_at_first(&service, 0, ms(10)), |id: &u64| *id);
    assert_eq!(lookup.invoke(7).await, Ok(1));
    assert_eq!(lookup.invoke(7).await, Ok(2));
    assert!(format!("{lookup:?}").contains("calls: 0"), "{lookup:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_shared_like_an_answer_and_retried_together() {
    let service = Service::default();
    let fails_once = {
        let service = service.clone();
        move |_: u64| {
            let service = service.clone();
            async move {
                let serving = service.serve();
                sleep(ms(10)).await;
                if serving.call == 1 { Err("busy") } else { Ok(serving.call) }
            }
        }
    };
    let options = Options::new().retry(Retry::fixed(2, ms(5)));
    let results = stream::iter([7; 50]).ordered_wait(single_flight(fails_once, |id: &u64| *id), options);
    let calls: Vec<usize> = results.map(Result::unwrap).collect().await;
    assert_eq!((calls, service.calls()), (vec![2; 50], 2));
}

#[tokio::test(start_paused = true)]
async fn when_the_caller_times_out_another_takes_over() {
    let service = Service::default();
    let lookup = single_flight(hangs_at_first(&service, 1, ms(10)), |_: &u64| ());
    let input = stream::iter(0..3_u64).then(|id| async move {
        sleep(ms(20)).await;
        id
    });
    let results: Vec<_> = Box::pin(input).ordered_wait(lookup, Options::new().timeout(ms(100))).collect().await;
    let Err(Failure::Record(letter)) = &results[0] else { panic!("{results:?}") };
    assert_eq!(letter.cause, Cause::TimedOut { clock: Clock::Attempt, last: None });
    assert_eq!(results[1..], [Ok(2), Ok(2)]);
    assert_eq!((service.calls(), service.serving()), (2, 0));
}

/// If the oldest took over, each would have one millisecond for a call that takes twenty, and none would ever be answered.
#[tokio::test(start_paused = true)]
async fn behind_a_call_that_hangs_the_one_with_the_most_time_takes_over() {
    let service = Service::default();
    let lookup = single_flight(hangs_at_first(&service, 1, ms(20)), |_: &u64| ());
    let input = stream::iter(0..100_u64).then(|id| async move {
        sleep(ms(1)).await;
        id
    });
    let options = Options::new().capacity(1_000).timeout(ms(100));
    let results: Vec<_> = Box::pin(input).ordered_wait(lookup, options).collect().await;
    let answered = results.iter().filter(|result| result.is_ok()).count();
    assert!(answered >= 75, "all but those whose time is up when the second call lands: {answered}");
    assert_eq!(service.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_is_given_up_before_it_hears_that_it_takes_over_passes_that_on() {
    let service = Service::default();
    let lookup = single_flight(hangs_at_first(&service, 1, Duration::ZERO), |_: &u64| ());
    let mut leader = Box::pin(lookup.invoke(0));
    let mut oldest = Box::pin(lookup.invoke(1));
    let mut newest = Box::pin(lookup.invoke(2));
    assert!(poll(leader.as_mut()).is_pending() && poll(oldest.as_mut()).is_pending());
    assert!(poll(newest.as_mut()).is_pending());
    drop(leader);
    drop(newest);
    assert_eq!(service.serving(), 0);
    assert_eq!(timeout(ms(60_000), oldest).await, Ok(Ok(2)));
    assert!(format!("{lookup:?}").contains("calls: 0"), "{lookup:?}");
}

#[tokio::test(start_paused = true)]
async fn who_was_given_up_long_ago_does_not_take_over() {
    let service = Service::default();
    let lookup = single_flight(hangs_at_first(&service, 1, Duration::ZERO), |_: &u64| ());
    let mut calls: Vec<_> = (0..5).map(|id| Box::pin(lookup.invoke(id))).collect();
    assert!(calls.iter_mut().all(|call| poll(call.as_mut()).is_pending()));
    calls.truncate(2);
    drop(calls.remove(0));
    assert_eq!(timeout(ms(60_000), calls.remove(0)).await, Ok(Ok(2)));
    assert!(format!("{lookup:?}").contains("calls: 0"), "{lookup:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_given_up_behind_a_call_that_hangs_takes_no_room() {
    let service = Service::default();
    let lookup = single_flight(hangs_at_first(&service, 1, Duration::ZERO), |_: &u64| ());
    let mut leader = Box::pin(lookup.invoke(0));
    assert!(poll(leader.as_mut()).is_pending());
    for id in 1..10_000 {
        assert!(poll(pin!(lookup.invoke(id))).is_pending());
    }
    let shown = format!("{lookup:?}");
    let waiting = shown.split_once("waiting: ").unwrap().1.split_once(',').unwrap().0;
    assert!(waiting.parse::<usize>().unwrap() <= 8, "{shown}");
}

#[tokio::test(start_paused = true)]
async fn when_all_are_given_up_nothing_is_left() {
    let service = Service::default();
    let lookup = single_flight(hangs_at_first(&service, 1, Duration::ZERO), |_: &u64| ());
    let mut calls: Vec<_> = (0..3).map(|id| Box::pin(lookup.invoke(id))).collect();
    assert!(calls.iter_mut().all(|call| poll(call.as_mut()).is_pending()));
    assert!(format!("{lookup:?}").contains("calls: 1"), "{lookup:?}");
    drop(calls);
    assert!(format!("{lookup:?}").contains("calls: 0"), "{lookup:?}");
    assert_eq!(lookup.invoke(3).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn when_the_call_panics_another_takes_over() {
    let service = Service::default();
    let panics_once = {
        let service = service.clone();
        move |_: u64| {
            let service = service.clone();
            async move {
                let serving = service.serve();
                sleep(ms(10)).await;
                assert!(serving.call > 1, "the first call panics");
                Ok::<_, &'static str>(serving.call)
            }
        }
    };
    let results: Vec<_> =
        stream::iter([7; 5]).ordered_wait(single_flight(panics_once, |id: &u64| *id), Options::new()).collect().await;
    assert!(matches!(&results[0], Err(Failure::Record(letter)) if matches!(letter.cause, Cause::Panicked(_))));
    assert_eq!(results[1..], [Ok(2), Ok(2), Ok(2), Ok(2)]);
}

/// Records come and go at random, calls take their time or hang: a key never has two calls, and whoever has time is answered.
#[tokio::test(start_paused = true)]
async fn whatever_happens_nobody_with_time_left_hangs() {
    for seed in 0..20 {
        let services: Vec<Service> = (0..3).map(|_| Service::default()).collect();
        let lookup = single_flight(
            {
                let services = services.clone();
                move |(key, takes): (usize, Option<u64>)| {
                    let service = services[key].clone();
                    async move {
                        let serving = service.serve();
                        assert_eq!(service.serving(), 1, "one call of a key at a time");
                        match takes {
                            Some(takes) => sleep(ms(takes)).await,
                            None => std::future::pending().await,
                        }
                        Ok::<_, ()>(serving.call)
                    }
                }
            },
            |(key, _): &(usize, Option<u64>)| *key,
        );
        let mut dice = Dice(seed);
        let records = (0..300).map(|_| {
            let (comes, patience, key) = (dice.roll(2_000), dice.roll(100), dice.roll(3) as usize);
            // Those with all the time in the world make calls that end.
            let patience = (dice.roll(4) > 0).then_some(patience);
            let takes = (patience.is_none() || dice.roll(2) == 0).then(|| dice.roll(50));
            let lookup = &lookup;
            async move {
                sleep(ms(comes)).await;
                let call = lookup.invoke((key, takes));
                match patience {
                    Some(patience) => drop(timeout(ms(patience), call).await),
                    None => assert!(timeout(ms(60_000), call).await.is_ok(), "seed {seed}: hangs"),
                }
            }
        });
        join_all(records.collect::<Vec<_>>()).await;
        assert!(format!("{lookup:?}").contains("calls: 0"), "seed {seed}: {lookup:?}");
        assert!(services.iter().all(|service| service.calls() > 1 && service.serving() == 0));
    }
}

/// The same on threads, where a record is given up while another passes it the lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_do_not_lose_the_lead_between_them() {
    let service = Service::default();
    let lookup = {
        let service = service.clone();
        move |_: u64| {
            let service = service.clone();
            async move {
                let serving = service.serve();
                tokio::task::yield_now().await;
                Ok::<_, ()>(serving.call)
            }
        }
    };
    let lookup = std::sync::Arc::new(single_flight(lookup, |_: &u64| ()));
    let tasks = (0..8).map(|task| {
        let lookup = std::sync::Arc::clone(&lookup);
        tokio::spawn(async move {
            let mut dice = Dice(task);
            for id in 0..500 {
                let polls = dice.roll(4);
                let mut call = pin!(lookup.invoke(id));
                for _ in 0..polls {
                    if poll(call.as_mut()).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            lookup.invoke(0).await
        })
    });
    for task in join_all(tasks).await {
        assert!(task.unwrap().is_ok());
    }
    assert_eq!(service.serving(), 0);
    assert!(format!("{lookup:?}").contains("calls: 0"), "{lookup:?}");
}
