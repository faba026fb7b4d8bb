//! What was done, in numbers.

use std::fmt;
use std::time::Duration;

use super::plan::Plan;

/// What was done, in numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    lives: u64,
    starts: usize,
    bytes: u64,
    kills: Vec<(Plan, When)>,
    processes: usize,
    resumes: u64,
    /// Records that were in flight at checkpoints that were gone on from.
    in_flight: u64,
    /// From a start to what it says about going on.
    resumed: Vec<Duration>,
    /// From a start to the first new output.
    grew: Vec<Duration>,
    /// From a kill to the end of all others: when the set had not written yet, and when it had.
    outlived: [Vec<Duration>; 2],
}

/// What was being done when somebody was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Starting,
    Writing,
    /// The output had got its name.
    Named,
}

/// What a run says that goes on from a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    in_flight: u64,
    took: Option<Duration>,
}

impl Resumed {
    /// What a process has said about it, if it has: `resuming from epoch 41 (3.00 s old): flights.csv at record 120,004; 312 records
    /// in flight go on; took 41.2 ms`.
    pub(super) fn read(said: &str) -> Option<Self> {
        let line = said.lines().find(|line| line.starts_with("resuming from epoch "))?;
        let parts: Vec<&str> = line.split("; ").collect();
        let in_flight = parts.iter().find(|part| part.contains(" in flight")).and_then(|part| number(part));
        let took = parts.iter().find_map(|part| duration(part.strip_prefix("took ")?));
        Some(Self { in_flight: in_flight.unwrap_or_default(), took })
    }
}

/// The one it begins with, written as `1,234`.
fn number(text: &str) -> Option<u64> {
    text.split(' ').next()?.replace(',', "").parse().ok()
}

/// Written as `41.2 ms`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.trim().split_once(' ')?;
    let seconds = match unit {
        "µs" | "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

impl Numbers {
    pub(super) fn kills_of(&self, plan: Plan) -> u64 {
        self.kills.iter().filter(|(of, _)| *of == plan).count() as u64
    }

    /// One moment, at which so many processes were killed; how long the others went on, if there were any.
    pub(super) fn killed(&mut self, plan: Plan, processes: usize, when: When, outlived: Option<Duration>) {
        self.kills.push((plan, when));
        self.processes += processes;
        self.outlived[usize::from(when != When::Starting)].extend(outlived);
    }

    pub(super) fn resumed(&mut self, resumed: Resumed, grew: Option<Duration>) {
        self.resumes += 1;
        self.in_flight += resumed.in_flight;
        self.resumed.extend(resumed.took);
        self.grew.extend(grew);
    }

    /// One came to its end, after so many starts, and so many bytes were as they should be.
    pub(super) fn life(&mut self, starts: usize, bytes: u64) {
        self.lives += 1;
        self.starts += starts;
        self.bytes += bytes;
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |plan: Plan| {
            format!("{} of {} processes", self.kills_of(plan), plan.name()).replace("one processes", "one process")
        };
        let at = |wanted: When| self.kills.iter().filter(|(_, when)| *when == wanted).count();
        let plans = Plan::ALL.map(of).join(", ");
        writeln!(f, "{} kills, of {} processes: {plans}", self.kills.len(), self.processes)?;
        let [starting, writing, named] = [When::Starting, When::Writing, When::Named].map(at);
        writeln!(
            f,
            "  {starting} before the first output of a start, {writing} while writing, {named} after the output had its name"
        )?;
        writeln!(
            f,
            "{} runs came to their end in {} starts, {} of which went on from a checkpoint",
            self.lives, self.starts, self.resumes
        )?;
        writeln!(
            f,
            "{} bytes compared, all the same; {} records in flight went on from checkpoints",
            self.bytes, self.in_flight
        )?;
        writeln!(f, "from a start to going on: {}", spread(&self.resumed))?;
        writeln!(f, "from a start to the first new output: {}", spread(&self.grew))?;
        let [starting, working] = &self.outlived;
        writeln!(f, "from a kill to the end of all others: {}", spread(working))?;
        writeln!(f, "the same before the first output of a start: {}", spread(starting))
    }
}

fn spread(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let shown = |time: &Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
    match (sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(median), Some(most)) => {
            format!("median {}, at most {} ({} times)", shown(median), shown(most), times.len())
        }
        _ => "never measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_about_going_on_is_read() {
        let line = "resuming from epoch 41 (3.00 s old): flights.csv at record 120,004; 1,312 records in flight go on; took 41.5 ms";
        let expected = Resumed { in_flight: 1_312, took: Some(Duration::from_micros(41_500)) };
        assert_eq!(Resumed::read(&format!("built flights.db\n{line}\nmore\n")), Some(expected));
        let nothing = line.replace("1,312 records in flight go on", "nothing was in flight");
        assert_eq!(Resumed::read(&nothing).map(|resumed| resumed.in_flight), Some(0));
        assert_eq!(Resumed::read("27,004 records in"), None);
    }

    #[test]
    fn spreads_have_a_median_and_a_maximum() {
        let ms = Duration::from_millis;
        assert_eq!(spread(&[ms(9), ms(1), ms(2)]), "median 2 ms, at most 9 ms (3 times)");
        assert_eq!(spread(&[]), "never measured");
    }
}
