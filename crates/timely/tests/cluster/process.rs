//! Processes of the test's own program that run a job.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use inflight_timely::cluster::Layout;
use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;
use crate::jobs::{Job, Share, run};

/// What a process is told to do; set for those that tests start.
const TASK: &str = "INFLIGHT_CLUSTER_TEST_TASK";
/// What lines for the test begin with; the test runner writes others.
const MARK: char = '@';

/// A process that runs a job; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What its workers returned, or the error.
    pub(crate) result: Result<Vec<Share>, String>,
    /// What it was alarmed of.
    pub(crate) alarms: Vec<String>,
    /// What it wrote to standard error.
    pub(crate) errors: String,
}

impl Process {
    pub(crate) fn start(job: Job, layout: &Layout) -> Self {
        Self::start_with(Command::new(program()), job, layout)
    }

    /// The command is one that ends with the name of this program.
    pub(crate) fn start_with(mut command: Command, job: Job, layout: &Layout) -> Self {
        let Layout { workers, process, hosts, connect_within, silent_after } = layout;
        let times = [connect_within, silent_after].map(|time| time.as_millis().to_string()).join(" ");
        let mut task = String::new();
        let (kind, who) = match job {
            Job::Exchange => ("exchange", 0),
            Job::Idle => ("idle", 0),
            Job::Busy => ("busy", 0),
            Job::Panic(who) => ("panic", who),
            Job::Fail(who) => ("fail", who),
            Job::Leave(who) => ("leave", who),
        };
        write!(task, "{kind} {who} {workers} {process} {times} {}", hosts.join(",")).expect("a text");
        command
            .args(["--exact", "process::runs_a_task", "--ignored", "--nocapture", "--test-threads=1"])
            .env(TASK, task);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some((_, line)) = line.split_once(MARK) {
                    let _ = send.send(line.to_owned());
                }
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Self { child, lines, errors: Some(errors) }
    }

    /// Until it exchanges records with all others.
    pub(crate) fn wait_until_running(&self) {
        let line = self.lines.recv_timeout(PATIENCE).expect("it runs");
        assert_eq!(line, "running");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
    }

    pub(crate) fn stop(&self) {
        kill_process(self.id(), Signal::STOP).expect("it can be stopped");
    }

    pub(crate) fn resume(&self) {
        kill_process(self.id(), Signal::CONT).expect("it can be resumed");
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Until it has ended by itself.
    pub(crate) fn end(mut self) -> Ended {
        let (mut alarms, mut result) = (Vec::new(), None);
        while result.is_none() {
            let line = self.lines.recv_timeout(PATIENCE).expect("it ends, and says how");
            match line.split_once(' ') {
                Some(("alarm", what)) => alarms.push(what.to_owned()),
                Some(("error", what)) => result = Some(Err(what.to_owned())),
                Some(("share", shares)) => result = Some(Ok(shares.split(';').map(parse_share).collect())),
                _ => assert_eq!(line, "running"),
            }
        }
        let status = self.child.wait().expect("it ends");
        let errors = self.errors.take().expect("not taken").join().expect("it reads");
        assert!(status.success(), "{status}: {errors}");
        Ended { result: result.expect("it was awaited"), alarms, errors }
    }
}

impl Ended {
    /// It failed, and this stands in the error, the alarm was raised once, and nothing spilled over.
    pub(crate) fn says(&self, what: &str) {
        let error = self.result.as_ref().expect_err("it fails");
        assert!(error.contains(what), "{error:?} does not say {what:?}");
        assert_eq!(self.alarms, std::slice::from_ref(error), "the alarm is the error");
        assert!(!self.errors.contains("timely communication error"), "{}", self.errors);
        assert!(!self.errors.contains("poisoned"), "{}", self.errors);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn program() -> std::path::PathBuf {
    std::env::current_exe().expect("its own path")
}

fn parse_share(share: &str) -> Share {
    let numbers: Vec<u64> = share.split(' ').map(|number| number.parse().expect("a number")).collect();
    (numbers[0], numbers[1], numbers[2] as usize)
}

#[test]
#[ignore = "what the other tests start as a process"]
fn runs_a_task() {
    let Ok(task) = std::env::var(TASK) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let [kind, who, workers, process, connect_within, silent_after, hosts] = words[..] else { panic!("{task:?}") };
    let number = |word: &str| word.parse::<usize>().expect("a number");
    let milliseconds = |word: &str| Duration::from_millis(word.parse().expect("a number"));
    let job = match kind {
        "exchange" => Job::Exchange,
        "idle" => Job::Idle,
        "busy" => Job::Busy,
        "panic" => Job::Panic(number(who)),
        "fail" => Job::Fail(number(who)),
        "leave" => Job::Leave(number(who)),
        _ => panic!("{kind:?}"),
    };
    let layout = Layout {
        workers: number(workers),
        process: number(process),
        hosts: hosts.split(',').map(str::to_owned).collect(),
        connect_within: milliseconds(connect_within),
        silent_after: milliseconds(silent_after),
    };
    let result = run(job, &layout, "a test", |lost| println!("{MARK}alarm {lost}"), || println!("{MARK}running"));
    match result {
        Ok(shares) => {
            let shares: Vec<String> = shares.iter().map(|(count, sum, from)| format!("{count} {sum} {from}")).collect();
            println!("{MARK}share {}", shares.join(";"));
        }
        Err(error) => println!("{MARK}error {error}"),
    }
}
