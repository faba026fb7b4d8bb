//! What NATS may do to a run that reads it and writes to it.

use std::net::SocketAddr;
use std::thread;

use super::dialect::Dialect;
use super::pace::Pace;
use super::proxy::Proxy;
use crate::nats::{Stream, orders};
use crate::running::{Running, wait_until};
use crate::workspace::Workspace;

/// Records that go in around each fault.
const EACH: u64 = 300;

const PIPELINE: &str = "\
source: { nats: { url: '${env:URL}', stream: cli-faults, subject: cli-faults.in } }
enrich: { user: { memory: { rows: [{ id: 1, name: Ada }] }, key: { id: .id } } }
sink: { nats: { url: '${env:URL}', subject: cli-faults.out } }
checkpoint: { dir: state, every: 100ms }
";

#[test]
fn a_run_from_stream_to_stream_outlives_a_server_that_is_away() {
    let Some(stream) = Stream::new("cli-faults") else { return };
    let server: SocketAddr = stream.url.rsplit('@').next().unwrap().parse().unwrap();
    let proxy = Proxy::to(server, Dialect::Nats);
    let url = stream.url.replace(&server.to_string(), &proxy.address().to_string());
    let (workspace, pace, mut fed) = (Workspace::with(PIPELINE), Pace::read(), 0);
    proxy.go_down();
    let mut running = Running::start_with(&workspace, &["run", "p.yaml"], &[("URL", &url)]);
    running.wait_for_stderr("the source waits: ");
    proxy.come_up();
    running.wait_for_stderr("the source goes on after ");
    let mut feed = || {
        stream.publish(orders(fed..fed + EACH));
        fed += EACH;
    };
    feed();
    wait_until("records come out", || stream.stored() > EACH);
    proxy.go_down();
    feed();
    thread::sleep(pace.fault);
    proxy.come_up();
    feed();
    wait_until("all are there", || stream.stored() >= 2 * 3 * EACH);
    proxy.cut();
    feed();
    wait_until("all are there", || stream.stored() >= 2 * 4 * EACH);
    running.signal("TERM");
    let ended = running.end();
    let out = stream.content().into_iter().filter(|record| record.get("user").is_some());
    let mut out: Vec<u64> = out.map(|record| record["n"].as_u64().unwrap()).collect();
    out.sort_unstable();
    assert_eq!((ended.code, out), (0, (0..fed).collect()), "{ended:?}");
}
