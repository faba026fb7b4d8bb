//! The proof of recovery: the whole pipeline of `inflight-timely`, with its sources, workers, sink, writer and checkpoints, in virtual time
//! and from a seed; the power goes at any step of a worker and at any operation on the disk; and what goes on then has any
//! number of workers.
//!
//! ```text
//!   Scenario --> Life --------- crash ---------> Life --- crash ---> ... ---> complete: check the output
//!                 |  Hands: workers, one moves at a time     |
//!                 |  Clock: goes on when nobody moves        +-- finds on the disk: a checkpoint, and the output
//!                 |  Writer: appends, syncs, checkpoints
//!                 +- World: sees calls, positions, arrivals; checks at once what can be
//! ```
//! Nothing looks into the pipeline: the rules are about what its surroundings see.

mod check;
mod clock;
mod fault;
mod hands;
mod history;
mod life;
mod media;
mod row;
mod scenario;
mod search;
mod service;
mod sink;
mod source;
mod world;
mod writer;

use std::sync::Arc;

use self::hands::Hands;
use self::life::{Ended, Life};
use self::media::Media;
use self::world::Shared;
use self::writer::Writer;
use crate::trace::Tracer;
use crate::{Rng, SimulatedDisk, Trace, Violation};

pub use fault::Fault;
pub use scenario::{Scenario, Service, Step};
pub use search::{Failure, Search, search};

/// Most lives after the first crash, before the power stays on.
const CRASHES: u64 = 3;

/// Where runs are tried: threads that serve one after the other.
pub struct Laboratory {
    hands: Hands,
}

/// What is to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// The scenario's seed.
    pub seed: u64,
    /// The first crash, as the number of a step or of an operation on the disk, from 1 on; none: there is no crash at all.
    pub crash: Option<u64>,
    /// What is wrong on purpose.
    pub fault: Option<Fault>,
    /// What to make of the trace.
    pub trace: Trace,
}

/// How a trial went that broke no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Steps and operations of the first life: there can be a crash at each.
    pub events: u64,
    /// Of all lives.
    pub steps: u64,
    /// How often the power went.
    pub crashes: u64,
    /// How many lives went on from a checkpoint.
    pub restored: u64,
    /// How many records were carried into them.
    pub carried: u64,
    /// How many records they were told to be in the output already.
    pub recorded: u64,
    /// Checkpoints that were completed, in all lives.
    pub epochs: u64,
    /// Of the trace, if it was hashed.
    pub hash: u64,
}

impl Trial {
    /// Of this seed, without a crash.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, crash: None, fault: None, trace: Trace::Off }
    }

    /// With the first crash here.
    #[must_use]
    pub const fn crash(self, crash: u64) -> Self {
        Self { crash: Some(crash), ..self }
    }
}

impl Default for Laboratory {
    fn default() -> Self {
        Self::new()
    }
}

impl Laboratory {
    /// With its threads.
    #[must_use]
    pub fn new() -> Self {
        Self { hands: Hands::new(scenario::WORKERS as usize) }
    }

    /// Tries it.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn run(&mut self, trial: Trial) -> Result<Report, Violation> {
        self.run_scenario(Scenario::new(trial.seed), trial)
    }

    /// Tries it with another scenario than the seed's.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn run_scenario(&mut self, scenario: Scenario, trial: Trial) -> Result<Report, Violation> {
        let Trial { seed, crash, fault, trace } = trial;
        let scenario = Arc::new(scenario);
        let world = Shared::new(Arc::clone(&scenario), Tracer::new(trace));
        let mut rng = Rng::new(seed ^ crash.unwrap_or_default() << 32);
        let mut disk = SimulatedDisk::new(rng.next());
        let mut report = Report { events: 0, steps: 0, crashes: 0, ..Report::default() };
        let mut fails_at = crash;
        loop {
            let media = Media { disk: disk.clone(), world: world.clone(), fault };
            let workers = if scenario.alone { 1 } else { rng.within(1, scenario::WORKERS) as usize };
            world.lock().power_up(fails_at);
            let life = Life {
                hands: &mut self.hands,
                world: &world,
                scenario: &scenario,
                media: media.clone(),
                fault,
                workers,
                rng: Rng::new(rng.next()),
            };
            let ended = life.run();
            let (events, violation) = {
                let mut world = world.lock();
                (world.events(), world.violation.take())
            };
            if let Some(violation) = violation {
                return Err(violation);
            }
            report.steps += events;
            if report.crashes == 0 {
                report.events = events;
            }
            match ended {
                Ended::Complete => break,
                Ended::Crashed | Ended::Stuck => {}
            }
            report.crashes += 1;
            disk = disk.reboot();
            fails_at = (report.crashes < CRASHES && rng.one_in(2)).then(|| rng.within(1, report.events.max(1)));
        }
        // Once more, as somebody would look at it who comes later.
        let media = Media { disk: disk.reboot(), world: world.clone(), fault };
        world.lock().power_up(None);
        let (_, found) = Writer::open(media, usize::MAX)
            .map_err(|error| Violation { rule: "the folder opens when there is power", what: error.to_string() })?;
        let world = world.lock();
        report.restored = world.history.runs.iter().filter(|run| run.from.is_some()).count() as u64;
        (report.epochs, report.carried, report.recorded) = (world.epochs, world.carried, world.all_recorded);
        report.hash = world.tracer.hash();
        check::check(&scenario, &world.history, &found.output)?;
        Ok(report)
    }
}
