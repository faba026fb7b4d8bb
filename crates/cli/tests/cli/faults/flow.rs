//! A run of the program with a steady flow of records through it, watched from outside.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::story::Story;
use crate::running::{Running, wait_until};
use crate::workspace::Workspace;

/// Where the pipelines of these tests write to.
pub(super) const OUTPUT: &str = "out.jsonl";
pub(super) const DEAD_LETTERS: &str = "dead.jsonl";

const TICK: Duration = Duration::from_millis(5);

/// Records `{"n":0,"id":0}`, `{"n":1,"id":1}` and so on go in at a fixed rate, whatever comes out.
pub(super) struct Flow {
    running: Running,
    fault: Option<Fault>,
    seen: Arc<Seen>,
    feeder: Option<JoinHandle<()>>,
    watcher: JoinHandle<()>,
}

/// When the world misbehaved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) began: Instant,
    pub(super) ended: Option<Instant>,
}

/// What was seen so far.
#[derive(Default)]
pub(super) struct Seen {
    /// Records that went in.
    fed: AtomicU64,
    /// No more go in.
    enough: AtomicBool,
    over: AtomicBool,
    /// Most memory that was in use, in kB.
    peak: AtomicU64,
    /// How many records had come out, and when.
    out: Mutex<Vec<(Instant, u64)>>,
}

impl Flow {
    /// Starts `inflight run p.yaml`, whose source is standard input and whose sink the file [`OUTPUT`].
    pub(super) fn start(workspace: &Workspace, args: &[&str], variables: &[(&str, &str)], pace: Pace) -> Self {
        let mut flow = Self::of_file(workspace, args, variables);
        let (stdin, seen) = (flow.running.take_stdin(), Arc::clone(&flow.seen));
        flow.feeder = Some(thread::spawn(move || feed(stdin, &seen, pace.rate)));
        flow
    }

    /// The same for a pipeline with a source of its own.
    pub(super) fn of_file(workspace: &Workspace, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let running = Running::start_with(workspace, &[&["run", "p.yaml"], args].concat(), variables);
        let (seen, process) = (Arc::new(Seen::default()), running.id());
        let watcher = thread::spawn({
            let (seen, folder) = (Arc::clone(&seen), workspace.path().to_owned());
            move || watch(process, &folder, &seen)
        });
        Self { running, fault: None, seen, feeder: None, watcher }
    }

    /// Goes on for a while.
    pub(super) fn go_on(&self, time: Duration) {
        thread::sleep(time);
    }

    /// From now on the world misbehaves.
    pub(super) fn fault_begins(&mut self) {
        self.fault = Some(Fault { began: Instant::now(), ended: None });
    }

    /// From now on it does not.
    pub(super) fn fault_ends(&mut self) {
        let fault = self.fault.as_mut().unwrap();
        fault.ended = Some(Instant::now());
    }

    pub(super) fn wait_for_stderr(&mut self, text: &str) {
        self.running.wait_for_stderr(text);
    }

    /// Records that came out so far.
    pub(super) fn out(&self) -> u64 {
        self.seen.out.lock().unwrap().last().map_or(0, |(_, records)| *records)
    }

    pub(super) fn wait_until_out(&self, records: u64) {
        wait_until("so many records are out", || self.out() >= records);
    }

    pub(super) fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    /// Ends the input, and waits for the end of the run.
    pub(super) fn end(self) -> Story {
        self.seen.enough.store(true, Ordering::Relaxed);
        if let Some(feeder) = self.feeder {
            feeder.join().unwrap();
        }
        let ran = self.running.end();
        self.seen.over.store(true, Ordering::Relaxed);
        self.watcher.join().unwrap();
        let out = std::mem::take(&mut *self.seen.out.lock().unwrap());
        let (fed, peak_kb) = (self.seen.fed.load(Ordering::Relaxed), self.seen.peak.load(Ordering::Relaxed));
        Story { ran, fed, out, peak_kb, fault: self.fault }
    }
}

/// What is late is made up for: the source of a stream does not wait.
fn feed(mut stdin: ChildStdin, seen: &Seen, rate: u64) {
    let start = Instant::now();
    while !seen.enough.load(Ordering::Relaxed) {
        let due = start.elapsed().as_millis() as u64 * rate / 1000;
        let fed = seen.fed.load(Ordering::Relaxed);
        // Not all at once: a pipe that is full blocks until the end.
        let due = due.min(fed + rate / 10 + 1);
        let lines: String = (fed..due).map(record).collect();
        // A run that has failed reads no more.
        if stdin.write_all(lines.as_bytes()).is_err() {
            return;
        }
        seen.fed.store(due, Ordering::Relaxed);
        thread::sleep(TICK);
    }
}

/// The record of a number, as a line.
pub(super) fn record(n: u64) -> String {
    format!("{{\"n\":{n},\"id\":{n}}}\n")
}

/// Looks at the output and at the memory of the process, again and again.
fn watch(process: u32, folder: &Path, seen: &Seen) {
    loop {
        let is_last = seen.over.load(Ordering::Relaxed);
        let lines = |name: &str| lines(folder, name);
        let records = lines(OUTPUT) + lines(DEAD_LETTERS);
        let mut out = seen.out.lock().unwrap();
        if out.last().is_none_or(|(_, before)| *before != records) {
            out.push((Instant::now(), records));
        }
        drop(out);
        if let Some(peak) = peak_kb(process) {
            seen.peak.fetch_max(peak, Ordering::Relaxed);
        }
        if is_last {
            return;
        }
        thread::sleep(TICK);
    }
}

/// Lines of a file that grows and is given its name at the end.
fn lines(folder: &Path, name: &str) -> u64 {
    let partial: PathBuf = folder.join(format!("{name}.partial"));
    let bytes = std::fs::read(partial).or_else(|_| std::fs::read(folder.join(name))).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The most memory that a process had in use.
fn peak_kb(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}
