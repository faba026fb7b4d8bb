//! What a limit that is found by trying promises, checked from outside.

use core::time::Duration;

use inflight_core::{Concurrency, Destination, DestinationMutant, DestinationOptions, Time, Verdict};

use crate::{ClosedLoop, Shape, Violation, ensure};

const MOST: usize = 200;

/// Checks it all, with a bug of the destination or without.
///
/// # Errors
/// The first rule that was broken.
pub fn found_limit(mutant: Option<DestinationMutant>) -> Result<(), Violation> {
    idle(mutant)?;
    overloaded(mutant)?;
    changed(mutant)
}

fn destination(mutant: Option<DestinationMutant>) -> Result<Destination, Violation> {
    let mut options = DestinationOptions::new(Concurrency::Auto { min: 1, max: MOST });
    (options.breaker, options.mutant) = (None, mutant);
    Destination::new(options).map_err(|error| Violation { rule: "the options are sound", what: error.to_string() })
}

fn refused() -> Violation {
    Violation { rule: "what is below the limit is let through", what: "a refusal".into() }
}

/// Makes one round of so many calls at the same time, all of which end like this after 10 ms.
fn round(destination: &mut Destination, now: &mut Time, calls: usize, verdict: Verdict) -> Result<(), Violation> {
    let permits: Result<Vec<_>, _> = (0..calls).map(|_| destination.admit(*now).map_err(|_| refused())).collect();
    *now = *now + Duration::from_millis(10);
    for mut permit in permits? {
        destination.judge(*now, &mut permit, verdict, usize::from(verdict == Verdict::Good));
        destination.release(*now, permit);
    }
    Ok(())
}

/// While fewer calls are wanted than there may be, nothing is learned. Now and then there are more, or none for a while.
fn idle(mutant: Option<DestinationMutant>) -> Result<(), Violation> {
    let (mut destination, mut now) = (destination(mutant)?, Time::ZERO);
    let limit = destination.limit();
    for n in 0..2_000 {
        round(&mut destination, &mut now, limit - 1 - n % 3, Verdict::Good)?;
        now = now + Duration::from_secs((n % 5) as u64);
        let moved = destination.limit();
        ensure!(moved == limit, "idle times do not move the limit", "{limit} to {moved}");
    }
    Ok(())
}

/// The destination says of all calls of a round that it has too much to do: the limit is cut at once, and once.
fn overloaded(mutant: Option<DestinationMutant>) -> Result<(), Violation> {
    let (mut destination, mut now) = (destination(mutant)?, Time::ZERO);
    for _ in 0..50 {
        let limit = destination.limit();
        round(&mut destination, &mut now, limit, Verdict::Good)?;
    }
    let before = destination.limit();
    round(&mut destination, &mut now, before, Verdict::Overloaded)?;
    let after = destination.limit();
    let share = after as f64 / before as f64;
    ensure!((0.5..=0.8).contains(&share), "an overload cuts the limit once", "{before} to {after}");
    Ok(())
}

/// A server that can do half as much is soon called half as much.
fn changed(mutant: Option<DestinationMutant>) -> Result<(), Violation> {
    let concurrency = Concurrency::Auto { min: 1, max: MOST };
    let run = ClosedLoop { shape: Shape::Halves, concurrency, seed: 1, seconds: 12.0, mutant };
    let mut soon = usize::MAX;
    run.run((0.0, 1.0), |at, limit| {
        if (6.0..7.0).contains(&at) {
            soon = soon.min(limit);
        }
    });
    ensure!(soon <= 21, "a change is noticed", "{soon} at least, for a hundred round trips");
    Ok(())
}
