//! A run of the program that goes on while the test talks to it.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::workspace::{Ran, Workspace};

/// Nothing takes this long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Stream>,
    stderr: Stream,
}

/// What has come out of a pipe.
struct Stream {
    chunks: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Stream {
    fn of(from: impl Read + Send + 'static) -> Self {
        Self::through(from, |from| from)
    }

    fn unpacked(from: impl Read + Send + 'static) -> Self {
        // In the thread: it reads the first bytes at once.
        Self::through(from, flate2::read::MultiGzDecoder::new)
    }

    fn through<F: Send + 'static, R: Read + 'static>(from: F, filter: fn(F) -> R) -> Self {
        let (sender, chunks) = channel();
        thread::spawn(move || {
            let mut from = filter(from);
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                let _ = sender.send(chunk[..count].to_vec());
            }
        });
        Self { chunks, seen: Vec::new() }
    }

    /// Waits until what has come contains this.
    fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            match self.chunks.recv_timeout(PATIENCE) {
                Ok(chunk) => self.seen.extend(chunk),
                Err(_) => panic!("{text:?} never came, only {:?}", String::from_utf8_lossy(&self.seen)),
            }
        }
    }

    fn rest(mut self) -> String {
        while let Ok(chunk) = self.chunks.recv_timeout(PATIENCE) {
            self.seen.extend(chunk);
        }
        String::from_utf8(self.seen).unwrap()
    }
}

impl Running {
    pub(crate) fn start(workspace: &Workspace, args: &[&str]) -> Self {
        Self::start_with(workspace, args, &[])
    }

    /// The same with these environment variables.
    pub(crate) fn start_with(workspace: &Workspace, args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(workspace, args, variables, |stdout| Some(Stream::of(stdout)))
    }

    /// The same, with its output unpacked.
    pub(crate) fn start_packed(workspace: &Workspace, args: &[&str]) -> Self {
        Self::spawn(workspace, args, &[], |stdout| Some(Stream::unpacked(stdout)))
    }

    /// The same, with nobody to read its output.
    pub(crate) fn start_unread(workspace: &Workspace, args: &[&str]) -> Self {
        Self::spawn(workspace, args, &[], |stdout| {
            drop(stdout);
            None
        })
    }

    /// The same, with nobody who takes anything out of the pipe, which stays open as long as what is returned with it.
    pub(crate) fn start_stalled(workspace: &Workspace, args: &[&str]) -> (Self, ChildStdout) {
        let mut pipe = None;
        let running = Self::spawn(workspace, args, &[], |stdout| {
            pipe = Some(stdout);
            None
        });
        (running, pipe.unwrap())
    }

    fn spawn(
        workspace: &Workspace,
        args: &[&str],
        variables: &[(&str, &str)],
        output: impl FnOnce(ChildStdout) -> Option<Stream>,
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inflight"));
        command.args(args).current_dir(workspace.path()).envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = output(child.stdout.take().unwrap());
        let stderr = Stream::of(child.stderr.take().unwrap());
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Gives it input, in one piece.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stdin.as_mut().unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Hands out its input.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until its output so far contains this.
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.stdout.as_mut().unwrap().wait_for(text);
    }

    pub(crate) fn wait_for_stderr(&mut self, text: &str) {
        self.stderr.wait_for(text);
    }

    /// Sends `TERM`, `INT`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until SIGTERM no longer kills it.
    #[cfg(target_os = "linux")]
    pub(crate) fn wait_until_it_catches_signals(&self) {
        const TERMINATE: u64 = 1 << 14;
        wait_until("it catches signals", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            u64::from_str_radix(caught.trim(), 16).unwrap() & TERMINATE != 0
        });
    }

    /// Waits until it has this file open.
    #[cfg(target_os = "linux")]
    pub(crate) fn wait_until_it_opens(&self, name: &str) {
        wait_until("it opens the file", || {
            let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
            let mut open = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
            open.any(|path| path.ends_with(name))
        });
    }

    /// Whether it has ended by itself.
    #[cfg(all(feature = "kafka", target_os = "linux"))]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; its input stays as it is. A code of -1 is an end by a signal.
    pub(crate) fn end(mut self) -> Ran {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it hangs: {}", self.stderr.rest());
            }
            thread::sleep(Duration::from_millis(5));
        };
        let stdout = self.stdout.map_or_else(String::new, Stream::rest);
        Ran { code: status.code().unwrap_or(-1), stdout, stderr: self.stderr.rest() }
    }
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it never comes that {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
