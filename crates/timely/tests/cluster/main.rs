//! Clusters of real processes on real sockets: they agree, and when one is lost, all others end and say why.

mod agreeing;
mod jobs;
mod losing;
mod meeting;
mod network;
mod process;
mod threads;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use inflight_timely::cluster::Layout;

/// For what has to happen, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Free addresses for so many processes. No connection of another test begins at one of them: those all begin at 127.0.0.1.
fn hosts(processes: usize) -> Vec<String> {
    static CALLS: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = (std::process::id() % 60_000).to_be_bytes();
    let address = Ipv4Addr::new(127, high.saturating_add(1), low, CALLS.fetch_add(1, Ordering::Relaxed));
    let bind = |_| TcpListener::bind((address, 0)).expect("a free port");
    let listeners: Vec<TcpListener> = (0..processes).map(bind).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("it is bound").to_string()).collect()
}

fn layout(process: usize, hosts: &[String]) -> Layout {
    Layout { workers: 2, process, hosts: hosts.to_vec(), ..Layout::default() }
}
