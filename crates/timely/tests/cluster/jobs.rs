//! What workers do in these tests.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inflight_timely::cluster::{ClusterError, Layout, execute};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Exchange, Input, Inspect, Probe};
use timely::worker::Worker;

/// Numbers that each worker brings to an exchange.
pub(crate) const NUMBERS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Exchange [`NUMBERS`], and end.
    Exchange,
    /// Exchange a little, then wait for ever.
    Idle,
    /// Exchange for ever.
    Busy,
    /// As idle, but this worker panics.
    Panic(usize),
    /// As idle, but this worker fails.
    Fail(usize),
    /// As idle, but this worker leaves as if all were done.
    Leave(usize),
}

/// What a worker got of an exchange: how many numbers, their sum, and from how many workers.
pub(crate) type Share = (u64, u64, usize);

/// Runs a job on all workers of a process. `heard` gets the alarm, and `running` is called when this process exchanges with all others.
pub(crate) fn run(
    job: Job,
    layout: &Layout,
    greeting: &str,
    heard: impl Fn(&str) + Send + Sync + 'static,
    running: impl Fn() + Sync,
) -> Result<Vec<Share>, ClusterError> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let alarm = Arc::new(move |lost: &str| {
        heard(lost);
        flag.store(true, Ordering::SeqCst);
    });
    execute(layout, greeting, alarm, |worker| match job {
        Job::Exchange => exchange(worker, &stop),
        _ => {
            let is_first = worker.index().is_multiple_of(layout.workers);
            stay(job, worker, &stop, || {
                if is_first {
                    running()
                }
            })
        }
    })
}

fn exchange(worker: &mut Worker, stop: &AtomicBool) -> Result<Share, String> {
    let (index, peers) = (worker.index() as u64, worker.peers());
    let (mut input, share) = worker.dataflow::<u64, _, _>(|scope| {
        let (input, numbers) = scope.new_input::<Vec<(u64, u64)>>();
        let share = Rc::new(RefCell::new((0, 0, vec![false; peers])));
        let into = Rc::clone(&share);
        numbers.exchange(|(_, number)| *number).inspect(move |(from, number)| {
            let mut share = into.borrow_mut();
            share.0 += 1;
            share.1 += number;
            share.2[*from as usize] = true;
        });
        (input, share)
    });
    for number in 0..NUMBERS {
        input.send((index, index * NUMBERS + number));
        if number % 100 == 0 {
            input.advance_to(number + 1);
            worker.step();
        }
    }
    input.close();
    while worker.has_dataflows() && !stop.load(Ordering::SeqCst) {
        worker.step_or_park(None);
    }
    let (count, sum, from) = share.take();
    Ok((count, sum, from.into_iter().filter(|from| *from).count()))
}

/// Each round is over when all workers have got everything of it.
fn stay(job: Job, worker: &mut Worker, stop: &AtomicBool, running: impl Fn()) -> Result<Share, String> {
    const ROUNDS: u64 = 10;
    let index = worker.index();
    let stopped = || stop.load(Ordering::SeqCst);
    let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
        let (input, texts) = scope.new_input::<Vec<String>>();
        (input, texts.map(|text| text.len() as u64).exchange(|length| *length).probe().0)
    });
    for round in 1.. {
        for length in 0..500 {
            input.send("x".repeat(length));
        }
        input.advance_to(round);
        while probe.less_than(&round) && !stopped() {
            worker.step_or_park(None);
        }
        if stopped() {
            break;
        }
        if round == ROUNDS {
            running();
        }
        if round < ROUNDS || job == Job::Busy {
            continue;
        }
        match job {
            Job::Panic(who) if who == index => panic!("worker {who} was told to"),
            Job::Fail(who) if who == index => return Err("the disk is full".to_owned()),
            Job::Leave(who) if who == index => break,
            _ => {}
        }
        while !stopped() {
            worker.step_or_park(None);
        }
        break;
    }
    Ok((0, 0, 0))
}
