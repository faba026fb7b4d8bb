//! A system that is away is waited for, and whoever runs the program is told: once why, and once that it goes on.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inflight_connectors::{Error, ErrorKind};

use crate::summary::short;
use crate::tell::tell;
use crate::variables::Secrets;

/// Pauses between attempts to open a system: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What is told when calls are given up without a word of the system.
const SILENCE: &str = "there is no answer in time";

/// Whether a system is waited for.
pub(super) struct Outage {
    /// ``look-up `user` ``, ``sink``.
    who: String,
    secrets: Secrets,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the wait that was told of began.
    since: Option<Instant>,
    /// Workers that cannot open it.
    unopened: usize,
    /// The last failure of a call, if no call has been answered since.
    why: Option<String>,
    /// When it was last renewed.
    renewed: Option<Instant>,
}

impl Outage {
    pub(super) fn new(who: String, secrets: &Secrets) -> Self {
        Self { who, secrets: secrets.clone(), state: Mutex::default() }
    }

    /// The system of these steps.
    pub(super) fn of_steps(names: &[&str], secrets: &Secrets) -> Self {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let plural = if names.len() == 1 { "" } else { "s" };
        Self::new(format!("look-up{plural} {}", names.join(", ")), secrets)
    }

    /// Follows a call to its end, or until it is given up.
    pub(super) fn follow(&self) -> Followed<'_> {
        Followed { outage: self, has_ended: false }
    }

    /// Nothing is asked any more, or it is again; told when it is news.
    pub(super) fn is(&self, away: bool) {
        let mut state = self.state();
        if away && state.since.is_none() {
            let why = state.why.clone().unwrap_or_else(|| SILENCE.to_owned());
            self.begins(&mut state, &why);
        } else if !away && state.unopened == 0 {
            self.ends(&mut state);
        }
    }

    /// Opens the system, however long that takes, unless it fails for another reason than that it is away.
    pub(super) async fn outlasts<T, F>(&self, open: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (mut pause, longest) = PAUSES;
        let mut unopened = None;
        loop {
            match open().await {
                Err(error) if error.is_retryable() => {
                    unopened.get_or_insert_with(|| Unopened::one_more(self));
                    self.begins(&mut self.state(), &error.to_string());
                }
                Ok(opened) => {
                    drop(unopened);
                    self.is(false);
                    return Ok(opened);
                }
                refused => return refused,
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// The same on a thread, for what cannot be reached.
    pub(super) fn outlasts_blocking<T>(&self, mut open: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let (mut pause, longest) = PAUSES;
        loop {
            match open() {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    self.begins(&mut self.state(), &error.to_string());
                }
                Ok(opened) => {
                    self.is(false);
                    return Ok(opened);
                }
                refused => return refused,
            }
            std::thread::sleep(pause);
            pause = longest.min(pause * 2);
        }
    }

    /// Renews what was lost, for this reason, however long that takes, unless it fails for another reason than that it is away.
    ///
    /// # Errors
    /// The reason of the loss when it cannot be renewed.
    pub(super) fn outlasts_loss(
        &self,
        lost: Error,
        mut renew: impl FnMut() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let (mut pause, longest) = PAUSES;
        if self.state().renewed.is_some_and(|renewed| renewed.elapsed() < longest) {
            // It is lost as soon as it is there.
            pause = longest;
            std::thread::sleep(pause);
        }
        loop {
            let renewed = match renew() {
                Ok(true) => true,
                Ok(false) => return Err(lost),
                Err(error) if error.is_retryable() => false,
                Err(refused) => return Err(refused),
            };
            let mut state = self.state();
            self.begins(&mut state, &lost.to_string());
            if renewed {
                state.renewed = Some(Instant::now());
                self.ends(&mut state);
                return Ok(());
            }
            drop(state);
            std::thread::sleep(pause);
            pause = longest.min(pause * 2);
        }
    }

    fn begins(&self, state: &mut State, why: &str) {
        if state.since.is_none() {
            state.since = Some(Instant::now());
            tell(&self.secrets.hide(&format!("{} waits: {why}\n", self.who)));
        }
    }

    fn ends(&self, state: &mut State) {
        if let Some(since) = state.since.take() {
            tell(&format!("{} goes on after {}\n", self.who, short(since.elapsed())));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that cannot open the system.
struct Unopened<'a>(&'a Outage);

impl<'a> Unopened<'a> {
    fn one_more(outage: &'a Outage) -> Self {
        outage.state().unopened += 1;
        Self(outage)
    }
}

impl Drop for Unopened<'_> {
    fn drop(&mut self) {
        self.0.state().unopened -= 1;
    }
}

/// A call under way.
pub(super) struct Followed<'a> {
    outage: &'a Outage,
    has_ended: bool,
}

impl Followed<'_> {
    /// It has ended: well, or with this.
    pub(super) fn ended(mut self, failure: Option<&Error>) {
        self.has_ended = true;
        let mut state = self.outage.state();
        if failure.is_some() || state.why.is_some() {
            state.why = failure.map(Error::to_string);
        }
    }
}

impl Drop for Followed<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.outage.state().why = Some(SILENCE.to_owned());
        }
    }
}
