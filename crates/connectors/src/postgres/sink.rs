//! Records into a table.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

use self::batch::Batch;
use self::connection::Connection;
use self::insert::Insert;
use super::PostgresSinkConfig;
use super::connect::Server;
use super::table::Table;
use crate::{Epochs, Error, ErrorKind, Guarantee, Record, Sink};

mod batch;
mod blame;
mod connection;
mod epochs;
mod insert;

pub use connection::KEPT_BYTES;

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
    /// With the number of the connection that it is of.
    statement: (u64, Statement),
    commits: Commits,
    batch: Batch,
    sending: Option<Sending>,
}

/// Who ends the transactions, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commits {
    /// This sink, now and then.
    Often,
    /// This sink, with each epoch.
    Epochs,
    /// The sink that this one is beside.
    Another,
}

/// A statement on its way while the next is put together.
struct Sending {
    outcome: JoinHandle<Result<(), tokio_postgres::Error>>,
    batch: Arc<Batch>,
    /// Of the connection.
    number: u64,
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
        let connection = Arc::new(Connection::open(Server::new(&config.server, SESSION)?)?);
        let commits = if epochs.is_some() { Commits::Epochs } else { Commits::Often };
        let sink = Self::of(&connection, config, commits)?;
        if let Some(epochs) = epochs {
            connection.take(epochs).map_err(|error| error.in_file(connection.name()))?;
        }
        Ok(sink)
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
        if self.commits != Commits::Epochs {
            let message = "only sinks with epochs can share a transaction; open another one";
            return Err(Error::new(ErrorKind::Config, message).in_file(self.connection.name()));
        }
        Self::of(&self.connection, config, Commits::Another)
    }

    fn of(connection: &Arc<Connection>, config: &PostgresSinkConfig, commits: Commits) -> Result<Self, Error> {
        let (client, number) = connection.live();
        let described = connection.runtime()?.block_on(async {
            let insert = Insert::new(config, &Table::describe(&client, &config.table).await?)?;
            let statement = insert.prepare(&client).await?;
            Ok((insert, statement))
        });
        let (insert, statement) = described.map_err(|error: Error| error.in_file(connection.name()))?;
        Ok(Self {
            connection: Arc::clone(connection),
            insert: Arc::new(insert),
            statement: (number, statement),
            commits,
            batch: Batch::after(0),
            sending: None,
        })
    }

    /// Does it unless something has failed before; remembers if it fails.
    fn unless_failed(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(failure) = self.connection.failure() {
            return Err(failure);
        }
        act(self).map_err(|error| {
            let error = error.in_file(self.connection.name());
            self.connection.fail(&error);
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
            Commits::Often if self.connection.records() >= COMMIT_RECORDS => self.commit_transaction(),
            _ => Ok(()),
        }
    }

    /// Sends the batch, once the one before has arrived.
    fn send(&mut self) -> Result<(), Error> {
        self.arrived()?;
        if self.batch.len() == 0 {
            return Ok(());
        }
        let (client, number) = self.connection.live();
        let statement = self.statement(&client, number)?;
        let next = Batch::after(self.batch.next_record() - 1);
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.close();
        let batch = Arc::new(batch);
        self.connection.add(&self.insert, &batch)?;
        let rows = Arc::clone(&batch);
        let sent = async move { client.execute(&statement, &[&rows.json()]).await.map(drop) };
        let outcome = self.connection.runtime()?.spawn(sent);
        self.sending = Some(Sending { outcome, batch, number });
        Ok(())
    }

    /// Prepared for the connection there is now.
    fn statement(&mut self, client: &Client, number: u64) -> Result<Statement, Error> {
        if self.statement.0 != number {
            self.statement = (number, self.connection.runtime()?.block_on(self.insert.prepare(client))?);
        }
        Ok(self.statement.1.clone())
    }

    /// Waits for the statement that is on its way.
    fn arrived(&mut self) -> Result<(), Error> {
        let Some(Sending { outcome, batch, number }) = self.sending.take() else { return Ok(()) };
        let (client, now) = self.connection.live();
        if number != now {
            // It was written again.
            return Ok(());
        }
        let runtime = self.connection.runtime()?;
        match runtime.block_on(outcome) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let blame = blame::blame(&client, &self.insert, &self.statement.1, &batch, error);
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
        match self.connection.records() {
            0 => Ok(()),
            records => self.connection.commit(0, &format!("the last {records} records")),
        }
    }

    fn commit_epoch(&mut self, epoch: u64) -> Result<(), Error> {
        self.everything_arrived()?;
        match self.commits {
            Commits::Epochs => self.connection.commit_epoch(epoch),
            Commits::Often | Commits::Another => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.commits == Commits::Often {
            return self.commit_transaction();
        }
        match self.connection.records() + self.batch.len() as u64 {
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
            Commits::Epochs | Commits::Another => self.unless_failed(|_| Ok(())),
        }
    }

    /// Everything is in the transaction when it returns, and the server has found no fault with it.
    fn prepare(&mut self, _epoch: u64) -> Result<String, Error> {
        match self.commits {
            Commits::Often => self.flush()?,
            Commits::Epochs | Commits::Another => self.unless_failed(Self::everything_arrived)?,
        }
        Ok(String::new())
    }

    fn commit(&mut self, epoch: u64) -> Result<(), Error> {
        self.unless_failed(|sink| sink.commit_epoch(epoch))
    }

    fn guarantee(&self) -> Guarantee {
        if self.commits == Commits::Often { Guarantee::AtLeastOnce } else { Guarantee::ExactlyOnce }
    }

    fn decided(&mut self) -> Result<Option<u64>, Error> {
        match self.commits {
            Commits::Epochs => Ok(self.connection.claim().map(|claim| claim.decided)),
            Commits::Often | Commits::Another => Ok(None),
        }
    }

    /// What is written again is all of the transaction, unless that has more than [`KEPT_BYTES`]. Without epochs nobody knows
    /// whether a commit counts that was in doubt: then it can be done only if there is a `key`, so that rows may come twice.
    fn renew(&mut self) -> Result<bool, Error> {
        let twice = self.commits == Commits::Often && self.insert.has_key();
        self.connection.renew(twice).map_err(|error| error.in_file(self.connection.name()))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.unless_failed(Self::end)
    }
}

impl std::fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSink").field("server", &self.connection.name()).finish_non_exhaustive()
    }
}
