//! Pipelines over several workers that are broken off and go on from their checkpoint, with another number of workers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight::driver::hashed;
use inflight::{Function, Options, Order};
use inflight_timely::pipeline::{
    Cut, Ended, Id, Partition, Pipeline, Position, Produced, Readers, Recovery, Restored, Row, Sink, Source, Stage,
    Step, install,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::clients::scrambled;
use crate::runtime;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Record {
    partition: u32,
    number: u64,
    /// What each step found.
    found: Vec<u64>,
}

impl Row for Record {
    fn id(&self) -> Id {
        Id { partition: self.partition, number: self.number }
    }
}

impl Record {
    fn key(&self) -> u64 {
        scrambled(self.number + u64::from(self.partition)) % 7
    }
}

/// What survives: the output with how much of it counts, and the last checkpoint.
#[derive(Default)]
struct Disk {
    output: Vec<Record>,
    counts: usize,
    checkpoint: Option<(u64, Vec<Position>, Vec<u8>)>,
    complete: bool,
}

/// Numbers of each partition up to `records`.
struct Numbers {
    records: u64,
    next: BTreeMap<u32, u64>,
}

impl Source<Record> for Numbers {
    fn assign(&mut self, partition: Partition) {
        let read = partition.position.map_or(0, |at| at.parse().expect("a number"));
        self.next.insert(partition.index, read + 1);
    }

    fn produce(&mut self, most: u64) -> Produced<Record> {
        let records = self.records;
        let open: Vec<u32> = self.next.iter().filter(|(_, next)| **next <= records).map(|(at, _)| *at).collect();
        let mut batch = Vec::new();
        for partition in open {
            let next = self.next.get_mut(&partition).expect("an open partition");
            while *next <= records && batch.len() < most.min(30) as usize {
                batch.push(Record { partition, number: *next, found: Vec::new() });
                *next += 1;
            }
        }
        if batch.is_empty() { Produced::End } else { Produced::Records(batch) }
    }

    fn positions(&mut self) -> Vec<Position> {
        let position = |(&partition, next): (&u32, &u64)| Position { partition, at: (next - 1).to_string() };
        self.next.iter().map(position).collect()
    }
}

struct Writer {
    disk: Arc<Mutex<Disk>>,
    completed: Option<u64>,
    carry: bool,
}

impl Sink<Record> for Writer {
    fn take(&mut self, records: &mut VecDeque<Record>) {
        self.disk.lock().expect("no panic").output.extend(records.drain(..));
    }

    fn checkpoint(&mut self, cut: Cut) {
        let mut disk = self.disk.lock().expect("no panic");
        disk.counts = disk.output.len();
        disk.complete = cut.last;
        if !self.carry {
            let mut got: Vec<Id> = disk.output.iter().map(Row::id).collect();
            got.sort();
            let before = cut.positions.iter().flat_map(|Position { partition, at }| {
                (1..=at.parse().expect("a number")).map(|number| Id { partition: *partition, number })
            });
            assert_eq!(
                (got, cut.carried),
                (before.collect(), 0),
                "the sink has what the positions say and nothing else"
            );
        }
        disk.checkpoint = Some((cut.epoch, cut.positions, (cut.encode)().expect("it can be stored")));
        self.completed = Some(cut.epoch);
    }

    fn completed(&mut self) -> Option<u64> {
        self.completed
    }
}

const PARTITIONS: u32 = 3;
const RECORDS: u64 = 400;

async fn look_up(record: Record) -> Result<u64, String> {
    let millis = scrambled(record.number) % 8;
    if millis < 4 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    Ok(record.number * 10 + record.found.len() as u64)
}

#[derive(Clone, Copy)]
struct Plan {
    orders: [Order; 3],
    ordered: bool,
    carry: bool,
    readers: Readers,
}

impl Plan {
    fn new(orders: [Order; 3], ordered: bool) -> Self {
        Self { orders, ordered, carry: true, readers: Readers::All }
    }
}

/// One stage of two steps, and one of one.
fn pipeline<Shape: 'static, F: Function<Record, Shape, Output = u64, Error = String>>(
    plan: Plan,
    disk: &Arc<Mutex<Disk>>,
    function: fn() -> F,
) -> Pipeline<Record, F, Shape> {
    let step = |order: Order| Step {
        function: function(),
        order,
        key: order.is_keyed().then(|| hashed(Record::key)),
        options: Options::new().capacity(60).concurrency(40),
    };
    let join = || {
        Box::new(|parts: Vec<inflight::Completed<Record, u64, String>>| {
            let mut record = parts[0].input.clone();
            record.found.extend(parts.into_iter().map(|part| part.result.expect("found")));
            Some(record)
        }) as _
    };
    let (restored, positions) = match disk.lock().expect("no panic").checkpoint.clone() {
        Some((epoch, at, carried)) => {
            let (again, recorded) = (BTreeMap::new(), Vec::new());
            (Some(Restored { epoch, carried, from_the_first_stage: false, again, recorded }), at)
        }
        None => (None, Vec::new()),
    };
    let partitions = (0..PARTITIONS).map(|index| Partition {
        index,
        name: index.to_string(),
        position: positions.iter().find(|at| at.partition == index).map(|at| at.at.clone()),
    });
    let disk = Arc::clone(disk);
    Pipeline {
        credits: 150,
        source: Box::new(|_| Box::new(Numbers { records: RECORDS, next: BTreeMap::new() })),
        stages: vec![
            Stage { steps: vec![step(plan.orders[0]), step(plan.orders[1])], join: join() },
            Stage { steps: vec![step(plan.orders[2])], join: join() },
        ],
        sink: Box::new(move |_| Box::new(Writer { disk, completed: None, carry: plan.carry })),
        ordered: plan.ordered,
        partitions: partitions.collect(),
        readers: plan.readers,
        recovery: Some(Recovery { every: Duration::from_millis(3), carry: plan.carry, restored }),
    }
}

/// Runs until the end, or until the workers have looked so often.
fn run(workers: usize, plan: Plan, disk: &Arc<Mutex<Disk>>, looks: i64, runtime: &Handle) {
    let budget = Arc::new(AtomicI64::new(looks));
    let complete = Arc::new(AtomicU64::new(0));
    let (disk, runtime) = (Arc::clone(disk), runtime.clone());
    let config = timely::Config::process(workers);
    {
        // Once, and before any worker writes: they do not all start at the same time.
        let mut disk = disk.lock().expect("no panic");
        let counts = disk.counts;
        disk.output.truncate(counts);
        disk.complete = false;
    }
    let guards = timely::execute(config, move |worker| {
        let installed = install(worker, pipeline(plan, &disk, || look_up), &runtime).expect("it can be read");
        let ended = installed.run(worker, |_| match budget.fetch_sub(1, Ordering::Relaxed) {
            ..=0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        complete.fetch_add(u64::from(ended == Ended::Complete), Ordering::Relaxed);
    });
    drop(guards.expect("workers"));
}

/// Broken off again and again, with one, two or three workers in turn; then to the end.
fn interrupted(plan: Plan, seed: u64) -> Vec<Record> {
    let runtime = runtime();
    let disk = Arc::new(Mutex::new(Disk::default()));
    for round in 0.. {
        assert!(round < 1_000, "it never ends");
        let workers = 1 + scrambled(seed + round) % 3;
        let looks = 20 + scrambled(seed * 31 + round) % (200 * (1 + round));
        run(workers as usize, plan, &disk, looks as i64, runtime.handle());
        if disk.lock().expect("no panic").complete {
            break;
        }
    }
    let disk = disk.lock().expect("no panic");
    assert_eq!(disk.counts, disk.output.len());
    let positions = disk.checkpoint.iter().flat_map(|(_, positions, _)| positions);
    assert!(positions.clone().count() > 0 && positions.into_iter().all(|position| position.at == RECORDS.to_string()));
    disk.output.clone()
}

fn expected() -> Vec<Record> {
    let record =
        |partition, number| Record { partition, number, found: vec![number * 10, number * 10, number * 10 + 2] };
    (0..PARTITIONS).flat_map(|partition| (1..=RECORDS).map(move |number| record(partition, number))).collect()
}

#[test]
fn nothing_is_lost_or_doubled_in_any_order() {
    let orders = [Order::Ordered, Order::Unordered, Order::KeyOrdered, Order::KeySerial];
    for (seed, first) in (0..).zip(orders) {
        let plan = Plan::new([first, Order::Unordered, orders[(seed as usize + 1) % 4]], false);
        let mut output = interrupted(plan, seed);
        output.sort();
        assert_eq!(output, expected());
    }
}

#[test]
fn partitions_keep_their_order() {
    for seed in 0..3 {
        let plan = Plan::new([Order::Ordered; 3], true);
        let mut output = interrupted(plan, seed);
        // Stable: only the partitions are put apart.
        output.sort_by_key(|record| record.partition);
        assert_eq!(output, expected());
    }
}

#[test]
fn without_carrying_an_epoch_has_the_records_before_its_positions_and_no_others() {
    let orders = [Order::Ordered, Order::Unordered, Order::KeyOrdered, Order::KeySerial];
    for (seed, first) in (0..).zip(orders) {
        for ordered in [false, true] {
            let orders =
                if ordered { [Order::Ordered; 3] } else { [first, Order::Unordered, orders[3 - seed as usize]] };
            let mut output = interrupted(Plan { carry: false, ..Plan::new(orders, ordered) }, seed);
            output.sort();
            assert_eq!(output, expected());
        }
    }
}

#[test]
fn no_checkpoint_says_of_a_record_that_was_left_out_that_it_is_done() {
    let runtime = runtime();
    for carry in [true, false] {
        let disk = Arc::new(Mutex::new(Disk::default()));
        let plan = Plan { carry, ..Plan::new([Order::Unordered; 3], false) };
        let (handle, written) = (runtime.handle().clone(), Arc::clone(&disk));
        let left_out = Arc::new(AtomicU64::new(0));
        let guards = timely::execute(timely::Config::process(2), move |worker| {
            let mut pipeline = pipeline(plan, &written, || look_up);
            let counted = Arc::clone(&left_out);
            pipeline.stages[1].join = Box::new(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                None
            });
            let installed = install(worker, pipeline, &handle).expect("nothing is restored");
            // A while after it has happened to all that there are credits for.
            let mut looks = 10;
            let ended = installed.run(worker, |_| {
                looks -= u32::from(left_out.load(Ordering::Relaxed) >= 150);
                if looks == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(ended, Ended::BrokenOff);
        });
        drop(guards.expect("workers"));
        assert_eq!(disk.lock().expect("no panic").counts, 0);
        run(1, plan, &disk, i64::MAX, runtime.handle());
        let mut output = disk.lock().expect("no panic").output.clone();
        output.sort();
        assert_eq!(output, expected());
    }
}

/// Numbers that are read by one worker only.
struct OnlyHere(Option<Numbers>);

impl Source<Record> for OnlyHere {
    fn assign(&mut self, partition: Partition) {
        self.0.as_mut().expect("a reader").assign(partition);
    }

    fn produce(&mut self, most: u64) -> Produced<Record> {
        self.0.as_mut().map_or(Produced::End, |numbers| numbers.produce(most))
    }

    fn positions(&mut self) -> Vec<Position> {
        self.0.as_mut().map_or_else(Vec::new, Source::positions)
    }
}

#[test]
fn one_worker_may_read_for_all_and_what_it_reads_is_looked_up_by_all() {
    let runtime = runtime();
    let disk = Arc::new(Mutex::new(Disk::default()));
    let (handle, written) = (runtime.handle().clone(), Arc::clone(&disk));
    let guards = timely::execute(timely::Config::process(3), move |worker| {
        let plan = Plan::new([Order::Unordered; 3], false);
        let plan = Plan { carry: false, readers: Readers::First, ..plan };
        let numbers = (worker.index() == 0).then(|| Numbers { records: RECORDS, next: BTreeMap::new() });
        let source = Box::new(move |_| Box::new(OnlyHere(numbers)) as Box<dyn Source<Record>>);
        let pipeline = Pipeline { source, ..pipeline(plan, &written, || look_up) };
        let installed = install(worker, pipeline, &handle).expect("nothing is restored");
        assert_eq!(installed.run(worker, |_| ControlFlow::Continue(())), Ended::Complete);
    });
    drop(guards.expect("workers"));
    let disk = disk.lock().expect("no panic");
    assert_eq!((disk.counts, disk.complete), (disk.output.len(), true));
    let mut output = disk.output.clone();
    output.sort();
    assert_eq!(output, expected());
}

/// Records are read by three sources and looked up by two workers; each key has one of them, to the sink.
#[test]
fn the_records_of_a_key_come_in_their_order_from_several_workers() {
    let runtime = runtime();
    let disk = Arc::new(Mutex::new(Disk::default()));
    let (handle, written) = (runtime.handle().clone(), Arc::clone(&disk));
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let plan = Plan::new([Order::KeyOrdered; 3], false);
        let mut pipeline = pipeline(plan, &written, || look_up);
        pipeline.stages.remove(0);
        let installed = install(worker, pipeline, &handle).expect("nothing is restored");
        installed.run(worker, |_| ControlFlow::Continue(()));
    });
    drop(guards.expect("workers"));
    let output = &disk.lock().expect("no panic").output;
    assert_eq!(output.len() as u64, RECORDS * u64::from(PARTITIONS));
    let mut last: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for record in output {
        let before = last.insert((record.partition, record.key()), record.number);
        assert!(before < Some(record.number), "{record:?} came after {before:?}");
    }
}
