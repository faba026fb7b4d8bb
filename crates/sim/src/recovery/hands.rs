//! The workers of a run: the first on this thread, each other on a thread of its own, and only one of them moves at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use timely::communication::Hooks;
use timely::communication::allocator::{Allocator, ProcessBuilder};
use timely::worker::Worker;

/// What a worker is to run.
pub(super) type Install = Box<dyn FnOnce(&mut Worker) -> Result<(), String> + Send>;

/// Counts what a worker does. False: it does nothing more.
pub(super) type Count = Box<dyn FnMut() -> bool + Send>;

/// What came of a worker's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) steps: u32,
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It would go on.
    Busy,
    /// There was nothing to do.
    Idle,
    /// Its dataflow is complete.
    Over,
    Panicked(String),
}

/// All workers.
pub(super) struct Hands {
    own: Option<Live>,
    others: Vec<Hand>,
}

struct Hand {
    orders: Option<Sender<Order>>,
    reports: Receiver<Turn>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Build(ProcessBuilder),
    Install(Install, Count),
    Step(u32),
    End,
}

impl Hands {
    /// For up to so many workers; the threads serve run after run.
    pub(super) fn new(most: usize) -> Self {
        Self { own: None, others: (1..most).map(|_| Hand::new()).collect() }
    }

    /// Workers that do nothing so far.
    pub(super) fn build(&mut self, workers: usize) {
        let mut builders = ProcessBuilder::new_typed_vector(workers, Hooks::default().refill, None).into_iter();
        let own = builders.next().expect("at least one worker");
        let count = builders.len();
        for (hand, builder) in self.others.iter().zip(builders) {
            hand.tell(Order::Build(builder));
        }
        // Each waits for all the others.
        self.own = Some(Live::build(own));
        self.others[..count].iter().for_each(|hand| drop(hand.report()));
    }

    pub(super) fn install(&mut self, worker: usize, install: Install, count: Count) -> Turn {
        self.give(worker, Order::Install(install, count))
    }

    /// Up to so many steps.
    pub(super) fn step(&mut self, worker: usize, most: u32) -> Turn {
        self.give(worker, Order::Step(most))
    }

    /// All it has is gone.
    pub(super) fn end(&mut self, worker: usize) -> Turn {
        self.give(worker, Order::End)
    }

    fn give(&mut self, worker: usize, order: Order) -> Turn {
        match worker.checked_sub(1) {
            None => obey(&mut self.own, order),
            Some(other) => {
                self.others[other].tell(order);
                self.others[other].report()
            }
        }
    }
}

impl Hand {
    fn new() -> Self {
        let (orders, received) = channel();
        let (reported, reports) = channel();
        let work = move || {
            let mut live = None;
            while let Ok(order) = received.recv() {
                if reported.send(obey(&mut live, order)).is_err() {
                    return;
                }
            }
        };
        Self { orders: Some(orders), reports, thread: Some(std::thread::spawn(work)) }
    }

    fn tell(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    fn report(&self) -> Turn {
        self.reports.recv().unwrap_or_else(|_| Turn { steps: 0, state: State::Panicked("its thread is gone".into()) })
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn obey(live: &mut Option<Live>, order: Order) -> Turn {
    let obeyed = catch_unwind(AssertUnwindSafe(|| match (order, live.as_mut()) {
        (Order::Build(builder), _) => {
            *live = Some(Live::build(builder));
            Turn { steps: 0, state: State::Busy }
        }
        (Order::Install(install, count), Some(live)) => live.install(install, count),
        (Order::Step(most), Some(live)) => live.step(most),
        (Order::End, Some(_)) => {
            *live = None;
            Turn { steps: 0, state: State::Over }
        }
        (_, None) => Turn { steps: 0, state: State::Over },
    }));
    obeyed.unwrap_or_else(|panic| {
        // What it was in the middle of cannot be taken apart any more.
        std::mem::forget(live.take());
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Turn { steps: 0, state: State::Panicked(said.unwrap_or_default()) }
    })
}

/// A worker on its thread.
struct Live {
    worker: Worker,
    count: Option<Count>,
}

impl Live {
    fn build(builder: ProcessBuilder) -> Self {
        // With a clock, the worker can tell whether there is anything to do; nothing here depends on what the clock says.
        let worker =
            Worker::new(timely::WorkerConfig::default(), Allocator::Process(builder.build()), Some(Instant::now()));
        Self { worker, count: None }
    }

    fn install(&mut self, install: Install, count: Count) -> Turn {
        self.count = Some(count);
        let state = match install(&mut self.worker) {
            Ok(()) => State::Busy,
            Err(refused) => State::Panicked(refused),
        };
        Turn { steps: 0, state }
    }

    fn step(&mut self, most: u32) -> Turn {
        let mut steps = 0;
        while steps < most {
            if !self.worker.has_dataflows() {
                return Turn { steps, state: State::Over };
            }
            // It may sleep if there is nothing to do, and is woken before it does.
            std::thread::current().unpark();
            self.worker.step_or_park(Some(Duration::from_secs(1)));
            if self.worker.activations().borrow().empty_for().is_none() {
                return Turn { steps, state: State::Idle };
            }
            steps += 1;
            if self.count.as_mut().is_some_and(|count| !count()) {
                break;
            }
        }
        let state = if self.worker.has_dataflows() { State::Busy } else { State::Over };
        Turn { steps, state }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for dataflow in self.worker.installed_dataflows() {
            self.worker.drop_dataflow(dataflow);
        }
    }
}
