//! Calls start no faster than allowed, in turn, and who leaves the line takes nothing with it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use inflight::layers::{RateLimit, rate_limited};
use inflight::{AsyncFunction, AsyncStreamExt, Cause, Clock, Failure, Options};
use tokio::time::{Instant, sleep, timeout};

use crate::service::{Dice, Service, ms};

/// Which calls started, and when.
type Starts = Arc<Mutex<Vec<(u64, Instant)>>>;

fn noted(
    starts: &Starts,
) -> impl Fn(u64) -> std::future::Ready<Result<u64, &'static str>> + Send + Sync + 'static + use<> {
    let starts = Arc::clone(starts);
    move |id| {
        starts.lock().unwrap().push((id, Instant::now()));
        std::future::ready(Ok(id))
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_burst_calls_start_at_the_rate_and_in_order() {
    let starts = Starts::default();
    let lookup = rate_limited(noted(&starts), RateLimit { per_second: 10, burst: 5 });
    let begin = Instant::now();
    let results = stream::iter(0..25).ordered_wait(lookup, Options::new());
    assert_eq!(results.count().await, 25);
    let starts = starts.lock().unwrap();
    for (nth, (id, at)) in starts.iter().enumerate() {
        assert_eq!(*id, nth as u64);
        let due = ms(100) * (nth as u32).saturating_sub(4);
        let late = (*at - begin).saturating_sub(due);
        assert!(*at - begin + ms(1) >= due && late <= ms(2), "{id} starts after {:?} and is due {due:?}", *at - begin);
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_takes_nothing_with_it() {
    let starts = Starts::default();
    let lookup = rate_limited(noted(&starts), RateLimit { per_second: 10, burst: 1 });
    lookup.invoke(0).await.unwrap();
    let begin = Instant::now();
    // The head of the line among them.
    let given_up = join_all((1..=100).map(|id| timeout(ms(50), lookup.invoke(id)))).await;
    assert!(given_up.iter().all(Result::is_err));
    lookup.invoke(101).await.unwrap();
    assert!(begin.elapsed() <= ms(102), "{:?}", begin.elapsed());
    assert_eq!(starts.lock().unwrap().len(), 2);
}

/// At random times records come and are given up; whatever they do, the rate is kept and nothing of it is lost.
#[tokio::test(start_paused = true)]
async fn giving_up_at_random_neither_leaks_nor_loses_turns() {
    for seed in 0..20 {
        let starts = Starts::default();
        let limit = RateLimit { per_second: 50, burst: 3 };
        let lookup = rate_limited(noted(&starts), limit);
        let mut dice = Dice(seed);
        let records: Vec<_> = (0..2_000)
            .map(|id| {
                let (comes, patience) = (ms(dice.roll(10_000)), ms(dice.roll(200)));
                let lookup = &lookup;
                async move {
                    sleep(comes).await;
                    timeout(patience, lookup.invoke(id)).await.is_ok()
                }
            })
            .collect();
        let answered = join_all(records).await.into_iter().filter(|&answered| answered).count();
        let starts: Vec<Instant> = starts.lock().unwrap().iter().map(|(_, at)| *at).collect();
        assert_eq!(answered, starts.len());
        assert!(starts.len() >= 480, "seed {seed}: {} of 500 turns were used, with 2,000 asking", starts.len());
        for (first, begin) in starts.iter().enumerate() {
            for (last, end) in starts.iter().enumerate().skip(first) {
                let most = f64::from(limit.burst) + (*end - *begin + ms(1)).as_secs_f64() * f64::from(limit.per_second);
                assert!((last - first + 1) as f64 <= most + 1e-6, "seed {seed}: {first}..={last}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_time_saves_up_the_burst_and_no_more() {
    let starts = Starts::default();
    let lookup = rate_limited(noted(&starts), RateLimit { per_second: 10, burst: 4 });
    sleep(Duration::from_secs(3_600)).await;
    let begin = Instant::now();
    join_all((0..6).map(|id| lookup.invoke(id))).await;
    let at_once = starts.lock().unwrap().iter().filter(|(_, at)| *at == begin).count();
    assert_eq!(at_once, 4);
}

#[tokio::test(start_paused = true)]
async fn waiting_in_line_counts_towards_the_attempts_timeout() {
    let service = Service::default();
    let lookup = {
        let service = service.clone();
        move |id: u64| {
            let service = service.clone();
            async move { Ok::<_, &'static str>(service.answer(ms(10), id).await) }
        }
    };
    let lookup = rate_limited(lookup, RateLimit { per_second: 1, burst: 1 });
    let results: Vec<_> = stream::iter([0, 1]).ordered_wait(lookup, Options::new().timeout(ms(500))).collect().await;
    assert_eq!(results[0], Ok(0));
    let Err(Failure::Record(letter)) = &results[1] else { panic!("{results:?}") };
    assert_eq!(letter.cause, Cause::TimedOut { clock: Clock::Attempt, last: None });
    assert_eq!(service.calls(), 1, "it never left the line");
}

#[test]
#[should_panic(expected = "no call would ever start")]
fn a_rate_of_zero_is_refused() {
    let _ = rate_limited(|id: u64| async move { Ok::<_, ()>(id) }, RateLimit { per_second: 0, burst: 1 });
}
