//! Workers on several threads and processes, and what happens when one of them is lost.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//!
//! use inflight_timely::cluster::{Layout, execute};
//! use timely::dataflow::operators::{Exchange, Inspect, ToStream};
//!
//! let stop = Arc::new(AtomicBool::new(false));
//! let flag = Arc::clone(&stop);
//! let alarm = Arc::new(move |lost: &str| {
//!     eprintln!("{lost}");
//!     flag.store(true, Ordering::SeqCst);
//! });
//!
//! let layout = Layout { workers: 2, ..Layout::default() };
//! let indexes = execute(&layout, "squares, version 1", alarm, |worker| {
//!     worker.dataflow::<u64, _, _>(|scope| {
//!         (0..10u64).to_stream(scope).container::<Vec<_>>().exchange(|number| *number).inspect(|_| ());
//!     });
//!     while worker.has_dataflows() && !stop.load(Ordering::SeqCst) {
//!         worker.step_or_park(None);
//!     }
//!     Ok(worker.index())
//! })?;
//! assert_eq!(indexes, [0, 1]);
//! # Ok::<(), inflight_timely::cluster::ClusterError>(())
//! ```
//!
//! # All or nothing
//!
//! Timely cannot go on without one of its workers, so nobody does: whatever is lost first, a worker or a process, ends all of them, each
//! with a [`ClusterError`] that names it. Who starts them again is not decided here.
//!
//! | what happens | who notices, and when |
//! |---|---|
//! | a worker panics, or its work returns an error | its process at once; it tells the others why |
//! | a process dies | the others at once: its connections close |
//! | a process hangs, or the network between two is cut | both sides, after [`Layout::silent_after`] |
//! | a process does not appear at the start | all others, after [`Layout::connect_within`] |
//! | processes were started differently | both sides, at once, with what differs |
//!
//! # Connections
//!
//! Process `i` listens on its own address until the set-up is over and dials all before it: one connection for data, one for heartbeats.
//! Strangers that call are dropped. Nothing is encrypted and nobody has to prove who he is: the network has to be private.

mod alarm;
mod dial;
mod error;
mod heartbeat;
mod hello;
mod layout;
mod meeting;
mod panics;
mod threads;

use std::sync::Arc;

use timely::communication::Hooks;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::worker::Worker;

use alarm::Alarm;
use heartbeat::Heartbeat;
use meeting::Link;
use panics::{Place, caught};
use threads::{Builder, run};

pub use error::{ClusterError, Peer};
pub use layout::{Layout, MOST_PROCESSES, MOST_WORKERS, SHORTEST_SILENCE, parse_hosts};

/// Runs `work` on every worker of this process, and waits for all processes: what it returned, for each worker of this process.
///
/// `greeting` says what all processes have to agree on, besides their number and their workers: a fingerprint of the dataflow. It is
/// compared literally, and printed where it differs; at most 16 KiB.
///
/// `alarm` is called once, from any thread, as soon as something is lost while workers run, with a sentence that says what: the error
/// that is returned later. It must neither block nor panic. Workers that are parked are unparked after it. They are expected to look at
/// what the alarm has set, and to return soon, with anything. One that does not keeps `execute` from returning: a program had better
/// have a limit for that, and exit.
///
/// Work ends well when it returns `Ok` and none of its dataflows is left. An error is a loss like any other, so the others hear of it.
/// Each worker has a thread of its own; a worker that is alone in the world runs on the calling thread.
///
/// The first call installs a panic hook for the whole program. It leaves all panics to the hook before it, but for those of timely's
/// own threads, which is how timely says that a connection broke, and those of workers after the alarm.
///
/// # Errors
/// What was lost first, or why the processes did not come together: see [`ClusterError`].
pub fn execute<T: Send>(
    layout: &Layout,
    greeting: &str,
    alarm: Arc<dyn Fn(&str) + Send + Sync>,
    work: impl Fn(&mut Worker) -> Result<T, String> + Sync,
) -> Result<Vec<T>, ClusterError> {
    layout.check(greeting)?;
    panics::install();
    let alarm = Arc::new(Alarm::new(alarm));
    let results = if layout.processes() > 1 {
        let links = meeting::meet(layout, greeting)?;
        among_processes(layout, links, &alarm, work)?
    } else if layout.workers > 1 {
        let builders = ProcessBuilder::new_typed_vector(layout.workers, Hooks::default().refill, None);
        run(builders.into_iter().map(Builder::Threads).collect(), 0, &alarm, work)
    } else {
        run(vec![Builder::Alone], 0, &alarm, work)
    };
    match alarm.lost() {
        Some(lost) => Err(lost),
        None => Ok(results.into_iter().flatten().collect()),
    }
}

fn among_processes<T: Send>(
    layout: &Layout,
    links: Vec<Link>,
    alarm: &Arc<Alarm>,
    work: impl Fn(&mut Worker) -> Result<T, String> + Sync,
) -> Result<Vec<Option<T>>, ClusterError> {
    let mut sockets: Vec<_> = std::iter::repeat_with(|| None).take(layout.processes()).collect();
    for link in &links {
        sockets[link.peer.process] = Some(link.data.try_clone().map_err(ClusterError::no_connections)?);
    }
    let peers: Vec<Option<Peer>> = peers_by_process(layout.processes(), &links);
    let heartbeat = Heartbeat::start(links, layout.silent_after, alarm)?;
    // The only word that timely's threads of communication let us have in: here, they tell us who they are.
    let watched = Arc::clone(alarm);
    let hooks = Hooks {
        log_fn: Arc::new(move |setup| {
            if let Some(peer) = setup.remote.and_then(|process| peers.get(process)?.clone()) {
                panics::settle(Place::Connection(Arc::clone(&watched), peer));
            }
            None
        }),
        ..Hooks::default()
    };
    let builders = ProcessBuilder::new_typed_vector(layout.workers, hooks.refill.clone(), None);
    let made = initialize_networking_from_sockets(builders, sockets, layout.process, layout.workers, hooks);
    let results = match made {
        Ok((builders, guard)) => {
            let builders = builders.into_iter().map(Builder::Processes).collect();
            let results = run(builders, layout.process * layout.workers, alarm, work);
            // Waits until all have sent everything, or until the alarm shuts the sockets; panics if a connection broke, which is
            // known by then.
            let _ = caught(alarm, || drop(guard));
            results
        }
        Err(error) => {
            alarm.raise(ClusterError::no_connections(error));
            Vec::new()
        }
    };
    heartbeat.end();
    Ok(results)
}

fn peers_by_process(processes: usize, links: &[Link]) -> Vec<Option<Peer>> {
    let peer = |process| links.iter().map(|link| &link.peer).find(|peer| peer.process == process).cloned();
    (0..processes).map(peer).collect()
}
