//! Any `tower::Service` as a function.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, Failure, Options, service};
use tower_service::Service;

use crate::service::all_ok;

/// Not ready at the first look, as a rate limit is; and to be called only when it was ready.
#[derive(Default)]
struct Doubling {
    looks: usize,
    calls: Arc<AtomicUsize>,
}

impl Clone for Doubling {
    fn clone(&self) -> Self {
        Self { looks: 0, calls: Arc::clone(&self.calls) }
    }
}

impl Service<u64> for Doubling {
    type Response = u64;
    type Error = &'static str;
    type Future = Ready<Result<u64, &'static str>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.looks += 1;
        if self.looks < 2 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: u64) -> Self::Future {
        assert!(self.looks >= 2, "called before it was ready");
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(if n == 3 { Err("not three") } else { Ok(n * 2) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_called_when_it_is_ready() {
    let calls = Arc::new(AtomicUsize::new(0));
    let doubling = Doubling { looks: 0, calls: Arc::clone(&calls) };
    let results = all_ok(stream::iter([1, 2]).ordered_wait(service(doubling), Options::new())).await;
    assert_eq!(results, [2, 4]);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_fails_its_record() {
    let results: Vec<_> =
        stream::iter([3, 4]).ordered_wait(service(Doubling::default()), Options::new()).collect().await;
    assert!(matches!(&results[0], Err(Failure::Record(letter)) if letter.input == 3));
    assert_eq!(results[1], Ok(8));
}
