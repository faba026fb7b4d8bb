//! The one connection of all sinks that share a transaction, and what is in that.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Statement};

use super::batch::Batch;
use super::epochs::Claim;
use super::insert::Insert;
use crate::postgres::connect::Server;
use crate::postgres::error::postgres_error;
use crate::{Epochs, Error, ErrorKind};

/// Bytes, as JSON, of what is kept of a transaction, so that it can be written again when the connection is lost: 64 MiB. The
/// loss of a connection whose transaction has more is final.
pub const KEPT_BYTES: usize = 64 << 20;

/// A connection that can be made anew.
pub(super) struct Connection {
    server: Server,
    state: Mutex<State>,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

struct State {
    client: Arc<Client>,
    /// Which connection this is, from 0.
    number: u64,
    /// Of sinks with epochs.
    claim: Option<Claim>,
    /// Records in the transaction, those under way included.
    records: u64,
    kept: Kept,
    /// The commit of this epoch (0 without epochs) was asked for, and nothing was heard.
    in_doubt: Option<u64>,
    /// Why every call fails from now on.
    failure: Option<Error>,
}

/// What is in the transaction, in the order of its statements.
#[derive(Default)]
struct Kept {
    batches: Vec<(Arc<Insert>, Arc<Batch>)>,
    /// Those of all that was in it, also of what is not kept because it is too much.
    bytes: usize,
}

impl Kept {
    fn add(&mut self, insert: &Arc<Insert>, batch: &Arc<Batch>) {
        self.bytes += batch.bytes();
        if self.is_whole() {
            self.batches.push((Arc::clone(insert), Arc::clone(batch)));
        } else {
            self.batches.clear();
        }
    }

    const fn is_whole(&self) -> bool {
        self.bytes <= KEPT_BYTES
    }
}

impl Connection {
    pub(super) fn open(server: Server) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Error::io("cannot start a thread for the connection", error))?;
        let client = runtime.block_on(server.connect())?;
        let state = State {
            client: Arc::new(client),
            number: 0,
            claim: None,
            records: 0,
            kept: Kept::default(),
            in_doubt: None,
            failure: None,
        };
        Ok(Self { server, state: Mutex::new(state), runtime: Some(runtime) })
    }

    /// Host, port and database, for errors.
    pub(super) fn name(&self) -> &Path {
        self.server.name()
    }

    pub(super) fn runtime(&self) -> Result<&Runtime, Error> {
        self.runtime.as_ref().ok_or_else(|| Error::new(ErrorKind::Io, "the connection was closed"))
    }

    /// The connection there is now, and its number.
    pub(super) fn live(&self) -> (Arc<Client>, u64) {
        let state = self.state();
        (Arc::clone(&state.client), state.number)
    }

    pub(super) fn failure(&self) -> Option<Error> {
        self.state().failure.clone()
    }

    pub(super) fn fail(&self, error: &Error) {
        self.state().failure = Some(error.clone());
    }

    pub(super) fn claim(&self) -> Option<Claim> {
        self.state().claim.clone()
    }

    /// From now on these are ours to commit.
    pub(super) fn take(&self, epochs: Epochs) -> Result<(), Error> {
        let client = self.live().0;
        let claim = self.runtime()?.block_on(Claim::new(epochs, &client))?;
        self.state().claim = Some(claim);
        Ok(())
    }

    /// Records in the transaction, those under way included.
    pub(super) fn records(&self) -> u64 {
        self.state().records
    }

    /// This is on its way. The first of a transaction is waited for until that has begun, as nothing of a sink beside may overtake it.
    pub(super) fn add(&self, insert: &Arc<Insert>, batch: &Arc<Batch>) -> Result<(), Error> {
        let mut state = self.state();
        let begins = state.records == 0;
        state.records += batch.len() as u64;
        state.kept.add(insert, batch);
        let client = Arc::clone(&state.client);
        drop(state);
        if begins {
            let failed = |error| postgres_error("cannot begin a transaction", error);
            self.runtime()?.block_on(client.batch_execute("begin")).map_err(failed)?;
        }
        Ok(())
    }

    /// Commits the epoch, once; its number is in the transaction.
    pub(super) fn commit_epoch(&self, epoch: u64) -> Result<(), Error> {
        let Some(claim) = self.claim().filter(|claim| claim.decided != epoch) else { return Ok(()) };
        let (client, begins) = (self.live().0, self.records() == 0);
        self.runtime()?.block_on(claim.write(&client, epoch, begins))?;
        self.commit(epoch, &format!("epoch {epoch}"))?;
        if let Some(claim) = &mut self.state().claim {
            claim.decided = epoch;
        }
        Ok(())
    }

    /// Commits `what`. If the connection is lost meanwhile, nobody here knows whether it counts.
    pub(super) fn commit(&self, epoch: u64, what: &str) -> Result<(), Error> {
        let client = self.live().0;
        let Err(error) = self.runtime()?.block_on(client.batch_execute("commit")) else {
            self.state().begin_anew();
            return Ok(());
        };
        // Of errors in the transaction the server says so, and has undone it; of its own end it may speak too late.
        if error.code().is_some_and(|code| !code.code().starts_with("57") && !code.code().starts_with("08")) {
            return Err(postgres_error(&format!("{what} cannot be committed"), error));
        }
        self.state().in_doubt = Some(epoch);
        let message = format!(
            "the connection was lost during the commit of {what}, so nobody knows whether it counts; \
             run again: the database tells ({error})"
        );
        Err(Error::new(ErrorKind::Undecided, message).caused_by(error))
    }

    /// Connects again, and writes what was in the transaction into another one, unless the server knows that it counts. With
    /// `twice`, it does not matter if it did. False if it cannot be done: too much was written, or nobody knows.
    pub(super) fn renew(&self, twice: bool) -> Result<bool, Error> {
        let state = self.state();
        let (claim, in_doubt, batches) = (state.claim.clone(), state.in_doubt, state.kept.batches.clone());
        let known = claim.is_some() || twice || in_doubt.is_none();
        if !known || !state.kept.is_whole() {
            return Ok(false);
        }
        drop(state);
        let (client, claim, counts) = self.runtime()?.block_on(async {
            let client = self.server.connect().await?;
            let now = match &claim {
                Some(claim) => Some(Claim::new(claim.epochs.clone(), &client).await?),
                None => None,
            };
            let counts = match (&claim, &now) {
                (Some(before), Some(now)) => before.counts(now, in_doubt)?,
                _ => false,
            };
            if !counts {
                write(&client, &batches).await?;
            }
            Ok::<_, Error>((client, now, counts))
        })?;
        let mut state = self.state();
        (state.client, state.claim) = (Arc::new(client), claim);
        state.number += 1;
        (state.failure, state.in_doubt) = (None, None);
        if counts {
            state.begin_anew();
        }
        Ok(true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Everything is committed.
    fn begin_anew(&mut self) {
        (self.records, self.kept) = (0, Kept::default());
    }
}

/// Writes these in a transaction, which stays open.
async fn write(client: &Client, batches: &[(Arc<Insert>, Arc<Batch>)]) -> Result<(), Error> {
    let failed = |error| postgres_error("cannot write again what was not committed", error);
    let mut prepared: Vec<(&Arc<Insert>, Statement)> = Vec::new();
    for (insert, _) in batches {
        if !prepared.iter().any(|(known, _)| Arc::ptr_eq(known, insert)) {
            prepared.push((insert, insert.prepare(client).await?));
        }
    }
    if !batches.is_empty() {
        client.batch_execute("begin").await.map_err(failed)?;
    }
    for (insert, batch) in batches {
        let statement = prepared.iter().find(|(known, _)| Arc::ptr_eq(known, insert)).map(|(_, statement)| statement);
        if let Some(statement) = statement {
            client.execute(statement, &[&batch.json()]).await.map_err(failed)?;
        }
    }
    Ok(())
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Also where one may not block; the server rolls an open transaction back.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
