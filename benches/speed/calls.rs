//! The cheapest calls there are: what remains is the operator's own cost.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) type Answer = Result<u64, Infallible>;

/// Ready when it is polled first.
pub(crate) async fn ready(record: u64) -> Answer {
    Ok(record)
}

/// Ready when it is polled again; it wakes itself at once.
pub(crate) async fn yields_once(record: u64) -> Answer {
    YieldOnce { yielded: false }.await;
    Ok(record)
}

struct YieldOnce {
    yielded: bool,
}

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
