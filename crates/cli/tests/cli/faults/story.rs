//! What came of a flow: what the user saw, and whether it is what should be seen.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::flow::{DEAD_LETTERS, Fault, OUTPUT};
use super::pace::FIGURES;
use super::proxy::Call;
use crate::workspace::{Ran, Workspace, json_lines};

/// More than a run of these pipelines ever needs, however long a server is away.
const MEMORY_MAX_KB: u64 = 96 * 1024;
/// Calls for a record.
const CALLS_PER_RECORD: f64 = 1.2;
/// Calls besides in any second: what the retry budget gives to those who have nothing, and the probes of the breaker.
const CALLS_BESIDES: usize = 24;
/// What counts as the throughput of before.
const RECOVERED: f64 = 0.95;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Story {
    pub(super) ran: Ran,
    pub(super) fed: u64,
    pub(super) out: Vec<(Instant, u64)>,
    pub(super) peak_kb: u64,
    pub(super) fault: Option<Fault>,
}

impl Story {
    /// The run came to its end by itself, and each record that went in came out once, in order, with its own answer.
    pub(super) fn each_record_is_enriched_once(&self, workspace: &Workspace) {
        assert_eq!(self.ran.code, 0, "{:?}", self.ran);
        let letters = if workspace.has(DEAD_LETTERS) { workspace.read(DEAD_LETTERS) } else { String::new() };
        assert!(letters.is_empty(), "{letters}{:?}", self.ran);
        each_record_is_there_once(workspace, self.fed);
    }

    /// Nobody is asked much more often than there is something to ask, in no second of the run.
    pub(super) fn calls_are_few(&self, calls: &[Call]) {
        let first = first_calls(calls);
        for (from, call) in calls.iter().enumerate() {
            let until = calls.partition_point(|other| other.at < call.at + SECOND);
            let firsts = (from..until).filter(|at| first[*at]).count();
            let most = (firsts as f64 * CALLS_PER_RECORD) as usize + CALLS_BESIDES;
            assert!(until - from <= most, "{} calls in a second, {firsts} of them first ones", until - from);
        }
        let records = first.iter().filter(|first| **first).count();
        let most = (records as f64 * CALLS_PER_RECORD) as usize + CALLS_BESIDES;
        assert!(calls.len() <= most, "{} calls for {records} records", calls.len());
    }

    pub(super) fn memory_is_bounded(&self) {
        assert!((1..=MEMORY_MAX_KB).contains(&self.peak_kb), "{} kB", self.peak_kb);
    }

    /// None of these is in anything the program has written.
    pub(super) fn secrets_are_nowhere(&self, workspace: &Workspace, secrets: &[&str]) {
        let mut texts =
            vec![("stdout".to_owned(), self.ran.stdout.clone()), ("stderr".to_owned(), self.ran.stderr.clone())];
        written(workspace.path(), &mut texts);
        for (place, text) in &texts {
            for secret in secrets {
                assert!(!text.contains(secret), "a secret is in {place}: {text}");
            }
        }
    }

    /// What the user reads on standard error, each of it once.
    pub(super) fn says_once(&self, texts: &[&str]) {
        for text in texts {
            assert_eq!(self.ran.stderr.matches(text).count(), 1, "{text:?}: {:?}", self.ran);
        }
    }

    /// A row of the table of figures, if one is asked for.
    pub(super) fn tell(&self, fault: &str, workspace: &Workspace, calls: &[Call]) {
        let Some(figures) = std::env::var_os(FIGURES) else { return };
        let count = |of: &[u64]| (of.len(), of.iter().collect::<HashSet<_>>().len());
        let there = [numbers(workspace, OUTPUT), dead_letters(workspace)].concat();
        let (all, distinct) = count(&there);
        let lost = self.fed.saturating_sub(distinct as u64);
        let back = self.seconds_until_recovered().map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1}"));
        let row = format!(
            "| {fault} | {} | {lost} | {} | {:.2} | {back} | {:.0} |\n",
            self.sees(),
            all - distinct,
            worst_second(calls),
            self.peak_kb as f64 / 1024.0
        );
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(figures).unwrap();
        file.write_all(row.as_bytes()).unwrap();
    }

    /// What is said about the fault.
    fn sees(&self) -> String {
        let said = self.ran.stderr.lines().filter(|line| line.starts_with("look-up `") || line.starts_with("error: "));
        let said: Vec<String> = said.map(|line| line.replace('|', "/")).collect();
        if said.is_empty() { "nothing".to_owned() } else { said.join("<br>") }
    }

    /// From the end of the fault until a second begins in which as many records come out as before.
    fn seconds_until_recovered(&self) -> Option<f64> {
        let Fault { began, ended } = self.fault?;
        let ended = ended?;
        let out_by = |moment: Instant| match self.out.partition_point(|(at, _)| *at <= moment) {
            0 => 0,
            looks => self.out[looks - 1].1,
        };
        let start = self.out.iter().find(|(_, records)| *records > 0)?.0;
        let before = out_by(began) as f64 / began.saturating_duration_since(start).as_secs_f64().max(0.1);
        let last = self.out.last()?.0;
        let mut from = ended;
        while from + SECOND <= last {
            if (out_by(from + SECOND) - out_by(from)) as f64 >= RECOVERED * before {
                return Some((from - ended).as_secs_f64());
            }
            from += SECOND / 20;
        }
        None
    }
}

/// Each of so many records came out once, in order, with its own answer.
pub(super) fn each_record_is_there_once(workspace: &Workspace, records: u64) {
    let there = numbers(workspace, OUTPUT);
    let wrong = there.iter().zip(0..).find(|(there, n)| **there != *n);
    assert!(wrong.is_none() && there.len() as u64 == records, "{} of {records} records; {wrong:?}", there.len());
    for record in json_lines(&workspace.read(OUTPUT)) {
        assert_eq!(record["user"]["name"], format!("u{}", record["n"]), "{record}");
    }
}

/// The numbers of the records in a file.
fn numbers(workspace: &Workspace, name: &str) -> Vec<u64> {
    let records = if workspace.has(name) { json_lines(&workspace.read(name)) } else { Vec::new() };
    let number = |record: &Value| record["n"].as_u64().or_else(|| record["record"]["n"].as_u64()).unwrap();
    records.iter().map(number).collect()
}

pub(super) fn dead_letters(workspace: &Workspace) -> Vec<u64> {
    numbers(workspace, DEAD_LETTERS)
}

/// Of each call, whether it is the first that asks this.
fn first_calls(calls: &[Call]) -> Vec<bool> {
    let mut seen = HashMap::new();
    calls.iter().map(|call| seen.insert(call.asks, ()).is_none()).collect()
}

/// Most calls for a record in any second in which many were asked for.
fn worst_second(calls: &[Call]) -> f64 {
    const MANY: usize = 100;
    let ratios = calls.iter().enumerate().filter_map(|(from, call)| {
        let until = calls.partition_point(|other| other.at < call.at + SECOND);
        let asked: HashSet<u64> = calls[from..until].iter().map(|call| call.asks).collect();
        (asked.len() >= MANY).then(|| (until - from) as f64 / asked.len() as f64)
    });
    ratios.fold(1.0, f64::max)
}

/// All files in a folder and those below, but for the input and the pipeline.
fn written(folder: &std::path::Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            written(&path, texts);
        } else {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            texts.push((path.display().to_string(), text));
        }
    }
}
