//! What a run did, in numbers: written to standard error when it ends.

use std::fmt;
use std::time::Duration;

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// What was read are dead letters.
    pub replays: bool,
    /// Records read from the source.
    pub records_in: u64,
    /// Records written to the sink.
    pub records_out: u64,
    /// Records that a step dropped on purpose (`drop`).
    pub dropped: u64,
    /// Records written to the dead letters.
    pub dead_lettered: u64,
    /// Records that were there at the end and had not been read, if the source knows that.
    pub behind: Option<u64>,
    /// From the first read to the last write.
    pub elapsed: Duration,
    /// Time in which the steps had room and the source had nothing to give.
    pub source_wait: Duration,
    /// Time in which finished records waited for the sink.
    pub sink_wait: Duration,
    /// The look-ups, in the order of the pipeline file.
    pub steps: Vec<StepSummary>,
}

/// One look-up during a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepSummary {
    /// Its name in the pipeline file.
    pub name: String,
    /// Records for which the system had an answer.
    pub found: u64,
    /// Records for which the system had none, or whose key was null.
    pub missing: u64,
    /// Records whose look-up failed, retries included; those that ran out of time count in `timed_out` instead.
    pub failed: u64,
    /// Records whose last attempt, or whose deadline, ran out of time.
    pub timed_out: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Calls to the system: fewer than records when calls carry batches, more when attempts were repeated.
    pub calls: u64,
    /// Records that were answered from the cache.
    pub hits: u64,
    /// Records that shared the call of another.
    pub joined: u64,
    /// Second calls that were made because the first took long.
    pub hedges: u64,
    /// How often the system was left alone because it failed.
    pub pauses: u64,
    /// How long, all in all.
    pub paused: Duration,
    /// How long one call took.
    pub latency: Latency,
    /// Calls on the wire, averaged over the run.
    pub concurrency_mean: f64,
    /// The most calls that may be on the wire at a time.
    pub concurrency: usize,
    /// How many of them the system works best with, if that was to be found by trying: the last that was found.
    pub found_best: Option<usize>,
    /// The most records that may be held at a time.
    pub capacity: usize,
    /// Part of the run, 0 to 1, in which `capacity` records were held.
    pub capacity_full: f64,
}

/// How long the calls of a step took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The shortest: what the system takes when nothing is in the way.
    pub min: Duration,
    /// The average.
    pub mean: Duration,
    /// Half of the calls took at most this long.
    pub p50: Duration,
    /// 99 of 100 calls took at most this long.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl fmt::Display for Summary {
    /// A few lines and a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (read, written) = (grouped(self.records_in), grouped(self.records_out));
        let (what, again) = if self.replays { ("dead letters", " again") } else { ("records", "") };
        write!(f, "{read} {what} in, {written} out in {}", short(self.elapsed))?;
        writeln!(f, " ({} records/s)", grouped(per_second(self.records_out, self.elapsed)))?;
        if self.dropped > 0 {
            writeln!(f, "{} dropped, as the pipeline says", grouped(self.dropped))?;
        }
        if self.dead_lettered > 0 {
            writeln!(f, "{} in the dead letters{again}", grouped(self.dead_lettered))?;
        }
        if let Some(behind) = self.behind {
            writeln!(f, "{} behind the end of the source", grouped(behind))?;
        }
        if !self.steps.is_empty() {
            writeln!(f)?;
            write_table(f, &self.steps)?;
            self.steps.iter().filter_map(StepSummary::policies).try_for_each(|line| writeln!(f, "{line}"))?;
        }
        Ok(())
    }
}

impl StepSummary {
    /// What policies have done, if any has done anything.
    fn policies(&self) -> Option<String> {
        let counted = |count: u64, what: &str| (count > 0).then(|| format!("{} {what}", grouped(count)));
        let times = if self.pauses == 1 { "time" } else { "times" };
        let done: Vec<String> = [
            counted(self.hits, "cache hits"),
            counted(self.joined, "joined the call of another"),
            counted(self.hedges, "hedges"),
            counted(self.pauses, &format!("{times} left alone, {} in all", short(self.paused))),
            self.found_best.map(|calls| format!("{calls} calls at once found to be best")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let records = self.found + self.missing + self.failed + self.timed_out;
        let calls = format!("{} calls for {} records", grouped(self.calls), grouped(records));
        let each = self.calls as f64 / records.max(1) as f64;
        (!done.is_empty()).then(|| format!("{}: {calls} ({each:.2} per record); {}", self.name, done.join("; ")))
    }
}

const HEADER: [&str; 11] =
    ["look-up", "found", "missing", "failed", "timed out", "retried", "calls", "p50", "p99", "max", "calls at once"];

fn write_table(f: &mut fmt::Formatter<'_>, steps: &[StepSummary]) -> fmt::Result {
    let rows: Vec<[String; HEADER.len()]> = steps.iter().map(row).collect();
    let widths: [usize; HEADER.len()] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADER[column].len()]).max().unwrap_or_default()
    });
    write_row(f, &HEADER.map(str::to_owned), &widths)?;
    rows.iter().try_for_each(|row| write_row(f, row, &widths))
}

/// Names to the left, numbers to the right.
fn write_row<const N: usize>(f: &mut fmt::Formatter<'_>, cells: &[String; N], widths: &[usize; N]) -> fmt::Result {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
    }
    writeln!(f, "{}", line.trim_end())
}

fn row(step: &StepSummary) -> [String; HEADER.len()] {
    [
        step.name.clone(),
        grouped(step.found),
        grouped(step.missing),
        grouped(step.failed),
        grouped(step.timed_out),
        grouped(step.retried),
        grouped(step.calls),
        short(step.latency.p50),
        short(step.latency.p99),
        short(step.latency.max),
        format!("{:.1} of {}", step.concurrency_mean, step.concurrency),
    ]
}

/// Events per second, rounded; 0 when no time has passed.
pub(crate) fn per_second(events: u64, elapsed: Duration) -> u64 {
    if elapsed.is_zero() { 0 } else { (events as f64 / elapsed.as_secs_f64()).round() as u64 }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in three digits or so: `41 us`, `2.1 ms`, `1.84 s`, `3 min 20 s`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0 => "0".to_owned(),
        s if s < 0.000_999_5 => format!("{:.0} us", s * 1e6),
        s if s < 0.009_95 => format!("{:.1} ms", s * 1e3),
        s if s < 0.999_5 => format!("{:.0} ms", s * 1e3),
        s if s < 9.995 => format!("{s:.2} s"),
        s if s < 119.95 => format!("{s:.1} s"),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_like_this() {
        let micros = Duration::from_micros;
        let latency =
            Latency { min: micros(10), mean: micros(45), p50: micros(41), p99: micros(1200), max: micros(30_500) };
        let plane = StepSummary {
            name: "plane".to_owned(),
            found: 24_273,
            missing: 2_731,
            calls: 27_004,
            latency,
            concurrency_mean: 3.94,
            concurrency: 4,
            ..StepSummary::default()
        };
        let weather = StepSummary { name: "weather".to_owned(), failed: 2, timed_out: 1, retried: 9, ..plane.clone() };
        let summary = Summary {
            records_in: 27_004,
            records_out: 27_001,
            dead_lettered: 3,
            elapsed: Duration::from_millis(1840),
            steps: vec![plane, weather],
            ..Summary::default()
        };
        assert_eq!(
            summary.to_string(),
            "\
27,004 records in, 27,001 out in 1.84 s (14,674 records/s)
3 in the dead letters

look-up   found  missing  failed  timed out  retried   calls    p50     p99    max  calls at once
plane    24,273    2,731       0          0        0  27,004  41 us  1.2 ms  30 ms       3.9 of 4
weather  24,273    2,731       2          1        9  27,004  41 us  1.2 ms  30 ms       3.9 of 4
"
        );
    }

    #[test]
    fn policies_are_told_of_when_they_did_something() {
        let mut step = StepSummary { name: "user".to_owned(), found: 100_000, calls: 12_345, ..StepSummary::default() };
        assert_eq!(step.policies(), None);
        (step.hits, step.joined) = (80_000, 5_000);
        let expected = "user: 12,345 calls for 100,000 records (0.12 per record); 80,000 cache hits; \
                        5,000 joined the call of another";
        assert_eq!(step.policies().unwrap(), expected);
        let mut step = StepSummary { hedges: 3, pauses: 1, paused: Duration::from_secs(5), ..step };
        (step.hits, step.joined, step.found_best) = (0, 0, Some(18));
        let expected = "user: 12,345 calls for 100,000 records (0.12 per record); 3 hedges; 1 time left alone, 5.00 s \
                        in all; 18 calls at once found to be best";
        assert_eq!(step.policies().unwrap(), expected);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_are_short() {
        let shown = [0, 999, 1_000, 9_990, 41_000, 1_840_000, 61_000_000, 200_000_000]
            .map(|us| short(Duration::from_micros(us)));
        assert_eq!(shown, ["0", "999 us", "1.0 ms", "10 ms", "41 ms", "1.84 s", "61.0 s", "3 min 20 s"]);
    }
}
