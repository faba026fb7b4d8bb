//! Functions that take many records at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, BatchFunction, BatchResult, Cause, Clock, Failure, Options, Order, Retry, by_key};

use crate::service::{Failed, all_ok, ms, wait};

/// Answers a batch by a rule; notes the batches.
#[derive(Clone)]
struct Bulk {
    batches: Arc<Mutex<Vec<Vec<u64>>>>,
    latency: u64,
    rule: fn(Vec<u64>) -> Answer,
}

type Answer = BatchResult<u64, &'static str>;

impl Bulk {
    fn new(latency: u64, rule: fn(Vec<u64>) -> Answer) -> Self {
        Self { batches: Arc::default(), latency, rule }
    }

    fn batches(&self) -> Vec<Vec<u64>> {
        self.batches.lock().unwrap().clone()
    }
}

impl BatchFunction<u64> for Bulk {
    type Output = u64;
    type Error = &'static str;

    async fn invoke(&self, inputs: Vec<u64>) -> Answer {
        self.batches.lock().unwrap().push(inputs.clone());
        tokio::time::sleep(ms(self.latency)).await;
        (self.rule)(inputs)
    }
}

fn tenfold(inputs: Vec<u64>) -> Answer {
    Ok(inputs.into_iter().map(|n| Ok(n * 10)).collect())
}

fn cause(result: &Result<u64, Failed>) -> &Cause<&'static str> {
    match result {
        Err(Failure::Record(letter)) => &letter.cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_record_gets_the_result_at_its_position() {
    for order in Order::ALL {
        let bulk = Bulk::new(5, tenfold);
        let mut results = all_ok(wait(order, stream::iter(0..100), bulk.clone(), Options::new().batch(8, ms(1)))).await;
        results.sort_unstable();
        assert!(results.into_iter().eq((0..100).map(|n| n * 10)), "{order:?}");
        assert!(bulk.batches().iter().all(|batch| batch.len() <= 8));
        assert!(bulk.batches().len() < 50, "{order:?}: records do share calls");
    }
}

// S121: a batch that answers short or long: nobody gets another's result.
#[tokio::test(start_paused = true)]
async fn a_batch_with_too_few_or_too_many_results_leaves_its_records_unanswered() {
    let short = |mut inputs: Vec<u64>| {
        inputs.pop();
        tenfold(inputs)
    };
    let long = |mut inputs: Vec<u64>| {
        inputs.push(0);
        tenfold(inputs)
    };
    let rules: [fn(Vec<u64>) -> Answer; 2] = [short, long];
    for rule in rules {
        let options = Options::new().batch(4, ms(1));
        let results: Vec<_> = stream::iter(0..4).ordered_wait(Bulk::new(1, rule), options).collect().await;
        assert_eq!(results.len(), 4);
        assert!(results.iter().all(|result| *cause(result) == Cause::Unanswered), "{results:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_batch_is_one_for_each_of_its_records() {
    let bulk = Bulk::new(1, |_| Err("down"));
    let options = Options::new().batch(4, ms(1));
    let results: Vec<_> = stream::iter(0..4).ordered_wait(bulk, options).collect().await;
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|result| *cause(result) == Cause::Error("down")));
}

// S121: one bad record does not fail the batch; only what failed is tried again.
#[tokio::test(start_paused = true)]
async fn one_bad_record_fails_alone_and_is_retried_alone() {
    let bulk =
        Bulk::new(1, |inputs| Ok(inputs.into_iter().map(|n| if n == 2 { Err("odd one") } else { Ok(n) }).collect()));
    let options = Options::new().batch(4, ms(1)).retry(Retry::fixed(1, ms(10)));
    let results: Vec<_> = stream::iter(0..4).ordered_wait(bulk.clone(), options).collect().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(*cause(&results[2]), Cause::Error("odd one"));
    assert_eq!(bulk.batches().last(), Some(&vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_panics_fails_its_records_and_no_others() {
    let bulk = Bulk::new(1, |inputs| if inputs.contains(&1) { panic!("a bug") } else { tenfold(inputs) });
    let results: Vec<_> =
        stream::iter(0..6).ordered_wait(bulk, Options::new().batch(2, ms(1)).concurrency(1)).collect().await;
    let failed: Vec<_> = results.iter().map(Result::is_err).collect();
    assert_eq!(failed.iter().filter(|failed| **failed).count(), 2, "{results:?}");
    assert!(failed[1]);
    assert_eq!(*cause(&results[1]), Cause::Panicked("a bug".into()));
}

// B30: the deadline of one record passes while its batch is on the wire; the others get their own results.
#[tokio::test(start_paused = true)]
async fn a_batch_runs_on_when_the_deadline_of_one_of_its_records_passes() {
    let bulk = Bulk::new(50, tenfold);
    // Record 0 goes alone; 1 has waited for 45 ms when it shares a call with 2 and 3, which came 40 ms later.
    let input = Box::pin(stream::iter([0, 1, 2, 3]).then(|n| async move {
        tokio::time::sleep(ms([0, 5, 40, 0][n as usize])).await;
        n
    }));
    let options = Options::new().concurrency(1).batch(3, ms(1)).deadline(ms(80));
    let results: Vec<_> = input.ordered_wait(bulk.clone(), options).collect().await;
    assert_eq!(bulk.batches(), [vec![0], vec![1, 2, 3]]);
    assert_eq!(*cause(&results[1]), Cause::TimedOut { clock: Clock::Deadline, last: None });
    assert_eq!((&results[0], &results[2], &results[3]), (&Ok(0), &Ok(20), &Ok(30)));
}

#[tokio::test(start_paused = true)]
async fn a_part_filled_batch_goes_at_once_when_nothing_is_on_the_wire() {
    let bulk = Bulk::new(1, tenfold);
    let start = tokio::time::Instant::now();
    let mut results =
        stream::iter([7]).chain(stream::pending()).ordered_wait(bulk, Options::new().batch(100, ms(10_000)));
    assert_eq!(results.next().await, Some(Ok(70)));
    assert!(start.elapsed() < ms(10));
}

#[tokio::test(start_paused = true)]
async fn answers_by_key_are_told_apart_by_their_keys() {
    let asked: Arc<Mutex<Vec<Vec<u64>>>> = Arc::default();
    let noted = Arc::clone(&asked);
    let users = by_key(
        |n: &u64| n % 10,
        move |keys: Vec<u64>| {
            noted.lock().unwrap().push(keys.clone());
            // A map has no order; 3 is missing, and 77 was never asked for.
            let rows = keys.into_iter().filter(|key| *key != 3).chain([77]).map(|key| (key, format!("user {key}")));
            std::future::ready(Ok::<HashMap<_, _>, &str>(rows.collect()))
        },
    );
    let input = stream::iter([5, 3, 15, 1, 25, 5]);
    let results = all_ok(input.ordered_wait(users, Options::new().batch(6, ms(1)).concurrency(1))).await;
    let user = |key: u64| Some(format!("user {key}"));
    assert_eq!(results, [user(5), None, user(5), user(1), user(5), user(5)]);
    for keys in asked.lock().unwrap().iter() {
        let mut once = keys.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), keys.len(), "each key is asked for once: {keys:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_by_key_fails_and_does_not_turn_into_missing() {
    let down = by_key(|n: &u64| *n, |_: Vec<u64>| std::future::ready(Err::<HashMap<u64, u64>, _>("down")));
    let results: Vec<_> = stream::iter(0..3).ordered_wait(down, Options::new().batch(3, ms(1))).collect().await;
    for result in results {
        let Err(Failure::Record(letter)) = result else { panic!("{result:?}") };
        assert_eq!(letter.cause, Cause::Error("down"));
    }
}

/// Four calls that are answered at the same time: what each makes room for is called before the next is heard, so that a server does not
/// wait until the answers of all are read.
#[tokio::test(start_paused = true)]
async fn calls_go_out_between_answers_that_come_together() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&log);
    let function = by_key(
        |n: &u64| *n,
        move |keys: Vec<u64>| {
            let (calls, number) = (Arc::clone(&calls), keys[0] / 100);
            calls.lock().unwrap().push(("call", number));
            async move {
                tokio::time::sleep(ms(5)).await;
                calls.lock().unwrap().push(("answer", number));
                Ok::<_, String>(keys.into_iter().map(|key| (key, key)).collect::<HashMap<u64, u64>>())
            }
        },
    );
    let options = Options::new().batch(100, ms(1)).concurrency(4).capacity(800);
    assert_eq!(stream::iter(0..800).ordered_wait(function, options).count().await, 800);
    let log = log.lock().unwrap();
    let at = |entry| log.iter().position(|other| *other == entry).unwrap();
    for number in 0..3 {
        assert!(at(("answer", number)) < at(("call", number + 4)), "{log:?}");
        assert!(at(("call", number + 4)) < at(("answer", number + 1)), "{log:?}");
    }
}
