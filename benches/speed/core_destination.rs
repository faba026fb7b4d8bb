//! A destination alone, without a queue: every call is let through, is good, and ends.

use inflight_core::{Concurrency, Destination, DestinationOptions, Time, Verdict};

use crate::measure::{Sample, Window};

/// Rounds of `batch` calls, all of which end before the next round. The breaker and the budget are as they are by default.
pub(crate) fn rounds(concurrency: Concurrency, batch: usize, records: u64) -> Sample {
    let mut destination = Destination::new(DestinationOptions::new(concurrency)).expect("the options are in range");
    let mut permits = Vec::with_capacity(batch);
    let window = Window::open();
    let (mut ended, mut now) = (0, 0);
    while ended < records {
        now += 10_000;
        let time = Time::from_nanos(now);
        while permits.len() < batch
            && let Ok(permit) = destination.admit(time)
        {
            permits.push(permit);
        }
        let time = Time::from_nanos(now + 5_000);
        for mut permit in permits.drain(..) {
            destination.judge(time, &mut permit, Verdict::Good, 1);
            destination.release(time, permit);
            ended += 1;
        }
    }
    window.close(ended)
}
