//! How a run begins: at the beginning, or where its last checkpoint left off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inflight_connectors::Epochs;
use inflight_timely::checkpoint::{Checkpoint, Folder, Mark, Store, forget, recorded, since_1970};
use inflight_timely::pipeline::{Again, Id, Partition, Restored, Row as _};

use super::RunOptions;
use super::keeper::{COUNTS, Keeper, OUTPUT, read};
use super::now::{now, since_1970_now};
use super::outage::Outage;
use super::partitions::{Reached, partitions};
use super::row::Row;
use super::source::{self, Opened};
use super::stop::Stop;
use super::tally::Tally;
use super::writer::{DEAD_LETTERS, OpenedSink, RECORDS, Sinks, States};
use super::{opening, writer};
use crate::args::Accept;
use crate::compatible::{Changes, Shape};
use crate::file::{OnError, OnMissing, Replay};
use crate::pipeline::{Pipeline, Sink};
use crate::summary::{grouped, short};
use crate::tell::tell;

/// How a run begins.
pub(super) enum Start {
    /// It does.
    Now(Box<Beginning>),
    /// It had ended before, and there is nothing left to do: this is to be told.
    Ended { partitions: Vec<Partition>, told: String },
    /// It was stopped meanwhile.
    Stopped,
}

/// What a run begins with.
pub(super) struct Beginning {
    pub(super) partitions: Vec<Partition>,
    /// What is open of the source.
    pub(super) opened: Opened,
    pub(super) sinks: Sinks,
    /// For runs with checkpoints.
    pub(super) keeper: Option<Keeper>,
    pub(super) restored: Option<Restored<Row>>,
    /// What it goes on from, to be told.
    pub(super) told: Option<String>,
}

/// Why a run may not go on from its checkpoint: what has changed, and the ways out.
#[derive(Debug)]
pub(super) struct Incompatible(String);

impl std::fmt::Display for Incompatible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Incompatible {}

/// Opens everything, the source first: without it, no output is begun.
///
/// # Errors
/// What cannot be opened; [`Incompatible`] when the pipeline does not fit its checkpoint.
pub(super) fn begin(
    pipeline: &Pipeline,
    options: &RunOptions,
    stop: &Stop,
    tally: &Arc<Tally>,
) -> anyhow::Result<Start> {
    let Some(settings) = &pipeline.checkpoint else {
        // Those of a group come and go.
        let partitions = match pipeline.is_remembered() {
            true => Some(Vec::new()),
            false => found(pipeline, &[], false, stop)?,
        };
        let Some(partitions) = partitions else { return Ok(Start::Stopped) };
        return open_all(pipeline, stop, partitions, States::default(), Vec::new(), None);
    };
    let shape = Shape::of(pipeline)?;
    let mut store = Store::open(Folder::create(&settings.dir)?, &now())?.keep(settings.keep);
    let newest = if options.from_scratch { None } else { latest(&store)? };
    let before = newest.as_ref().map(|from| Shape::read(&from.pipeline)).transpose();
    let before = before.map_err(|error| anyhow::anyhow!("the checkpoint cannot be used: {error}"))?;
    let changes = before.as_ref().map(|before| before.changes(&shape)).unwrap_or_default();
    // Messages are read to the end that there was, and more may have come since.
    let goes_on = pipeline.replays && pipeline.source.has_messages();
    let had_ended = newest.as_ref().is_some_and(|from| from.complete);
    if let Some(from) = newest.as_ref().filter(|_| had_ended && !goes_on) {
        let Some(partitions) = found(pipeline, &from.partitions, true, stop)? else { return Ok(Start::Stopped) };
        return ended(from, &changes, partitions);
    }
    changes.check(&options.accept).map_err(Incompatible)?;
    let is_same = |sink: &str| before.as_ref().is_some_and(|before| before.has_same_sink(&shape, sink));

    let output = output(pipeline, newest.as_ref());
    let generation = store.generation();
    let Some(mut deciding) = open_deciding(pipeline, &output, generation, stop)? else {
        return Ok(Start::Stopped);
    };
    let from = match deciding.first_mut() {
        None => newest,
        Some((name, sink)) if options.from_scratch || (newest.is_some() && !is_same(name)) => {
            // What the database knows is of another output.
            sink.commit(newest.as_ref().map_or(0, |from| from.epoch))?;
            newest
        }
        Some((_, sink)) => decided(&store, newest, sink.decided()?.unwrap_or_default())?,
    };
    let from = if had_ended { from.map(reopened).transpose()? } else { from };

    let kept = from.as_ref().map_or(&[][..], |from| &from.partitions);
    let given_up = options.accept.contains(&Accept::Source) && !changes.source.is_empty();
    let Some(partitions) = found(pipeline, kept, given_up, stop)? else { return Ok(Start::Stopped) };
    if options.from_scratch {
        forget(&mut Folder::open(&settings.dir)?)?;
    }
    let restored = restored(pipeline, from.as_ref(), &changes)?;
    let mark = from.as_ref().map(Checkpoint::mark);
    store.start(mark)?;
    let facts = deciding.first().map(|_| (OUTPUT.to_owned(), output)).into_iter().collect();
    let mut keeper = Keeper::new(store, shape.to_string(), &partitions, facts, Arc::clone(tally));
    if settings.replay == Replay::Recorded {
        keeper.record_behind(mark).map_err(anyhow::Error::msg)?;
    }
    let mut states = if options.from_scratch { anew(pipeline, generation) } else { States::default() };
    let mut told = None;
    if let Some(from) = &from {
        let counts = from.facts.get(COUNTS).and_then(|counts| serde_json::from_str(counts).ok()).unwrap_or_default();
        tally.go_on(counts, read(&from.partitions).map_err(anyhow::Error::msg)?.records);
        // A file that has its name is appended to.
        let has_state = |name: &str| !had_ended || !is_file(pipeline, name);
        let same = from.sinks.iter().filter(|(name, _)| is_same(name) && has_state(name));
        states.extend(same.map(|(name, state)| (name.clone(), state.clone())));
        told = Some(in_words(from, &partitions));
    }
    open_all(pipeline, stop, partitions, states, deciding, Some((keeper, restored, told)))
}

/// What the source has to be read, waited for if it is away; nothing when the run was stopped meanwhile.
fn found(
    pipeline: &Pipeline,
    kept: &[(String, String)],
    given_up: bool,
    stop: &Stop,
) -> anyhow::Result<Option<Vec<Partition>>> {
    let (source, folder, kept) = (pipeline.source.clone(), pipeline.folder.clone(), kept.to_vec());
    source::waited_for(pipeline, stop, move || partitions(&source, &folder, &kept, given_up))
}

/// The same, with partitions that can be read on.
fn reopened(mut from: Checkpoint) -> anyhow::Result<Checkpoint> {
    for (_, at) in from.partitions.iter_mut().filter(|(_, at)| !at.is_empty()) {
        let reached = Reached::read(at).map_err(anyhow::Error::msg)?;
        *at = Reached { ended: false, ..reached }.text();
    }
    Ok(from)
}

/// What sinks are told in place of a state when this run begins anew.
fn anew(pipeline: &Pipeline, generation: u64) -> States {
    let sinks = [(RECORDS, Some(&pipeline.sink)), (DEAD_LETTERS, pipeline.dead_letter.as_ref())];
    sinks.into_iter().filter_map(|(name, sink)| Some((name.to_owned(), sink?.anew(generation)?))).collect()
}

/// Whether the sink with this key is a file.
fn is_file(pipeline: &Pipeline, name: &str) -> bool {
    let sink = if name == DEAD_LETTERS { pipeline.dead_letter.as_ref() } else { Some(&pipeline.sink) };
    matches!(sink, Some(Sink::File(_)))
}

/// The name by which a database knows the output: the one it had, or one that another pipeline is not likely to have.
fn output(pipeline: &Pipeline, before: Option<&Checkpoint>) -> String {
    let known = before.and_then(|before| before.facts.get(OUTPUT)).cloned();
    known.unwrap_or_else(|| {
        let file = Path::new(&pipeline.name).file_name().unwrap_or_default().to_string_lossy();
        let deciding = [Some(&pipeline.sink), pipeline.dead_letter.as_ref()].into_iter().flatten();
        let table = deciding.filter(|sink| sink.decides()).find_map(Sink::table).unwrap_or_default();
        let replaying = if pipeline.replays { ", replayed," } else { "" };
        pipeline.secrets.hide(&format!("{file}{replaying} to {table}"))
    })
}

/// Opens the sink that decides which epoch counts, if there is one, and the one that shares its transactions; nothing when
/// the run was stopped meanwhile.
fn open_deciding(
    pipeline: &Pipeline,
    output: &str,
    generation: u64,
    stop: &Stop,
) -> anyhow::Result<Option<Vec<OpenedSink>>> {
    let (records, dead_letters) = (pipeline.sink.clone(), pipeline.dead_letter.clone());
    if !records.decides() && !dead_letters.as_ref().is_some_and(Sink::decides) {
        return Ok(Some(Vec::new()));
    }
    let epochs = Epochs::new(output, generation);
    let open = move || match (&records, &dead_letters) {
        (records, Some(dead_letters)) if records.shares_transactions_with(dead_letters) => {
            writer::open_together(records, dead_letters, Some(epochs.clone()))
        }
        (_, Some(dead_letters)) if dead_letters.decides() => {
            Ok(vec![(DEAD_LETTERS, writer::open_sink(dead_letters, None, Some(epochs.clone()))?)])
        }
        (records, _) => Ok(vec![(RECORDS, writer::open_sink(records, None, Some(epochs.clone()))?)]),
    };
    let outage = Outage::new("the sink".to_owned(), &pipeline.secrets);
    opening::open(stop, move || outage.outlasts_blocking(open).map_err(|error| error.to_string()))
}

/// The checkpoint of the epoch that a database has: a newer one was never complete.
fn decided(store: &Store<Folder>, newest: Option<Checkpoint>, epoch: u64) -> anyhow::Result<Option<Checkpoint>> {
    match newest {
        Some(newest) if newest.epoch == epoch => Ok(Some(newest)),
        // The second checkpoint is only written when the first epoch counts.
        Some(newest) if epoch == 0 && newest.epoch > 1 => anyhow::bail!(
            "the sink knows of no epoch of this pipeline, and the checkpoints say that {} were written to it; what it \
             knew is gone, as offsets of Kafka are that have expired, but what was written may be there: see what it \
             has, and begin anew with --from-scratch",
            grouped(newest.epoch - 1)
        ),
        _ if epoch == 0 => Ok(None),
        _ => Ok(Some(store.at(epoch)?)),
    }
}

type Recovered = (Keeper, Option<Restored<Row>>, Option<String>);

fn open_all(
    pipeline: &Pipeline,
    stop: &Stop,
    partitions: Vec<Partition>,
    states: States,
    #[cfg_attr(not(feature = "kafka"), allow(unused_mut))] mut opened_sinks: Vec<OpenedSink>,
    recovered: Option<Recovered>,
) -> anyhow::Result<Start> {
    let Some(opened) = source::open(pipeline, &partitions, stop)? else { return Ok(Start::Stopped) };
    #[cfg(feature = "kafka")]
    if let Some(group) = &opened.group {
        let (records, dead_letters) = (pipeline.sink.clone(), pipeline.dead_letter.clone());
        let group = Arc::clone(group);
        let open = move || writer::open_with_group(&records, dead_letters.as_ref(), &group);
        let Some(sinks) = opening::open(stop, move || open().map_err(|error| error.to_string()))? else {
            return Ok(Start::Stopped);
        };
        opened_sinks = sinks;
    }
    let (records, dead_letters) = (pipeline.sink.clone(), pipeline.dead_letter.clone());
    let sources: Vec<String> = partitions.iter().map(|partition| partition.name.clone()).collect();
    let letters = pipeline.replays.then(|| pipeline.source.paths().first().map_or_else(PathBuf::new, PathBuf::from));
    let outage = Outage::new("the sink".to_owned(), &pipeline.secrets);
    // What is open already is handed over once.
    let is_waited_for = opened_sinks.is_empty();
    let mut opened_sinks = Some(opened_sinks);
    let mut open_all = move || {
        let opened_sinks = opened_sinks.take().unwrap_or_default();
        writer::open(&records, dead_letters.as_ref(), &states, sources.clone(), opened_sinks, letters.as_deref())
    };
    let open = move || {
        let opened = if is_waited_for { outage.outlasts_blocking(open_all) } else { open_all() };
        opened.map_err(|error| error.to_string())
    };
    let Some(sinks) = opening::open(stop, open)? else { return Ok(Start::Stopped) };
    let (keeper, restored, told) = match recovered {
        Some((keeper, restored, told)) => (Some(keeper), restored, told),
        None => (None, None, None),
    };
    Ok(Start::Now(Box::new(Beginning { partitions, opened, sinks, keeper, restored, told })))
}

/// The newest checkpoint that is whole; those before which it had to be taken are told.
fn latest(store: &Store<Folder>) -> anyhow::Result<Option<Checkpoint>> {
    let found = store.latest()?;
    for damaged in &found.damaged {
        tell(&format!("warning: a damaged checkpoint is passed over: {damaged}\n"));
    }
    Ok(found.checkpoint)
}

fn ended(from: &Checkpoint, changes: &Changes, partitions: Vec<Partition>) -> anyhow::Result<Start> {
    if *changes != Changes::default() {
        let changed: Vec<String> = [&changes.enrich, &changes.source, &changes.sink]
            .into_iter()
            .flatten()
            .map(|it| format!("\n  {it}"))
            .collect();
        let message =
            "the run of these checkpoints had ended, and the pipeline has changed since; --from-scratch begins anew:";
        return Err(Incompatible(format!("{message}{}", changed.concat())).into());
    }
    let records = read(&from.partitions).map_err(anyhow::Error::msg)?.records;
    let told = format!(
        "the run had ended {}: {} records were read, and the output is complete; there is nothing left to do \
         (--from-scratch begins anew)\n",
        age(from),
        grouped(records)
    );
    Ok(Start::Ended { partitions, told })
}

/// What was on its way, and what is recorded behind it.
fn restored(
    pipeline: &Pipeline,
    from: Option<&Checkpoint>,
    changes: &Changes,
) -> anyhow::Result<Option<Restored<Row>>> {
    let recorded = match &pipeline.checkpoint {
        Some(settings) if settings.replay == Replay::Recorded => {
            recorded_rows(&settings.dir, from.map(Checkpoint::mark))?
        }
        _ => Vec::new(),
    };
    if from.is_none() && recorded.is_empty() {
        return Ok(None);
    }
    Ok(Some(Restored {
        epoch: from.map_or(0, |from| from.epoch),
        carried: from.map_or_else(Vec::new, |from| from.carried.clone()),
        from_the_first_stage: !changes.enrich.is_empty(),
        again: again(pipeline),
        recorded,
    }))
}

/// What has ended a run, or may have, is asked for again: otherwise it would end each run after it too.
fn again(pipeline: &Pipeline) -> BTreeMap<u32, Again> {
    let steps = pipeline.stages.iter().flatten().map(|&place| &pipeline.steps[place]);
    let again =
        (0..).zip(steps).filter_map(|(number, step)| match (step.on_missing == OnMissing::Fail, &step.on_error) {
            (true, _) => Some((number, Again::All)),
            (false, OnError::Fail) => Some((number, Again::Failed)),
            (false, _) => None,
        });
    again.collect()
}

/// What was written behind a checkpoint. Of two entries for one record the later counts.
fn recorded_rows(dir: &Path, behind: Option<Mark>) -> anyhow::Result<Vec<Row>> {
    let recorded = recorded(&Folder::open(dir)?, behind)?;
    let mut rows: Vec<Row> = Vec::with_capacity(recorded.entries.len());
    let mut places: BTreeMap<Id, usize> = BTreeMap::new();
    for entry in recorded.entries {
        let row: Row = postcard::from_bytes(&entry)
            .map_err(|error| anyhow::anyhow!("what was recorded in {} cannot be read: {error}", dir.display()))?;
        match places.get(&row.id()) {
            Some(&place) => rows[place] = row,
            None => {
                places.insert(row.id(), rows.len());
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// `resuming from epoch 41 (3.00 s old): flights.csv at record 120,004; 312 records in flight are looked up again`.
fn in_words(from: &Checkpoint, partitions: &[Partition]) -> String {
    let at = |position: &str| Reached::read(position).map(|reached| reached.records()).unwrap_or_default();
    let read: Vec<(&str, u64)> = from.partitions.iter().map(|(name, position)| (name.as_str(), at(position))).collect();
    let place = match read.as_slice() {
        [(name, records)] if partitions.len() == 1 => format!("{name} at record {}", grouped(*records)),
        several => {
            let records = several.iter().map(|(_, records)| records).sum();
            format!("{} files, at record {} of all", partitions.len(), grouped(records))
        }
    };
    let in_flight = match from.carried_records {
        0 => "nothing was in flight".to_owned(),
        1 => "1 record in flight goes on".to_owned(),
        more => format!("{} records in flight go on", grouped(more as u64)),
    };
    format!("resuming from epoch {} ({} old): {place}; {in_flight}", from.epoch, short(old(from)))
}

fn age(from: &Checkpoint) -> String {
    format!("{} ago", short(old(from)))
}

fn old(from: &Checkpoint) -> Duration {
    since_1970(&from.created).map(|then| since_1970_now().saturating_sub(then)).unwrap_or_default()
}
