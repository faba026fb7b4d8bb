//! The queue, with both checks around it: whatever is done with it is noted, judged by the rules and compared with the model.

use core::time::Duration;

use inflight_core::{
    Action, CallId, Completion, Config, Emit, Held, Open, Outcome, Progress, Queue, Snapshot, Stats, Time, Timestamp,
};

use crate::trace::Tracer;
use crate::{Checker, Input, Options, Output, Reference, Violation, ensure};

/// A queue under observation.
#[derive(Debug)]
pub struct Observed {
    queue: Queue<Input, Output>,
    options: Options,
    checker: Checker,
    model: Reference,
    pub(crate) tracer: Tracer,
    /// Calls made, over all lives.
    numbers: u64,
    /// When the queue said it would wake up, and what it was like then; nothing has been done with it since.
    asleep: Option<(Option<Time>, Stats)>,
}

/// What the queue says to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a call.
    Call {
        /// Its name.
        id: CallId,
        /// Its number, from 0.
        number: u64,
        /// Its records.
        inputs: Vec<Input>,
    },
    /// Stop a call.
    Cancel(CallId),
    /// Let go of a call.
    Forget(CallId),
    /// Nothing, until then.
    Idle(Option<Time>),
}

/// What a crash leaves: the snapshot, and what the checks knew when it was taken.
#[derive(Clone, Debug)]
pub struct Saved {
    snapshot: Snapshot<Input, Outcome<Output>>,
    checker: Checker,
}

/// What a new process makes of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restore {
    /// What is called again has all attempts and all the time.
    pub fresh: bool,
    /// Results are not kept: what was decided is called again.
    pub forgets: bool,
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Records that go on where they were.
    pub undecided: Vec<Input>,
    /// Records that have their outcome already.
    pub decided: Vec<Input>,
}

impl Observed {
    /// A new queue.
    ///
    /// # Errors
    /// If the configuration is refused.
    pub fn new(mut config: Config, options: Options) -> Result<Self, Violation> {
        config.mutant = options.mutant;
        let queue = Queue::new(config.clone());
        let Ok(queue) = queue else {
            return Err(Violation { rule: "a scenario is possible", what: format!("{queue:?}") });
        };
        Ok(Self {
            queue,
            options,
            checker: Checker::new(config.clone()),
            model: Reference::new(config, None),
            tracer: Tracer::new(options.trace),
            numbers: 0,
            asleep: None,
        })
    }

    /// A record arrives.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn record(&mut self, now: Time, key: u64, timestamp: Option<Timestamp>, input: Input) -> Result<(), Violation> {
        self.tracer.note(format_args!("{} record {input} key {key} {timestamp:?}", now.as_nanos()));
        self.queue.handle_record(now, key, timestamp, input);
        self.checker.record(now, key, timestamp, input, None);
        self.model.record(now, key, timestamp, input, Progress::default());
        self.compare(now)
    }

    /// A watermark arrives.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn watermark(&mut self, now: Time, at: Timestamp) -> Result<(), Violation> {
        self.tracer.note(format_args!("{} watermark {}", now.as_nanos(), at.0));
        self.queue.handle_watermark(at);
        self.checker.watermark(at);
        self.model.watermark(at);
        self.compare(now)
    }

    /// An idle status arrives.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn idle(&mut self, now: Time) -> Result<(), Violation> {
        self.tracer.note(format_args!("{} idle status", now.as_nanos()));
        self.queue.handle_idle();
        self.checker.idle();
        self.model.idle();
        self.compare(now)
    }

    /// The input ends.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn end(&mut self, now: Time) -> Result<(), Violation> {
        self.tracer.note(format_args!("{} end of input", now.as_nanos()));
        self.queue.handle_end();
        self.checker.end();
        self.model.end();
        self.compare(now)
    }

    /// The input ends, and there is not much time.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn drain(&mut self, now: Time, limit: Duration) -> Result<(), Violation> {
        self.tracer.note(format_args!("{} drain {limit:?}", now.as_nanos()));
        self.queue.handle_drain(now, limit);
        self.checker.drain(now, limit);
        self.model.drain(now, limit);
        self.compare(now)
    }

    /// A call ends.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn completion(&mut self, now: Time, call: CallId, completions: &[Completion<Output>]) -> Result<(), Violation> {
        self.tracer.note(format_args!("{} {call:?} completes {completions:?}", now.as_nanos()));
        self.queue.handle_completion(now, call, completions.iter().cloned());
        self.checker.completion(now, call, completions);
        self.model.completion(now, call, completions);
        self.compare(now)
    }

    /// A call has stopped.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn cancelled(&mut self, now: Time, call: CallId) -> Result<(), Violation> {
        self.tracer.note(format_args!("{} {call:?} has stopped", now.as_nanos()));
        self.queue.handle_cancelled(now, call);
        self.checker.cancelled(call);
        self.model.cancelled(now, call);
        self.compare(now)
    }

    /// More or fewer calls may be on the wire.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn set_concurrency(&mut self, now: Time, concurrency: usize) -> Result<(), Violation> {
        self.tracer.note(format_args!("{} concurrency {concurrency}", now.as_nanos()));
        self.queue.set_concurrency(concurrency);
        self.checker.set_concurrency(concurrency);
        self.model.set_concurrency(concurrency);
        self.compare(now)
    }

    /// The next thing to do, for a host that has handed in everything that had happened by `heard`.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn poll(&mut self, now: Time, heard: Time) -> Result<Step, Violation> {
        let asleep = self.asleep.take();
        let action = self.queue.poll_heard(now, heard, &mut Open);
        let inputs: Vec<Input> =
            if let Action::Call(id) = action { self.queue.inputs(id).copied().collect() } else { Vec::new() };
        self.tracer.note(format_args!("{} poll: {action:?} {inputs:?}", now.as_nanos()));
        if self.options.rules {
            self.checker.polled(now, heard);
            if let Some((wake_at, stats)) = asleep {
                self.slept_well((now, heard), action, wake_at, &stats)?;
            }
        }
        let step = match action {
            Action::Call(id) => {
                let number = self.numbers;
                self.numbers += 1;
                if self.options.rules {
                    self.checker.call(now, id, &inputs)?;
                }
                Step::Call { id, number, inputs: inputs.clone() }
            }
            Action::Cancel(id) => {
                self.judge(|checker| checker.cancel(id))?;
                Step::Cancel(id)
            }
            Action::Forget(id) => {
                self.judge(|checker| checker.forget(now, id))?;
                Step::Forget(id)
            }
            Action::Idle { wake_at } => {
                self.judge(|checker| checker.idle_until(now, heard, wake_at))?;
                Step::Idle(wake_at)
            }
        };
        if self.options.model {
            self.model.poll(now, action, &inputs)?;
        }
        self.compare(now)?;
        if let Action::Idle { wake_at } = action {
            self.asleep = Some((wake_at, self.queue.stats()));
        }
        Ok(step)
    }

    /// Before the time to wake up nothing happens; at it something does.
    fn slept_well(
        &self,
        (now, heard): (Time, Time),
        action: Action,
        wake_at: Option<Time>,
        before: &Stats,
    ) -> Result<(), Violation> {
        let stats = Stats { timers: before.timers, ..self.queue.stats() };
        if wake_at.is_none_or(|at| now < at) {
            let quiet = action == Action::Idle { wake_at } && stats == *before;
            ensure!(quiet, "nothing happens before wake_at", "{action:?} at {now:?}, before {wake_at:?}");
        } else if wake_at.is_some_and(|at| heard >= at) {
            let reason = !matches!(action, Action::Idle { .. }) || stats != *before;
            ensure!(reason, "a wake-up has a reason", "nothing to do at {now:?}");
        }
        Ok(())
    }

    /// The next thing to leave.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn emit(&mut self, now: Time) -> Result<Option<Emit<Input, Output>>, Violation> {
        let emit = self.queue.emit();
        self.tracer.note(format_args!("{} emit: {emit:?}", now.as_nanos()));
        if emit.is_some() {
            self.asleep = None;
        }
        self.judge(|checker| checker.emitted(emit.as_ref()))?;
        if self.options.model {
            self.model.emit(emit.as_ref())?;
        }
        let asleep = self.asleep.take();
        self.compare(now)?;
        self.asleep = asleep;
        Ok(emit)
    }

    /// Takes a snapshot. It changes nothing.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn snapshot(&mut self, now: Time) -> Result<Saved, Violation> {
        let snapshot = self.queue.snapshot(now);
        let elements = snapshot.elements.into_iter().map(|element| match element {
            Held::Record { input, timestamp, progress } => Held::Record { input: *input, timestamp, progress },
            Held::Decided { input, timestamp, outcome, attempts, elapsed } => {
                Held::Decided { input: *input, timestamp, outcome: outcome.clone(), attempts, elapsed }
            }
            Held::Watermark(at) => Held::Watermark(at),
            Held::Idle => Held::Idle,
        });
        let snapshot = Snapshot { watermark: snapshot.watermark, elements: elements.collect() };
        self.tracer.note(format_args!("{} {snapshot:?}", now.as_nanos()));
        self.judge(|checker| checker.snapshot(&snapshot))?;
        if self.options.model {
            let model = self.model.snapshot(now);
            ensure!(snapshot == model, "model: snapshot", "{snapshot:?} instead of {model:?}");
        }
        Ok(Saved { snapshot, checker: self.checker.clone() })
    }

    /// The process dies, and a new one goes on from a snapshot.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn crash(
        &mut self,
        now: Time,
        saved: Saved,
        mut config: Config,
        restore: Restore,
        key: impl Fn(Input) -> u64,
    ) -> Result<Restored, Violation> {
        self.tracer.note(format_args!("{} crash; goes on with {config:?}, {restore:?}", now.as_nanos()));
        config.mutant = self.options.mutant;
        let watermark = saved.snapshot.watermark;
        let queue = Queue::resume(config.clone(), watermark);
        let Ok(queue) = queue else {
            return Err(Violation { rule: "a scenario is possible", what: format!("{queue:?}") });
        };
        self.queue = queue;
        self.checker = saved.checker.restored(config.clone(), watermark);
        self.model = Reference::new(config, watermark);
        self.asleep = None;
        let mut restored = Restored::default();
        for element in saved.snapshot.elements {
            match if restore.forgets { forget(element) } else { element } {
                Held::Watermark(at) => self.watermark(now, at)?,
                Held::Idle => self.idle(now)?,
                Held::Record { input, timestamp, progress } => {
                    let progress = if restore.fresh { Progress::default() } else { progress };
                    self.queue.handle_restored(now, key(input), timestamp, input, progress);
                    self.checker.record(now, key(input), timestamp, input, Some(progress));
                    self.model.record(now, key(input), timestamp, input, progress);
                    restored.undecided.push(input);
                }
                Held::Decided { input, timestamp, outcome, attempts, elapsed } => {
                    let (key, theirs) = (key(input), outcome.clone());
                    self.queue.handle_decided(now, key, timestamp, input, theirs, attempts, elapsed);
                    self.checker.record_decided((now, elapsed), key, timestamp, input, outcome.clone(), attempts);
                    self.model.record_decided((now, elapsed), key, timestamp, input, outcome, attempts);
                    restored.decided.push(input);
                }
            }
            self.compare(now)?;
        }
        Ok(restored)
    }

    /// Whether another element may be handed in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// The queue's own counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.queue.stats()
    }

    /// What the queue was told.
    #[must_use]
    pub const fn config(&self) -> &Config {
        self.queue.config()
    }

    fn judge(&mut self, rule: impl FnOnce(&mut Checker) -> Result<(), Violation>) -> Result<(), Violation> {
        if self.options.rules { rule(&mut self.checker) } else { Ok(()) }
    }

    /// After every step: the counts are those the checks have.
    fn compare(&mut self, _now: Time) -> Result<(), Violation> {
        self.asleep = None;
        let stats = self.queue.stats();
        if self.options.rules {
            self.checker.stats(&stats, self.queue.has_room())?;
        }
        if self.options.model {
            let model = Stats { timers: stats.timers, ..self.model.stats() };
            ensure!(stats == model, "model: stats", "{stats:?} instead of {model:?}");
        }
        Ok(())
    }
}

/// What a host without room for results stores of a record that is decided: its last attempt counts as cut short.
fn forget(held: Held<Input, Outcome<Output>>) -> Held<Input, Outcome<Output>> {
    match held {
        Held::Decided { input, timestamp, attempts, .. } => {
            let progress = Progress { attempts: attempts.saturating_sub(1), remaining: None };
            Held::Record { input, timestamp, progress }
        }
        other => other,
    }
}
