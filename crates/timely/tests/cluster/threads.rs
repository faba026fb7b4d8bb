//! One process.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use inflight_timely::cluster::{ClusterError, Layout, execute};

use crate::jobs::{Job, NUMBERS, run};

fn threads(workers: usize) -> Layout {
    Layout { workers, ..Layout::default() }
}

/// The error, after the same was heard as the alarm, once.
fn error(job: Job, workers: usize) -> ClusterError {
    let alarms = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&alarms);
    let result =
        run(job, &threads(workers), "", move |lost| heard.lock().expect("no panic").push(lost.to_owned()), || ());
    let error = result.expect_err("it fails");
    assert_eq!(*alarms.lock().expect("no panic"), [error.to_string()]);
    error
}

#[test]
fn threads_exchange() {
    for workers in [1, 2, 3] {
        let shares = run(Job::Exchange, &threads(workers), "", |_| (), || ()).unwrap();
        assert_eq!(shares.len(), workers);
        assert!(shares.iter().all(|(count, _, from)| *count == NUMBERS && *from == workers), "{shares:?}");
    }
}

#[test]
fn siblings_of_a_worker_that_panics_end() {
    for (panics, workers) in [(0, 3), (2, 3), (0, 1)] {
        let message = format!("worker {panics} was told to");
        assert_eq!(error(Job::Panic(panics), workers), ClusterError::Panicked { worker: panics, message });
    }
}

#[test]
fn siblings_of_a_worker_that_fails_end() {
    assert_eq!(error(Job::Fail(1), 2), ClusterError::Failed { worker: 1, why: "the disk is full".to_owned() });
    assert!(matches!(error(Job::Leave(1), 2), ClusterError::Failed { worker: 1, .. }));
}

#[test]
fn a_worker_that_is_alone_runs_on_the_calling_thread() {
    let here = std::thread::current().id();
    let ids = execute(&threads(1), "", Arc::new(|_| ()), |_| Ok(std::thread::current().id()));
    assert_eq!(ids, Ok(vec![here]));
}

#[test]
fn a_panic_while_dropping_is_a_loss_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    let result = execute(&threads(2), "", Arc::new(|_| ()), |worker| {
        if worker.index() == 1 {
            let bomb = Bomb;
            worker.dataflow::<u64, _, _>(|_| ());
            drop(bomb);
        }
        Ok(())
    });
    assert_eq!(result, Err(ClusterError::Panicked { worker: 1, message: "boom".to_owned() }));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let none = Layout { silent_after: Duration::ZERO, ..threads(1) };
    let result = execute(&none, "", Arc::new(|_| ()), |_| Ok(()));
    assert!(matches!(result, Err(ClusterError::Layout(_))));
}
