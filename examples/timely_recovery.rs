//! A pipeline on two processes that survives a crash: one of them aborts in the middle, both are started again, and the output is as if
//! nothing had happened.
//!
//! `cargo run -p inflight-timely --example timely_recovery`

use std::collections::VecDeque;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use inflight::{Options, Order};
use inflight_timely::checkpoint::{Checkpoint, Folder, Store, rfc3339};
use inflight_timely::cluster::{Layout, execute};
use inflight_timely::pipeline::{
    Cut, Id, Partition, Pipeline, Position, Produced, Readers, Recovery, Restored, Row, Sink, Source, Stage, Step,
    install,
};
use serde::{Deserialize, Serialize};

const PROCESSES: usize = 2;
/// Read by one process each.
const PARTITIONS: u32 = 2;
const ORDERS: u64 = 3_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Purchase {
    partition: u32,
    number: u64,
    customer: String,
}

impl Row for Purchase {
    fn id(&self) -> Id {
        Id { partition: self.partition, number: self.number }
    }
}

/// Stands for a remote service. Errors must be storable too: those that wait for their turn go into checkpoints.
async fn name_of(purchase: Purchase) -> Result<String, String> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(format!("customer {}", purchase.number % 100))
}

/// Stands for a log: partitions of numbered purchases, read from any position.
#[derive(Default)]
struct Log {
    partitions: Vec<(u32, u64)>,
}

impl Source<Purchase> for Log {
    fn assign(&mut self, partition: Partition) {
        let read = partition.position.and_then(|position| position.parse().ok()).unwrap_or(0);
        self.partitions.push((partition.index, read));
    }

    fn produce(&mut self, most: u64) -> Produced<Purchase> {
        let Some((partition, read)) = self.partitions.iter_mut().find(|(_, read)| *read < ORDERS) else {
            return Produced::End;
        };
        let end = ORDERS.min(*read + most.min(100));
        let purchase = |number| Purchase { partition: *partition, number, customer: String::new() };
        let purchases = (*read + 1..=end).map(purchase).collect();
        *read = end;
        Produced::Records(purchases)
    }

    fn positions(&mut self) -> Vec<Position> {
        let position = |&(partition, read): &(u32, u64)| Position { partition, at: read.to_string() };
        self.partitions.iter().map(position).collect()
    }
}

/// A file: what a checkpoint covers is durable in it, and what it does not is cut off at the next start.
struct Lines {
    file: File,
    store: Store<Folder>,
    completed: Option<u64>,
}

impl Sink<Purchase> for Lines {
    fn take(&mut self, purchases: &mut VecDeque<Purchase>) {
        for Purchase { partition, number, customer } in purchases.drain(..) {
            writeln!(self.file, "{partition} {number} {customer}").expect("the disk has room");
        }
    }

    fn checkpoint(&mut self, cut: Cut) {
        // The program `inflight` does this in a thread of its own.
        self.file.sync_all().expect("the disk works");
        let length = self.file.metadata().expect("it is open").len();
        let checkpoint = Checkpoint {
            epoch: cut.epoch,
            generation: self.store.generation(),
            created: now(),
            complete: cut.last,
            partitions: cut.positions.into_iter().map(|at| (at.partition.to_string(), at.at)).collect(),
            sinks: [("lines".to_owned(), length.to_string())].into(),
            carried_records: cut.carried as usize,
            carried: (cut.encode)().expect("purchases can be stored"),
            ..Checkpoint::default()
        };
        self.store.write(&checkpoint).expect("nobody else has the folder");
        self.completed = Some(cut.epoch);
    }

    fn completed(&mut self) -> Option<u64> {
        self.completed
    }
}

/// Opens the output where the last checkpoint left it.
fn open(folder: &Path) -> Result<(Lines, Option<Checkpoint>), Box<dyn Error>> {
    let mut store = Store::open(Folder::create(folder.join("checkpoints"))?, &now())?;
    let checkpoint = store.latest()?.checkpoint;
    store.start(checkpoint.as_ref().map(Checkpoint::mark))?;
    let length = checkpoint.as_ref().map_or(Ok(0), |checkpoint| checkpoint.sinks["lines"].parse())?;
    let file = OpenOptions::new().create(true).append(true).open(folder.join("output"))?;
    file.set_len(length)?;
    Ok((Lines { file, store, completed: None }, checkpoint))
}

type Enrichment<F> = Pipeline<Purchase, F, inflight::Single>;

fn enrichment<F>(function: F, sink: Option<Lines>, checkpoint: Option<Checkpoint>) -> Enrichment<F>
where
    F: inflight::AsyncFunction<Purchase, Output = String, Error = String>,
{
    let positions = checkpoint.as_ref().map(|checkpoint| checkpoint.partitions.clone()).unwrap_or_default();
    let partition = |index: u32| {
        let name = index.to_string();
        let position = positions.iter().find(|(known, _)| *known == name).map(|(_, at)| at.clone());
        Partition { index, name, position }
    };
    let restored = checkpoint.map(|Checkpoint { epoch, carried, .. }| Restored {
        epoch,
        carried,
        from_the_first_stage: false,
        again: Default::default(),
        recorded: Vec::new(),
    });
    let options = Options::new().capacity(200).concurrency(100);
    Pipeline {
        credits: 500,
        source: Box::new(|_: Waker| Box::<Log>::default()),
        stages: vec![Stage {
            steps: vec![Step { function, order: Order::Unordered, key: None, options }],
            join: Box::new(|parts| {
                let part = parts.into_iter().next()?;
                Some(Purchase { customer: part.result.ok()?, ..part.input })
            }),
        }],
        sink: Box::new(|_: Waker| Box::new(sink.expect("worker 0 has one"))),
        ordered: true,
        partitions: (0..PARTITIONS).map(partition).collect(),
        readers: Readers::All,
        recovery: Some(Recovery { every: Duration::from_millis(20), carry: true, restored }),
    }
}

/// One of the two processes. `crash`: abort after some time.
fn process(index: usize, folder: &Path, hosts: Vec<String>, crash: bool) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let lost = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&lost);
    let alarm = Arc::new(move |what: &str| {
        println!("process {index}: {what}");
        flag.store(true, Ordering::SeqCst);
    });
    let layout = Layout { process: index, hosts, ..Layout::default() };
    execute(&layout, "purchases, version 1", alarm, |worker| {
        let (sink, checkpoint) = match worker.index() {
            0 => open(folder).map(|(sink, checkpoint)| (Some(sink), checkpoint)).map_err(|error| error.to_string())?,
            _ => (None, None),
        };
        if let Some(checkpoint) = &checkpoint {
            println!("goes on from epoch {}, {} records in flight", checkpoint.epoch, checkpoint.carried_records);
        }
        let installed = install(worker, enrichment(name_of, sink, checkpoint), runtime.handle())?;
        installed.run(worker, |monitors| {
            if crash && monitors[0].stats().accepted > ORDERS / 2 {
                std::process::abort();
            }
            if lost.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Ok(())
    })?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [index, folder, hosts, crash] = arguments.as_slice() {
        let hosts = hosts.split(',').map(str::to_owned).collect();
        return process(index.parse()?, Path::new(folder), hosts, crash == "crash");
    }
    let folder = std::env::temp_dir().join(format!("inflight-recovery-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let first = ends(&mut start(&folder, true)?)?;
    println!("first run: {first:?}");
    assert!(first.iter().all(|well| !well), "one process was lost, and the other ended with it");
    let second = ends(&mut start(&folder, false)?)?;
    println!("second run: {second:?}");
    assert_eq!(second, [true; PROCESSES]);
    check(&fs::read_to_string(folder.join("output"))?);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Starts both processes; with `crash`, the second will abort.
fn start(folder: &PathBuf, crash: bool) -> Result<Vec<Child>, Box<dyn Error>> {
    let ports = (0..PROCESSES).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let hosts = ports.iter().map(|port| Ok(port.local_addr()?.to_string())).collect::<std::io::Result<Vec<_>>>()?;
    drop(ports);
    let program = std::env::current_exe()?;
    let start = |index: usize| {
        let crash = if crash && index == 1 { "crash" } else { "" };
        Command::new(&program).arg(index.to_string()).arg(folder).args([&hosts.join(","), crash]).spawn()
    };
    Ok((0..PROCESSES).map(start).collect::<Result<_, _>>()?)
}

/// Whether each ended well.
fn ends(children: &mut [Child]) -> std::io::Result<Vec<bool>> {
    children.iter_mut().map(|child| Ok(child.wait()?.success())).collect()
}

/// Each partition is there in its order, each purchase once.
fn check(output: &str) {
    for partition in 0..PARTITIONS {
        let lines = output.lines().filter(|line| line.starts_with(&format!("{partition} ")));
        let expected = (1..=ORDERS).map(|number| format!("{partition} {number} customer {}", number % 100));
        assert!(lines.eq(expected), "partition {partition} is not as it should be");
    }
    println!("{} purchases, each there once and in its order", output.lines().count());
}

fn now() -> String {
    rfc3339(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
}
