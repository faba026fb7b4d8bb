//! What may be sent to other threads, and moved after it was polled.

use inflight::{
    AsyncStream, Completion, Element, Failure, InEventTime, Options, Pool, Records, ResultFuture, Snapshot, Stats,
};

const fn is_send<T: Send>() {}
const fn is_sync<T: Sync>() {}
const fn is_unpin<T: Unpin>() {}

#[test]
fn streams_options_and_promises_can_be_sent_and_moved() {
    is_send::<AsyncStream<String, String, std::io::Error, Records>>();
    is_send::<AsyncStream<String, String, std::io::Error, InEventTime>>();
    is_unpin::<AsyncStream<String, String, std::io::Error>>();
    is_unpin::<AsyncStream<std::marker::PhantomPinned, std::marker::PhantomPinned, ()>>();
    is_send::<Options<String, String, std::io::Error>>();
    is_sync::<Options<String, String, std::io::Error>>();
    is_send::<ResultFuture<String>>();
    is_sync::<ResultFuture<String>>();
    is_send::<Completion<String>>();
    is_unpin::<Completion<String>>();
    is_send::<Pool<std::cell::Cell<u8>>>();
    is_sync::<Pool<std::cell::Cell<u8>>>();
    is_send::<Snapshot<String>>();
    is_send::<Failure<String, std::io::Error>>();
    is_send::<Element<String>>();
    is_send::<Stats>();
}

#[tokio::test]
async fn the_future_of_a_snapshot_can_be_sent() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    use inflight::AsyncStreamExt;
    let echo = |n: u64| async move { Ok::<_, ()>(n) };
    let mut results = futures_util::stream::iter(0..3).ordered_wait(echo, Options::new());
    sendable(results.snapshot()).await;
}
