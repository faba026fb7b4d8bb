//! The look-up itself: keys in, answers out, one call.

use std::sync::Arc;
use std::time::Instant;

use inflight::{BatchFunction, BatchResult, Cancellation};
use inflight_connectors::{Answer, Error, Key};

use super::key::{Asked, Found};
use super::system::System;
use crate::pipeline::Step;
use crate::run::shared::Shared;

/// Asks a system that is opened first.
pub(super) struct Asking {
    step: Arc<Step>,
    /// None before it is opened.
    system: Option<System>,
    shared: Arc<Shared>,
}

impl Asking {
    pub(super) const fn new(step: Arc<Step>, shared: Arc<Shared>) -> Self {
        Self { step, system: None, shared }
    }
}

impl BatchFunction<Asked> for Asking {
    type Output = Found;
    type Error = Error;

    async fn open(&mut self) -> Result<(), Error> {
        self.system = Some(self.shared.outage.outlasts(|| System::open(&self.step)).await?);
        Ok(())
    }

    async fn invoke(&self, keys: Vec<Asked>) -> BatchResult<Found, Error> {
        // Nothing is asked before it is opened.
        let Some(system) = &self.system else { return Ok(Vec::new()) };
        let keys = keys.iter().map(|key| Key::clone(key)).collect();
        let start = Instant::now();
        let followed = self.shared.outage.follow();
        let answers = system.ask(keys).await;
        followed.ended(failure(&answers));
        self.shared.calls.ended(start.elapsed());
        answers
    }

    fn cancellation(&self) -> Cancellation {
        System::cancellation(&self.step.lookup)
    }
}

/// Why the call failed, or, where each key has an answer of its own, the first of them that did.
fn failure(answers: &Result<Vec<Answer>, Error>) -> Option<&Error> {
    match answers {
        Ok(answers) => answers.iter().find_map(|answer| answer.as_ref().err()),
        Err(error) => Some(error),
    }
}
