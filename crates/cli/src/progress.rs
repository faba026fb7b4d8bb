//! The progress bar on standard error while a pipeline runs.
//!
//! The run writes a few counters; a thread of its own reads them ten times a second and draws. Nothing is drawn when
//! standard error is no terminal, so logs and pipes stay clean.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::summary::grouped;

/// How often the bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// How many drawings the shown rate is averaged over.
const RATE_SAMPLES: usize = 20;

/// The counters a run keeps for the bar. Relaxed atomics: they are looked at, nothing depends on them.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Records read from the source.
    pub records_in: AtomicU64,
    /// Records written to the sink.
    pub records_out: AtomicU64,
    /// Calls on the wire now, over all steps.
    pub in_flight: AtomicU64,
    /// Bytes read from the source.
    pub bytes_read: AtomicU64,
    /// Bytes of the source; 0 when that is not known.
    pub bytes_total: AtomicU64,
    /// Readers that know how far they are behind the end of the source.
    pub behind_known: AtomicU64,
    /// Records that have not been begun with, of all readers together.
    pub behind: AtomicU64,
}

impl Gauges {
    /// Records that are there and have not been begun with, if the source knows that.
    pub fn behind(&self) -> Option<u64> {
        (self.behind_known.load(Ordering::Relaxed) > 0).then(|| self.behind.load(Ordering::Relaxed))
    }
}

/// A bar that is drawn until it is dropped.
#[derive(Debug)]
pub struct Progress {
    drawer: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts to draw, unless `quiet` or standard error is no terminal.
    pub fn start(gauges: Arc<Gauges>, quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self { drawer: None };
        }
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let draw =
            move || draw_until(&seen, &gauges, &ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
        // Without a thread there is no bar, and the run goes on.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(draw).ok();
        Self { drawer: thread.map(|thread| (stop, thread)) }
    }
}

impl Drop for Progress {
    /// Wipes the bar, so that what is written next starts on a clean line.
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawer.take() {
            stop.store(true, Ordering::Relaxed);
            thread.thread().unpark();
            // The thread has nothing to return; if it panicked, the bar is gone and that is all.
            drop(thread.join());
        }
    }
}

fn draw_until(stop: &AtomicBool, gauges: &Gauges, bar: &ProgressBar) {
    let mut rate = Rate::default();
    while !stop.load(Ordering::Relaxed) {
        let look = Look::at(gauges);
        if look.bytes_total > 0 && bar.length().is_none() {
            bar.set_length(look.bytes_total);
            bar.set_style(style("{spinner} {wide_bar} {percent} % {msg}, {eta} left"));
        } else if bar.length().is_none() {
            bar.set_style(style("{spinner} {elapsed} {msg}"));
        }
        bar.set_position(look.bytes_read);
        bar.set_message(look.words(rate.after(Instant::now(), look.records_out)));
        bar.tick();
        std::thread::park_timeout(DRAW_EVERY);
    }
    bar.finish_and_clear();
}

/// A template that does not parse gives the plain bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The counters at one moment.
struct Look {
    records_out: u64,
    in_flight: u64,
    bytes_read: u64,
    bytes_total: u64,
    behind: Option<u64>,
}

impl Look {
    fn at(gauges: &Gauges) -> Self {
        Self {
            records_out: gauges.records_out.load(Ordering::Relaxed),
            in_flight: gauges.in_flight.load(Ordering::Relaxed),
            bytes_read: gauges.bytes_read.load(Ordering::Relaxed),
            bytes_total: gauges.bytes_total.load(Ordering::Relaxed),
            behind: gauges.behind(),
        }
    }

    fn words(&self, rate: u64) -> String {
        let (records, rate, in_flight) = (grouped(self.records_out), grouped(rate), grouped(self.in_flight));
        let behind = self.behind.map_or_else(String::new, |behind| format!(", {} behind", grouped(behind)));
        format!("{records} records, {rate}/s, {in_flight} in flight{behind}")
    }
}

/// Records per second over the last drawings.
#[derive(Default)]
struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn after(&mut self, now: Instant, records: u64) -> u64 {
        self.samples.push_back((now, records));
        if self.samples.len() > RATE_SAMPLES {
            self.samples.pop_front();
        }
        let Some((start, before)) = self.samples.front() else { return 0 };
        crate::summary::per_second(records.saturating_sub(*before), now.duration_since(*start))
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_drawings() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.after(start, 0), 0);
        assert_eq!(rate.after(start + Duration::from_secs(1), 500), 500);
        for second in 2..40 {
            rate.after(start + Duration::from_secs(second), 500);
        }
        assert_eq!(rate.after(start + Duration::from_secs(40), 500), 0);
    }

    #[test]
    fn the_bar_shows_rate_and_calls_in_flight_and_is_wiped() {
        let term = InMemoryTerm::new(3, 100);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let gauges = Arc::new(Gauges::default());
        gauges.records_out.store(12_345, Ordering::Relaxed);
        gauges.in_flight.store(7, Ordering::Relaxed);
        gauges.bytes_total.store(200, Ordering::Relaxed);
        gauges.bytes_read.store(100, Ordering::Relaxed);
        gauges.behind_known.store(1, Ordering::Relaxed);
        gauges.behind.store(4_321, Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread =
            std::thread::spawn(move || draw_until(&seen, &gauges, &ProgressBar::with_draw_target(None, target)));
        let shown = loop {
            let shown = term.contents();
            if shown.contains("behind") {
                break shown;
            }
            std::thread::yield_now();
        };
        stop.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        thread.join().unwrap();
        assert!(shown.contains("50 % 12,345 records, 0/s, 7 in flight, 4,321 behind"), "{shown}");
        assert_eq!(term.contents(), "");
    }

    #[test]
    fn nothing_is_drawn_when_quiet() {
        assert!(Progress::start(Arc::default(), true).drawer.is_none());
    }
}
