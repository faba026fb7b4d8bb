//! Opening the source of a pipeline.

use std::path::Path;
use std::sync::Arc;

use inflight_connectors::file::{FileSource, FileSourceConfig};
#[cfg(feature = "kafka")]
use inflight_connectors::kafka::{Group, KafkaSource, KafkaSourceConfig};
use inflight_connectors::nats::{NatsConsumer, NatsSource, NatsSourceConfig};
use inflight_connectors::{Acknowledge, Error, Messages, Position};
use inflight_timely::pipeline::Partition;

use super::opening;
use super::outage::Outage;
use super::partitions::{Reached, path};
use super::stop::Stop;
use crate::pipeline::{Pipeline, Source};

/// A source before the run: what of it is open already, to see that it can be.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) reader: Option<Reader>,
    /// Who is to be told what counts.
    pub(super) told: Option<Arc<dyn Acknowledge>>,
    /// Whose offsets a sink can put into its transactions.
    #[cfg(feature = "kafka")]
    pub(super) group: Option<Arc<Group>>,
}

/// Something that is read.
pub(super) enum Reader {
    /// The partition with this index.
    File(u32, Box<FileSource>),
    /// Whatever comes.
    Messages(Box<dyn Messages>),
}

/// Opens what can be opened before the run: the first partition that is to be read, or the membership in a group. Nothing
/// when the run was stopped meanwhile.
pub(super) fn open(pipeline: &Pipeline, partitions: &[Partition], stop: &Stop) -> anyhow::Result<Option<Opened>> {
    match pipeline.source.clone() {
        Source::File(config) => {
            let Some(first) = partitions.iter().find(|partition| is_open(partition)).cloned() else {
                return Ok(Some(Opened::default()));
            };
            let (folder, index) = (pipeline.folder.clone(), first.index);
            let source = opening::open(stop, move || file(&config, &folder, &first))?;
            let opened = |source| Opened { reader: Some(Reader::File(index, Box::new(source))), ..Opened::default() };
            Ok(source.map(opened))
        }
        Source::Nats(config) if pipeline.is_remembered() => waited_for(pipeline, stop, move || {
            let (source, told) = NatsConsumer::open(&config)?;
            let told: Arc<dyn Acknowledge> = Arc::new(told);
            Ok(Opened {
                reader: Some(Reader::Messages(Box::new(source))),
                told: Some(told),
                #[cfg(feature = "kafka")]
                group: None,
            })
        }),
        Source::Nats(config) => {
            let place = place(partitions).map_err(anyhow::Error::msg)?;
            let source = waited_for(pipeline, stop, move || stream_at(&config, place.as_ref()))?;
            Ok(source.map(|source| Opened { reader: source.map(Reader::Messages), ..Opened::default() }))
        }
        #[cfg(feature = "kafka")]
        Source::Kafka(config) if pipeline.is_remembered() => waited_for(pipeline, stop, move || {
            let (source, group) = KafkaSource::join(&config)?;
            let told: Arc<dyn Acknowledge> = Arc::<Group>::clone(&group);
            Ok(Opened { reader: Some(Reader::Messages(Box::new(source))), told: Some(told), group: Some(group) })
        }),
        #[cfg(feature = "kafka")]
        Source::Kafka(config) => {
            let names = partitions.iter().map(|partition| partition.name.clone()).collect();
            let told = KafkaSource::shown(&config, names).map_err(|error| anyhow::anyhow!("{error}"))?;
            Ok(Some(Opened { told, ..Opened::default() }))
        }
    }
}

/// What is asked of the source, on a thread of its own and again as long as it cannot be reached; nothing when the run was
/// stopped meanwhile.
pub(super) fn waited_for<T: Send + 'static>(
    pipeline: &Pipeline,
    stop: &Stop,
    ask: impl FnMut() -> Result<T, Error> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    let outage = Outage::new("the source".to_owned(), &pipeline.secrets);
    opening::open(stop, move || outage.outlasts_blocking(ask).map_err(|error| error.to_string()))
}

fn is_open(partition: &Partition) -> bool {
    let reached = partition.position.as_deref().and_then(|at| Reached::read(at).ok());
    !reached.is_some_and(|reached| reached.is_done())
}

/// Opens a partition of files at the place where it is to be read on.
///
/// # Errors
/// When it cannot be, or its position says nothing.
pub(super) fn file(config: &FileSourceConfig, folder: &Path, partition: &Partition) -> Result<FileSource, String> {
    let config = config.partition(path(&partition.name, folder));
    let source = match &partition.position {
        None => FileSource::open(&config),
        Some(text) => FileSource::open_at(&config, &Reached::read(text)?.position),
    };
    source.map_err(|error| error.to_string())
}

/// Opens a stream at the place where it is to be read on; nothing if it has been read, or another worker does it.
///
/// # Errors
/// As [`file`].
pub(super) fn stream(config: &NatsSourceConfig, partitions: &[Partition]) -> Result<Option<Box<dyn Messages>>, String> {
    stream_at(config, place(partitions)?.as_ref()).map_err(|error| error.to_string())
}

/// The index of the partition that is to be read, and where; nothing if it has been read.
fn place(partitions: &[Partition]) -> Result<Option<(u32, Option<Position>)>, String> {
    let Some(partition) = partitions.iter().find(|partition| is_open(partition)) else { return Ok(None) };
    let reached = partition.position.as_deref().map(Reached::read).transpose()?;
    Ok(Some((partition.index, reached.map(|reached| reached.position))))
}

fn stream_at(
    config: &NatsSourceConfig,
    place: Option<&(u32, Option<Position>)>,
) -> Result<Option<Box<dyn Messages>>, Error> {
    let source = match place {
        None => return Ok(None),
        Some((index, None)) => NatsSource::open(config)?.of_partition(*index),
        Some((index, Some(position))) => NatsSource::open_at(config, position)?.of_partition(*index),
    };
    Ok(Some(Box::new(source)))
}

/// Opens partitions of topics at the places where they are to be read on.
///
/// # Errors
/// As [`file`].
#[cfg(feature = "kafka")]
pub(super) fn topics(config: &KafkaSourceConfig, partitions: &[Partition]) -> Result<Box<dyn Messages>, String> {
    let place = |partition: &Partition| {
        let position = partition.position.as_deref().map(|text| Ok::<_, String>(Reached::read(text)?.position));
        Ok((partition.index, partition.name.clone(), position.transpose()?))
    };
    let places = partitions.iter().map(place).collect::<Result<Vec<_>, String>>()?;
    let source = KafkaSource::assign(config, &places).map_err(|error| error.to_string())?;
    Ok(Box::new(source))
}
