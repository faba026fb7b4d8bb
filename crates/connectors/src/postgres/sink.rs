//! Records into a table.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

use self::batch::Batch;
use self::epochs::Claim;
use self::insert::Insert;
use super::PostgresSinkConfig;
use super::connect::Server;
use super::error::postgres_error;
use super::table::Table;
use crate::{Epochs, Error, ErrorKind, Guarantee, Record, Sink};

mod batch;
mod blame;
mod epochs;
mod insert;

/// Records that go to the server in one statement.
pub const BATCH_RECORDS: usize = 1000;

/// Bytes, as JSON, after which a statement goes to the server with fewer records.
pub const BATCH_BYTES: usize = 1 << 20;

/// Without epochs: records after which a transaction is committed.
pub const COMMIT_RECORDS: u64 = 10_000;

/// A statement that hangs on a lock is given up after so long. The server notices that a client died within a minute.
const SESSION: &str = "set lock_timeout = '90s'; set tcp_keepalives_idle = 20; set tcp_keepalives_interval = 10;
    set tcp_keepalives_count = 4; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0";

/// Writes records into a table, many in one statement: inserts, or upserts if the configuration has a `key`.
///
/// The server converts the values, each to the type of its column: numbers, bools, texts, times (`2026-01-31T12:00:00Z`;
/// UTC without a zone), uuid, json, lists as arrays, `\x` and hexadecimal digits as bytea, null. A field that a record
/// does not have is null. Of several records with one key the last counts.
///
/// With [`Epochs`] everything written between two commits is one transaction, which also holds the number of the epoch
/// (table `inflight_epochs`, made if need be): exactly once. Without, it commits every [`COMMIT_RECORDS`] records and at
/// the end, so what a failed run leaves has some of the records, and an upsert can simply be run again.
///
/// It blocks, so give it a thread of its own, outside of any async runtime.
///
/// ```no_run
/// use inflight_connectors::Sink;
/// use inflight_connectors::postgres::{PostgresSink, PostgresSinkConfig};
/// use serde_json::json;
///
/// # fn main() -> Result<(), inflight_connectors::Error> {
/// let config = PostgresSinkConfig {
///     key: Some(vec!["id".to_owned()]),
///     ..PostgresSinkConfig::new("postgres://writer@localhost/shop", "orders")
/// };
/// let mut sink = Box::new(PostgresSink::open(&config)?);
/// sink.write(json!({"id": 7, "total": 19.99, "tags": ["new"]}).as_object().unwrap())?;
/// sink.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct PostgresSink {
    connection: Arc<Connection>,
    insert: Arc<Insert>,
    statement: Statement,
    commits: Commits,
    batch: Batch,
    sending: Option<Sending>,
}

/// Who ends the transactions, and when.
enum Commits {
    /// This sink, now and then.
    Often,
    /// This sink, with each epoch.
    Epochs(Claim),
    /// The sink that this one is beside.
    Another,
}

/// What the sinks that share a connection know of it.
#[derive(Default)]
struct Transaction {
    /// Records in it, those under way included.
    records: u64,
    /// Why every call fails from now on.
    failure: Option<Error>,
}

/// A statement on its way while the next is put together.
struct Sending {
    outcome: JoinHandle<Result<(), tokio_postgres::Error>>,
    batch: Arc<Batch>,
}

/// One connection and what drives it.
struct Connection {
    client: Arc<Client>,
    server: PathBuf,
    transaction: Mutex<Transaction>,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl PostgresSink {
    /// Connects, and checks that the table, its columns and the index for the key are there and may be written.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense or does not fit the table, or the server cannot be reached or refuses.
    pub fn open(config: &PostgresSinkConfig) -> Result<Self, Error> {
        Self::connect(config, None)
    }

    /// Whether records could be written, said in one sentence if not: connects as [`open`](Self::open) does, and closes
    /// the connection.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn check_connect(config: &PostgresSinkConfig) -> Result<(), Error> {
        Self::open(config).map(drop)
    }

    /// As [`open`](Self::open), for a host that commits by epochs. From now on no earlier run of the pipeline, one with
    /// a lower generation, can commit any more: an open transaction of such a run is waited for.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); when a run with a higher generation is known.
    pub fn open_with_epochs(config: &PostgresSinkConfig, epochs: Epochs) -> Result<Self, Error> {
        Self::connect(config, Some(epochs))
    }

    fn connect(config: &PostgresSinkConfig, epochs: Option<Epochs>) -> Result<Self, Error> {
        config.check()?;
        let server = Server::new(&config.server, SESSION)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Error::io("cannot start a thread for the connection", error))?;
        let opened = runtime.block_on(async {
            let client = server.connect().await?;
            let insert = Insert::new(config, &Table::describe(&client, &config.table).await?)?;
            let statement = insert.prepare(&client).await?;
            let commits = match epochs {
                Some(epochs) => Commits::Epochs(Claim::new(epochs, &client).await?),
                None => Commits::Often,
            };
            Ok((client, insert, statement, commits))
        });
        let (client, insert, statement, commits) = opened.map_err(|error: Error| error.in_file(server.name()))?;
        let connection = Connection {
            client: Arc::new(client),
            server: server.name().to_owned(),
            transaction: Mutex::default(),
            runtime: Some(runtime),
        };
        Ok(Self::of(Arc::new(connection), insert, statement, commits))
    }

    /// A sink for another table of the same server, whose records are written in the transactions of this one, which has
    /// epochs: they count when this one commits their epoch, once both are prepared. `config` need not repeat how to reach
    /// the server, and what it says of it is not used.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); when this sink has no epochs.
    pub fn beside(&self, config: &PostgresSinkConfig) -> Result<Self, Error> {
        config.check()?;
        let Commits::Epochs(_) = self.commits else {
            let message = "only sinks with epochs can share a transaction; open another one";
            return Err(Error::new(ErrorKind::Config, message).in_file(&self.connection.server));
        };
        let client = &self.connection.client;
        let described = self.connection.runtime()?.block_on(async {
            let insert = Insert::new(config, &Table::describe(client, &config.table).await?)?;
            let statement = insert.prepare(client).await?;
            Ok((insert, statement))
        });
        let (insert, statement) = described.map_err(|error: Error| error.in_file(&self.connection.server))?;
        Ok(Self::of(Arc::clone(&self.connection), insert, statement, Commits::Another))
    }

    fn of(connection: Arc<Connection>, insert: Insert, statement: Statement, commits: Commits) -> Self {
        Self { connection, insert: Arc::new(insert), statement, commits, batch: Batch::after(0), sending: None }
    }

    /// Does it unless something has failed before; remembers if it fails.
    fn unless_failed(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(failure) = &self.connection.transaction().failure {
            return Err(failure.clone());
        }
        act(self).map_err(|error| {
            let error = error.in_file(&self.connection.server);
            self.connection.transaction().failure = Some(error.clone());
            error
        })
    }

    fn add(&mut self, record: &Record) -> Result<(), Error> {
        let number = self.batch.next_record();
        self.insert.check(record).map_err(|error| error.in_record(number))?;
        self.batch.push(self.insert.fields(record));
        if self.batch.len() >= BATCH_RECORDS || self.batch.bytes() >= BATCH_BYTES {
            self.send()?;
        }
        match self.commits {
            Commits::Often if self.connection.transaction().records >= COMMIT_RECORDS => self.commit_transaction(),
            _ => Ok(()),
        }
    }

    /// Sends the batch, once the one before has arrived.
    fn send(&mut self) -> Result<(), Error> {
        self.arrived()?;
        if self.batch.len() == 0 {
            return Ok(());
        }
        let next = Batch::after(self.batch.next_record() - 1);
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.close();
        let batch = Arc::new(batch);
        let begins = self.connection.begins_with(batch.len() as u64);
        let (client, statement, rows) =
            (Arc::clone(&self.connection.client), self.statement.clone(), Arc::clone(&batch));
        let runtime = self.connection.runtime()?;
        if begins {
            // Waited for, as nothing of a sink beside may overtake it.
            let failed = |error| postgres_error("cannot begin a transaction", error);
            runtime.block_on(client.batch_execute("begin")).map_err(failed)?;
        }
        let outcome = runtime.spawn(async move { client.execute(&statement, &[&rows.json()]).await.map(drop) });
        self.sending = Some(Sending { outcome, batch });
        Ok(())
    }

    /// Waits for the statement that is on its way.
    fn arrived(&mut self) -> Result<(), Error> {
        let Some(Sending { outcome, batch }) = self.sending.take() else { return Ok(()) };
        let runtime = self.connection.runtime()?;
        match runtime.block_on(outcome) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let blame = blame::blame(&self.connection.client, &self.insert, &self.statement, &batch, error);
                Err(runtime.block_on(blame))
            }
            Err(_) => Err(Error::new(ErrorKind::Io, "the thread of the connection was stopped")),
        }
    }

    fn everything_arrived(&mut self) -> Result<(), Error> {
        self.send()?;
        self.arrived()
    }

    fn commit_transaction(&mut self) -> Result<(), Error> {
        self.everything_arrived()?;
        let records = self.connection.transaction().records;
        if records == 0 {
            return Ok(());
        }
        self.connection.commit(&format!("the last {records} records"))
    }

    fn commit_epoch(&mut self, epoch: u64) -> Result<(), Error> {
        self.everything_arrived()?;
        let Commits::Epochs(claim) = &mut self.commits else { return Ok(()) };
        let begins = self.connection.begins_with(0);
        self.connection.runtime()?.block_on(claim.write(&self.connection.client, epoch, begins))?;
        self.connection.commit(&format!("epoch {epoch}"))?;
        claim.decided = epoch;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        if let Commits::Often = self.commits {
            return self.commit_transaction();
        }
        match self.connection.transaction().records + self.batch.len() as u64 {
            0 => Ok(()),
            rest => {
                let message =
                    format!("{rest} records were written after the last epoch was committed; they do not count");
                Err(Error::new(ErrorKind::Query, message))
            }
        }
    }
}

impl Sink for PostgresSink {
    fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.unless_failed(|sink| sink.add(record))
    }

    fn flush(&mut self) -> Result<(), Error> {
        match self.commits {
            Commits::Often => self.unless_failed(Self::commit_transaction),
            Commits::Epochs(_) | Commits::Another => self.unless_failed(|_| Ok(())),
        }
    }

    /// Everything is in the transaction when it returns, and the server has found no fault with it.
    fn prepare(&mut self, _epoch: u64) -> Result<String, Error> {
        match self.commits {
            Commits::Often => self.flush()?,
            Commits::Epochs(_) | Commits::Another => self.unless_failed(Self::everything_arrived)?,
        }
        Ok(String::new())
    }

    fn commit(&mut self, epoch: u64) -> Result<(), Error> {
        self.unless_failed(|sink| sink.commit_epoch(epoch))
    }

    fn guarantee(&self) -> Guarantee {
        if matches!(self.commits, Commits::Often) { Guarantee::AtLeastOnce } else { Guarantee::ExactlyOnce }
    }

    fn decided(&mut self) -> Result<Option<u64>, Error> {
        match &self.commits {
            Commits::Epochs(claim) => Ok(Some(claim.decided)),
            Commits::Often | Commits::Another => Ok(None),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.unless_failed(Self::end)
    }
}

impl Connection {
    fn runtime(&self) -> Result<&Runtime, Error> {
        self.runtime.as_ref().ok_or_else(|| Error::new(ErrorKind::Io, "the connection was closed"))
    }

    fn transaction(&self) -> MutexGuard<'_, Transaction> {
        self.transaction.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many records more are on their way; whether a transaction has to be begun for them.
    fn begins_with(&self, records: u64) -> bool {
        let mut transaction = self.transaction();
        let begins = transaction.records == 0;
        transaction.records += records;
        begins
    }

    /// Commits `what`. If the connection is lost meanwhile, nobody here knows whether it counts.
    fn commit(&self, what: &str) -> Result<(), Error> {
        let Err(error) = self.runtime()?.block_on(self.client.batch_execute("commit")) else {
            self.transaction().records = 0;
            return Ok(());
        };
        // Of errors in the transaction the server says so, and has undone it; of its own end it may speak too late.
        if error.code().is_some_and(|code| !code.code().starts_with("57") && !code.code().starts_with("08")) {
            return Err(postgres_error(&format!("{what} cannot be committed"), error));
        }
        let message = format!(
            "the connection was lost during the commit of {what}, so nobody knows whether it counts; \
             run again: the database tells ({error})"
        );
        Err(Error::new(ErrorKind::Undecided, message).caused_by(error))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Also where one may not block; the server rolls an open transaction back.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSink").field("server", &self.connection.server).finish_non_exhaustive()
    }
}
