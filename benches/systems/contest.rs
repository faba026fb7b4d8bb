//! Contestants measured in turn, window by window, so that whatever else the machine does hits all alike.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::Effort;
use crate::measure::{Sample, Window, median};
use crate::operator::BATCH;

/// One that looks up for a while; it tells how many records it finished in the window it is given.
pub(crate) struct Contestant<'a> {
    name: String,
    run: Box<dyn Fn(&Runtime, Duration) -> Sample + 'a>,
}

impl<'a> Contestant<'a> {
    pub(crate) fn new(name: impl Into<String>, run: impl Fn(&Runtime, Duration) -> Sample + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// What the windows of a contestant came to.
pub(crate) struct Result {
    name: String,
    /// Records per second.
    rate: f64,
    /// CPU microseconds per record, of this process.
    micros: f64,
    /// The median of its rate over that of the first contestant, in the same round.
    ratio: f64,
}

/// Runs all of them, the first being what the others are compared with.
pub(crate) fn compete(runtime: &Runtime, effort: &Effort, contestants: &[Contestant<'_>]) -> Vec<Result> {
    let mut samples: Vec<Vec<Sample>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..=effort.rounds {
        for (contestant, samples) in contestants.iter().zip(&mut samples) {
            let sample = (contestant.run)(runtime, effort.window);
            // The first round warms up.
            if round > 0 {
                eprintln!("{}: {:.0}/s, {:.2} us", contestant.name, sample.rate, sample.nanos / 1000.0);
                samples.push(sample);
            }
        }
    }
    let of = |value: fn(&Sample) -> f64, samples: &[Sample]| median(&samples.iter().map(value).collect::<Vec<_>>());
    let first: Vec<f64> = samples.first().into_iter().flatten().map(|sample| sample.rate).collect();
    let result = |(contestant, samples): (&Contestant<'_>, &Vec<Sample>)| Result {
        name: contestant.name.clone(),
        rate: of(|sample| sample.rate, samples),
        micros: of(|sample| sample.nanos / 1000.0, samples),
        ratio: median(&samples.iter().zip(&first).map(|(sample, first)| sample.rate / first).collect::<Vec<_>>()),
    };
    contestants.iter().zip(&samples).map(result).collect()
}

/// Prints a table of results.
pub(crate) fn print(title: &str, results: &[Result]) {
    println!("\n| {title} | look-ups/s | CPU us | of the first |\n|---|---:|---:|---:|");
    for Result { name, rate, micros, ratio } in results {
        println!("| {name} | {rate:.0} | {micros:.2} | {ratio:.2} |");
    }
}

/// Measures median latencies in microseconds at a low load, each record in a call of its own and batched, in turn.
pub(crate) fn print_latency(effort: &Effort, of: impl Fn(usize) -> f64) {
    let mut medians = [Vec::new(), Vec::new()];
    for _ in 0..effort.rounds {
        for (batch, medians) in [1, BATCH].into_iter().zip(&mut medians) {
            medians.push(of(batch));
        }
    }
    let [alone, batched] = medians.map(|medians| median(&medians));
    println!("\n| a record in {:?} | p50 us |\n|---|---:|\n| a call each | {alone:.0} |", effort.apart);
    println!("| batches of up to {BATCH} | {batched:.0} ({:+.1} %) |", 100.0 * (batched / alone - 1.0));
}

/// Counts records until the window is over.
pub(crate) struct Count {
    window: Window,
    length: Duration,
    records: u64,
}

impl Count {
    pub(crate) fn start(length: Duration) -> Self {
        Self { window: Window::open(), length, records: 0 }
    }

    /// Some more have come; whether there is time for others. The clock is read once for as many as fit into a call, whether they come
    /// together or one by one.
    pub(crate) fn add(&mut self, records: u64) -> bool {
        let calls = self.records / BATCH as u64;
        self.records += records;
        self.records / BATCH as u64 == calls || !self.window.is_over(self.length)
    }

    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    pub(crate) fn sample(&self) -> Sample {
        self.window.close(self.records)
    }
}
