//! A service with latency: a thread that answers each call when its time has come, to a tenth of a millisecond.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{Receiver, Sender, channel};

/// How long calls take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Latency {
    Constant(Duration),
    /// 99 of 100 take 2 ms, one takes 200 ms.
    Mix,
}

impl Latency {
    pub(crate) const fn of(self, record: u64) -> Duration {
        match self {
            Self::Constant(latency) => latency,
            // Spread over the records as if at random.
            Self::Mix if record.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 < (1 << 32) / 100 => {
                Duration::from_millis(200)
            }
            Self::Mix => Duration::from_millis(2),
        }
    }

    pub(crate) fn mean(self) -> Duration {
        match self {
            Self::Constant(latency) => latency,
            Self::Mix => Duration::from_micros(3980),
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Constant(latency) => format!("{} ms", latency.as_millis()),
            Self::Mix => "mix".into(),
        }
    }
}

/// Ends its thread when it is dropped.
pub(crate) struct Service {
    inbox: Arc<Inbox>,
}

#[derive(Default)]
struct Inbox {
    calls: Mutex<Calls>,
    arrived: Condvar,
}

#[derive(Default)]
struct Calls {
    new: Vec<Call>,
    closed: bool,
}

struct Call {
    due: Instant,
    latency: Duration,
    answer: Sender<()>,
}

impl Service {
    pub(crate) fn start() -> Arc<Self> {
        let inbox = Arc::<Inbox>::default();
        let theirs = Arc::clone(&inbox);
        thread::spawn(move || serve(&theirs));
        Arc::new(Self { inbox })
    }

    /// Resolves after `latency`.
    pub(crate) fn call(&self, latency: Duration) -> Receiver<()> {
        let (answer, answered) = channel();
        let call = Call { due: Instant::now() + latency, latency, answer };
        let was_empty = {
            let mut calls = self.inbox.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.new.push(call);
            calls.new.len() == 1
        };
        if was_empty {
            self.inbox.arrived.notify_one();
        }
        answered
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.inbox.calls.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.inbox.arrived.notify_one();
    }
}

fn serve(inbox: &Inbox) {
    // A FIFO per latency: there are at most two.
    let mut lines: Vec<(Duration, VecDeque<Call>)> = Vec::new();
    let mut new = Vec::new();
    loop {
        {
            let mut calls = inbox.calls.lock().unwrap_or_else(PoisonError::into_inner);
            while calls.new.is_empty() && !calls.closed && lines.iter().all(|(_, line)| line.is_empty()) {
                calls = inbox.arrived.wait(calls).unwrap_or_else(PoisonError::into_inner);
            }
            if calls.closed {
                return;
            }
            std::mem::swap(&mut new, &mut calls.new);
        }
        for call in new.drain(..) {
            match lines.iter_mut().find(|(latency, _)| *latency == call.latency) {
                Some((_, line)) => line.push_back(call),
                None => lines.push((call.latency, VecDeque::from([call]))),
            }
        }
        let now = Instant::now();
        for (_, line) in &mut lines {
            while let Some(call) = line.pop_front_if(|call| call.due <= now) {
                // A call that was given up needs no answer.
                let _ = call.answer.send(());
            }
        }
        thread::sleep(TICK);
    }
}

/// With what the kernel adds to a sleep, a tenth of a millisecond.
const TICK: Duration = Duration::from_micros(50);
