//! The limit that is found by trying, against the best that is known beforehand. It was tuned on other seeds.

use inflight_core::Concurrency;
use inflight_sim::{ClosedLoop, Measured, Shape};

const SEEDS: std::ops::Range<u64> = if cfg!(debug_assertions) { 9_001..9_004 } else { 9_001..9_009 };
const MOST: usize = 400;
/// Of the best fixed limit's.
const THROUGHPUT: f64 = 0.95;
const P50: f64 = 1.5;
/// Between a change of the server and the new limit, for half of the seeds. Fifty would be good, and are too few to tell chance from
/// change where calls take as different times as here: sixteen at a time make eight hundred.
const TRIPS_DOWN: f64 = 100.0;
const TRIPS_UP: f64 = 150.0;

const fn fixed(shape: Shape, limit: usize) -> ClosedLoop {
    ClosedLoop { shape, concurrency: Concurrency::Fixed(limit), seed: 1, seconds: 120.0 }
}

const fn auto(shape: Shape, seed: u64) -> ClosedLoop {
    ClosedLoop { shape, concurrency: Concurrency::Auto { min: 1, max: MOST }, seed, seconds: 60.0 }
}

/// When it is measured: not in the beginning, and of a server that changes before and after that.
fn spans(shape: Shape) -> Vec<(f64, f64)> {
    match shape {
        Shape::Halves | Shape::Doubles => vec![(0.125, 0.5), (0.55, 1.0)],
        _ => vec![(0.25, 1.0)],
    }
}

/// The smallest limit that is within two hundredths of the highest throughput, which are chance, and what it makes.
fn best(shape: Shape, between: (f64, f64)) -> (usize, Measured) {
    let limits = [8, 12, 14, 15, 16, 17, 18, 20, 24, 28, 30, 31, 32, 33, 34, 36, 40, 64, 100, 200, MOST];
    let all = limits.map(|limit| (limit, fixed(shape, limit).run(between, |_, _| {})));
    let highest = all.iter().map(|(_, measured)| measured.throughput).fold(0.0, f64::max);
    all.into_iter().find(|(_, measured)| measured.throughput >= 0.98 * highest).expect("the highest itself")
}

#[test]
fn it_does_as_well_as_the_best_fixed_limit_on_six_shapes() {
    let mut misses = Vec::new();
    for shape in Shape::ALL {
        for between in spans(shape) {
            let (limit, best) = best(shape, between);
            let runs: Vec<_> = SEEDS.map(|seed| auto(shape, seed).run(between, |_, _| {})).collect();
            let throughput: Vec<_> = runs.iter().map(|run| run.throughput / best.throughput).collect();
            let p50: Vec<_> = runs.iter().map(|run| run.p50 / best.p50).collect();
            println!(
                "{shape:?} {between:?}: best {limit:3}, {:.0}/s, p50 {:.1} ms; throughput {throughput:.3?}, p50 {p50:.2?}",
                best.throughput, best.p50
            );
            let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
            if mean(&throughput) < THROUGHPUT || mean(&p50) > P50 {
                misses.push((shape, between));
            }
            let misses_by_far = |index: usize| throughput[index] < THROUGHPUT - 0.02 || p50[index] > P50 + 0.6;
            assert!(!(0..runs.len()).any(misses_by_far), "{shape:?}: {throughput:.3?} {p50:.2?}");
        }
    }
    assert!(misses.is_empty(), "{misses:?}");
}

/// After the server's capacity has changed, the limit is soon where it belongs.
#[test]
fn a_new_knee_is_found_soon() {
    for (shape, knee, most) in [(Shape::Halves, 16.0, TRIPS_DOWN), (Shape::Doubles, 32.0, TRIPS_UP)] {
        let mut trips: Vec<f64> = (9_001..9_009)
            .map(|seed| {
                let run = auto(shape, seed);
                let mut found = f64::INFINITY;
                run.run((0.0, 1.0), |at, limit| {
                    let near = (0.85 * knee..=1.35 * knee).contains(&(limit as f64));
                    if at > run.seconds / 2.0 && near {
                        found = found.min((at - run.seconds / 2.0) / 0.010);
                    }
                });
                found
            })
            .collect();
        trips.sort_by(f64::total_cmp);
        println!("{shape:?}: round trips {trips:.0?}");
        let median = trips[trips.len() / 2];
        assert!(median <= most, "{shape:?}: {trips:.0?}");
    }
}

#[test]
fn a_run_is_the_same_twice() {
    let limits = |seed| {
        let mut limits = Vec::new();
        ClosedLoop { seconds: 5.0, ..auto(Shape::Knee, seed) }
            .run((0.0, 1.0), |at, limit| limits.push((at.to_bits(), limit)));
        limits
    };
    assert_eq!(limits(1), limits(1));
    assert_ne!(limits(1), limits(2));
}
