//! Memory per request in flight: each subject in a process of its own.

use std::future::pending;
use std::hint::black_box;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use inflight::Order;
use tokio::time::timeout;

use crate::calls::Answer;
use crate::grid::Effort;
use crate::measure::resident;
use crate::subjects::{Futures, Place, futures, operator, options};

/// The first argument of such a process.
pub(crate) const CHILD: &str = "--memory-of";

const SUBJECTS: [&str; 5] = [
    "inflight Unordered, deadline",
    "inflight Ordered, deadline",
    "`buffer_unordered`",
    "`buffer_unordered` of `tokio::time::timeout`",
    "`buffer_unordered` of `tokio::spawn`",
];

pub(crate) fn print(effort: &Effort) {
    let in_flight = if effort.small { 1_000 } else { 100_000 };
    println!("\n### Memory, {in_flight} requests in flight: resident bytes per request\n");
    println!("| | bytes |\n|---|---:|");
    for (number, name) in SUBJECTS.iter().enumerate() {
        let program = std::env::current_exe().expect("this program has a path");
        let output = Command::new(program).arg(CHILD).arg(number.to_string()).arg(in_flight.to_string()).output();
        let output = output.expect("this program can be started again");
        println!("| {name} | {} |", String::from_utf8_lossy(&output.stdout).trim());
    }
}

/// Such a process: puts the requests in flight and prints what each takes.
pub(crate) fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut number = || arguments.next().and_then(|argument| argument.parse::<usize>().ok());
    let (Some(subject), Some(in_flight)) = (number(), number()) else { return ExitCode::from(2) };
    let started = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&started);
    let call = move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        pending::<Answer>()
    };
    let bytes = match subject {
        0 => hold(&started, in_flight, || operator(Order::Unordered, options(in_flight, true), call)),
        1 => hold(&started, in_flight, || operator(Order::Ordered, options(in_flight, true), call)),
        2 => hold(&started, in_flight, || futures(false, Futures::Plain, in_flight, call)),
        3 => hold(&started, in_flight, || futures(false, Futures::Timeout, in_flight, call)),
        _ => hold(&started, in_flight, || futures(false, Futures::Spawned, in_flight, call)),
    };
    println!("{bytes}");
    ExitCode::SUCCESS
}

fn hold<S: Stream>(started: &AtomicUsize, in_flight: usize, make: impl FnOnce() -> S) -> u64 {
    Place::new(1).runtime.block_on(async {
        let before = resident();
        let mut results = pin!(make());
        while started.load(Ordering::Relaxed) < in_flight {
            black_box(timeout(Duration::from_millis(5), results.next()).await.is_ok());
        }
        (resident() - before) / in_flight as u64
    })
}
