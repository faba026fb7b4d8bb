//! The systems that are asked: those that several steps ask have their limits in common.

use inflight::{Concurrency, DestinationOptions};

use super::policies::Breaker;
use super::{Lookup, Step};
use crate::fault::Fault;
use crate::file::Document;
use crate::units::Percent;

/// Retries and hedges for 100 answers unless the file says otherwise.
pub const BUDGET: Percent = Percent(100);

/// A system that is asked, by one process.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The steps that ask it, by their positions in the pipeline.
    pub steps: Vec<usize>,
    /// Calls on the wire, of all of these steps.
    pub concurrency: Concurrency,
}

impl Destination {
    /// The systems of these steps. What one step says about its system holds for all that ask it: it is filled in there.
    pub(super) fn of(steps: &mut [Step], document: &Document, faults: &mut Vec<Fault>) -> Vec<Self> {
        let mut destinations: Vec<(String, Self)> = Vec::new();
        for (place, step) in steps.iter().enumerate() {
            let address = match &step.policies.system.name {
                Some(name) => format!("name {name}"),
                None => address(step),
            };
            match destinations.iter_mut().find(|(known, _)| *known == address) {
                Some((_, destination)) => {
                    destination.steps.push(place);
                    destination.concurrency = together(destination.concurrency, step.calls());
                }
                None => destinations.push((address, Self { steps: vec![place], concurrency: step.calls() })),
            }
        }
        let destinations: Vec<Self> = destinations.into_iter().map(|(_, destination)| destination).collect();
        for destination in &destinations {
            Agreement { places: &destination.steps, steps, document, faults }.fill_in();
        }
        destinations
    }

    /// What the operators of these steps have in common.
    pub fn options(&self, steps: &[Step]) -> DestinationOptions {
        let mut options = DestinationOptions::new(self.concurrency);
        // They agree.
        if let Some(system) = self.steps.first().and_then(|place| steps.get(*place)).map(|step| &step.policies.system) {
            options.rate_limit = system.rate_limit;
            options.breaker = match system.breaker {
                Some(Breaker::On(breaker)) => Some(breaker),
                Some(Breaker::Off) | None => None,
            };
            options.budget.per_mille = system.budget.unwrap_or(BUDGET).0;
        }
        options
    }
}

/// Limits of several steps: they add up, and if one is to be found by trying, so is the sum.
fn together(one: Concurrency, other: Concurrency) -> Concurrency {
    let parts = |concurrency| match concurrency {
        Concurrency::Fixed(calls) => (None, calls),
        Concurrency::Auto { min, max } => (Some(min), max),
    };
    let ((one_min, one_max), (other_min, other_max)) = (parts(one), parts(other));
    let max = one_max.saturating_add(other_max);
    one_min.max(other_min).map_or(Concurrency::Fixed(max), |min| Concurrency::Auto { min, max })
}

/// Steps that ask one system.
struct Agreement<'a> {
    places: &'a [usize],
    steps: &'a mut [Step],
    document: &'a Document,
    faults: &'a mut Vec<Fault>,
}

impl Agreement<'_> {
    fn fill_in(&mut self) {
        let is_remote = self.places.iter().any(|place| self.steps[*place].lookup.is_remote());
        let breaker = if is_remote { Breaker::On(super::policies::breaker()) } else { Breaker::Off };
        let rate_limit = self.said("rate_limit", |step| step.policies.system.rate_limit);
        let breaker = self.said("breaker", |step| step.policies.system.breaker).unwrap_or(breaker);
        let budget = self.said("budget", |step| step.policies.system.budget).unwrap_or(BUDGET);
        for place in self.places {
            let system = &mut self.steps[*place].policies.system;
            (system.rate_limit, system.breaker, system.budget) = (rate_limit, Some(breaker), Some(budget));
        }
    }

    /// What the first step says that says anything; the others must say the same or nothing.
    fn said<T: PartialEq>(&mut self, key: &str, of: impl Fn(&Step) -> Option<T>) -> Option<T> {
        let mut said: Option<(&str, T)> = None;
        for step in self.places.iter().map(|place| &self.steps[*place]) {
            match (&said, of(step)) {
                (None, Some(value)) => said = Some((&step.name, value)),
                (Some((first, known)), Some(value)) if *known != value => {
                    let path = if key == "budget" { "retries" } else { key };
                    let message = format!(
                        "step `{}` asks the same system as step `{first}`, and says another `{key}`",
                        step.name
                    );
                    let fault = self.document.fault(&["enrich", &step.name, path], message);
                    self.faults.push(
                        fault.with_label("write it once; or give a step's system a name of its own: `destination: x`"),
                    );
                }
                _ => {}
            }
        }
        said.map(|(_, value)| value)
    }
}

/// What tells systems apart: the kind and the server, without credentials. Not for people: it may have come from a variable.
fn address(step: &Step) -> String {
    let place = match &step.lookup {
        Lookup::Sqlite(config) => config.database.display().to_string(),
        Lookup::Postgres(config) => {
            let server = &config.server;
            match &server.url {
                Some(url) => without_credentials(url.reveal()).to_owned(),
                None => format!("{:?}:{:?}/{:?}", server.host, server.port, server.dbname),
            }
        }
        #[cfg(feature = "mysql")]
        Lookup::Mysql(config) => without_credentials(config.server.url.reveal()).to_owned(),
        Lookup::Redis(config) => without_credentials(config.url.reveal()).to_owned(),
        // Whatever is asked there, it is one server.
        Lookup::Http(config) => {
            let place = without_credentials(config.url.reveal());
            place.split('/').next().unwrap_or(place).to_owned()
        }
        Lookup::Memory(_) => step.name.clone(),
    };
    format!("{} {place}", step.lookup.system())
}

/// `host:port/name` of a URL.
fn without_credentials(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find('?').unwrap_or(rest.len());
    let rest = &rest[..end];
    let authority = rest.find('/').unwrap_or(rest.len());
    rest[..authority].rfind('@').map_or(rest, |at| &rest[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_credentials() {
        for (url, place) in [
            ("postgres://u:p%40ss@h:5432/d?sslmode=disable", "h:5432/d"),
            ("postgres://h/d", "h/d"),
            ("redis://:p@h", "h"),
            ("https://h/v1/users/a@b", "h/v1/users/a@b"),
            ("what is this", "what is this"),
        ] {
            assert_eq!(without_credentials(url), place, "{url}");
        }
    }

    #[test]
    fn limits_add_up() {
        let (four, auto) = (Concurrency::Fixed(4), Concurrency::Auto { min: 2, max: 10 });
        assert_eq!(together(four, four), Concurrency::Fixed(8));
        assert_eq!(together(four, auto), Concurrency::Auto { min: 2, max: 14 });
        assert_eq!(together(auto, Concurrency::Auto { min: 3, max: 5 }), Concurrency::Auto { min: 3, max: 15 });
    }
}
