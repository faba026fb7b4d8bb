//! How a step treats the system that it asks, as needed.

use std::time::Duration;

use inflight::layers::HedgeDelay;
use inflight::{BreakerOptions, RateLimit};
use serde_json::{Value, json};

use super::Step;
use super::step::StepCheck;
use crate::file::{Breaker as TypedBreaker, Cache as TypedCache, Hedge, Order, RateLimit as TypedRate, Switch};
use crate::number_or::NumberOr;
use crate::units::{Count, Percent, Period, Rate};

/// Answers that a cache keeps unless the file says otherwise.
pub const CACHE_ENTRIES: usize = 100_000;

/// Most answers that one cache may keep.
pub const CACHE_ENTRIES_MAX: usize = 100_000_000;

/// The breaker unless the file says otherwise. It opens when so few calls have failed that hardly a record has used up its
/// deadline, also where each of them takes a whole timeout to fail.
pub(super) fn breaker() -> BreakerOptions {
    BreakerOptions { window: 20, min_calls: 5, ..BreakerOptions::default() }
}

/// How long it is used that there is no answer, unless the file says otherwise or answers are used for less.
pub const MISSING_TTL: Duration = Duration::from_secs(30);

/// The burst of a rate unless the file says otherwise, as a part of what may start in a second.
const BURST_PART: u32 = 10;

/// What of a step changes its calls.
#[derive(Clone, Debug)]
pub struct Policies {
    /// Whether records of one key share a call.
    pub single_flight: bool,
    /// Answers that are used again.
    pub cache: Option<Cache>,
    /// When a second call is made.
    pub hedge: Option<HedgeDelay>,
    /// Calls for one key.
    pub per_key: Option<RateLimit>,
    /// What it says about the system; steps that ask the same one agree.
    pub system: System,
}

/// What a step says about the system that it asks. `None`: nothing.
#[derive(Clone, Debug)]
pub struct System {
    /// The name of the system, in place of its address.
    pub name: Option<String>,
    /// How many calls may start.
    pub rate_limit: Option<RateLimit>,
    /// When it is left alone.
    pub breaker: Option<Breaker>,
    /// Retries and hedges for a thousand answers.
    pub budget: Option<Percent>,
}

/// Whether a system is left alone when it fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Breaker {
    /// Never.
    Off,
    /// So.
    On(BreakerOptions),
}

/// Answers that are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Answers kept, about.
    pub entries: usize,
    /// How long an answer is used.
    pub ttl: Duration,
    /// How long it is used that there is none.
    pub missing_ttl: Duration,
    /// How long after its `ttl` it is used while a newer one is fetched; may be zero.
    pub stale_for: Duration,
}

impl Cache {
    pub(crate) fn normal(&self) -> Value {
        let mut normal =
            json!({ "entries": self.entries, "ttl": Period(self.ttl), "missing_ttl": Period(self.missing_ttl) });
        if !self.stale_for.is_zero() {
            normal["stale_for"] = json!(Period(self.stale_for));
        }
        normal
    }
}

impl Breaker {
    pub(crate) fn normal(&self) -> Value {
        let Self::On(options) = self else { return json!(Switch::Off) };
        json!({
            "failures": Percent((options.failure_rate * 1000.0).round() as u32),
            "window": options.window,
            "min_calls": options.min_calls,
            "open_for": Period(options.open_for),
            "probes": options.probes,
        })
    }
}

impl Policies {
    pub(crate) fn normal_hedge(&self) -> Value {
        match self.hedge {
            None => json!(Switch::Off),
            Some(HedgeDelay::Adaptive) => json!(Switch::On),
            Some(HedgeDelay::Fixed(delay)) => json!({ "delay": Period(delay) }),
        }
    }

    /// The rate of the system, and that of each key.
    pub(crate) fn normal_rate(&self) -> Option<Value> {
        let mut normal = match self.system.rate_limit {
            Some(limit) => json!({ "rate": Rate(limit.per_second), "burst": limit.burst }),
            None => json!({}),
        };
        if let Some(limit) = self.per_key {
            normal["per_key"] = json!(Rate(limit.per_second));
        }
        (normal != json!({})).then_some(normal)
    }
}

impl StepCheck<'_> {
    pub(super) fn cache(&mut self, typed: Option<TypedCache>) -> Option<Cache> {
        let TypedCache { entries, ttl, missing_ttl, stale_for } = typed?;
        let entries = entries.map_or(CACHE_ENTRIES, |count| self.at_most("cache", count, CACHE_ENTRIES_MAX));
        let missing_ttl = missing_ttl.map_or_else(|| MISSING_TTL.min(ttl.0), |period| period.0);
        Some(Cache { entries, ttl: ttl.0, missing_ttl, stale_for: stale_for.map_or(Duration::ZERO, |period| period.0) })
    }

    pub(super) fn hedge(&mut self, typed: Option<NumberOr<Switch, Hedge>>, step: &Step) -> Option<HedgeDelay> {
        let delay = match typed? {
            NumberOr::Number(Switch::Off) => return None,
            NumberOr::Number(Switch::On) | NumberOr::Group(Hedge { delay: None }) => HedgeDelay::Adaptive,
            NumberOr::Group(Hedge { delay: Some(Period(delay)) }) => HedgeDelay::Fixed(delay),
        };
        if step.order == Order::KeySerial {
            let message = "a hedge would be a second call of the same key at the same time".to_owned();
            self.refuse("hedge", message, "leave it out, or use another order than `key_serial`");
        }
        if !step.lookup.is_remote() {
            let message =
                format!("a hedge helps against the bad luck of a network, and {} has none", step.lookup.system());
            self.refuse("hedge", message, "leave it out");
        }
        if matches!(delay, HedgeDelay::Fixed(delay) if delay >= step.timeout) {
            let message = format!("the hedge would come no earlier than the timeout of {}", Period(step.timeout));
            self.refuse("hedge", message, "give it a shorter delay, or `hedge: on`");
        }
        Some(delay)
    }

    /// The rate of the system, and that of each key.
    pub(super) fn rates(&mut self, typed: Option<NumberOr<Rate, TypedRate>>) -> (Option<RateLimit>, Option<RateLimit>) {
        let limit = |rate: Rate, burst: Option<u32>| RateLimit {
            per_second: rate.0,
            burst: burst.unwrap_or_else(|| (rate.0 / BURST_PART).max(1)),
        };
        match typed {
            None => (None, None),
            Some(NumberOr::Number(rate)) => (Some(limit(rate, None)), None),
            Some(NumberOr::Group(TypedRate { rate, burst, per_key })) => {
                let burst = burst.map(|count| u32::try_from(count.0).unwrap_or(u32::MAX));
                if rate.is_none() && (burst.is_some() || per_key.is_none()) {
                    let message = "the rate limit has no rate".to_owned();
                    self.refuse("rate_limit", message, "such as `rate_limit: { rate: 500/s, burst: 50 }`");
                }
                (rate.map(|rate| limit(rate, burst)), per_key.map(|rate| limit(rate, None)))
            }
        }
    }

    pub(super) fn breaker(&mut self, typed: Option<NumberOr<Switch, TypedBreaker>>) -> Option<Breaker> {
        let default = breaker();
        let TypedBreaker { failures, window, min_calls, open_for, probes } = match typed? {
            NumberOr::Number(Switch::Off) => return Some(Breaker::Off),
            NumberOr::Number(Switch::On) => return Some(Breaker::On(default)),
            NumberOr::Group(typed) => typed,
        };
        let mut count = |given: Option<Count>, otherwise: usize| {
            given.map_or(otherwise, |count| self.at_most("breaker", count, super::CONCURRENCY_MAX))
        };
        let window = count(window, default.window);
        let options = BreakerOptions {
            window,
            failure_rate: failures.map_or(default.failure_rate, |share| f64::from(share.0) / 1000.0),
            min_calls: count(min_calls, default.min_calls.min(window)),
            open_for: open_for.map_or(default.open_for, |period| period.0),
            probes: count(probes, default.probes),
            ..default
        };
        if let Err(error) = options.check() {
            self.refuse("breaker", error.to_string(), "see what each of its keys means with `inflight schema`");
        }
        Some(Breaker::On(options))
    }
}

#[cfg(test)]
mod tests {
    use inflight::Concurrency;

    use super::*;
    use crate::file;
    use crate::pipeline::Pipeline;

    const POSTGRES: &str = "{ url: 'postgres://u:secret@h/d', table: t }";

    fn pipeline(steps: &str) -> Result<Pipeline, Vec<String>> {
        let text = format!("source: stdin\nenrich:\n{steps}sink: stdout\n");
        let faults = |faults: crate::fault::Faults| faults.iter().map(|fault| fault.message.clone()).collect();
        Pipeline::check(file::parse("p.yaml", &text).map_err(faults)?).map_err(faults)
    }

    /// The step with these keys besides the ones that it must have.
    fn step(keys: &str) -> Result<Step, Vec<String>> {
        Ok(pipeline(&format!("  a: {{ postgres: {POSTGRES}, key: {{ id: .id }}{keys} }}\n"))?.steps.remove(0))
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let plain = step("").unwrap().policies;
        assert!(plain.single_flight && plain.cache.is_none() && plain.hedge.is_none() && plain.per_key.is_none());
        assert_eq!((plain.system.rate_limit, plain.system.budget), (None, Some(Percent(100))));
        assert_eq!(plain.system.breaker, Some(Breaker::On(breaker())));

        let cache = |keys: &str| step(&format!(", cache: {{ {keys} }}")).unwrap().policies.cache.unwrap();
        let seconds = Duration::from_secs;
        let (ten, half) = (seconds(600), seconds(30));
        assert_eq!(cache("ttl: 10m"), Cache { entries: 100_000, ttl: ten, missing_ttl: half, stale_for: seconds(0) });
        assert_eq!(cache("ttl: 5s").missing_ttl, seconds(5));
        let all = Cache { entries: 7, ttl: ten, missing_ttl: seconds(60), stale_for: seconds(3600) };
        assert_eq!(cache("entries: 7, ttl: 10m, missing_ttl: 1m, stale_for: 1h"), all);

        let rate = |keys: &str| step(&format!(", rate_limit: {keys}")).unwrap().policies;
        assert_eq!(rate("500/s").system.rate_limit, Some(RateLimit { per_second: 500, burst: 50 }));
        let both = rate("{ rate: 5/s, burst: 2, per_key: 1/s }");
        assert_eq!(both.system.rate_limit, Some(RateLimit { per_second: 5, burst: 2 }));
        assert_eq!(both.per_key, Some(RateLimit { per_second: 1, burst: 1 }));

        let breaker = |keys: &str| step(&format!(", breaker: {keys}")).unwrap().policies.system.breaker.unwrap();
        assert_eq!(breaker("off"), Breaker::Off);
        let Breaker::On(given) = breaker("{ failures: 30%, window: 10, open_for: 5s, probes: 1 }") else { panic!() };
        assert_eq!((given.failure_rate, given.window, given.min_calls, given.probes), (0.3, 10, 5, 1));

        let hedge = |keys: &str| step(&format!(", hedge: {keys}")).unwrap().policies.hedge;
        assert_eq!((hedge("off"), hedge("on")), (None, Some(HedgeDelay::Adaptive)));
        assert_eq!(hedge("{ delay: 40ms }"), Some(HedgeDelay::Fixed(Duration::from_millis(40))));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |keys: &str| step(&format!(", {keys}")).map(drop).unwrap_err().join("; ");
        assert_eq!(refused("rate_limit: {}"), "the rate limit has no rate");
        assert_eq!(refused("rate_limit: { burst: 5, per_key: 1/s }"), "the rate limit has no rate");
        assert!(refused("breaker: { window: 5, min_calls: 6 }").contains("min_calls"));
        assert!(refused("hedge: on, order: key_serial").contains("same key at the same time"));
        assert!(refused("hedge: { delay: 1s }").contains("no earlier than the timeout of 1s"));
        assert!(refused("cache: { entries: 5 }").contains("ttl"));
        let sqlite = "  a: { sqlite: { database: d.db, table: t }, key: { id: .id }, hedge: on }\n";
        assert!(pipeline(sqlite).unwrap_err()[0].contains("bad luck of a network"));
    }

    #[test]
    fn a_database_here_is_never_left_alone_unless_the_file_says_so() {
        let sqlite = |keys: &str| {
            let steps = format!("  a: {{ sqlite: {{ database: d.db, table: t }}, key: {{ id: .id }}{keys} }}\n");
            pipeline(&steps).unwrap().steps.remove(0).policies.system.breaker
        };
        assert_eq!(sqlite(""), Some(Breaker::Off));
        assert_eq!(sqlite(", breaker: on"), Some(Breaker::On(breaker())));
    }

    /// Two steps on one server, with these keys.
    fn two(a: &str, b: &str) -> Result<Pipeline, Vec<String>> {
        let step = |name: &str, url: &str, keys: &str| {
            format!("  {name}: {{ postgres: {{ url: '{url}', table: t }}, key: {{ id: .id }}{keys} }}\n")
        };
        let other = "postgres://v:other@h:5432/d?sslmode=disable";
        pipeline(&(step("a", "postgres://u:secret@h:5432/d", a) + &step("b", other, b)))
    }

    #[test]
    fn steps_that_ask_the_same_system_share_what_is_said_about_it() {
        let one = two(", concurrency: 5, rate_limit: 100/s", ", breaker: off, retries: { budget: 5% }").unwrap();
        assert_eq!(one.destinations.len(), 1);
        assert_eq!(one.destinations[0].concurrency, Concurrency::Fixed(5 + 16));
        for step in &one.steps {
            let system = &step.policies.system;
            assert_eq!(system.rate_limit, Some(RateLimit { per_second: 100, burst: 10 }));
            assert_eq!((system.breaker, system.budget), (Some(Breaker::Off), Some(Percent(50))));
        }
        let auto = two(", concurrency: { min: 4, max: 40 }", ", concurrency: 3").unwrap();
        assert_eq!(auto.destinations[0].concurrency, Concurrency::Auto { min: 4, max: 43 });
    }

    #[test]
    fn steps_with_names_for_their_systems_are_told_apart_by_them() {
        assert_eq!(two(", destination: x", "").unwrap().destinations.len(), 2);
        let both = "  a: { sqlite: { database: d.db, table: t }, key: { id: .id }, destination: x }\n  \
                    b: { sqlite: { database: e.db, table: t }, key: { id: .id }, destination: x }\n";
        assert_eq!(pipeline(both).unwrap().destinations.len(), 1);
    }

    #[test]
    fn steps_must_not_contradict_each_other_about_a_system() {
        for (a, b, key) in [
            (", rate_limit: 100/s", ", rate_limit: 200/s", "rate_limit"),
            (", breaker: off", ", breaker: on", "breaker"),
            (", retries: { budget: 5% }", ", retries: { budget: 6% }", "budget"),
        ] {
            let faults = two(a, b).map(drop).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            let expected = format!("step `b` asks the same system as step `a`, and says another `{key}`");
            assert_eq!(faults[0], expected);
            two(&format!("{a}, destination: x"), b).unwrap();
        }
    }
}
