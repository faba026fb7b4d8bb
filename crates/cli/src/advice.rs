//! One sentence on what limited a run and what to change, from measured figures.
//!
//! Little's law: in a steady state the calls on the wire (N) are the calls per second (X) times the time one call
//! takes (R), N = X * R. So a step can make at most `concurrency / R` calls a second, and a run that comes near it was
//! limited by `concurrency`, as long as R is what the system takes by itself. When R has grown to several times the
//! shortest call, the calls queue up inside the system, and more of them at once would only wait longer.

use std::time::Duration;

use crate::summary::{StepSummary, Summary, grouped, per_second, short};

/// What limited a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// There was nothing to do.
    NoRecords,
    /// The source gave records more slowly than the steps could take them.
    Source,
    /// The sink took records more slowly than the steps finished them.
    Sink,
    /// The step of this name held as many records as it may, while calls could have been made.
    Capacity(String),
    /// The step of this name had as many calls on the wire as it may, while the system answered promptly.
    Concurrency(String),
    /// The system behind the step of this name answered more slowly the more it was asked.
    System(String),
    /// None of these: the work of the program itself.
    Processor,
}

/// What limited a run, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What limited it.
    pub limit: Limit,
    /// The same in words, with the figures and a suggestion.
    pub sentence: String,
}

/// From this part of the run on, waiting for one side is what the run did.
const MOSTLY: f64 = 0.5;

/// From this part of `concurrency` on, the wire counts as full.
const WIRE_FULL: f64 = 0.8;

/// From this multiple of the shortest call on, calls wait inside the system.
const QUEUEING: f64 = 3.0;

/// Works out what limited a run.
pub fn advise(summary: &Summary) -> Advice {
    if summary.records_in == 0 || summary.elapsed.is_zero() {
        return Advice { limit: Limit::NoRecords, sentence: "The source had no records.".to_owned() };
    }
    let part = |wait: Duration| wait.as_secs_f64() / summary.elapsed.as_secs_f64();
    let (source, sink) = (part(summary.source_wait), part(summary.sink_wait));
    if sink >= MOSTLY && sink >= source {
        return sink_advice(sink);
    }
    let busiest = summary.steps.iter().max_by(|a, b| wire(a).total_cmp(&wire(b)));
    if let Some(step) = busiest.filter(|step| wire(step) >= WIRE_FULL) {
        return match (step.found_best, queueing(step)) {
            (Some(calls), _) => auto_advice(step, calls, summary),
            (None, true) => system_advice(step),
            (None, false) => concurrency_advice(step, summary),
        };
    }
    let fullest = summary.steps.iter().max_by(|a, b| a.capacity_full.total_cmp(&b.capacity_full));
    if let Some(step) = fullest.filter(|step| step.capacity_full >= MOSTLY) {
        return capacity_advice(step);
    }
    if source >= MOSTLY { source_advice(source, summary) } else { processor_advice(summary) }
}

/// The part of `concurrency` that was used, or of what was found to be best.
fn wire(step: &StepSummary) -> f64 {
    step.concurrency_mean / step.found_best.unwrap_or(step.concurrency).max(1) as f64
}

fn queueing(step: &StepSummary) -> bool {
    step.latency.mean.as_secs_f64() >= QUEUEING * step.latency.min.as_secs_f64()
}

fn sink_advice(sink: f64) -> Advice {
    let sentence = format!("The sink was the limit: for {} of the time finished records waited for it.", percent(sink));
    Advice { limit: Limit::Sink, sentence }
}

fn source_advice(source: f64, summary: &Summary) -> Advice {
    let rate = grouped(per_second(summary.records_in, summary.elapsed));
    let sentence = format!(
        "The source was the limit: for {} of the time the steps waited for it; it gave {rate} records/s.",
        percent(source)
    );
    Advice { limit: Limit::Source, sentence }
}

fn concurrency_advice(step: &StepSummary, summary: &Summary) -> Advice {
    let rate = grouped(per_second(step.calls, summary.elapsed));
    let (name, now, double) = (&step.name, step.concurrency, step.concurrency.saturating_mul(2));
    let sentence = format!(
        "The concurrency of `{name}` was the limit: {:.1} of {now} calls were on the wire at {} each, which makes \
         {rate} calls/s (Little's law); `concurrency: {double}` would come near twice that, if the system keeps up.",
        step.concurrency_mean,
        short(step.latency.mean),
    );
    Advice { limit: Limit::Concurrency(name.clone()), sentence }
}

fn auto_advice(step: &StepSummary, calls: usize, summary: &Summary) -> Advice {
    let rate = grouped(per_second(step.calls, summary.elapsed));
    let sentence = format!(
        "The system behind `{}` was the limit: more than {calls} calls at once did not bring more than the {rate} calls/s \
         that it answered.",
        step.name,
    );
    Advice { limit: Limit::System(step.name.clone()), sentence }
}

fn system_advice(step: &StepSummary) -> Advice {
    let (mean, min) = (step.latency.mean, step.latency.min);
    // What the wire would carry if every call took the shortest time.
    let needed = step.concurrency_mean * min.as_secs_f64() / mean.as_secs_f64().max(f64::MIN_POSITIVE);
    let enough = (needed * QUEUEING).ceil().clamp(1.0, step.concurrency as f64);
    let sentence = format!(
        "The system behind `{}` was the limit: a call took {}, alone it takes {}, so calls waited for each other \
         there; more concurrency would not help, and `concurrency: {enough}` would do.",
        step.name,
        short(mean),
        short(min),
    );
    Advice { limit: Limit::System(step.name.clone()), sentence }
}

fn capacity_advice(step: &StepSummary) -> Advice {
    // Held records and calls on the wire grow together, until the wire is full.
    let factor = step.concurrency as f64 / step.concurrency_mean.max(1.0);
    let enough = (step.capacity as f64 * factor.max(2.0)).ceil();
    let sentence = format!(
        "The capacity of `{}` was the limit: for {} of the time all {} records were held, most of them waiting for \
         their turn to leave, with {:.1} of {} calls on the wire; try `capacity: {enough}`, or an order that waits less.",
        step.name,
        percent(step.capacity_full),
        step.capacity,
        step.concurrency_mean,
        step.concurrency,
    );
    Advice { limit: Limit::Capacity(step.name.clone()), sentence }
}

fn processor_advice(summary: &Summary) -> Advice {
    let rate = grouped(per_second(summary.records_out, summary.elapsed));
    let sentence = format!(
        "The program's own work was the limit: neither source, look-ups nor sink were waited for; {rate} records/s is \
         what one worker makes of these records."
    );
    Advice { limit: Limit::Processor, sentence }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part.clamp(0.0, 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Latency;

    /// Ten seconds, 10,000 records, one step in which nothing was short.
    fn run() -> Summary {
        let ms = Duration::from_millis;
        let latency = Latency { min: ms(8), mean: ms(10), p50: ms(10), p99: ms(20), max: ms(30) };
        let step = StepSummary {
            name: "user".to_owned(),
            found: 10_000,
            calls: 10_000,
            latency,
            concurrency_mean: 10.0,
            concurrency: 100,
            capacity: 1000,
            ..StepSummary::default()
        };
        let elapsed = Duration::from_secs(10);
        Summary { records_in: 10_000, records_out: 10_000, elapsed, steps: vec![step], ..Summary::default() }
    }

    #[test]
    fn no_records() {
        assert_eq!(advise(&Summary::default()).limit, Limit::NoRecords);
        assert_eq!(advise(&Summary { records_in: 0, ..run() }).sentence, "The source had no records.");
    }

    #[test]
    fn a_source_that_is_waited_for() {
        let advice = advise(&Summary { source_wait: Duration::from_secs(9), ..run() });
        assert_eq!(advice.limit, Limit::Source);
        let expected =
            "The source was the limit: for 90 % of the time the steps waited for it; it gave 1,000 records/s.";
        assert_eq!(advice.sentence, expected);
    }

    #[test]
    fn a_sink_that_is_waited_for() {
        let advice = advise(&Summary { sink_wait: Duration::from_secs(6), ..run() });
        assert_eq!(advice.limit, Limit::Sink);
        let expected = "The sink was the limit: for 60 % of the time finished records waited for it.";
        assert_eq!(advice.sentence, expected);
    }

    #[test]
    fn a_full_wire_with_prompt_answers() {
        let mut summary = run();
        (summary.steps[0].concurrency, summary.steps[0].concurrency_mean) = (10, 9.9);
        let advice = advise(&summary);
        assert_eq!(advice.limit, Limit::Concurrency("user".to_owned()));
        assert_eq!(
            advice.sentence,
            "The concurrency of `user` was the limit: 9.9 of 10 calls were on the wire at 10 ms each, which makes \
             1,000 calls/s (Little's law); `concurrency: 20` would come near twice that, if the system keeps up."
        );
    }

    #[test]
    fn a_full_wire_with_calls_that_wait_inside_the_system() {
        let mut summary = run();
        (summary.steps[0].concurrency, summary.steps[0].concurrency_mean) = (100, 99.0);
        summary.steps[0].latency.min = Duration::from_millis(1);
        let advice = advise(&summary);
        assert_eq!(advice.limit, Limit::System("user".to_owned()));
        assert_eq!(
            advice.sentence,
            "The system behind `user` was the limit: a call took 10 ms, alone it takes 1.0 ms, so calls waited for \
             each other there; more concurrency would not help, and `concurrency: 30` would do."
        );
    }

    #[test]
    fn a_full_wire_whose_limit_was_found_by_trying() {
        let mut summary = run();
        (summary.steps[0].concurrency_mean, summary.steps[0].found_best) = (17.5, Some(18));
        let advice = advise(&summary);
        assert_eq!(advice.limit, Limit::System("user".to_owned()));
        assert_eq!(
            advice.sentence,
            "The system behind `user` was the limit: more than 18 calls at once did not bring more than the 1,000 \
             calls/s that it answered."
        );
    }

    #[test]
    fn a_full_queue_with_room_on_the_wire() {
        let mut summary = run();
        summary.steps[0].capacity_full = 0.97;
        let advice = advise(&summary);
        assert_eq!(advice.limit, Limit::Capacity("user".to_owned()));
        assert_eq!(
            advice.sentence,
            "The capacity of `user` was the limit: for 97 % of the time all 1000 records were held, most of them \
             waiting for their turn to leave, with 10.0 of 100 calls on the wire; try `capacity: 10000`, or an order \
             that waits less."
        );
    }

    #[test]
    fn the_step_that_was_fullest_is_named() {
        let mut summary = run();
        let free = StepSummary { name: "free".to_owned(), ..summary.steps[0].clone() };
        (summary.steps[0].concurrency, summary.steps[0].concurrency_mean) = (10, 10.0);
        summary.steps.insert(0, free);
        assert_eq!(advise(&summary).limit, Limit::Concurrency("user".to_owned()));
    }

    #[test]
    fn nothing_that_was_waited_for() {
        let advice = advise(&run());
        assert_eq!(advice.limit, Limit::Processor);
        assert!(advice.sentence.contains("1,000 records/s"), "{}", advice.sentence);
    }
}
