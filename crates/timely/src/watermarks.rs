//! Event time over an exchange: every worker's watermark reaches every worker, and the least of them counts.
//!
//! Records go where their route says; watermarks and idle statuses go to all workers, since records of every worker may end up there.
//! What a worker gives out is the least watermark of all senders that have not gone idle or ended. A sender counts from the start, so
//! there is none before each has told one or gone idle.
//!
//! ```text
//!  worker 0: records, watermarks --> send --+--exchange--+--> receive: the least watermark --> records, watermarks
//!                                           |            |
//!  worker 1: records, watermarks --> send --+------------+--> receive: the least watermark --> records, watermarks
//! ```
//!
//! Timely does not tell an operator that *its own worker's* part of a stream has ended, only that all of it has. So a source that ends
//! while those of other workers go on says so, with the last watermark there can be, `Timestamp(i64::MAX)` (as Flink's sources do), or
//! at least that it is idle; otherwise the others' watermarks wait for it.
//!
//! # Waits by key over several workers
//!
//! The keyed orders hold within a worker. With this exchange before them they hold for all:
//!
//! ```
//! use inflight::{Element, Options, Order, Timestamp};
//! use inflight_timely::{elements, exchange_elements};
//! use timely::dataflow::operators::{Input, Inspect};
//!
//! let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
//! let handle = runtime.handle().clone();
//!
//! timely::execute(timely::Config::process(2), move |worker| {
//!     let here = worker.index() as u64;
//!     let (mut input, handle) = (timely::dataflow::InputHandle::new(), handle.clone());
//!     worker.dataflow::<u64, _, _>(|scope| {
//!         let user = |order: &u64| order % 10;
//!         let charge = |order: u64| async move { Ok::<_, std::io::Error>(order) };
//!         let orders = exchange_elements(scope.input_from(&mut input), user);
//!         elements(orders)
//!             .wait(&handle, Order::KeySerial, Some(Box::new(user)), charge, Options::new())
//!             .results
//!             .inspect(|element| println!("{element:?}"));
//!     });
//!     for number in 0..50 {
//!         input.send(Element::at(number as i64, number * 2 + here));
//!     }
//!     input.send(Element::Watermark(Timestamp(i64::MAX)));
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, VecDeque};

use inflight::{Element, Timestamp};
use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::order::TotalOrder;
use timely::progress::Timestamp as Time;
use timely::progress::frontier::MutableAntichain;

/// Sends each record to the worker that `route` names (any number: it is taken modulo the workers), and the watermarks and idle
/// statuses of every worker to all; see the [module](self) for what comes of them. Records of one worker and one route keep their order.
///
/// Batches of a later timely time wait until the earlier times are over, so that a watermark of one time covers nothing of another.
///
/// # Panics
/// When a batch comes without a capability: records without a time cannot wait.
pub fn exchange_elements<'s, T, I>(
    stream: StreamVec<'s, T, Element<I>>,
    route: impl Fn(&I) -> u64 + 'static,
) -> StreamVec<'s, T, Element<I>>
where
    T: Time + TotalOrder,
    I: ExchangeData + Clone,
{
    receive(send(stream, route))
}

/// What goes over the exchange. Only what tells of its sender names it.
#[derive(Clone, Serialize, Deserialize)]
enum Routed<I> {
    Record { to: u64, value: I, timestamp: Option<i64> },
    News { to: u64, from: u64, news: News },
}

/// What a sender tells all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum News {
    Watermark(i64),
    Idle,
    /// Idle no longer: a record follows, for one of the workers.
    Active,
}

impl<I> Routed<I> {
    const fn to(&self) -> u64 {
        match self {
            Self::Record { to, .. } | Self::News { to, .. } => *to,
        }
    }
}

fn send<'s, T, I>(
    stream: StreamVec<'s, T, Element<I>>,
    route: impl Fn(&I) -> u64 + 'static,
) -> StreamVec<'s, T, Routed<I>>
where
    T: Time + TotalOrder,
    I: ExchangeData + Clone,
{
    let scope = stream.scope();
    let (from, workers) = (scope.index() as u64, scope.peers() as u64);
    let mut builder = OperatorBuilder::new("Send".into(), scope);
    let mut input = builder.new_input(stream, Pipeline);
    let (output, routed) = builder.new_output();
    let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<Routed<I>>>>::from(output);
    let (mut batches, mut idle) = (Batches::new(), false);

    builder.build(move |_| {
        move |frontiers| {
            input.for_each(|capability, batch| batches.push(&capability, std::mem::take(batch)));
            let mut output = output.activate();
            while let Some((capability, batch)) = batches.next(&frontiers[0]) {
                let mut session = output.session(&capability);
                for element in batch {
                    let news = match &element {
                        Element::Watermark(at) => Some(News::Watermark(at.0)),
                        Element::Idle => Some(News::Idle),
                        Element::Record { .. } => idle.then_some(News::Active),
                    };
                    if let Some(news) = news {
                        idle = news == News::Idle;
                        (0..workers).for_each(|to| session.give(Routed::News { to, from, news }));
                    }
                    if let Element::Record { value, timestamp } = element {
                        let (to, timestamp) = (route(&value) % workers, timestamp.map(|at| at.0));
                        session.give(Routed::Record { to, value, timestamp });
                    }
                }
            }
        }
    });
    routed
}

fn receive<T, I>(routed: StreamVec<'_, T, Routed<I>>) -> StreamVec<'_, T, Element<I>>
where
    T: Time + TotalOrder,
    I: ExchangeData + Clone,
{
    let scope = routed.scope();
    let mut senders = Senders::new(scope.peers());
    let mut builder = OperatorBuilder::new("Receive".into(), scope);
    let mut input = builder.new_input(routed, Exchange::new(Routed::to));
    let (output, elements) = builder.new_output();
    let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<Element<I>>>>::from(output);
    let mut batches = Batches::new();

    builder.build(move |_| {
        move |frontiers| {
            input.for_each(|capability, batch| batches.push(&capability, std::mem::take(batch)));
            let mut output = output.activate();
            while let Some((capability, batch)) = batches.next(&frontiers[0]) {
                let elements = batch.into_iter().filter_map(|routed| match routed {
                    Routed::Record { value, timestamp, .. } => {
                        Some(Element::Record { value, timestamp: timestamp.map(Timestamp) })
                    }
                    Routed::News { from, news, .. } => senders.hear(from as usize, news).map(|told| match told {
                        Told::Watermark(at) => Element::Watermark(Timestamp(at)),
                        Told::Idle => Element::Idle,
                    }),
                });
                output.session(&capability).give_iterator(elements);
            }
        }
    });
    elements
}

/// Batches that wait for their time: the earliest first, and those of one time in the order they came.
struct Batches<T: Time, D>(BTreeMap<T, VecDeque<(Capability<T>, Vec<D>)>>);

impl<T: Time + TotalOrder, D> Batches<T, D> {
    const fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn push(&mut self, capability: &InputCapability<T>, batch: Vec<D>) {
        let Some(capability) = capability.retain_least(0) else {
            panic!("records without a time cannot wait: there is no capability to keep for them");
        };
        self.0.entry(capability.time().clone()).or_default().push_back((capability, batch));
    }

    /// The next batch whose time has come: nothing of an earlier time follows.
    fn next(&mut self, frontier: &MutableAntichain<T>) -> Option<(Capability<T>, Vec<D>)> {
        let mut first = self.0.first_entry().filter(|first| !frontier.less_than(first.key()))?;
        let batch = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        batch
    }
}

/// What a worker knows of all senders, itself among them.
struct Senders {
    each: Vec<Sender>,
    /// The last watermark told.
    watermark: Option<i64>,
    /// It was told that all are idle, and none has become active since.
    idle: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sender {
    watermark: Option<i64>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is waited for.
    Active,
    Idle,
    /// Its watermark was the last there can be; nothing it says changes that.
    Ended,
}

/// What those behind are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Watermark(i64),
    Idle,
}

impl Senders {
    fn new(count: usize) -> Self {
        Self { each: vec![Sender { watermark: None, state: State::Active }; count], watermark: None, idle: false }
    }

    fn hear(&mut self, from: usize, news: News) -> Option<Told> {
        let sender = self.each.get_mut(from).filter(|sender| sender.state != State::Ended)?;
        sender.state = match news {
            News::Watermark(i64::MAX) => State::Ended,
            News::Watermark(_) | News::Active => State::Active,
            News::Idle => State::Idle,
        };
        if let News::Watermark(at) = news {
            sender.watermark = sender.watermark.max(Some(at));
        }
        self.tell()
    }

    fn tell(&mut self) -> Option<Told> {
        let active = self.each.iter().filter(|sender| sender.state == State::Active);
        let least = match active.map(|sender| sender.watermark).min() {
            Some(least) => least,
            None if self.each.iter().all(|sender| sender.state == State::Ended) => Some(i64::MAX),
            None => return (!std::mem::replace(&mut self.idle, true)).then_some(Told::Idle),
        };
        self.idle = false;
        if least <= self.watermark {
            return None;
        }
        self.watermark = least;
        least.map(Told::Watermark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(count: usize, news: impl IntoIterator<Item = (usize, News)>) -> Vec<Option<Told>> {
        let mut senders = Senders::new(count);
        news.into_iter().map(|(from, news)| senders.hear(from, news)).collect()
    }

    const fn mark(at: i64) -> Option<Told> {
        Some(Told::Watermark(at))
    }

    #[test]
    fn the_least_counts_and_nobody_goes_back() {
        let news = [(0, 5), (1, 3), (1, 9), (0, 4), (0, 7), (0, 7)].map(|(from, at)| (from, News::Watermark(at)));
        assert_eq!(told(2, news), [None, mark(3), mark(5), None, mark(7), None]);
    }

    #[test]
    fn an_idle_sender_is_not_waited_for_until_it_is_active_again() {
        let news = [
            (1, News::Idle),
            (0, News::Watermark(5)),
            (1, News::Active),
            (0, News::Watermark(8)),
            (1, News::Watermark(6)),
        ];
        assert_eq!(told(2, news), [None, mark(5), None, None, mark(6)]);
    }

    #[test]
    fn all_are_idle_when_the_last_is_and_that_is_told_once() {
        let news = [(0, News::Idle), (1, News::Idle), (1, News::Idle), (0, News::Watermark(4)), (0, News::Idle)];
        assert_eq!(told(2, news), [None, Some(Told::Idle), None, mark(4), Some(Told::Idle)]);
    }

    #[test]
    fn an_ended_sender_is_not_waited_for_and_the_end_is_told_when_all_have_ended() {
        let end = News::Watermark(i64::MAX);
        let news = [(0, end), (1, News::Watermark(4)), (1, News::Idle), (0, News::Active), (1, end)];
        assert_eq!(told(2, news), [None, mark(4), Some(Told::Idle), None, mark(i64::MAX)]);
    }
}
