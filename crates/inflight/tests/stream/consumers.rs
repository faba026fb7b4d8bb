//! Consumers that take their time: they stop neither calls nor clocks, and cause no timeouts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use inflight::{AsyncStreamExt, Options, Order};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::service::{Service, all_ok, ms, wait};

#[tokio::test(start_paused = true)]
async fn a_consumer_that_takes_20_ms_per_item_causes_no_timeouts() {
    for order in Order::ALL {
        let lookup = |n: u64| async move {
            tokio::time::sleep(ms(10)).await;
            Ok::<_, ()>(n)
        };
        let options = Options::new().capacity(100).timeout(ms(50)).deadline(ms(100));
        // When they are serial, the records of a key wait for each other, and that counts towards the deadline.
        let options = if order == Order::KeySerial { options.deadline(ms(1_000)) } else { options };
        let mut results = wait(order, stream::iter(0..200), lookup, options);
        let mut count = 0;
        while let Some(result) = results.next().await {
            result.expect("no false timeout");
            count += 1;
            tokio::time::sleep(ms(20)).await;
        }
        assert_eq!(count, 200);
    }
}

/// A service on loopback that answers each byte with the same byte.
async fn echo_service() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = socket.read_u8().await {
                        tokio::time::sleep(ms(5)).await;
                        socket.write_u8(byte).await.ok();
                    }
                });
            }
        });
    });
    address
}

// Real time, real sockets, one thread: the consumer blocks the very thread that the operator runs on, for longer than the timeout.
// It sees a whole handover of results before the runtime hears of the outside world again, and the operator, which waits for room there, is
// run before that: it must not take what it has not heard of yet for something that has not happened.
#[tokio::test]
async fn a_consumer_that_blocks_the_thread_causes_no_timeouts_with_real_sockets() {
    let address = echo_service().await;
    let mut sockets = Vec::new();
    for _ in 0..150 {
        sockets.push(TcpStream::connect(address).await.unwrap());
    }
    let idle = Arc::new(Mutex::new(sockets));
    let lookup = move |n: u64| {
        let idle = Arc::clone(&idle);
        async move {
            let mut socket = idle.lock().unwrap().pop().expect("as many sockets as calls");
            socket.write_u8(n as u8).await?;
            let answer = socket.read_u8().await?;
            idle.lock().unwrap().push(socket);
            Ok::<_, std::io::Error>(answer)
        }
    };
    let options = Options::new().capacity(150).timeout(ms(500)).deadline(ms(600));
    let mut results = stream::iter(0..300).unordered_wait(lookup, options);
    let mut count = 0;
    while let Some(result) = results.next().await {
        result.expect("no false timeout");
        count += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(count, 300);
}

/// Calls of 5 ms with half a second for each attempt, and a consumer that blocks the only thread for `pause` after each result.
async fn no_timeouts(capacity: usize, records: u64, pause: Duration) {
    let lookup = |n: u64| async move {
        tokio::time::sleep(ms(5)).await;
        Ok::<_, ()>(n)
    };
    let options = Options::new().capacity(capacity).timeout(ms(500)).deadline(ms(600));
    let mut results = stream::iter(0..records).ordered_wait(lookup, options);
    let mut count = 0;
    while let Some(result) = results.next().await {
        result.expect("no false timeout");
        count += 1;
        std::thread::sleep(pause);
    }
    assert_eq!(count, records);
}

#[tokio::test]
async fn a_consumer_that_blocks_the_thread_causes_no_timeouts_with_timers() {
    no_timeouts(150, 300, ms(20)).await;
}

/// More is held than fits on the way to the consumer, so the consumer itself wakes the driver, before the reactor has had a turn.
#[tokio::test]
async fn a_consumer_that_blocks_the_thread_and_starves_the_driver_causes_no_timeouts() {
    no_timeouts(600, 1_200, ms(3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_stops_for_long_brakes_the_source_and_loses_nothing() {
    for order in Order::ALL {
        let service = Service::default();
        let theirs = service.clone();
        let lookup = move |n: u64| {
            let service = theirs.clone();
            async move { Ok::<_, ()>(service.answer(ms(1), n).await) }
        };
        let options = Options::new().capacity(1_000).concurrency(500).timeout(ms(100));
        // When they are serial, the next call of a key waits until the result before has left: that counts towards a deadline.
        let options = if order == Order::KeySerial { options } else { options.deadline(ms(100)) };
        let mut results = wait(order, stream::iter(0..5_000), lookup, options);
        let first = results.next().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let accepted = results.stats().accepted;
        assert!((1_000..=1_000 + 2 * 256).contains(&accepted), "{order:?}: {accepted}");
        assert_eq!(results.stats().timed_out, 0, "{order:?}");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(results.stats().accepted, accepted, "{order:?}");
        let mut rest = all_ok(results).await;
        rest.push(first);
        rest.sort_unstable();
        assert!(rest.into_iter().eq(0..5_000), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_run_while_nobody_polls() {
    let service = Service::default();
    let theirs = service.clone();
    let lookup = move |n: u64| {
        let service = theirs.clone();
        async move { Ok::<_, ()>(service.answer(ms(10), n).await) }
    };
    let mut results = stream::iter(0..50).ordered_wait(lookup, Options::new().concurrency(1));
    assert!(results.next().now_or_never().is_none());
    tokio::time::sleep(ms(2_000)).await;
    assert_eq!(service.calls(), 50);
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_before_the_first_poll() {
    let service = Service::default();
    let theirs = service.clone();
    let lookup = move |n: u64| {
        let service = theirs.clone();
        async move { Ok::<_, ()>(service.answer(ms(1), n).await) }
    };
    let results = stream::iter(0..50).ordered_wait(lookup, Options::new());
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(service.calls(), 0);
    assert_eq!(all_ok(results).await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_next_loses_nothing() {
    let lookup = |n: u64| async move {
        tokio::time::sleep(ms(10)).await;
        Ok::<_, ()>(n)
    };
    let mut results = stream::iter(0..100).ordered_wait(lookup, Options::new().concurrency(3));
    let mut seen = Vec::new();
    loop {
        match tokio::time::timeout(ms(3), results.next()).await {
            Ok(Some(result)) => seen.push(result.unwrap()),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    assert!(seen.into_iter().eq(0..100));
}
