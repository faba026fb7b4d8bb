//! What is tried again, when, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, Backoff, Cause, Failure, Jitter, Options, Retry};
use tokio::time::Instant;

use crate::service::{all_ok, ms};

type Answer = Result<Option<u64>, &'static str>;

/// Answers the n-th call with the n-th answer (the last for ever), and notes when each call came.
struct Script {
    start: Instant,
    answers: Vec<Answer>,
    times: Mutex<Vec<Duration>>,
}

impl Script {
    fn new(answers: impl Into<Vec<Answer>>) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), answers: answers.into(), times: Mutex::default() })
    }

    fn next(&self) -> Answer {
        let mut times = self.times.lock().unwrap();
        times.push(self.start.elapsed());
        self.answers[(times.len() - 1).min(self.answers.len() - 1)]
    }

    async fn play(
        self: &Arc<Self>,
        options: Options<u64, Option<u64>, &'static str>,
    ) -> Result<Option<u64>, Cause<&'static str>> {
        let script = Arc::clone(self);
        let mut results = stream::iter([0]).ordered_wait(move |_| std::future::ready(script.next()), options);
        let result = results.next().await.expect("a result");
        assert!(results.next().await.is_none());
        result.map_err(|failure| match failure {
            Failure::Record(letter) => letter.cause,
            other => panic!("{other:?}"),
        })
    }

    fn millis(&self) -> Vec<u64> {
        self.times.lock().unwrap().iter().map(|time| time.as_millis() as u64).collect()
    }
}

/// Timers fire on whole milliseconds, up to one late.
fn assert_close(times: &[u64], expected: &[u64]) {
    assert_eq!(times.len(), expected.len(), "{times:?}, not {expected:?}");
    for (index, (time, expected)) in times.iter().zip(expected).enumerate() {
        assert!((*expected..=expected + index as u64).contains(time), "{times:?}, not {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fixed_delay_lies_between_attempts() {
    let script = Script::new([Err("busy"), Err("busy"), Ok(Some(7))]);
    assert_eq!(script.play(Options::new().retry(Retry::fixed(3, ms(100)))).await, Ok(Some(7)));
    assert_close(&script.millis(), &[0, 100, 200]);
}

// B18, S55: the delay follows from the attempt alone.
#[tokio::test(start_paused = true)]
async fn an_exponential_delay_doubles_up_to_its_limit() {
    let script = Script::new([Err("busy")]);
    let retry = Retry { jitter: Jitter::None, ..Retry::exponential(5, ms(100), ms(400)) };
    assert_eq!(script.play(Options::new().retry(retry)).await, Err(Cause::Error("busy")));
    assert_close(&script.millis(), &[0, 100, 300, 700, 1100, 1500]);
}

#[tokio::test(start_paused = true)]
async fn records_do_not_share_their_backoff() {
    let times: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let start = Instant::now();
    let noted = Arc::clone(&times);
    let fails = move |n: u64| {
        noted.lock().unwrap().push((n, start.elapsed().as_millis() as u64));
        std::future::ready(Err::<u64, _>("busy"))
    };
    let input = Box::pin(stream::iter([0, 350]).then(move |at| async move {
        tokio::time::sleep_until(start + ms(at)).await;
        at
    }));
    let retry = Retry {
        backoff: Backoff::Exponential { initial: ms(100), multiplier: 2.0, max: ms(10_000) },
        jitter: Jitter::None,
        ..Retry::fixed(3, ms(1))
    };
    let results: Vec<_> = input.unordered_wait(fails, Options::new().retry(retry)).collect().await;
    assert_eq!(results.len(), 2);
    let of =
        |which| times.lock().unwrap().iter().filter(|(n, _)| *n == which).map(|(n, at)| at - n).collect::<Vec<_>>();
    assert_close(&of(0), &[0, 100, 300, 700]);
    assert_close(&of(350)[1..], &[100, 300, 700]);
}

#[tokio::test(start_paused = true)]
async fn full_jitter_stays_below_the_delay_and_comes_from_the_seed() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let script = Script::new([Err("busy")]);
        let options = Options::new().retry(Retry::exponential(9, ms(1_000), ms(1_000))).seed(seed);
        assert_eq!(script.play(options).await, Err(Cause::Error("busy")));
        assert!(script.millis().windows(2).all(|pair| pair[1] - pair[0] <= 1_001));
        runs.push(script.millis());
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

// S53: the maximum counts retries, not calls.
#[tokio::test(start_paused = true)]
async fn the_maximum_counts_retries() {
    for max in [1, 2, 5] {
        let script = Script::new([Err("busy")]);
        assert_eq!(script.play(Options::new().retry(Retry::fixed(max, ms(1)))).await, Err(Cause::Error("busy")));
        assert_eq!(script.millis().len(), 1 + max as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_nothing_is_tried_again() {
    let script = Script::new([Err("busy"), Ok(Some(1))]);
    assert_eq!(script.play(Options::new().retry_if(|_| true)).await, Err(Cause::Error("busy")));
    assert_eq!(script.millis(), [0]);
}

// S52, S54: predicates on results; when the attempts are used up, the last result is the result.
#[tokio::test(start_paused = true)]
async fn a_result_can_be_worth_a_retry() {
    let missing = |result: &Answer| matches!(result, Ok(None));
    let script = Script::new([Ok(None), Ok(None), Ok(Some(7))]);
    assert_eq!(script.play(Options::new().retry(Retry::fixed(2, ms(1))).retry_if(missing)).await, Ok(Some(7)));
    let script = Script::new([Ok(None), Ok(None), Ok(Some(7))]);
    assert_eq!(script.play(Options::new().retry(Retry::fixed(1, ms(1))).retry_if(missing)).await, Ok(None));
    assert_eq!(script.millis().len(), 2);
}

// B27: an error that is not worth a retry stays an error and never turns into a miss; nor does one whose retries are used up.
#[tokio::test(start_paused = true)]
async fn an_error_that_is_not_retried_stays_that_error() {
    let busy = |result: &Answer| *result == Err("busy");
    let script = Script::new([Err("busy"), Err("forbidden"), Ok(Some(1))]);
    let options = Options::new().retry(Retry::fixed(9, ms(1))).retry_if(busy);
    assert_eq!(script.play(options).await, Err(Cause::Error("forbidden")));
    assert_eq!(script.millis().len(), 2);
}

// B33: an honest empty result is a result.
#[tokio::test(start_paused = true)]
async fn an_empty_result_is_not_retried_unless_one_asks_for_it() {
    let script = Script::new([Ok(None)]);
    assert_eq!(script.play(Options::new().retry(Retry::fixed(3, ms(1)))).await, Ok(None));
    assert_eq!(script.millis().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_services_wish_to_be_left_alone_is_granted() {
    let script = Script::new([Err("in 700 ms"), Err("busy"), Ok(Some(7))]);
    let options = Options::new()
        .retry(Retry::fixed(3, ms(100)))
        .retry_after(|error| (*error == "in 700 ms").then_some(Duration::from_millis(700)));
    assert_eq!(script.play(options).await, Ok(Some(7)));
    assert_close(&script.millis(), &[0, 700, 800]);
}

// B19, S59: a predicate that throws is an error with a name, in every path, and neither hangs nor kills the stream.
#[tokio::test(start_paused = true)]
async fn a_predicate_that_panics_fails_its_record_by_name() {
    let shaky = |n: u64| async move { if n == 1 { Err("odd one") } else { Ok(n) } };
    let panics = |options: Options<u64, u64, &'static str>| async move {
        let results: Vec<_> =
            stream::iter(0..3).ordered_wait(shaky, options.retry(Retry::fixed(2, ms(1)))).collect().await;
        assert_eq!((&results[0], &results[2]), (&Ok(0), &Ok(2)));
        match &results[1] {
            Err(Failure::Record(letter)) => letter.cause.clone(),
            other => panic!("{other:?}"),
        }
    };
    let named = Cause::Panicked("in a predicate: a bug".into());
    assert_eq!(panics(Options::new().retry_if(|result| result.is_err() && panic!("a bug"))).await, named);
    assert_eq!(panics(Options::new().retry_after(|_| panic!("a bug"))).await, named);
}

// S24, S27: what fails before there is a future is an attempt like any other... unless it panics; an error is retried.
#[tokio::test(start_paused = true)]
async fn an_error_that_is_there_at_once_is_retried() {
    let script = Script::new([Err("connection refused"), Ok(Some(1))]);
    assert_eq!(script.play(Options::new().retry(Retry::fixed(1, ms(1)))).await, Ok(Some(1)));
}

// S71, D15: a bounded input cuts no retries short, and forces none.
#[tokio::test(start_paused = true)]
async fn retries_keep_their_budget_after_the_end_of_input() {
    let script = Script::new([Err("busy"), Err("busy"), Err("busy"), Ok(Some(7))]);
    assert_eq!(script.play(Options::new().retry(Retry::fixed(3, ms(500)))).await, Ok(Some(7)));
    assert_close(&script.millis(), &[0, 500, 1000, 1500]);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_time_out_are_retried_if_the_policy_says_so() {
    for (timeouts, attempts) in [(true, 3), (false, 1)] {
        let hang = |_: u64| std::future::pending::<Result<u64, &str>>();
        let retry = Retry { timeouts, ..Retry::fixed(2, ms(1)) };
        let mut results = stream::iter([0]).ordered_wait(hang, Options::new().timeout(ms(10)).retry(retry));
        let Some(Err(Failure::Record(letter))) = results.next().await else { panic!("it cannot succeed") };
        assert_eq!(letter.attempts, attempts);
    }
}

// B17: a record that was retried, and one that was not, leave in the order of the records.
#[tokio::test(start_paused = true)]
async fn a_retried_record_keeps_its_place() {
    let seen = Mutex::new(false);
    let first_fails = move |n: u64| {
        let again = n != 0 || std::mem::replace(&mut *seen.lock().unwrap(), true);
        std::future::ready(if again { Ok(n) } else { Err("busy") })
    };
    let options = Options::new().retry(Retry::fixed(1, ms(100)));
    assert_eq!(all_ok(stream::iter(0..4).ordered_wait(first_fails, options)).await, [0, 1, 2, 3]);
}
