//! Clients that block, on threads of their own. Real time, as threads know no other; nothing is asserted about it.

use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use futures_util::future::join;
use futures_util::{FutureExt, StreamExt, stream};
use inflight::{AsyncStreamExt, Cause, Clock, Failure, Options, Pool, blocking};

use crate::service::{Service, all_ok, ms};

#[tokio::test]
async fn at_most_so_many_block_at_once() {
    let service = Service::default();
    let theirs = service.clone();
    let lookup = blocking(3, move |n: u64| {
        let _serving = theirs.serve();
        std::thread::sleep(Duration::from_micros(200));
        Ok::<_, ()>(n)
    });
    let results = all_ok(stream::iter(0..100).ordered_wait(lookup, Options::new().concurrency(10))).await;
    assert!(results.into_iter().eq(0..100));
    assert!(service.most() <= 3, "{}", service.most());
}

#[tokio::test]
async fn a_job_that_panics_fails_its_record_and_its_thread_goes_on() {
    let lookup = blocking(1, |n: u64| {
        assert!(n != 1, "not this one");
        Ok::<_, ()>(n)
    });
    let results: Vec<_> = stream::iter(0..3).ordered_wait(lookup, Options::new()).collect().await;
    let Err(Failure::Record(letter)) = &results[1] else { panic!("{results:?}") };
    assert_eq!(letter.cause, Cause::Panicked("not this one".into()));
    assert_eq!((&results[0], &results[2]), (&Ok(0), &Ok(2)));
}

/// A client that blocks until it is told to go on, and the one who tells it.
fn gate() -> (impl Fn(u64) -> Result<u64, ()> + Send + Sync, mpsc::Sender<()>, Service) {
    let service = Service::default();
    let theirs = service.clone();
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let client = move |n| {
        let _serving = theirs.serve();
        wait.lock().unwrap().recv().ok();
        Ok(n)
    };
    (client, go, service)
}

// S6, S51: a call that cannot be stopped still counts.
#[tokio::test]
async fn a_blocking_call_that_is_given_up_counts_until_it_ends() {
    let (client, go, service) = gate();
    let input = stream::iter([0, 1]).chain(stream::pending());
    let mut results = input.unordered_wait(blocking(2, client), Options::new().concurrency(1).timeout(ms(500)));
    let Some(Err(Failure::Record(letter))) = results.next().await else { panic!("the first times out") };
    assert_eq!((letter.input, letter.cause), (0, Cause::TimedOut { clock: Clock::Attempt, last: None }));
    tokio::time::sleep(ms(50)).await;
    assert_eq!(service.calls(), 1, "the second waits, though a thread is free");
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(results.next().await, Some(Ok(1)));
    assert_eq!(results.stats().stragglers, 1);
}

#[tokio::test]
async fn a_blocking_call_that_is_given_up_counts_no_longer_than_its_grace() {
    let (client, go, service) = gate();
    let options = Options::new().concurrency(1).timeout(ms(20)).grace(ms(20));
    let mut results = stream::iter([0, 1]).unordered_wait(blocking(2, client), options);
    assert!(results.next().await.unwrap().is_err());
    assert!(results.next().await.unwrap().is_err());
    assert_eq!(service.calls(), 2, "the second started while the first still blocked");
    assert!(results.next().await.is_none(), "the stream ends though both still block");
    drop(go);
}

#[tokio::test]
async fn each_thread_of_a_pool_keeps_its_state() {
    let made = Arc::new(Mutex::new(0));
    let count = Arc::clone(&made);
    let pool = Arc::new(Pool::new(2, move || {
        *count.lock().unwrap() += 1;
        (std::thread::current().id(), 0_u32)
    }));
    assert_eq!(pool.threads(), 2);
    let both = Arc::new(Barrier::new(2));
    let meet = |both: Arc<Barrier>| pool.run(move |_| both.wait().is_leader());
    join(meet(Arc::clone(&both)), meet(both)).await;
    let theirs = Arc::clone(&pool);
    let lookup = move |n: u64| {
        let pool = Arc::clone(&theirs);
        async move {
            let job = move |(thread, jobs): &mut (ThreadId, u32)| {
                assert_eq!(*thread, std::thread::current().id());
                *jobs += 1;
                n
            };
            Ok::<_, ()>(pool.run(job).await)
        }
    };
    let results = all_ok(stream::iter(0..50).ordered_wait(lookup, Options::new())).await;
    assert!(results.into_iter().eq(0..50));
    assert_eq!(*made.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_never_starts() {
    let pool = Pool::new(1, || ());
    let (go, wait) = mpsc::channel::<()>();
    let (ran, started) = mpsc::channel();
    let mut first = Box::pin(pool.run(move |()| wait.recv().unwrap()));
    assert!((&mut first).now_or_never().is_none());
    let mut second = Box::pin(pool.run(move |()| ran.send(()).unwrap()));
    assert!((&mut second).now_or_never().is_none());
    drop(second);
    go.send(()).unwrap();
    first.await;
    pool.run(|()| ()).await;
    assert!(started.try_recv().is_err());
}

#[tokio::test]
async fn a_pool_without_threads_fails_its_records_by_name() {
    let pool = Arc::new(Pool::<()>::new(1, || panic!("no connection")));
    let lookup = move |n: u64| {
        let pool = Arc::clone(&pool);
        async move { Ok::<_, ()>(pool.run(move |()| n).await) }
    };
    let results: Vec<_> = stream::iter(0..3).ordered_wait(lookup, Options::new()).collect().await;
    for result in results {
        let Err(Failure::Record(letter)) = result else { panic!("{result:?}") };
        assert_eq!(letter.cause, Cause::Panicked("no thread of the pool is left".into()));
    }
}

#[test]
#[should_panic(expected = "a pool needs at least one thread")]
fn a_pool_of_no_threads_is_refused() {
    drop(blocking(0, |n: u64| Ok::<_, ()>(n)));
}
