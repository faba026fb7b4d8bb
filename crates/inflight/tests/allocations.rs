//! In steady state no record costs an allocation: not in the queue, not in the operator on a stream.
//!
//! The only target in the workspace with unsafe code: to count allocations one has to be the allocator, and that trait is unsafe.
#![allow(unsafe_code, reason = "a global allocator that counts, and otherwise is the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, Element, Options, Order, Timestamp, elements};
use inflight_core::{Action, Completion, Config, Emit, EventTime, Queue, Time};

struct Counting;

thread_local! {
    /// Of this thread, as tests run side by side.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches a `Cell` without destructor and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System`, with this layout, as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`, and the caller's promise about `size` is passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: u64 = 50_000;
const MEASURED: u64 = 100_000;
const CAPACITY: usize = 1_000;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(allocations() - before, 1);
}

/// Every record is called, half of them answered at once and half when the queue is full, in a scattered order.
fn through_the_core(order: Order, rule: EventTime, records: u64, queue: &mut Queue<u64, u64>, next: &mut u64) {
    let mut parked = Vec::with_capacity(CAPACITY);
    let end = *next + records;
    while *next < end {
        let now = Time::from_nanos(*next * 1_000);
        while queue.has_room() && *next < end {
            let timestamp = (order != Order::Ordered).then_some(Timestamp(*next as i64));
            queue.handle_record(now, *next % 97, timestamp, *next);
            *next += 1;
            if next.is_multiple_of(500) && queue.has_room() && rule == EventTime::Frontier {
                queue.handle_watermark(Timestamp(*next as i64 - 100));
            }
        }
        while let Action::Call(call) = queue.poll(now) {
            if parked.len() < CAPACITY / 2 {
                parked.push(call);
            } else {
                queue.handle_completion(now, call, [Completion::Done(1)]);
            }
        }
        while !parked.is_empty() {
            let call = parked.swap_remove(parked.len() / 2);
            queue.handle_completion(now, call, [Completion::Done(1)]);
            while let Action::Call(call) = queue.poll(now) {
                queue.handle_completion(now, call, [Completion::Done(1)]);
            }
        }
        while let Some(Emit::Record(_) | Emit::Watermark(_)) = queue.emit() {}
    }
}

#[test]
fn the_queue_allocates_nothing_in_steady_state() {
    for order in Order::ALL {
        for rule in [EventTime::Frontier, EventTime::Strict] {
            let mut config = Config::new(order, CAPACITY);
            config.event_time = rule;
            config.deadline = Some(Duration::from_secs(1));
            config.timeout = Some(Duration::from_millis(500));
            let mut queue = Queue::new(config).expect("a good configuration");
            let mut next = 0;
            through_the_core(order, rule, WARM_UP, &mut queue, &mut next);
            let before = allocations();
            through_the_core(order, rule, MEASURED, &mut queue, &mut next);
            // The list of this test's own that calls are parked in.
            assert_eq!(allocations() - before - 1, 0, "{order:?}, {rule:?}");
        }
    }
}

/// Allocations while `MEASURED` records go through the operator on a stream, after as many as it takes to warm up.
fn through_the_stream<Fut>(order: Order, call: fn(u64) -> Fut, watermarks: bool) -> u64
where
    Fut: Future<Output = Result<u64, ()>> + Send + 'static,
{
    // The clock stands still: turns end by what was done in them, and the lists are as long in the warm-up as later.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let options = Options::new().capacity(CAPACITY).timeout(Duration::from_secs(60)).deadline(Duration::from_secs(100));
    let input = stream::iter(0_u64..).map(move |n| match n % 500 {
        0 if watermarks => Element::Watermark(Timestamp(n as i64 - 100)),
        _ => Element::at(n as i64, n),
    });
    let input = elements(input);
    let mut results = match order {
        Order::Ordered => input.ordered_wait(call, options),
        Order::Unordered => input.unordered_wait(call, options),
        Order::KeyOrdered => input.key_ordered_wait(|n| n % 97, call, options),
        Order::KeySerial => input.key_serial_wait(|n| n % 97, call, options),
    };
    runtime.block_on(async {
        for _ in 0..WARM_UP {
            results.next().await;
        }
        let before = allocations();
        for _ in 0..MEASURED {
            results.next().await;
        }
        allocations() - before
    })
}

#[test]
fn a_stream_of_ready_futures_allocates_nothing_in_steady_state() {
    for order in Order::ALL {
        for watermarks in [false, true] {
            let allocated = through_the_stream(order, |n| std::future::ready(Ok(n)), watermarks);
            assert_eq!(allocated, 0, "{order:?}, watermarks: {watermarks}");
        }
    }
}

async fn yield_once(n: u64) -> Result<u64, ()> {
    tokio::task::yield_now().await;
    Ok(n)
}

#[test]
fn a_stream_of_futures_that_yield_once_allocates_nothing_in_steady_state() {
    for order in Order::ALL {
        for watermarks in [false, true] {
            let allocated = through_the_stream(order, yield_once, watermarks);
            assert_eq!(allocated, 0, "{order:?}, watermarks: {watermarks}");
        }
    }
}
