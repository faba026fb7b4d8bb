//! What somebody sees of a circuit breaker who only knows when calls start and how they end.

use std::collections::VecDeque;

use inflight_core::BreakerOptions;

use crate::{Violation, ensure};

/// Calls are told by numbers that rise.
#[derive(Debug)]
pub(crate) struct Witness {
    options: BreakerOptions,
    /// It lets only probes through, or nothing.
    failing: bool,
    /// Calls from this number on have started since it opened or closed last. The others have no say.
    since: u64,
    /// Whether the latest calls were good, while it is closed.
    latest: VecDeque<bool>,
    probing: usize,
    good: usize,
}

impl Witness {
    pub(crate) const fn new(options: BreakerOptions) -> Self {
        Self { options, failing: false, since: 0, latest: VecDeque::new(), probing: 0, good: 0 }
    }

    pub(crate) fn call_starts(&mut self) -> Result<(), Violation> {
        if self.failing {
            self.probing += 1;
            let (out, most) = (self.probing + self.good, self.options.probes);
            ensure!(out <= most, "probes <= what was said", "{out} of {most}");
        }
        Ok(())
    }

    /// `failing`: whether it is not closed now; `next`: the number of the next call.
    pub(crate) fn call_ends(&mut self, call: u64, good: bool, failing: bool, next: u64) -> Result<(), Violation> {
        if !self.failing {
            if call >= self.since {
                self.latest.push_back(good);
                if self.latest.len() > self.options.window {
                    self.latest.pop_front();
                }
            }
            if failing {
                self.check_opens()?;
                self.opens(next);
            }
            return Ok(());
        }
        if call >= self.since && good {
            (self.probing, self.good) = (self.probing - 1, self.good + 1);
        } else if call >= self.since {
            self.opens(next);
        }
        if !failing {
            let (good, all) = (self.good, self.options.probes);
            ensure!(good >= all, "it closes when all probes were good", "{good} of {all}");
            (self.failing, self.since) = (false, next);
        }
        Ok(())
    }

    fn check_opens(&self) -> Result<(), Violation> {
        let (calls, least) = (self.latest.len(), self.options.min_calls);
        ensure!(calls >= least, "it opens after enough calls", "{calls} of {least}");
        let failed = self.latest.iter().filter(|good| !**good).count();
        let enough = failed as f64 / calls as f64 >= self.options.failure_rate;
        ensure!(enough, "it opens when enough failed", "{failed} of {calls}");
        Ok(())
    }

    fn opens(&mut self, next: u64) {
        (self.failing, self.since, self.probing, self.good) = (true, next, 0, 0);
        self.latest.clear();
    }
}
