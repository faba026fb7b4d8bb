//! The limit that is found by trying behind real operators, in virtual time: batches, whose calls take longer the larger they are, rate
//! limits on either side, and calls that are running when the limit is cut.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt, stream};
use inflight::{
    AsyncFunction, AsyncStreamExt, BatchFunction, BatchResult, Concurrency, Destination, DestinationOptions, Options,
    RateLimit, Verdict,
};
use inflight_sim::Rng;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::in_virtual_time;

const AUTO: Concurrency = Concurrency::Auto { min: 1, max: 400 };

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many calls are worked on at a time; others wait.
#[derive(Clone)]
struct Server {
    workers: Arc<Semaphore>,
    rng: Arc<Mutex<Rng>>,
    /// Calls it takes in 100 ms; it says of others at once that they are too many.
    allows: u64,
    hundreds: Arc<Mutex<(u64, u64)>>,
    began: Instant,
    calls: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    /// Calls that nobody waited for to the end.
    dropped: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Server {
    fn new(workers: usize, allows: u64) -> Self {
        Self {
            workers: Arc::new(Semaphore::new(workers)),
            rng: Arc::new(Mutex::new(Rng::new(7))),
            allows,
            hundreds: Arc::default(),
            began: Instant::now(),
            calls: Arc::default(),
            refused: Arc::default(),
            dropped: Arc::default(),
        }
    }

    /// From 5 to 15 ms, and half of one more for each record.
    async fn answer(&self, records: u64) -> Result<(), ()> {
        let running = Running(Arc::clone(&self.dropped));
        self.calls.fetch_add(1, Ordering::Relaxed);
        let allowed = self.is_allowed();
        if allowed {
            let _worker = self.workers.acquire().await;
            let takes = Duration::from_micros(self.rng.lock().expect("no panic").within(5_000, 15_000) + 500 * records);
            sleep(takes).await;
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            sleep(ms(1)).await;
        }
        std::mem::forget(running);
        if allowed { Ok(()) } else { Err(()) }
    }

    fn is_allowed(&self) -> bool {
        let hundred = self.began.elapsed().as_millis() as u64 / 100;
        let mut seen = self.hundreds.lock().expect("no panic");
        *seen = if seen.0 == hundred { (hundred, seen.1 + 1) } else { (hundred, 1) };
        seen.1 <= self.allows
    }
}

impl AsyncFunction<u64> for Server {
    type Output = ();
    type Error = ();

    async fn invoke(&self, _: u64) -> Result<(), ()> {
        self.answer(0).await
    }
}

/// The same for many records in a call.
#[derive(Clone)]
struct Bulk(Server);

impl BatchFunction<u64> for Bulk {
    type Output = ();
    type Error = ();

    async fn invoke(&self, ids: Vec<u64>) -> BatchResult<(), ()> {
        self.0.answer(ids.len() as u64).await?;
        Ok(vec![Ok(()); ids.len()])
    }
}

fn destination(concurrency: Concurrency, rate: Option<RateLimit>) -> Destination {
    let mut options = DestinationOptions::new(concurrency);
    (options.breaker, options.rate_limit) = (None, rate);
    Destination::new(options).expect("sound options")
}

fn options(destination: &Destination) -> Options<u64, (), ()> {
    Options::new().capacity(10_000).concurrency(1_000).destination(destination.clone())
}

/// Good answers in each second of so many.
async fn answers<E>(results: impl Stream<Item = Result<(), E>>, seconds: u64) -> Vec<u64> {
    let (began, mut answers) = (Instant::now(), vec![0; seconds as usize]);
    let results = results.take_until(sleep(Duration::from_secs(seconds)));
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.next().await {
        let second = began.elapsed().as_secs() as usize;
        if let Some(answers) = answers.get_mut(second) {
            *answers += u64::from(result.is_ok());
        }
    }
    answers
}

fn sum(answers: &[u64]) -> f64 {
    answers.iter().sum::<u64>() as f64
}

/// Five seconds at a tenth of what the server can do, in small batches; then as much as possible, in full ones, each of which takes
/// twice as long. That is no congestion.
#[test]
fn calls_of_larger_batches_take_longer_and_that_is_no_reason_to_make_fewer() {
    in_virtual_time(async {
        let run = async |concurrency| {
            let destination = destination(concurrency, None);
            let slowly = stream::iter(0..4_000).then(|id| async move {
                if id % 4 == 0 {
                    sleep(ms(5)).await;
                }
                id
            });
            let records = Box::pin(slowly.chain(stream::iter(4_000..)));
            let results =
                records.unordered_wait(Bulk(Server::new(8, u64::MAX)), options(&destination).batch(20, ms(20)));
            (answers(results, 15).await, destination.gauge().limit)
        };
        let ((fixed, _), (auto, limit)) = (run(Concurrency::Fixed(8)).await, run(AUTO).await);
        println!("{fixed:?} fixed, {auto:?} with {limit} in the end");
        // Three seconds to find it out, a hundred and fifty round trips.
        assert!(sum(&auto[8..]) >= 0.95 * sum(&fixed[8..]), "{fixed:?} {auto:?}");
        assert!(limit <= 16, "{limit}");
    });
}

/// The destination's own rate holds calls up, not the limit: nothing is learned from that, and nothing lost by it.
#[test]
fn behind_a_rate_limit_of_its_own_it_stays() {
    in_virtual_time(async {
        let rate = RateLimit { per_second: 500, burst: 10 };
        let destination = destination(AUTO, Some(rate));
        let results = stream::iter(0..).unordered_wait(Server::new(16, u64::MAX), options(&destination));
        let answers = answers(results, 10).await;
        assert!(sum(&answers[1..]) >= 0.99 * 9.0 * 500.0, "{answers:?}");
        assert_eq!(destination.gauge().limit, 16, "where it began");
    });
}

/// The server allows 100 calls in 100 ms and could do 160: 429 is all it says to the others.
#[test]
fn before_a_rate_limit_of_the_server_it_does_not_run_into_it_all_the_time() {
    in_virtual_time(async {
        let (server, destination) = (Server::new(16, 100), destination(AUTO, None));
        let options =
            options(&destination).failure_of(|result| if result.is_ok() { Verdict::Good } else { Verdict::Overloaded });
        let results = stream::iter(0..).unordered_wait(server.clone(), options);
        let answers = answers(results, 20).await;
        let [calls, refused] = [&server.calls, &server.refused].map(|count| count.load(Ordering::Relaxed) as f64);
        println!("{answers:?}, {refused} of {calls} refused, limit {}", destination.gauge().limit);
        // A cut takes three tenths, so that what is used in between is 85 % on average, less what is tried in vain.
        assert!(sum(&answers[2..]) >= 0.75 * 18.0 * 1_000.0, "{answers:?}");
        assert!(refused <= 0.1 * calls, "{refused} of {calls}");
    });
}

#[test]
fn a_limit_that_is_cut_cancels_nothing() {
    in_virtual_time(async {
        let (server, destination) = (Server::new(16, 100), destination(AUTO, None));
        let options =
            options(&destination).failure_of(|result| if result.is_ok() { Verdict::Good } else { Verdict::Overloaded });
        let mut least = usize::MAX;
        let mut results = std::pin::pin!(stream::iter(0..10_000).unordered_wait(server.clone(), options));
        while results.next().await.is_some() {
            least = least.min(destination.gauge().limit);
        }
        assert!(least < 16, "it was cut: {least}");
        assert_eq!(server.calls.load(Ordering::Relaxed), 10_000);
        assert_eq!(server.dropped.load(Ordering::Relaxed), 0, "each call ran to its end");
    });
}
