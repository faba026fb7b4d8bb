//! Kafka: the program itself, from topic to topic with a look-up in PostgreSQL between.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::Effort;
use crate::keys::{Keys, Spread};
use crate::measure::median;
use crate::postgres;

const PARTITIONS: i32 = 4;
/// Records a second while latency is measured.
const RATE: u64 = 5_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked of the sink, and what remembers how far the pipeline has come.
const MODES: [(&str, bool, &str); 3] = [
    ("exactly once, a checkpoint a second", true, "checkpoint: { dir: state, every: 1s }\n"),
    ("at least once, a checkpoint a second", false, "checkpoint: { dir: state, every: 1s }\n"),
    ("no checkpoints", false, ""),
];

pub(crate) fn print(runtime: &Runtime, effort: &Effort, brokers: &str) {
    let program =
        std::env::current_exe().expect("it has a path").parent().and_then(Path::parent).map(|dir| dir.join("inflight"));
    let program = program.filter(|program| program.is_file());
    let (Some(program), Ok(url)) = (program, std::env::var("INFLIGHT_TEST_POSTGRES")) else {
        eprintln!(
            "!!! kafka is SKIPPED: it needs PostgreSQL, and the program: cargo build --release -p inflight-cli --features kafka"
        );
        return;
    };
    runtime.block_on(postgres::fill(&url, effort.rows));
    let bridge = Bridge {
        runtime,
        brokers,
        url,
        program,
        folder: std::env::temp_dir().join(format!("inflight-bench-{}", std::process::id())),
    };
    let records = effort.rows / 5;
    let from = bridge.topic("from");
    bridge.fill(&from, records, effort.rows);
    println!("\n## Kafka, {records} records in {PARTITIONS} partitions, a look-up in PostgreSQL, Kafka");
    println!("\n| | records/s | p50 ms at {RATE}/s | p99 ms |\n|---|---:|---:|---:|");
    for (number, mode) in MODES.into_iter().enumerate() {
        let rates: Vec<f64> =
            (0..effort.rounds).map(|round| bridge.rate(&from, &format!("{number}-{round}"), mode, records)).collect();
        let (p50, p99) = bridge.latencies(&format!("{number}"), mode, effort);
        println!("| {} | {:.0} | {p50:.1} | {p99:.1} |", mode.0, median(&rates));
    }
    let _ = std::fs::remove_dir_all(&bridge.folder);
}

struct Bridge<'a> {
    runtime: &'a Runtime,
    brokers: &'a str,
    url: String,
    program: PathBuf,
    folder: PathBuf,
}

impl Bridge<'_> {
    /// How fast the program is through all records, by its own account.
    fn rate(&self, from: &str, name: &str, mode: (&str, bool, &str), records: u64) -> f64 {
        let to = self.topic(&format!("to-{name}"));
        let ran = self.start(from, &to, "until: end", mode).wait_with_output().expect("it can be waited for");
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        let summary = told.lines().find(|line| line.contains(" records in, ")).unwrap_or_else(|| panic!("{told}"));
        eprintln!("{}: {summary}", mode.0);
        let numbers: Vec<f64> =
            summary.split([' ', '(']).filter_map(|word| word.replace(',', "").parse().ok()).collect();
        assert_eq!(numbers.get(1).copied(), Some(records as f64), "{told}");
        numbers.last().copied().unwrap_or(f64::NAN)
    }

    /// Milliseconds from the sending of a record until somebody who reads what is committed has what came of it.
    fn latencies(&self, name: &str, mode: (&str, bool, &str), effort: &Effort) -> (f64, f64) {
        let (from, to) = (self.topic(&format!("live-{name}")), self.topic(&format!("live-to-{name}")));
        let running = Running(self.start(&from, &to, "start: earliest", mode));
        let reader = self.reader(&to);
        // Until then the program may still be starting.
        let warm_after = effort.window * 2;
        let count = RATE * (warm_after + effort.window * 7).as_millis() as u64 / 1000;
        let mut millis = thread::scope(|scope| {
            scope.spawn(|| self.send(&from, count, effort.rows, warm_after));
            read(&reader, count)
        });
        drop(running);
        millis.sort_by(f64::total_cmp);
        let at = |part: f64| millis[(millis.len() as f64 * part) as usize];
        (at(0.5), at(0.99))
    }

    fn start(&self, from: &str, to: &str, keys: &str, (_, exactly_once, checkpoint): (&str, bool, &str)) -> Child {
        let brokers = self.brokers;
        let folder = self.folder.join(to);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let pipeline = format!(
            "source: {{ kafka: {{ brokers: '{brokers}', topic: {from}, {keys} }} }}\n\
             enrich:\n  user:\n    postgres: {{ url: '${{env:URL}}', table: {}, columns: [name, tier] }}\n    key: {{ id: .id }}\n\
             sink: {{ kafka: {{ brokers: '{brokers}', topic: {to}, key: .id, exactly_once: {exactly_once} }} }}\n{checkpoint}",
            postgres::TABLE
        );
        std::fs::write(folder.join("p.yaml"), pipeline).expect("a file can be written");
        let mut program = Command::new(&self.program);
        program.args(["run", "p.yaml"]).current_dir(folder).env("URL", &self.url);
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs")
    }

    /// A new topic.
    fn topic(&self, name: &str) -> String {
        let name = format!("bench-{}-{name}", std::process::id());
        let admin: AdminClient<DefaultClientContext> = self.settings().create().expect("a client can be made");
        let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
        let created = self.runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
        created.expect("the broker answers")[0].as_ref().expect("a topic may be made");
        name
    }

    fn fill(&self, topic: &str, records: u64, keys: u64) {
        let producer: BaseProducer = self.settings().create().expect("a client can be made");
        for (n, id) in (0..records).zip(Keys::new(Spread::Uniform, keys)) {
            send(&producer, topic, &json!({ "n": n, "id": id, "text": "x".repeat(60) }));
        }
        producer.flush(PATIENCE).expect("all arrive");
    }

    /// Sends so many records at a fixed rate, each with the moment at which it is sent once the program has had time to start.
    fn send(&self, topic: &str, count: u64, keys: u64, warm_after: Duration) {
        let producer: BaseProducer = self.settings().create().expect("a client can be made");
        let start = Instant::now();
        for (n, id) in (0..count).zip(Keys::new(Spread::Uniform, keys)) {
            let due = start + Duration::from_secs(1) * n as u32 / RATE as u32;
            while Instant::now() < due {
                producer.poll(Duration::ZERO);
                thread::sleep(Duration::from_micros(200).min(due.saturating_duration_since(Instant::now())));
            }
            let is_measured = start.elapsed() >= warm_after;
            send(
                &producer,
                topic,
                &json!({ "n": n, "id": id, "at": is_measured.then(micros_now), "text": "x".repeat(60) }),
            );
        }
        producer.flush(PATIENCE).expect("all arrive");
    }

    /// One that reads what is committed of all partitions.
    fn reader(&self, topic: &str) -> BaseConsumer {
        let mut settings = self.settings();
        settings.set("group.id", "bench").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        settings.set("fetch.wait.max.ms", "5");
        let reader: BaseConsumer = settings.create().expect("a client can be made");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("it is an offset");
        }
        reader.assign(&list).expect("they can be assigned");
        reader
    }

    fn settings(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", self.brokers);
        settings
    }
}

/// The program, as long as it is there.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Waits for room, if there is none.
fn send(producer: &BaseProducer, topic: &str, record: &Value) {
    let text = record.to_string();
    let mut message = BaseRecord::<(), str>::to(topic).payload(&text);
    while let Err((_, back)) = producer.send(message) {
        producer.poll(Duration::from_millis(5));
        message = back;
    }
}

/// Reads so many messages; of those that tell when they were sent, the milliseconds since.
fn read(reader: &BaseConsumer, count: u64) -> Vec<f64> {
    let mut millis = Vec::new();
    for number in 0..count {
        let message = reader.poll(PATIENCE).unwrap_or_else(|| panic!("only {number} of {count} records came"));
        let message = message.expect("the broker answers");
        let now = micros_now();
        let record: Value = serde_json::from_slice(message.payload().unwrap_or_default()).expect("it is JSON");
        millis.extend(record["at"].as_u64().map(|at| now.saturating_sub(at) as f64 / 1000.0));
    }
    millis
}

fn micros_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
