//! The processes that were started together.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::ground::{Ground, PIPELINE, told};
use super::plan::Layout;

const KILLED: i32 = 9;

/// The processes that were started together. Those that are left are killed when this is dropped.
pub(super) struct Set {
    members: Vec<Member>,
    began: Instant,
}

struct Member {
    child: Child,
    /// Where its words go.
    said: PathBuf,
    status: Option<ExitStatus>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Well,
    /// By itself, and not well.
    Badly,
    /// By the signal that cannot be caught.
    Killed,
}

impl Set {
    /// Starts the pipeline of this folder on so many processes; `start` is for the names of the files of their words.
    pub(super) fn start(ground: &Ground, folder: &Path, layout: Layout, start: usize) -> Result<Self, String> {
        let mut set = Self { members: Vec::new(), began: Instant::now() };
        for process in 0..layout.processes {
            let said = folder.join(format!("said-{start}-{process}"));
            let words = File::create(&said).map_err(told(&said))?;
            let mut program = ground.program(folder);
            program.args(["run", PIPELINE, "--workers", &layout.workers.to_string()]);
            program.args(["--process", &process.to_string()]);
            program.stdout(Stdio::null()).stderr(words);
            let child = program.spawn().map_err(|error| format!("the program cannot be started: {error}"))?;
            set.members.push(Member { child, said, status: None });
        }
        Ok(set)
    }

    /// Since the start.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Looks who has ended; whether all have.
    pub(super) fn have_ended(&mut self) -> bool {
        for member in self.members.iter_mut().filter(|member| member.status.is_none()) {
            member.status = member.child.try_wait().ok().flatten();
        }
        self.members.iter().all(|member| member.status.is_some())
    }

    /// The processes that have not ended.
    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|process| self.members[*process].status.is_none()).collect()
    }

    pub(super) fn kill(&mut self, process: usize) -> Result<(), String> {
        self.members[process].child.kill().map_err(|error| format!("process {process} cannot be killed: {error}"))
    }

    /// How each has ended, as far as it has.
    pub(super) fn ends(&self) -> Vec<Option<End>> {
        let end = |status: ExitStatus| match status.signal() {
            Some(KILLED) => End::Killed,
            _ if status.success() => End::Well,
            _ => End::Badly,
        };
        self.members.iter().map(|member| member.status.map(end)).collect()
    }

    /// What a process has said.
    pub(super) fn said(&self, process: usize) -> String {
        fs::read(&self.members[process].said)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How each stands, and its last words.
    pub(super) fn told(&self) -> String {
        let told = |(process, member): (usize, &Member)| {
            let end = member.status.map_or_else(|| "still running".to_owned(), |status| status.to_string());
            format!("\n  process {process}: {end}: {}", self.said(process).trim_end().replace('\n', "\n    "))
        };
        self.members.iter().enumerate().map(told).collect()
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn set(scripts: &[&str], folder: &Path) -> Set {
        let member = |(process, script): (usize, &&str)| {
            let said = folder.join(format!("said-{process}"));
            let child = Command::new("sh").args(["-c", script]).stderr(File::create(&said).unwrap()).spawn().unwrap();
            Member { child, said, status: None }
        };
        Set { members: scripts.iter().enumerate().map(member).collect(), began: Instant::now() }
    }

    #[test]
    fn ends_are_told_apart_and_nobody_is_left() {
        let folder = std::env::temp_dir().join(format!("inflight-set-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut set =
            set(&["exit 0", "echo lost process 2 >&2; exit 1", "exec sleep 1000", "exec sleep 1000"], &folder);
        set.kill(2).unwrap();
        while set.running() != [3] {
            assert!(!set.have_ended());
            std::thread::yield_now();
        }
        assert_eq!(set.ends(), [Some(End::Well), Some(End::Badly), Some(End::Killed), None]);
        assert_eq!(set.said(1), "lost process 2\n");
        assert!(
            set.told().contains("process 1: exit status: 1: lost process 2\n  process 2: signal: 9"),
            "{}",
            set.told()
        );
        let last = set.members[3].child.id();
        drop(set);
        assert!(
            !Command::new("kill").args(["-0", &last.to_string()]).stderr(Stdio::null()).status().unwrap().success()
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
