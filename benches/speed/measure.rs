//! CPU time, memory and medians.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process so far, user and system, all threads.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("memory is measured on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells VmRSS");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmRSS is a number of kB");
    kib * 1024
}

/// Of the middle two, the higher.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Counts records, and what they cost, between two moments.
pub(crate) struct Window {
    started: Instant,
    cpu: Duration,
}

impl Window {
    pub(crate) fn open() -> Self {
        Self { started: Instant::now(), cpu: cpu_time() }
    }

    pub(crate) fn is_over(&self, length: Duration) -> bool {
        self.started.elapsed() >= length
    }

    pub(crate) fn close(&self, records: u64) -> Sample {
        let records = records.max(1) as f64;
        Sample {
            nanos: (cpu_time() - self.cpu).as_nanos() as f64 / records,
            rate: records / self.started.elapsed().as_secs_f64(),
        }
    }
}

/// What one window showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU nanoseconds per record.
    pub(crate) nanos: f64,
    /// Records per second of wall time.
    pub(crate) rate: f64,
}
