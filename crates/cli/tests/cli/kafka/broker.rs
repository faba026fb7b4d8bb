//! A broker of Apache Kafka: the one that the test command provides, or one of the test's own, which it can kill.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::running::wait_until;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Broker {
    pub(crate) address: String,
    /// Of a broker of our own.
    start: Option<Command>,
    process: Option<Child>,
}

/// A message as it lies in a topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) key: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) value: Value,
}

impl Broker {
    /// The one that the test command provides, if it does.
    pub(crate) fn shared() -> Option<Self> {
        let address = variable("INFLIGHT_TEST_KAFKA")?;
        Some(Self { address, start: None, process: None })
    }

    /// One of the test's own, with its data in this folder.
    pub(crate) fn own(folder: &Path) -> Option<Self> {
        Self::own_with(folder, &[])
    }

    /// The same, with more listeners: `PROXIED:` and two ports.
    pub(crate) fn own_with(folder: &Path, listeners: &[String]) -> Option<Self> {
        let script = variable("INFLIGHT_TEST_KAFKA_BROKER")?;
        let ports = [free_port(), free_port()];
        let mut start = Command::new(script);
        start.arg(folder.join("broker")).args([ports[1].to_string(), format!("PLAINTEXT:{}", ports[0])]);
        start.args(listeners).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let address = format!("127.0.0.1:{}", ports[0]);
        let mut broker = Self { address, start: Some(start), process: None };
        broker.start();
        Some(broker)
    }

    pub(crate) fn start(&mut self) {
        self.process = Some(self.start.as_mut().unwrap().spawn().unwrap());
        let address = self.address.clone();
        wait_until("the broker answers", || std::net::TcpStream::connect(&address).is_ok());
    }

    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// A new topic with a name of its own.
    pub(crate) fn topic(&self, name: &str, partitions: i32) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let admin: AdminClient<DefaultClientContext> = self.settings().create().unwrap();
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let created = runtime.block_on(admin.create_topics([&topic], &options)).unwrap();
        created[0].as_ref().unwrap();
        name
    }

    /// Adds partitions to a topic until it has so many.
    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.settings().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (more, options) = ([NewPartitions::new(topic, partitions)], AdminOptions::new());
        let grown = runtime.block_on(admin.create_partitions(&more, &options)).unwrap();
        grown[0].as_ref().unwrap();
    }

    /// Writes messages with a key and a header.
    pub(crate) fn fill(&self, topic: &str, values: impl Iterator<Item = String>) {
        let producer: BaseProducer = self.settings().create().unwrap();
        for (number, value) in values.enumerate() {
            let key = format!("k{number}");
            let headers = rdkafka::message::OwnedHeaders::new()
                .insert(rdkafka::message::Header { key: "number", value: Some(&number.to_string()) });
            let mut record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers);
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// All that is committed, by partition and in its order.
    pub(crate) fn committed(&self, topic: &str) -> Vec<Found> {
        let mut settings = self.settings();
        settings.set("group.id", "tests").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = settings.create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut found, mut ended) = (Vec::new(), 0);
        while ended < partitions {
            match consumer.poll(PATIENCE).expect("the broker answers") {
                Ok(message) => found.push((message.partition(), Found::of(&message))),
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
        }
        found.sort_by_key(|(partition, _)| *partition);
        found.into_iter().map(|(_, found)| found).collect()
    }

    /// The field `n` of all that is committed, in its order of numbers.
    pub(crate) fn numbers(&self, topic: &str) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            self.committed(topic).iter().map(|found| found.value["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// What a group has committed, in sum over the partitions of a topic.
    pub(crate) fn read_by(&self, group: &str, topic: &str, partitions: i32) -> i64 {
        let consumer: BaseConsumer = self.settings().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
        committed.elements().iter().filter_map(|at| at.offset().to_raw()).filter(|offset| *offset > 0).sum()
    }

    fn settings(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.address);
        settings
    }
}

impl Found {
    fn of(message: &impl Message) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            key: message.key().map(text),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default()))).collect(),
            value: message.payload().map_or(json!(null), |payload| serde_json::from_slice(payload).unwrap()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} is not set");
        eprintln!("!!! SKIPPED: {name} is not set; cargo xtask servers starts a server");
    }
    value
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
