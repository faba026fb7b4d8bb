//! The pipeline as needed: checked, with every default filled in, names resolved and steps put in stages.
//!
//! [`crate::file`] says what was typed; [`Pipeline::check`] is the one way from there to here. What runs a pipeline
//! need not ask anything twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use inflight_connectors::FieldPath;
use inflight_connectors::file::{FileSinkConfig, FileSourceConfig};
use inflight_connectors::sqlite::SqliteLookupConfig;

use crate::fault::{Fault, Faults, suggestion};
use crate::file::{
    self, Batch, Document, File, LoadError, OnError, OnMissing, Order, Retries, RetryOn, STANDARD, Setup, SqliteSetup,
    Step as Typed,
};
use crate::number_or::NumberOr;
use crate::stages::stages;
use crate::units::{Count, Period, PeriodRange, RetryCount};
use crate::variables::Secrets;

/// Records held by a step unless the file says otherwise.
pub const CAPACITY: usize = 1024;

/// Calls on the wire of a step unless the file says otherwise: more than one, and few enough for any database.
pub const CONCURRENCY: usize = 16;

/// Time for one attempt unless the file says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// The deadline of a record unless the file says otherwise, in timeouts: enough for the attempts and their pauses.
pub const DEADLINE_TIMEOUTS: u32 = 5;

/// Attempts after the first unless the file says otherwise.
pub const RETRIES: u32 = 3;

/// Pauses between attempts unless the file says otherwise.
pub const BACKOFF: PeriodRange = PeriodRange { from: Duration::from_millis(50), to: Duration::from_secs(2) };

/// Records that share a call unless the file says otherwise. A batch fills while all calls are on the wire, and leaves at once when none
/// is, so nothing waits for it; and asking a local database for 100 keys at once takes a fraction of the work of 100 calls.
pub const BATCH: usize = 100;

/// How long a part-filled batch waits unless the file says otherwise.
pub const LINGER: Duration = Duration::from_millis(2);

/// Most records that one step may hold.
pub const CAPACITY_MAX: usize = 1_000_000;

/// Most calls that one step may have on the wire.
pub const CONCURRENCY_MAX: usize = 100_000;

/// Most records that may share a call.
pub const BATCH_MAX: usize = 10_000;

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
    pub source: FileSourceConfig,
    /// The database to build when it is missing.
    pub setup: Option<SqliteSetup>,
    /// The look-ups, in the order of the file: the order in which results stand in a record.
    pub steps: Vec<Step>,
    /// Positions in `steps`. Those of one stage are independent; each stage needs results of earlier ones.
    pub stages: Vec<Vec<usize>>,
    /// Where records go; the path `-` is standard output.
    pub sink: FileSinkConfig,
    /// Where given-up records go. Present when any step says `dead_letter`.
    pub dead_letter: Option<FileSinkConfig>,
    /// What came from variables: pass messages of other systems through [`Secrets::hide`].
    pub secrets: Secrets,
}

/// One look-up for each record.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name, and the field that its result is written to.
    pub name: String,
    /// The system that is asked.
    pub lookup: Lookup,
    /// What is asked for: columns, each with the field of the record that it must equal. At least one.
    pub key: Vec<(String, FieldPath)>,
    /// In which order records leave.
    pub order: Order,
    /// Most records held at a time; at least `concurrency`, at least `batch_size`.
    pub capacity: usize,
    /// Most calls on the wire at a time.
    pub concurrency: usize,
    /// Time for one attempt; at most `deadline`.
    pub timeout: Duration,
    /// Time for a record in all.
    pub deadline: Duration,
    /// Most attempts after the first; may be 0.
    pub retries: u32,
    /// Shortest and longest pause between attempts.
    pub backoff: PeriodRange,
    /// Which failures are tried again.
    pub retry_on: Vec<RetryOn>,
    /// Most records in one call.
    pub batch_size: usize,
    /// How long a part-filled call waits for more records.
    pub batch_linger: Duration,
    /// What becomes of a record for which there is no answer.
    pub on_missing: OnMissing,
    /// What becomes of a record whose look-up failed.
    pub on_error: OnError,
}

/// A system that is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// A table of an SQLite database.
    Sqlite(SqliteLookupConfig),
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
            setup: sections.setup.map(|Setup::Sqlite(config)| config),
            steps: steps.into_iter().flatten().collect(),
            stages,
            sink: sections.sink.into_config(),
            dead_letter: sections.dead_letter.map(crate::file::Sink::into_config),
            secrets: document.secrets.clone(),
            folder,
        };
        pipeline.check_connectors(&document, &mut faults);
        pipeline.check_ends(&document, &mut faults);
        pipeline.check_tables(&document, &mut faults);
        pipeline.start_paths_from_folder();
        if faults.is_empty() { Ok(pipeline) } else { Err(document.faults(faults)) }
    }

    /// Whether the sink writes the file that the source reads.
    pub fn overwrites_its_source(&self) -> bool {
        self.sink.path == self.source.path && self.sink.path != Path::new(STANDARD)
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
        check(&["source", "file", "path"], self.source.check());
        check(&["sink", "file", "path"], self.sink.check());
        if let Some(dead_letter) = &self.dead_letter {
            check(&["dead_letter", "file", "path"], dead_letter.check());
        }
        if let Some(setup) = &self.setup {
            check(&["setup", "sqlite", "tables"], setup.load_config().check());
        }
        for step in &self.steps {
            let Lookup::Sqlite(lookup) = &step.lookup;
            check(&["enrich", &step.name, "sqlite"], lookup.check());
        }
    }

    fn check_ends(&self, document: &Document, faults: &mut Vec<Fault>) {
        if self.overwrites_its_source() {
            faults.push(
                document.fault(&["sink", "file", "path"], "the sink would overwrite the file that the source reads"),
            );
        }
        if self.dead_letter.as_ref().is_some_and(|dead_letter| dead_letter.path == self.sink.path) {
            let fault =
                document.fault(&["dead_letter", "file", "path"], "dead letters and results would go to the same place");
            faults.push(fault.with_label("give the dead letters a file of their own"));
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
            let Lookup::Sqlite(lookup) = &step.lookup;
            let Some(table) = lookup.table.as_deref().filter(|_| lookup.database == setup.database) else { continue };
            if !tables.contains(&table) {
                let path = ["enrich", &step.name, "sqlite", "table"];
                let fault = document.fault(&path, format!("`setup` builds no table `{table}`"));
                faults.push(fault.with_label(suggestion(table, &tables)));
            }
        }
    }

    fn start_paths_from_folder(&mut self) {
        let Self { folder, source, setup, steps, sink, dead_letter, .. } = self;
        let mut paths = vec![&mut source.path, &mut sink.path];
        paths.extend(dead_letter.as_mut().map(|config| &mut config.path));
        if let Some(setup) = setup {
            paths.push(&mut setup.database);
            paths.extend(setup.tables.values_mut().map(|table| &mut table.csv));
        }
        paths.extend(steps.iter_mut().map(|step| match &mut step.lookup {
            Lookup::Sqlite(config) => &mut config.database,
        }));
        for path in paths.into_iter().filter(|path| path.as_path() != Path::new(STANDARD)) {
            *path = folder.join(&*path);
        }
    }
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
        let columns = all[needed].1.sqlite.as_ref().and_then(|lookup| lookup.columns.as_ref());
        let columns: Vec<&str> = columns.into_iter().flatten().map(String::as_str).collect();
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

/// The check of one step.
struct StepCheck<'a> {
    document: &'a Document,
    name: &'a str,
    faults: &'a mut Vec<Fault>,
}

impl StepCheck<'_> {
    fn refuse(&mut self, key: &str, message: String, label: &str) {
        let fault = self.document.fault(&["enrich", self.name, key], message).with_label(label);
        self.faults.push(fault);
    }

    fn step(&mut self, typed: Typed) -> Option<Step> {
        let (batch_size, batch_linger) = self.batch(typed.batch);
        let (capacity, concurrency, batch_size) = self.limits(typed.capacity, typed.concurrency, batch_size);
        let (timeout, deadline) = self.clocks(typed.timeout, typed.deadline);
        let (retries, backoff, retry_on) = self.retries(typed.retries);
        if typed.key.0.is_empty() {
            self.refuse("key", "the key has no column".to_owned(), "such as `key: { id: .user_id }`");
        }
        let Some(sqlite) = typed.sqlite else {
            let fault =
                self.document.fault_at_key(&["enrich", self.name], format!("step `{}` asks no system", self.name));
            self.faults
                .push(fault.with_label("such as `sqlite: { database: users.db, table: users, columns: [name] }`"));
            return None;
        };
        Some(Step {
            name: self.name.to_owned(),
            lookup: Lookup::Sqlite(sqlite),
            key: typed.key.0,
            order: typed.order,
            capacity,
            concurrency,
            timeout,
            deadline,
            retries,
            backoff,
            retry_on,
            batch_size,
            batch_linger,
            on_missing: typed.on_missing,
            on_error: typed.on_error,
        })
    }

    /// Capacity, concurrency and batch size.
    fn limits(
        &mut self,
        capacity: Option<Count>,
        concurrency: Option<Count>,
        batch_size: Option<usize>,
    ) -> (usize, usize, usize) {
        let capacity = capacity.map(|count| self.at_most("capacity", count, CAPACITY_MAX));
        let concurrency = concurrency.map(|count| self.at_most("concurrency", count, CONCURRENCY_MAX));
        let batch_size = batch_size.unwrap_or_else(|| BATCH.min(capacity.unwrap_or(BATCH)));
        let limits = match (capacity, concurrency) {
            (Some(capacity), Some(concurrency)) => (capacity, concurrency),
            (Some(capacity), None) => (capacity, CONCURRENCY.min(capacity)),
            (None, concurrency) => {
                let concurrency = concurrency.unwrap_or(CONCURRENCY);
                let carried = concurrency.saturating_mul(batch_size);
                (CAPACITY.max(carried).min(CAPACITY_MAX), concurrency)
            }
        };
        if limits.0 < limits.1 {
            let message = format!("capacity {} is less than concurrency {}", limits.0, limits.1);
            self.refuse("capacity", message, "a call holds a record at least, so so many calls could never be made");
        }
        if limits.0 < batch_size {
            let message = format!("capacity {} is less than the batch size {batch_size}", limits.0);
            self.refuse("capacity", message, "a batch could never be full");
        }
        (limits.0, limits.1, batch_size)
    }

    fn clocks(&mut self, timeout: Option<Period>, deadline: Option<Period>) -> (Duration, Duration) {
        let (timeout, deadline) = (timeout.map(|period| period.0), deadline.map(|period| period.0));
        let attempt = timeout.unwrap_or_else(|| TIMEOUT.min(deadline.unwrap_or(TIMEOUT)));
        let whole = deadline.unwrap_or_else(|| attempt.saturating_mul(DEADLINE_TIMEOUTS));
        if attempt > whole {
            let message = format!("timeout {} is longer than deadline {}", Period(attempt), Period(whole));
            self.refuse("timeout", message, "the timeout is for one attempt, the deadline for all of them");
        }
        (attempt, whole)
    }

    fn retries(&mut self, typed: Option<NumberOr<RetryCount, Retries>>) -> (u32, PeriodRange, Vec<RetryOn>) {
        let all = vec![RetryOn::Timeout, RetryOn::Busy];
        match typed {
            None => (RETRIES, BACKOFF, all),
            Some(NumberOr::Number(max)) => (max.0, BACKOFF, all),
            Some(NumberOr::Group(Retries { max, backoff, on })) => {
                if on.as_ref().is_some_and(Vec::is_empty) {
                    self.refuse("retries", "`on` is empty, so nothing is tried again".to_owned(), "write `retries: 0`");
                }
                (max.map_or(RETRIES, |max| max.0), backoff.unwrap_or(BACKOFF), on.unwrap_or(all))
            }
        }
    }

    fn batch(&mut self, typed: Option<NumberOr<Count, Batch>>) -> (Option<usize>, Duration) {
        let (size, linger) = match typed {
            None => (None, None),
            Some(NumberOr::Number(size)) => (Some(size), None),
            Some(NumberOr::Group(Batch { size, linger })) => (size, linger),
        };
        let size = size.map(|size| self.at_most("batch", size, BATCH_MAX));
        (size, linger.map_or(LINGER, |period| period.0))
    }

    fn at_most(&mut self, key: &str, count: Count, max: usize) -> usize {
        let count = usize::try_from(count.0).unwrap_or(usize::MAX);
        if count > max {
            self.refuse(key, format!("{key} {count} is too large"), &format!("at most {max}"));
        }
        count.min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, step: &str) -> Pipeline {
        let text = format!(
            "source: {{ file: {{ path: in.csv }} }}\nsetup: {{ sqlite: {{ database: d.db, tables: {{ t: {{ csv: t.csv, \
             key: [id] }} }} }} }}\nenrich:\n  a: {{ sqlite: {{ database: d.db, table: t }}, key: {{ id: .id }}{step} }}\n\
             sink: stdout\n"
        );
        Pipeline::check(file::parse(name, &text).unwrap()).unwrap()
    }

    #[test]
    fn defaults_are_safe_and_agree_with_each_other() {
        let step = &checked("p.yaml", "").steps[0];
        assert_eq!((step.order, step.capacity, step.concurrency), (Order::Input, 1600, 16));
        assert_eq!((step.timeout, step.deadline), (Duration::from_secs(1), Duration::from_secs(5)));
        assert_eq!((step.retries, step.backoff), (3, BACKOFF));
        assert_eq!(step.retry_on, [RetryOn::Timeout, RetryOn::Busy]);
        assert_eq!((step.batch_size, step.batch_linger), (100, Duration::from_millis(2)));
        assert_eq!((step.on_missing, &step.on_error), (OnMissing::Keep, &OnError::Fail));
    }

    #[test]
    fn what_was_given_moves_the_defaults_that_depend_on_it() {
        let step = |text: &str| checked("p.yaml", text).steps.remove(0);
        assert_eq!((step(", capacity: 5").concurrency, step(", capacity: 5").batch_size), (5, 5));
        assert_eq!(step(", concurrency: 3k, batch: 1").capacity, 3000);
        assert_eq!((step(", batch: 1").capacity, step(", batch: 200").capacity), (1024, 3200));
        assert_eq!(step(", concurrency: 100k").capacity, CAPACITY_MAX);
        assert_eq!(step(", batch: { linger: 5ms }").batch_size, 100);
        assert_eq!(step(", timeout: 3s").deadline, Duration::from_secs(15));
        assert_eq!(step(", deadline: 200ms").timeout, Duration::from_millis(200));
        assert_eq!(step(", retries: { on: [busy] }").retries, 3);
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
        let pipeline = checked("jobs/p.yaml", "");
        assert_eq!(pipeline.source.path, Path::new("jobs/in.csv"));
        assert_eq!(pipeline.sink.path, Path::new("-"));
        let setup = pipeline.setup.unwrap();
        assert_eq!(
            (setup.database.as_path(), setup.tables["t"].csv.as_path()),
            (Path::new("jobs/d.db"), Path::new("jobs/t.csv"))
        );
        let Lookup::Sqlite(lookup) = &pipeline.steps[0].lookup;
        assert_eq!(lookup.database, Path::new("jobs/d.db"));
        assert_eq!(checked("p.yaml", "").source.path, Path::new("in.csv"));
    }
}
