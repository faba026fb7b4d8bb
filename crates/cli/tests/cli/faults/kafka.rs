//! What Kafka may do to a run that reads it and writes to it.

use tempfile::TempDir;

use super::dialect::Dialect;
use super::flow::record;
use super::pace::Pace;
use super::proxy::{Manner, Proxy};
use crate::kafka::broker::{Broker, free_port};
use crate::running::{Running, wait_until};
use crate::workspace::Workspace;

/// Records that go in around each fault.
const EACH: u64 = 600;

/// A broker of the test's own, a proxy before it that the program knows it by, and a pipeline from topic to topic.
struct Bridge {
    broker: Broker,
    proxy: Proxy,
    workspace: Workspace,
    running: Running,
    from: String,
    to: String,
    fed: u64,
    pace: Pace,
    _folder: TempDir,
}

impl Bridge {
    /// The program is started while nobody is there.
    fn new() -> Option<Self> {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let proxy = Proxy::to(([127, 0, 0, 1], port).into(), Dialect::Kafka);
        let listener = format!("PROXIED:{port}:{}", proxy.address().port());
        let broker = Broker::own_with(folder.path(), &[listener])?;
        let (from, to) = (broker.topic("faults", 3), broker.topic("faults-out", 3));
        // A connection that hangs is given up after two seconds; a minute, unless it is set.
        let server = format!("brokers: '{}', properties: {{ socket.timeout.ms: '2000' }}", proxy.address());
        let workspace = Workspace::with(&format!(
            "source: {{ kafka: {{ {server}, topic: {from} }} }}\n\
             enrich: {{ user: {{ memory: {{ rows: [{{ id: 7, name: Ada }}] }}, key: {{ id: .id }} }} }}\n\
             sink: {{ kafka: {{ {server}, topic: {to}, exactly_once: true }} }}\n\
             checkpoint: {{ dir: state, every: 100ms }}\n"
        ));
        proxy.go_down();
        let running = Running::start(&workspace, &["run", "p.yaml"]);
        Some(Self { broker, proxy, workspace, running, from, to, fed: 0, pace: Pace::read(), _folder: folder })
    }

    fn feed(&mut self) {
        let records = (self.fed..self.fed + EACH).map(record);
        self.broker.fill(&self.from, records.map(|line| line.trim().to_owned()));
        self.fed += EACH;
    }

    /// Records go in before and after a fault begins and ends, and each comes out once. The run does not end.
    fn outlives(&mut self, fault: &str, begins: impl FnOnce(&mut Self), ends: impl FnOnce(&mut Self)) {
        self.feed();
        begins(self);
        std::thread::sleep(self.pace.fault);
        ends(self);
        self.feed();
        self.wait_until_all_are_there(fault);
    }

    fn wait_until_all_are_there(&mut self, fault: &str) {
        wait_until(fault, || {
            assert!(!self.running.has_ended(), "{fault}: the run has ended");
            self.broker.numbers(&self.to).len() as u64 >= self.fed
        });
        assert_eq!(self.broker.numbers(&self.to), (0..self.fed).collect::<Vec<_>>(), "{fault}");
    }
}

#[test]
fn a_run_from_topic_to_topic_outlives_what_happens_to_the_broker() {
    let Some(mut bridge) = Bridge::new() else { return };
    bridge.running.wait_for_stderr("the sink waits: ");
    bridge.proxy.come_up();
    bridge.running.wait_for_stderr("the sink goes on after ");
    bridge.outlives("connections are reset", |bridge| bridge.proxy.cut(), |bridge| bridge.proxy.cut());
    let reset = |bridge: &mut Bridge| bridge.proxy.behave(Manner::Reset(2_000));
    bridge.outlives("connections are reset in mid-answer", reset, |bridge| bridge.proxy.behave(Manner::Pass));
    let hang = |bridge: &mut Bridge| bridge.proxy.behave(Manner::Hang);
    bridge.outlives("the broker hangs, nothing is closed", hang, |bridge| bridge.proxy.behave(Manner::Pass));
    bridge.outlives("the broker is away", |bridge| bridge.proxy.go_down(), |bridge| bridge.proxy.come_up());
    bridge.outlives("the broker is killed", |bridge| bridge.broker.kill(), |bridge| bridge.broker.start());
    bridge.running.signal("TERM");
    let ended = bridge.running.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(bridge.workspace.path().join("state").is_dir());
}

#[test]
fn a_source_that_is_away_at_the_start_is_waited_for_and_that_can_be_stopped() {
    for source in ["topic: x", "topic: x, group: g"] {
        let source = format!("source: {{ kafka: {{ brokers: '127.0.0.1:1', {source} }} }}\n");
        let rest = "enrich: { user: { memory: { rows: [{ id: 7 }] }, key: { id: .id } } }\nsink: stdout\n";
        let workspace = Workspace::with(&(source + rest));
        let mut waiting = Running::start(&workspace, &["run", "p.yaml"]);
        waiting.wait_for_stderr("the source waits: x: the brokers cannot be asked: ");
        waiting.signal("TERM");
        assert_eq!(waiting.end().code, 0);
    }
}
