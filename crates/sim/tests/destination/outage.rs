//! Several operators, one destination, one server that is not well for a while.

use core::time::Duration;

use inflight_core::{Concurrency, Config, DestinationOptions, Order, Retry};
use inflight_sim::{Outage, Seconds, Shared, SharedMutant, shared};

const SEEDS: u64 = if cfg!(debug_assertions) { 100 } else { 1_000 };
/// Records per second of the storm, of 1,000 that the server can do.
const RATE: u64 = 700;
const BEGINS: u64 = 20;

#[test]
fn no_seed_breaks_a_rule_or_fails_a_record() {
    for seed in 0..SEEDS {
        let run = shared(seed);
        match run.run() {
            Ok(seconds) => assert_eq!(seconds.failed.iter().sum::<u64>(), 0, "seed {seed}: {run:#?}"),
            Err(violation) => {
                panic!("seed {seed} breaks the rule \"{}\": {}\n{run:#?}", violation.rule, violation.what)
            }
        }
    }
}

#[test]
fn every_bug_is_found() {
    for mutant in SharedMutant::ALL {
        let found = (0..SEEDS).find_map(|seed| {
            let run = Shared { mutant: Some(mutant), ..shared(seed) };
            match std::panic::catch_unwind(|| run.run()) {
                Ok(Ok(seconds)) if seconds.failed.iter().sum::<u64>() == 0 => None,
                Ok(Ok(_)) => Some((seed, "an outage fails no record")),
                Ok(Err(violation)) => Some((seed, violation.rule)),
                Err(_) => Some((seed, "no panic")),
            }
        });
        println!("{mutant:?}: {found:?}");
        assert!(found.is_some(), "{mutant:?} survives");
    }
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in 0..20 {
        assert_eq!(shared(seed).run().expect("no rule is broken"), shared(seed).run().expect("nor now"));
    }
}

/// 700 records a second come to a server that can do 1,000, and that stops for five seconds: what is known to keep it down for ever when
/// each client tries again as it likes.
fn storm(seed: u64, breaker: bool, outage: (u64, u64, Outage)) -> Seconds {
    let mut config = Config::new(Order::Unordered, 2_000);
    config.timeout = Some(Duration::from_secs(1));
    config.deadline = Some(Duration::from_secs(10));
    config.retry = Some(Retry::exponential(3, Duration::from_millis(100), Duration::from_secs(8)));
    config.seed = seed;
    let mut destination = DestinationOptions::new(Concurrency::Fixed(100));
    if !breaker {
        destination.breaker = None;
    }
    let run = Shared {
        seed,
        operators: 2,
        config,
        destination,
        rate: RATE as f64,
        until: 60_000,
        takes: Duration::from_millis(1),
        outage: (outage.0 * 1_000, outage.1 * 1_000, outage.2),
        extras: false,
        mutant: None,
    };
    run.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"))
}

/// In no second there are more than 1.2 calls for each record that came or was tried for the first time.
fn assert_few_calls(seconds: &Seconds) {
    for (second, calls) in seconds.calls.iter().enumerate().take(60) {
        let at = |series: &[u64]| series.get(second).copied().unwrap_or_default();
        let records = at(&seconds.came).max(at(&seconds.firsts));
        assert!(*calls as f64 <= 1.2 * records as f64, "{calls} calls, {records} records in second {second}");
    }
}

#[test]
fn after_a_storm_everything_is_as_before() {
    for seed in 0..5 {
        for (breaker, how) in [(true, Outage::Hangs), (true, Outage::Fails), (false, Outage::Hangs)] {
            let seconds = storm(seed, breaker, (BEGINS, BEGINS + 5, how));
            assert_few_calls(&seconds);
            for second in BEGINS as usize + 15..60 {
                let good = seconds.good[second];
                assert!(good as f64 >= 0.95 * (RATE - 80) as f64, "{breaker} {how:?}: {good} in second {second}");
            }
            let came: u64 = seconds.came[BEGINS as usize + 15..60].iter().sum();
            let good: u64 = seconds.good[BEGINS as usize + 15..60].iter().sum();
            assert!(good as f64 >= 0.95 * came as f64, "{good} of {came}");
            if breaker {
                assert_eq!(seconds.failed.iter().sum::<u64>(), 0, "{how:?}");
            }
        }
    }
}

#[test]
fn a_server_that_fails_everything_sees_few_calls() {
    for breaker in [true, false] {
        let seconds = storm(1, breaker, (BEGINS, 50, Outage::Fails));
        assert_few_calls(&seconds);
    }
}
