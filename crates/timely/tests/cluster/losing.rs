//! Something is lost: everyone else ends, and names it.

use std::time::Duration;

use inflight_timely::cluster::Layout;

use crate::jobs::Job;
use crate::process::Process;
use crate::{hosts, layout};

const SECOND: Duration = Duration::from_secs(1);

fn start(jobs: &[Job]) -> Vec<Process> {
    let hosts = hosts(jobs.len());
    let start = |(process, job): (usize, &Job)| {
        Process::start(*job, &Layout { silent_after: SECOND * 5, ..layout(process, &hosts) })
    };
    jobs.iter().enumerate().map(start).collect()
}

fn kill(victim: usize, job: Job) {
    let mut processes = start(&[job; 3]);
    processes.iter().for_each(Process::wait_until_running);
    processes.remove(victim).kill();
    for process in processes {
        process.end().says(&format!("lost process {victim} (127."));
    }
}

#[test]
fn a_process_is_killed_while_all_are_idle() {
    kill(1, Job::Idle);
}

#[test]
fn a_process_is_killed_while_all_are_busy() {
    kill(2, Job::Busy);
}

#[test]
fn the_first_process_is_killed() {
    kill(0, Job::Busy);
}

fn hang(job: Job) {
    let hosts = hosts(3);
    let short = |process| Layout { silent_after: SECOND, ..layout(process, &hosts) };
    let mut processes: Vec<Process> = (0..3).map(|process| Process::start(job, &short(process))).collect();
    processes.iter().for_each(Process::wait_until_running);
    let hanging = processes.remove(1);
    hanging.stop();
    for process in processes {
        process.end().says("lost process 1 (127.");
    }
    // It wakes up in a world that has gone on without it.
    hanging.resume();
    let ended = hanging.end();
    assert!(ended.result.is_err(), "{ended:?}");
}

#[test]
fn a_process_hangs_while_all_are_idle() {
    hang(Job::Idle);
}

#[test]
fn a_process_hangs_while_all_are_busy() {
    hang(Job::Busy);
}

#[test]
fn a_worker_panics() {
    let mut processes = start(&[Job::Idle, Job::Panic(3), Job::Idle]);
    let panicking = processes.remove(1).end();
    panicking.says("worker 3 panicked: worker 3 was told to");
    assert_eq!(
        panicking.errors.matches("panicked at").count(),
        1,
        "its own panic is on the screen: {}",
        panicking.errors
    );
    for process in processes {
        let ended = process.end();
        ended.says("worker 3 panicked: worker 3 was told to");
        assert!(!ended.errors.contains("panicked at"), "{}", ended.errors);
    }
}

#[test]
fn a_worker_fails() {
    for process in start(&[Job::Fail(1), Job::Idle]) {
        process.end().says("worker 1 failed: the disk is full");
    }
}

#[test]
fn a_worker_leaves_before_its_time() {
    for process in start(&[Job::Idle, Job::Leave(2)]) {
        process.end().says("worker 2 failed: it left its dataflows unfinished");
    }
}
