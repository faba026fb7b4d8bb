//! Records into a table.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::error::sqlite_error;
use super::table::{Insert, Table, sql_value};
use super::{SqliteSinkConfig, quoted};
use crate::file::folder_is_there;
use crate::{Epochs, Error, ErrorKind, Guarantee, Record, Sink};

/// The most rows of one transaction when there are no epochs: 1000.
pub const ROWS_PER_TRANSACTION: u64 = 1000;

/// Writes records as rows of a table in an SQLite database.
///
/// With [`Epochs`], all rows of an epoch and its number are one transaction, so the output holds each record once, whatever
/// happens. The numbers are kept beside the rows, in the table `inflight_epochs (pipeline, epoch, generation)`. From the
/// first record of an epoch to its commit no other connection can write to the database; how far others can read
/// meanwhile depends on its journal mode (`wal` does not disturb them).
///
/// Without epochs a transaction ends after [`ROWS_PER_TRANSACTION`] rows and whenever the sink is flushed.
///
/// Numbers, texts and nulls are written as such, `true` and `false` as 1 and 0, lists and objects as JSON.
///
/// ```
/// use inflight_connectors::sqlite::{SqliteSink, SqliteSinkConfig};
/// use inflight_connectors::Sink;
/// use serde_json::json;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let database = folder.path().join("users.db");
/// let config = SqliteSinkConfig { create: true, ..SqliteSinkConfig::new(&database, "users") };
/// let mut sink = Box::new(SqliteSink::open(&config)?);
/// sink.write(json!({ "id": 7, "name": "Ada" }).as_object().unwrap())?;
/// sink.finish()?;
/// # let name: String = rusqlite::Connection::open(&database)?.query_row("select name from users", [], |row| row.get(0))?;
/// # assert_eq!(name, "Ada");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SqliteSink {
    /// Of all sinks whose rows are written in the same transactions.
    shared: Arc<Mutex<Shared>>,
    database: PathBuf,
    table: Table,
    /// The columns of the table; none before it has been created.
    columns: Option<Vec<String>>,
    insert: Insert,
    commits: Commits,
    records: u64,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    /// Whether a transaction is open.
    is_open: bool,
    /// Rows in it.
    rows: u64,
    /// Kept so that an output that has failed stays failed.
    failure: Option<Error>,
}

/// Who ends the transactions, and when.
#[derive(Debug)]
enum Commits {
    /// This sink, now and then.
    Often,
    /// This sink, with each epoch.
    Epochs(Claim),
    /// The sink that this one is beside.
    Another,
}

/// The epochs that are ours to commit.
#[derive(Debug)]
struct Claim {
    epochs: Epochs,
    generation: i64,
}

impl SqliteSink {
    /// Opens the database, and checks that the table has the columns that `config` names, and for a `key` that it is
    /// unique.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense or does not fit the database, or the database does not exist, is
    /// locked ([`ErrorKind::Busy`], retryable) or is no database.
    pub fn open(config: &SqliteSinkConfig) -> Result<Self, Error> {
        Self::connect(config, None).map_err(|error| error.in_file(&config.database))
    }

    /// Whether records could be written, said in one sentence if not. Creates nothing.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); when a database that is to be created has no folder to be in.
    pub fn check_connect(config: &SqliteSinkConfig) -> Result<(), Error> {
        config.check()?;
        match config.create && !config.database.exists() {
            true => folder_is_there(&config.database),
            false => Self::open(config).map(drop),
        }
    }

    /// As [`open`](Self::open), for a host that commits by epochs. From now on no earlier run of the pipeline, one with
    /// a lower generation, can commit any more.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); when a run with a higher generation is known ([`ErrorKind::Changed`]).
    pub fn open_with_epochs(config: &SqliteSinkConfig, epochs: Epochs) -> Result<Self, Error> {
        Self::connect(config, Some(epochs)).map_err(|error| error.in_file(&config.database))
    }

    /// A sink for another table of the same database, whose rows are written in the transactions of this one: they count
    /// when this one commits them.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); when `config` names another database.
    pub fn beside(&self, config: &SqliteSinkConfig) -> Result<Self, Error> {
        let beside = || {
            config.check()?;
            if config.database != self.database {
                let message = "two databases cannot share a transaction; name the same one";
                return Err(Error::new(ErrorKind::Config, message));
            }
            Self::of(Arc::clone(&self.shared), config, Commits::Another)
        };
        beside().map_err(|error| error.in_file(&config.database))
    }

    fn connect(config: &SqliteSinkConfig, epochs: Option<Epochs>) -> Result<Self, Error> {
        config.check()?;
        let connection = open_database(config)?;
        let shared = Shared { connection, is_open: false, rows: 0, failure: None };
        let mut sink = Self::of(Arc::new(Mutex::new(shared)), config, Commits::Often)?;
        if let Some(epochs) = epochs {
            sink.commits = Commits::Epochs(Claim::new(&lock(&sink.shared).connection, epochs)?);
        }
        Ok(sink)
    }

    fn of(shared: Arc<Mutex<Shared>>, config: &SqliteSinkConfig, commits: Commits) -> Result<Self, Error> {
        let table = Table::new(config);
        let columns = table_there(&lock(&shared).connection, &table, config)?;
        let (database, insert) = (config.database.clone(), Insert::default());
        Ok(Self { shared, database, table, columns, insert, commits, records: 0 })
    }

    /// Does `work` unless something has failed before, and remembers when the transaction is lost by it.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self, &mut Shared) -> Result<T, Error>) -> Result<T, Error> {
        let shared = Arc::clone(&self.shared);
        let mut shared = lock(&shared);
        if let Some(error) = &shared.failure {
            return Err(error.clone());
        }
        work(self, &mut shared).map_err(|error| {
            let error = error.in_file(&self.database);
            // Some failures, such as a full disk, make SQLite roll back by itself.
            if shared.is_open && shared.connection.is_autocommit() {
                shared.failure = Some(error.clone());
            }
            error
        })
    }

    fn write_row(&mut self, shared: &mut Shared, record: &Record) -> Result<(), Error> {
        shared.begin()?;
        let row = self.table.row(record)?;
        let failed = |error| sqlite_error("cannot write", error);
        let there = match &mut self.columns {
            Some(columns) => columns,
            none => {
                shared.connection.execute(&self.table.create(&row), []).map_err(failed)?;
                none.insert(row.iter().map(|(column, _)| (*column).to_owned()).collect())
            }
        };
        if !self.insert.fits(&row) {
            row.iter().try_for_each(|(column, _)| self.table.check_column(column, there))?;
            self.insert = Insert::new(&self.table, row.iter().map(|(column, _)| (*column).to_owned()).collect());
        }
        let mut statement = shared.connection.prepare_cached(&self.insert.sql).map_err(failed)?;
        for (index, (column, value)) in row.iter().enumerate() {
            let value = sql_value(value).map_err(|error| error.in_field(column))?;
            statement.raw_bind_parameter(index + 1, value).map_err(failed)?;
        }
        statement.raw_execute().map_err(refused)?;
        shared.rows += 1;
        Ok(())
    }
}

impl Shared {
    fn begin(&mut self) -> Result<(), Error> {
        if !self.is_open {
            // At once for writing: a transaction that has read cannot always become one that writes.
            self.connection.execute_batch("begin immediate").map_err(|error| sqlite_error("cannot write", error))?;
            self.is_open = true;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.is_open {
            self.connection.execute_batch("commit").map_err(|error| sqlite_error("cannot commit", error))?;
            (self.is_open, self.rows) = (false, 0);
        }
        Ok(())
    }
}

impl Sink for SqliteSink {
    fn write(&mut self, record: &Record) -> Result<(), Error> {
        let number = self.records + 1;
        self.attempt(|sink, shared| {
            sink.write_row(shared, record).map_err(|error| error.in_record(number))?;
            sink.records = number;
            match sink.commits {
                Commits::Often if shared.rows >= ROWS_PER_TRANSACTION => shared.end(),
                _ => Ok(()),
            }
        })
    }

    /// Commits when there are no epochs.
    fn flush(&mut self) -> Result<(), Error> {
        self.attempt(|sink, shared| if matches!(sink.commits, Commits::Often) { shared.end() } else { Ok(()) })
    }

    fn commit(&mut self, epoch: u64) -> Result<(), Error> {
        self.attempt(|sink, shared| {
            match &sink.commits {
                Commits::Another => return Ok(()),
                Commits::Often => {}
                Commits::Epochs(claim) => {
                    shared.begin()?;
                    claim.decide(&shared.connection, epoch)?;
                }
            }
            shared.end()
        })
    }

    /// Exactly once with epochs.
    fn guarantee(&self) -> Guarantee {
        if matches!(self.commits, Commits::Often) { Guarantee::AtLeastOnce } else { Guarantee::ExactlyOnce }
    }

    fn decided(&mut self) -> Result<Option<u64>, Error> {
        let Commits::Epochs(claim) = &self.commits else { return Ok(None) };
        let decided = claim.decided(&lock(&self.shared).connection);
        decided.map(Some).map_err(|error| sqlite_error("cannot read the epoch", error).in_file(&self.database))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.flush()?;
        let Self { shared, database, commits, .. } = *self;
        if lock(&shared).is_open && matches!(commits, Commits::Epochs(_)) {
            let message = "the last records belong to an epoch that was not committed, and are not written";
            return Err(Error::new(ErrorKind::Config, message).in_file(&database));
        }
        // The last of those who share it closes it.
        let Some(shared) = Arc::into_inner(shared) else { return Ok(()) };
        let Shared { connection, .. } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        connection.close().map_err(|(_, error)| sqlite_error("cannot close the database", error).in_file(&database))
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claim {
    /// Takes the pipeline over for this generation.
    fn new(connection: &Connection, epochs: Epochs) -> Result<Self, Error> {
        let generation = integer(epochs.generation)?;
        let claim = Self { epochs, generation };
        let take_over = || {
            let transaction =
                rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute_batch(
                "create table if not exists inflight_epochs
                     (pipeline text primary key, epoch integer not null, generation integer not null)",
            )?;
            let claimed = transaction.execute(
                "insert into inflight_epochs values (?1, 0, ?2)
                     on conflict (pipeline) do update set generation = ?2 where generation <= ?2",
                params![claim.epochs.pipeline, claim.generation],
            )?;
            transaction.commit()?;
            Ok(claimed > 0)
        };
        match take_over().map_err(|error| sqlite_error("cannot take the pipeline over", error))? {
            true => Ok(claim),
            false => Err(claim.superseded()),
        }
    }

    /// The last epoch that counts, 0 before the first.
    fn decided(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let sql = "select epoch from inflight_epochs where pipeline = ?1";
        let epoch = connection.query_row(sql, [&self.epochs.pipeline], |row| row.get::<_, i64>(0)).optional()?;
        Ok(epoch.unwrap_or(0).unsigned_abs())
    }

    /// Lets an epoch count with the transaction that is open.
    fn decide(&self, connection: &Connection, epoch: u64) -> Result<(), Error> {
        let sql = "update inflight_epochs set epoch = ?1 where pipeline = ?2 and generation = ?3";
        let ours = connection.execute(sql, params![integer(epoch)?, self.epochs.pipeline, self.generation]);
        match ours.map_err(|error| sqlite_error("cannot write the epoch", error))? {
            0 => Err(self.superseded()),
            _ => Ok(()),
        }
    }

    fn superseded(&self) -> Error {
        let message = format!(
            "a newer run of the pipeline \"{0}\" has taken over; if there is none and this one starts anew, remove what \
             the database knows of it: delete from inflight_epochs where pipeline = '{1}'",
            self.epochs.pipeline,
            self.epochs.pipeline.replace('\'', "''")
        );
        Error::new(ErrorKind::Changed, message)
    }
}

fn integer(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::new(ErrorKind::Config, format!("{number} is too large for SQLite")))
}

fn open_database(config: &SqliteSinkConfig) -> Result<Connection, Error> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if config.create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    } else if !config.database.exists() {
        let message = "the database does not exist; create it with its table, or add `create: true`";
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let open = || {
        let connection = Connection::open_with_flags(&config.database, flags)?;
        connection.busy_timeout(config.busy_timeout)?;
        // What counts survives a power cut, whatever the default is.
        connection.execute_batch("pragma synchronous = full")?;
        Ok(connection)
    };
    open().map_err(|error| sqlite_error("cannot open", error))
}

/// The columns of the table, once it is known that it can be written; none if it is to be created.
fn table_there(
    connection: &Connection,
    table: &Table,
    config: &SqliteSinkConfig,
) -> Result<Option<Vec<String>>, Error> {
    let columns = columns(connection, &config.table)?;
    match &columns {
        Some(there) => {
            table.named().try_for_each(|column| table.check_column(column, there))?;
            let key = Insert::new(table, if config.key.is_empty() { there.clone() } else { config.key.clone() });
            connection.prepare(&key.sql).map_err(|error| not_writable(config, error))?;
        }
        None if config.create => {}
        None => {
            let message = format!("there is no table \"{}\"; create it, or add `create: true`", config.table);
            return Err(Error::new(ErrorKind::Config, message));
        }
    }
    Ok(columns)
}

/// The columns of the table, if it exists.
fn columns(connection: &Connection, table: &str) -> Result<Option<Vec<String>>, Error> {
    let failed = |error| sqlite_error("cannot read the table", error);
    let sql = "select 1 from sqlite_schema where type in ('table', 'view') and name = ?1 collate nocase";
    if connection.query_row(sql, [table], |_| Ok(())).optional().map_err(failed)?.is_none() {
        return Ok(None);
    }
    let statement = connection.prepare(&format!("select * from {} limit 0", quoted(table))).map_err(failed)?;
    Ok(Some(statement.column_names().map(str::to_owned).collect()))
}

fn not_writable(config: &SqliteSinkConfig, error: rusqlite::Error) -> Error {
    if config.key.is_empty() {
        return sqlite_error("cannot write to the table", error);
    }
    let columns = super::quoted_list(config.key.iter().map(String::as_str));
    let message = format!(
        "rows cannot be replaced by `key` ({error}); make it unique: create unique index ... on {} ({columns})",
        quoted(&config.table)
    );
    Error::new(ErrorKind::Config, message).caused_by(error)
}

/// The error for a row that was not written.
fn refused(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
            let message = format!(
                "the table refuses the record: {error}; correct the record or the table, or name a `key` to replace \
                 rows that are there"
            );
            Error::new(ErrorKind::Malformed, message).caused_by(error)
        }
        _ => sqlite_error("cannot write", error),
    }
}

#[cfg(test)]
mod tests;
