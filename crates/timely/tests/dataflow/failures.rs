//! What fails: opening, closing, one call, a dataflow that is given up.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use inflight::driver::Stopped;
use inflight::{Abandoned, AsyncFunction, Cause, Clock, Options, ResultFuture};
use inflight_timely::AsyncWait;
use timely::dataflow::operators::{Input, Probe, ToStream};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::{collected, finish, on_a_worker, outcomes, runtime, settle};

/// Opens, calls and closes, each by a timer; what it has done is counted.
#[derive(Default)]
struct Framed {
    open: Option<&'static str>,
    close: Option<&'static str>,
    opened: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl AsyncFunction<u64> for Framed {
    type Output = u64;
    type Error = &'static str;

    async fn open(&mut self) -> Result<(), Self::Error> {
        sleep(Duration::from_millis(5)).await;
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.open.map_or(Ok(()), Err)
    }

    async fn invoke(&self, number: u64) -> Result<u64, Self::Error> {
        sleep(Duration::from_millis(1)).await;
        Ok(number * 2)
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        sleep(Duration::from_millis(5)).await;
        self.closed.fetch_add(1, Ordering::SeqCst);
        self.close.map_or(Ok(()), Err)
    }
}

#[test]
fn a_function_that_cannot_be_opened_keeps_the_epochs_open() {
    let runtime = runtime();
    on_a_worker(move |worker| {
        let function = Framed { open: Some("no route"), ..Framed::default() };
        let closed = Arc::clone(&function.closed);
        let (mut input, probe, out, monitor) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, records) = scope.new_input();
            let waited = records.ordered_wait(runtime.handle(), function, Options::new());
            let (probe, results) = waited.results.probe();
            (input, probe, collected(results), waited.monitor)
        });
        input.send_batch(&mut vec![1, 2, 3]);
        input.advance_to(1);
        input.flush();
        let stopped = loop {
            if let Some(stopped) = monitor.stopped() {
                break stopped;
            }
            worker.step_or_park(None);
        };
        assert_eq!(stopped, Stopped::Open("no route"));
        assert_eq!(monitor.stopped(), None, "it is told once");

        input.send(4);
        input.close();
        settle(worker);
        assert!(probe.less_equal(&0) && worker.has_dataflows(), "the records were not dealt with");
        assert!(out.borrow().is_empty());
        assert_eq!(closed.load(Ordering::SeqCst), 0);
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    });
}

#[test]
fn open_and_close_run_to_their_ends_without_records() {
    let runtime = runtime();
    let function = Framed { close: Some("broken pipe"), ..Framed::default() };
    let (opened, closed) = (Arc::clone(&function.opened), Arc::clone(&function.closed));
    on_a_worker(move |worker| {
        let monitor = worker.dataflow::<u64, _, _>(|scope| {
            let none = std::iter::empty::<u64>().to_stream(scope).container::<Vec<_>>();
            none.ordered_wait(runtime.handle(), function, Options::new()).monitor
        });
        finish(worker);
        assert_eq!((opened.load(Ordering::SeqCst), closed.load(Ordering::SeqCst)), (1, 1));
        assert_eq!(monitor.stopped(), Some(Stopped::Close("broken pipe")));
    });
}

#[test]
fn all_results_are_out_when_closing_fails() {
    let runtime = runtime();
    let function = Framed { close: Some("broken pipe"), ..Framed::default() };
    on_a_worker(move |worker| {
        let (probe, out, monitor) = worker.dataflow::<u64, _, _>(|scope| {
            let numbers = (0..500u64).to_stream(scope).container::<Vec<_>>();
            let waited = numbers.ordered_wait(runtime.handle(), function, Options::new());
            let (probe, results) = waited.results.probe();
            (probe, collected(results), waited.monitor)
        });
        while !probe.done() {
            worker.step_or_park(None);
        }
        assert!(
            out.borrow().iter().map(|done| done.result.as_ref().copied()).eq((0..500).map(|number| Ok(number * 2)))
        );
        finish(worker);
        assert_eq!(monitor.stopped(), Some(Stopped::Close("broken pipe")));
        assert_eq!(monitor.stats().held, 0);
    });
}

#[test]
fn a_panic_fails_its_record_only() {
    let runtime = runtime();
    let call = |number: u64| {
        assert_ne!(number % 10, 3, "in the call");
        async move {
            sleep(Duration::from_millis(number % 3)).await;
            assert_ne!(number % 10, 7, "in the future");
            Ok::<_, Abandoned>(number)
        }
    };
    let out =
        outcomes(vec![(0..200u64).collect()], |records| records.ordered_wait(runtime.handle(), call, Options::new()));
    assert_eq!(out.len(), 200);
    for completed in out {
        match (completed.input % 10, &completed.result) {
            (3, Err(Cause::Panicked(message))) => assert!(message.contains("in the call")),
            (7, Err(Cause::Panicked(message))) => assert!(message.contains("in the future")),
            (_, result) => assert_eq!(*result, Ok(completed.input)),
        }
    }
}

#[test]
fn a_call_that_never_ends_meets_its_deadline() {
    let runtime = runtime();
    let call = |number: u64| async move {
        if number % 2 == 1 {
            pending::<()>().await;
        }
        Ok::<_, Abandoned>(number)
    };
    let out = outcomes(vec![(0..100u64).collect()], |records| {
        records.ordered_wait(runtime.handle(), call, Options::new().deadline(Duration::from_millis(30)))
    });
    for completed in out {
        let expected = match completed.input % 2 {
            1 => Err(Cause::TimedOut { clock: Clock::Deadline, last: None }),
            _ => Ok(completed.input),
        };
        assert_eq!(completed.result, expected);
    }
}

#[test]
fn a_callback_that_is_lost_is_an_error() {
    let runtime = runtime();
    let call = |_: u64| {
        let (result, completed) = ResultFuture::<u64>::new();
        std::thread::spawn(move || drop(result));
        completed
    };
    let out = outcomes(vec![vec![1]], |records| records.unordered_wait(runtime.handle(), call, Options::new()));
    assert_eq!(out[0].result, Err(Cause::Error(Abandoned)));
}

/// As the guards of database pools do, it needs the runtime when it is dropped.
struct Returned(Arc<AtomicBool>);

impl Drop for Returned {
    fn drop(&mut self) {
        self.0.store(Handle::try_current().is_ok(), Ordering::SeqCst);
    }
}

#[test]
fn calls_of_a_dataflow_that_is_given_up_are_dropped_in_the_runtime() {
    let runtime = runtime();
    let returned = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&returned);
    let call = move |_: u64| {
        let guard = Returned(Arc::clone(&flag));
        async move {
            pending::<()>().await;
            drop(guard);
            Ok::<_, Abandoned>(0)
        }
    };
    on_a_worker(move |worker| {
        let index = worker.next_dataflow_index();
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, records) = scope.new_input::<Vec<u64>>();
            let _waited = records.ordered_wait(runtime.handle(), call, Options::new());
            input
        });
        input.send(1);
        input.flush();
        settle(worker);
        worker.drop_dataflow(index);
        assert!(returned.load(Ordering::SeqCst));
    });
}
