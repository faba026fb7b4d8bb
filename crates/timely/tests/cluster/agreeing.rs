//! Nothing happens to them.

use crate::jobs::{Job, NUMBERS, Share};
use crate::process::Process;
use crate::{hosts, layout};

const WORKERS: u64 = 2;

/// Every worker gets from every other; together they have everything once; all end well, and nobody is alarmed.
fn exchange_among(processes: usize) {
    let hosts = hosts(processes);
    let started: Vec<Process> =
        (0..processes).map(|process| Process::start(Job::Exchange, &layout(process, &hosts))).collect();
    let mut shares: Vec<Share> = Vec::new();
    for process in started {
        let ended = process.end();
        assert!(ended.alarms.is_empty(), "{:?}", ended.alarms);
        assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
        shares.extend(ended.result.expect("it succeeds"));
    }
    let workers = processes as u64 * WORKERS;
    let all = workers * NUMBERS;
    assert!(shares.iter().all(|(count, _, from)| *count == NUMBERS && *from as u64 == workers), "{shares:?}");
    assert_eq!(shares.len() as u64, workers);
    assert_eq!(shares.iter().map(|(_, sum, _)| sum).sum::<u64>(), all * (all - 1) / 2);
}

#[test]
fn two_processes_exchange() {
    exchange_among(2);
}

#[test]
fn three_processes_exchange() {
    exchange_among(3);
}
