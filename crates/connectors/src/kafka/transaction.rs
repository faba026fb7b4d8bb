//! A producer, and the transactions of all sinks that share it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::connect::{ANSWERS_WITHIN, Reports, partitions_of, reader, settings};
use super::error::kafka_error;
use super::{Group, KafkaConfig, KafkaSinkConfig};
use crate::{Epochs, Error, ErrorKind};

/// Bytes of messages that wait to be sent, in KiB; the library's own default is 1 GiB.
const WAITING_KIB: &str = "65536";
/// How long the brokers may take to begin or end a transaction, and to take what was written.
const DONE_WITHIN: Duration = Duration::from_secs(120);
/// How long a run that ends badly waits for its transaction to be undone.
const ABORTED_WITHIN: Duration = Duration::from_secs(5);
/// When too much waits to be sent.
const PAUSE: Duration = Duration::from_millis(5);

/// Sends messages; if it has transactions, each ends with what makes an epoch count.
pub(super) struct Producer {
    client: ThreadedProducer<Deliveries>,
    with: With,
    state: Mutex<State>,
    place: PathBuf,
}

/// What is in a transaction besides messages.
enum With {
    /// There are none: a message counts when it has arrived.
    Nothing,
    /// The number of the epoch, as an offset of a group that nobody is in.
    Epochs { epochs: Epochs, mark: Mark },
    /// The offsets of the group that reads.
    Offsets(Arc<Group>),
}

/// Where the numbers of epochs are kept.
struct Mark {
    group: BaseConsumer<Reports>,
    topic: String,
    decided: u64,
}

#[derive(Default)]
struct State {
    open: bool,
    /// The last epoch that was committed here.
    committed: Option<u64>,
}

/// Remembers the first message that did not arrive.
#[derive(Default)]
struct Deliveries {
    failure: Mutex<Option<Error>>,
    reports: Reports,
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.reports.note(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let error = kafka_error("a message did not arrive", error.clone());
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

impl Producer {
    /// One whose messages count when they have arrived.
    pub(super) fn new(config: &KafkaSinkConfig) -> Result<Self, Error> {
        Self::open(config, With::Nothing, None)
    }

    /// One that commits epochs by their number. No earlier run of the pipeline can commit any more.
    pub(super) fn with_epochs(config: &KafkaSinkConfig, epochs: Epochs) -> Result<Self, Error> {
        let id = format!("inflight-{}", epochs.pipeline);
        let group = reader(&config.server, &format!("inflight-epochs-{}", epochs.pipeline))?;
        let group = group.create_with_context(Reports::default());
        let group = group.map_err(|error| kafka_error("Kafka cannot be written", error))?;
        let mark = Mark { group, topic: config.topic.clone(), decided: 0 };
        let mut producer = Self::open(config, With::Epochs { epochs, mark }, Some(&id))?;
        if let With::Epochs { epochs, mark } = &mut producer.with {
            mark.decided = mark.read(epochs).map_err(|error| error.in_file(&producer.place))?;
        }
        Ok(producer)
    }

    /// One that commits the offsets of the group that reads. The group itself fences off who is no member any more.
    pub(super) fn with_offsets(config: &KafkaSinkConfig, group: Arc<Group>) -> Result<Self, Error> {
        let id = format!("inflight-{:016x}", RandomState::new().build_hasher().finish());
        Self::open(config, With::Offsets(group), Some(&id))
    }

    fn open(config: &KafkaSinkConfig, with: With, id: Option<&str>) -> Result<Self, Error> {
        config.check()?;
        let place = PathBuf::from(&config.topic);
        let client = client(&config.server, id).map_err(|error| error.in_file(&place))?;
        // What it reports is taken in by its own thread.
        partitions_of(client.client(), &config.topic, &client.context().reports, || ())?;
        if id.is_some() {
            let begun = client.init_transactions(DONE_WITHIN);
            begun.map_err(|error| kafka_error("transactions cannot be begun", error).in_file(&place))?;
        }
        Ok(Self { client, with, state: Mutex::default(), place })
    }

    /// Checks that another topic of the same brokers can be written.
    pub(super) fn check_topic(&self, topic: &str) -> Result<(), Error> {
        partitions_of(self.client.client(), topic, &self.client.context().reports, || ()).map(drop)
    }

    pub(super) const fn has_transactions(&self) -> bool {
        !matches!(self.with, With::Nothing)
    }

    pub(super) fn decided(&self) -> Option<u64> {
        match &self.with {
            With::Epochs { mark, .. } => Some(mark.decided),
            With::Nothing | With::Offsets(_) => None,
        }
    }

    /// Sends a message; waits while too much is on its way.
    pub(super) fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
        value: &[u8],
    ) -> Result<(), Error> {
        self.check()?;
        self.begin(&mut self.state())?;
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(value);
        record.key = key;
        record.headers = headers;
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.check()?;
                    std::thread::sleep(PAUSE);
                    record = back;
                }
                Err((error, _)) => {
                    return Err(kafka_error("a message cannot be sent", error).in_file(Path::new(topic)));
                }
            }
        }
    }

    /// Waits until everything has arrived.
    pub(super) fn arrived(&self) -> Result<(), Error> {
        let flushed = self.client.flush(DONE_WITHIN);
        self.check()?;
        flushed.map_err(|error| self.at_place("what was written has not arrived", error))
    }

    /// Ends the transaction; not twice for one epoch.
    pub(super) fn commit(&self, epoch: u64) -> Result<(), Error> {
        let mut state = self.state();
        if state.committed == Some(epoch) {
            return Ok(());
        }
        let (offsets, member) = match &self.with {
            With::Nothing => return Ok(()),
            With::Epochs { epochs, mark } => (mark.offsets(epochs, epoch)?, mark.group.group_metadata()),
            With::Offsets(group) => group.transact()?,
        };
        if state.open || offsets.count() > 0 {
            self.begin(&mut state)?;
            if let Some(member) = member.filter(|_| offsets.count() > 0) {
                let sent = self.client.send_offsets_to_transaction(&offsets, &member, DONE_WITHIN);
                sent.map_err(|error| self.at_place(&format!("epoch {epoch} cannot be committed"), error))?;
            }
            self.end(epoch)?;
            state.open = false;
        }
        state.committed = Some(epoch);
        Ok(())
    }

    fn begin(&self, state: &mut State) -> Result<(), Error> {
        if self.has_transactions() && !state.open {
            let begun = self.client.begin_transaction();
            begun.map_err(|error| self.at_place("a transaction cannot be begun", error))?;
            state.open = true;
        }
        Ok(())
    }

    fn end(&self, epoch: u64) -> Result<(), Error> {
        let Err(error) = self.client.commit_transaction(DONE_WITHIN) else { return Ok(()) };
        self.check()?;
        let undecided = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
        let error = self.at_place(&format!("epoch {epoch} cannot be committed"), error);
        if !undecided {
            return Err(error);
        }
        let message = format!("the brokers did not say whether epoch {epoch} counts; run again: they will tell");
        Err(Error::new(ErrorKind::Undecided, message).caused_by(error).in_file(&self.place))
    }

    /// The first message that did not arrive is why everything fails.
    fn check(&self) -> Result<(), Error> {
        let failure = self.client.context().failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(Ok(()), |error| Err(error.in_file(&self.place)))
    }

    fn at_place(&self, what: &str, error: KafkaError) -> Error {
        let report = self.client.context().reports.last().map(|report| format!(" ({report})")).unwrap_or_default();
        kafka_error(&format!("{what}{report}"), error).in_file(&self.place)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mark {
    /// The last epoch that counts, 0 before the first.
    fn read(&self, epochs: &Epochs) -> Result<u64, Error> {
        const WHAT: &str = "the last epoch cannot be read";
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let read = self.group.committed_offsets(list, ANSWERS_WITHIN).map_err(|error| kafka_error(WHAT, error))?;
        let Some(mark) = read.find_partition(&self.topic, 0) else { return Ok(0) };
        mark.error().map_err(|error| kafka_error(WHAT, error))?;
        let newer = mark.metadata().parse().ok().filter(|generation: &u64| *generation > epochs.generation);
        match (newer, mark.offset()) {
            (Some(newer), _) => {
                let message = format!(
                    "run {newer} of this pipeline has written here, and this is run {}; let the newer one go on",
                    epochs.generation
                );
                Err(Error::new(ErrorKind::Changed, message))
            }
            (None, Offset::Offset(epoch)) => Ok(u64::try_from(epoch).unwrap_or_default()),
            (None, _) => Ok(0),
        }
    }

    fn offsets(&self, epochs: &Epochs, epoch: u64) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0).set_metadata(epochs.generation.to_string());
        let epoch = Offset::Offset(i64::try_from(epoch).unwrap_or(i64::MAX));
        list.set_partition_offset(&self.topic, 0, epoch)
            .map_err(|error| kafka_error("the number of an epoch cannot be written", error))?;
        Ok(list)
    }
}

impl Drop for Producer {
    /// What is in no complete epoch must not keep readers waiting until it times out.
    fn drop(&mut self) {
        if self.state().open {
            drop(self.client.abort_transaction(ABORTED_WITHIN));
        }
    }
}

fn client(server: &KafkaConfig, transactional_id: Option<&str>) -> Result<ThreadedProducer<Deliveries>, Error> {
    let mut settings = settings(server)?;
    settings.set("enable.idempotence", "true").set("queue.buffering.max.kbytes", WAITING_KIB);
    for (name, value) in &server.properties {
        settings.set(name, value.reveal());
    }
    if let Some(id) = transactional_id {
        settings.set("transactional.id", id);
    }
    let client = settings.create_with_context(Deliveries::default());
    client.map_err(|error| kafka_error("Kafka cannot be written", error))
}
