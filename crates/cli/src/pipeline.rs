//! The pipeline as needed: checked, with every default filled in, names resolved and steps put in stages.
//!
//! [`crate::file`] says what was typed; [`Pipeline::check`] is the one way from there to here. What runs a pipeline
//! need not ask anything twice.

mod checkpoint;
mod cluster;
mod destination;
mod lookup;
mod policies;
mod sink;
mod source;
mod step;

use std::path::{Path, PathBuf};

use crate::fault::{Fault, Faults, suggestion};
use crate::file::{
    self, Document, File, Hosts, LoadError, OnError, OnMissing, STANDARD, Setup, SqliteSetup, Step as Typed,
};
use crate::stages::stages;
use crate::units::Count;
use crate::variables::Secrets;

pub use self::checkpoint::{Checkpoint, EVERY, KEEP, KEEP_MAX, KEEP_MIN, NoRecovery};
pub use self::cluster::{CONNECT_WITHIN, Cluster, PROCESSES_MAX, SILENT_AFTER, WORKERS, WORKERS_MAX};
pub use self::destination::{BUDGET, Destination};
pub use self::lookup::Lookup;
pub use self::policies::{Breaker, CACHE_ENTRIES, CACHE_ENTRIES_MAX, Cache, MISSING_TTL, Policies, System};
pub use self::sink::{Guarantee, Sink};
pub use self::source::Source;
use self::step::StepCheck;
pub use self::step::{
    AUTO_MAX, BACKOFF, BATCH, BATCH_MAX, CAPACITY, CAPACITY_MAX, CONCURRENCY, CONCURRENCY_MAX, DEADLINE_TIMEOUTS,
    LINGER, RETRIES, Step, TIMEOUT,
};

/// Most steps of one pipeline.
pub const STEPS_MAX: usize = 64;

/// A pipeline that can be run.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What the file is called.
    pub name: String,
    /// The folder of the file. The paths below already start from it.
    pub folder: PathBuf,
    /// Where records come from; the path `-` is standard input.
    pub source: Source,
    /// Its records are dead letters, and what is wanted are the records in them.
    pub replays: bool,
    /// The database to build when it is missing.
    pub setup: Option<SqliteSetup>,
    /// The look-ups, in the order of the file: the order in which results stand in a record.
    pub steps: Vec<Step>,
    /// The systems that they ask: each step asks one.
    pub destinations: Vec<Destination>,
    /// Positions in `steps`. Those of one stage are independent; each stage needs results of earlier ones.
    pub stages: Vec<Vec<usize>>,
    /// Where records go; the path `-` is standard output.
    pub sink: Sink,
    /// Where given-up records go. Present when any step says `dead_letter`.
    pub dead_letter: Option<Sink>,
    /// Recovery; without it a run that was interrupted begins anew.
    pub checkpoint: Option<Checkpoint>,
    /// Worker threads in each process, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// Several processes; without it there is one.
    pub cluster: Option<Cluster>,
    /// What came from variables: pass messages of other systems through [`Secrets::hide`].
    pub secrets: Secrets,
}

impl Pipeline {
    /// Reads and checks a pipeline file.
    ///
    /// # Errors
    /// That it cannot be read, or everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::check(file::load(path)?).map_err(LoadError::Faults)
    }

    /// Checks a file and fills in what it leaves out. Touches neither disk nor network.
    ///
    /// # Errors
    /// Everything that makes no sense, each with its place.
    pub fn check(file: File) -> Result<Self, Faults> {
        let File { document, sections } = file;
        let folder = Path::new(&document.name).parent().map_or_else(PathBuf::new, Path::to_owned);
        if sections.enrich.0.len() > STEPS_MAX {
            let message = format!("{} steps are too many; at most {STEPS_MAX}", sections.enrich.0.len());
            return Err(document.faults(vec![document.fault(&["enrich"], message)]));
        }
        let mut faults = Vec::new();
        let names: Vec<String> = sections.enrich.0.iter().map(|(name, _)| name.clone()).collect();
        check_names(&document, &names, &mut faults);
        let needs: Vec<Vec<usize>> = sections
            .enrich
            .0
            .iter()
            .map(|(name, step)| needs(&document, name, step, &sections.enrich.0, &mut faults))
            .collect();
        let steps: Vec<Option<Step>> = sections
            .enrich
            .0
            .into_iter()
            .map(|(name, typed)| StepCheck { document: &document, name: &name, faults: &mut faults }.step(typed))
            .collect();
        let stages = stages(&needs).unwrap_or_else(|circle| {
            faults.push(circle_fault(&document, &names, &circle));
            Vec::new()
        });
        let mut pipeline = Self {
            name: document.name.clone(),
            source: sections.source.into_config(),
            replays: false,
            setup: sections.setup.map(|Setup::Sqlite(config)| config),
            steps: steps.into_iter().flatten().collect(),
            destinations: Vec::new(),
            stages,
            sink: sections.sink.into_config().named(&document.name, "sink"),
            dead_letter: sections
                .dead_letter
                .map(|dead_letter| dead_letter.into_config().named(&document.name, "dead_letter")),
            checkpoint: sections.checkpoint.map(|typed| Checkpoint::of(typed, &document, &mut faults)),
            workers: sections.workers.map_or(WORKERS, |count| workers(count, &document, &mut faults)),
            cluster: sections.cluster.map(|typed| Cluster::of(typed, &document, &mut faults)),
            secrets: document.secrets.clone(),
            folder,
        };
        pipeline.check_connectors(&document, &mut faults);
        pipeline.check_ends(&document, &mut faults);
        pipeline.check_tables(&document, &mut faults);
        pipeline.start_paths_from_folder();
        pipeline.destinations = Destination::of(&mut pipeline.steps, &document, &mut faults);
        pipeline.check_together(&document, &mut faults);
        if faults.is_empty() { Ok(pipeline) } else { Err(document.faults(faults)) }
    }

    /// Whether the sink writes the file that the source reads. A replay may write dead letters where it reads them: until
    /// it ends they stay there.
    pub fn overwrites_its_source(&self) -> bool {
        let dead_letter = self.dead_letter.as_ref().filter(|_| !self.replays);
        let written = [Some(&self.sink), dead_letter].into_iter().flatten().filter_map(Sink::path);
        let written: Vec<&Path> = written.filter(|path| *path != Path::new(STANDARD)).collect();
        self.source.paths().iter().any(|path| written.contains(path))
    }

    fn check_connectors(&self, document: &Document, faults: &mut Vec<Fault>) {
        let mut check = |path: &[&str], result: Result<(), inflight_connectors::Error>| {
            if let Err(error) = result {
                // The place in front is known better here.
                let place = format!("{}: ", error.place());
                let message = error.to_string();
                faults.push(document.fault(path, message.strip_prefix(&place).unwrap_or(&message)));
            }
        };
        check(&["source", self.source.system(), "path"], self.source.check());
        check(&["sink", self.sink.system(), "path"], self.sink.check());
        if let Some(dead_letter) = &self.dead_letter {
            check(&["dead_letter", dead_letter.system(), "path"], dead_letter.check());
        }
        if let Some(setup) = &self.setup {
            check(&["setup", "sqlite", "tables"], setup.load_config().check());
        }
        for step in &self.steps {
            check(&["enrich", &step.name, step.lookup.system()], step.lookup.check());
        }
    }

    fn check_ends(&self, document: &Document, faults: &mut Vec<Fault>) {
        if self.overwrites_its_source() {
            faults.push(
                document.fault(&["sink", "file", "path"], "the sink would overwrite the file that the source reads"),
            );
        }
        if self.dead_letter.as_ref().is_some_and(|dead_letter| dead_letter.has_place_of(&self.sink)) {
            let fault =
                document.fault(&["dead_letter", "file", "path"], "dead letters and results would go to the same place");
            faults.push(fault.with_label("give the dead letters a file of their own"));
        }
        if self.source.buries_malformed() && self.dead_letter.is_none() {
            let path = ["source", self.source.system(), "on_malformed"];
            let fault = document.fault(&path, "the pipeline has no `dead_letter`");
            faults.push(fault.with_label("say where such messages go: `dead_letter: { ... }`"));
        }
        #[cfg(feature = "kafka")]
        if let (Source::Kafka(source), Sink::Kafka(sink)) = (&self.source, &self.sink)
            && source.server.brokers == sink.server.brokers
            && source.topics().contains(&sink.topic.as_str())
        {
            let message = "the sink would write to the topic that the source reads, and so without an end";
            faults.push(document.fault(&["sink", "kafka", "topic"], message));
        }
        for step in &self.steps {
            let on_missing = (step.on_missing == OnMissing::DeadLetter, "on_missing");
            let on_error = (step.on_error == OnError::DeadLetter, "on_error");
            for (_, key) in [on_missing, on_error].iter().filter(|(wanted, _)| *wanted && self.dead_letter.is_none()) {
                let fault = document.fault(&["enrich", &step.name, key], "the pipeline has no `dead_letter`");
                faults
                    .push(fault.with_label("say where such records go: `dead_letter: { file: { path: dead.jsonl } }`"));
            }
        }
    }

    /// A database that `setup` builds has the tables named there and no others.
    fn check_tables(&self, document: &Document, faults: &mut Vec<Fault>) {
        let Some(setup) = &self.setup else { return };
        let tables: Vec<&str> = setup.tables.keys().map(String::as_str).collect();
        for step in &self.steps {
            let Lookup::Sqlite(lookup) = &step.lookup else { continue };
            let Some(table) = lookup.table.as_deref().filter(|_| lookup.database == setup.database) else { continue };
            if !tables.contains(&table) {
                let path = ["enrich", &step.name, "sqlite", "table"];
                let fault = document.fault(&path, format!("`setup` builds no table `{table}`"));
                faults.push(fault.with_label(suggestion(table, &tables)));
            }
        }
    }

    /// What a source, a sink and recovery are to each other; the paths start from the folder already.
    fn check_together(&self, document: &Document, faults: &mut Vec<Fault>) {
        if let Err(NoRecovery { message, remedy }) = self.check_recovery() {
            faults.push(document.fault_at_key(&["checkpoint"], message).with_label(remedy));
        }
        if let Err(message) = self.check_cluster() {
            faults.push(document.fault_at_key(&["cluster"], message));
        }
    }

    fn start_paths_from_folder(&mut self) {
        let Self { folder, source, setup, steps, sink, dead_letter, checkpoint, cluster, .. } = self;
        let mut paths = source.paths_mut();
        paths.extend(sink.paths_mut());
        paths.extend(dead_letter.iter_mut().flat_map(Sink::paths_mut));
        if let Some(setup) = setup {
            paths.push(&mut setup.database);
            paths.extend(setup.tables.values_mut().map(|table| &mut table.csv));
        }
        paths.extend(steps.iter_mut().flat_map(|step| step.lookup.paths_mut()));
        paths.extend(checkpoint.as_mut().map(|checkpoint| &mut checkpoint.dir));
        if let Some(Cluster { hosts: Hosts::File(path), .. }) = cluster {
            paths.push(path);
        }
        for path in paths.into_iter().filter(|path| path.as_path() != Path::new(STANDARD)) {
            *path = folder.join(&*path);
        }
    }
}

fn workers(count: Count, document: &Document, faults: &mut Vec<Fault>) -> usize {
    let workers = usize::try_from(count.0).unwrap_or(usize::MAX);
    if workers > WORKERS_MAX {
        let fault = document.fault(&["workers"], format!("{workers} workers are too many"));
        faults.push(fault.with_label(format!("at most {WORKERS_MAX}; more than there are cores bring nothing")));
    }
    workers.min(WORKERS_MAX)
}

fn check_names(document: &Document, names: &[String], faults: &mut Vec<Fault>) {
    if names.is_empty() {
        faults.push(document.fault(&["enrich"], "there is no step").with_label("give at least one look-up a name"));
    }
    for name in names {
        let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if name.is_empty() || !plain {
            let fault = document.fault_at_key(&["enrich", name], format!("`{name}` cannot be the name of a step"));
            faults.push(fault.with_label("a name is made of letters, digits, `_` and `-`"));
        }
    }
}

/// The steps whose results the key of this step reads.
fn needs(
    document: &Document,
    name: &str,
    step: &Typed,
    all: &[(String, Typed)],
    faults: &mut Vec<Fault>,
) -> Vec<usize> {
    let mut needs = Vec::new();
    for (column, path) in &step.key.0 {
        let Some(first) = path.names().first() else { continue };
        let Some(needed) = all.iter().position(|(name, _)| name == first) else { continue };
        let place = ["enrich", name, "key", column];
        // Empty when the file does not say which columns there are.
        let named = Lookup::named(&all[needed].1);
        let columns: Vec<&str> = named.iter().flat_map(Lookup::columns).map(String::as_str).collect();
        match path.names().get(1) {
            None => {
                let fault = document.fault(&place, format!("`{path}` is the whole result of step `{first}`"));
                let one = columns.first().map_or("its_column", |column| column);
                faults.push(fault.with_label(format!("name one column of it, such as `{path}.{one}`")));
            }
            Some(read) if !columns.is_empty() && !columns.contains(&read.as_str()) => {
                let fault = document.fault(&place, format!("step `{first}` has no column `{read}`"));
                faults.push(fault.with_label(suggestion(read, &columns)));
            }
            Some(_) => {}
        }
        needs.push(needed);
    }
    needs
}

fn circle_fault(document: &Document, names: &[String], circle: &[usize]) -> Fault {
    let first = circle.first().map_or("", |step| &names[*step]);
    let way: Vec<String> = circle.iter().map(|step| format!("`{}`", names[*step])).collect();
    let message = match way.as_slice() {
        [one] => format!("step {one} needs its own result"),
        _ => format!("steps wait for each other: {} needs `{first}`", way.join(" needs ")),
    };
    document
        .fault_at_key(&["enrich", first, "key"], message)
        .with_label("a key of one of them must come from the source")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str) -> Pipeline {
        let text = "source: { file: { path: in.csv } }\n\
             setup: { sqlite: { database: d.db, tables: { t: { csv: t.csv, key: [id] } } } }\n\
             enrich: { a: { sqlite: { database: d.db, table: t }, key: { id: .id } } }\n\
             sink: stdout\n";
        Pipeline::check(file::parse(name, text).unwrap()).unwrap()
    }

    #[test]
    fn huge_files_are_refused_without_a_fuss() {
        let step = "{ sqlite: { database: d, table: t }, key: { id: .id } }";
        let steps: String = (0..5_000).map(|number| format!("  s{number}: {step}\n")).collect();
        let file = file::parse("p.yaml", &format!("source: stdin\nenrich:\n{steps}sink: stdout\n")).unwrap();
        assert_eq!(
            Pipeline::check(file).unwrap_err().iter().next().unwrap().message,
            "5000 steps are too many; at most 64"
        );
        let again = "a: 1\n".repeat(100_000);
        assert!(file::parse("p.yaml", &again).unwrap_err().len() < 30);
        let (word, near) = ("x".repeat(400_000), "x".repeat(1_000));
        let tables = format!("setup: {{ sqlite: {{ database: d, tables: {{ {near}: {{ csv: t, key: [id] }} }} }} }}");
        let step = format!("{{ sqlite: {{ database: d, table: {word} }}, key: {{ id: .id }} }}");
        let text = format!("source: stdin\n{tables}\nenrich: {{ a: {step} }}\nsink: stdout\n");
        let file = file::parse("p.yaml", &text).map_err(|faults| faults.to_string()).unwrap();
        let shown = Pipeline::check(file).unwrap_err().to_string();
        assert!(shown.starts_with("error: `setup` builds no table `xxx") && shown.len() < 1_500, "{}", shown.len());
    }

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let pipeline = checked("jobs/p.yaml");
        assert_eq!(pipeline.source.name(), "jobs/in.csv");
        assert_eq!(pipeline.sink.path(), Some(Path::new("-")));
        let setup = pipeline.setup.unwrap();
        assert_eq!(
            (setup.database.as_path(), setup.tables["t"].csv.as_path()),
            (Path::new("jobs/d.db"), Path::new("jobs/t.csv"))
        );
        assert_eq!(pipeline.steps[0].lookup.database(), Some(Path::new("jobs/d.db")));
        assert_eq!(checked("p.yaml").source.name(), "in.csv");
    }
}
