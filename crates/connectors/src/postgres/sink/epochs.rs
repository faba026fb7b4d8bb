//! The table that tells which epoch of a pipeline counts.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::postgres::error::postgres_error;
use crate::{Epochs, Error, ErrorKind};

const CREATE: &str = "create table if not exists inflight_epochs \
    (pipeline text primary key, epoch bigint not null, generation bigint not null)";

/// Takes the row over, and waits for a transaction that has it.
const CLAIM: &str = "insert into inflight_epochs as known (pipeline, epoch, generation) values ($1, 0, $2) \
    on conflict (pipeline) do update set generation = excluded.generation \
    where known.generation <= excluded.generation returning epoch";

const WRITE: &str = "update inflight_epochs set epoch = $2 where pipeline = $1 and generation = $3";

/// The epochs that are ours to commit.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) epochs: Epochs,
    /// The last that counts.
    pub(super) decided: u64,
}

impl Claim {
    /// Shuts runs of lower generations out, and learns what they decided.
    pub(super) async fn new(epochs: Epochs, client: &Client) -> Result<Self, Error> {
        create(client).await?;
        let failed = |error| postgres_error("cannot use the table inflight_epochs", error);
        let generation = number(epochs.generation)?;
        let mut claim = Self { epochs, decided: 0 };
        match client.query_opt(CLAIM, &[&claim.epochs.pipeline, &generation]).await.map_err(failed)? {
            Some(row) => {
                claim.decided = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
                Ok(claim)
            }
            None => Err(claim.fenced(client).await),
        }
    }

    /// Whether the epoch whose commit is in doubt counts, as a claim says that was made `later`.
    pub(super) fn counts(&self, later: &Self, in_doubt: Option<u64>) -> Result<bool, Error> {
        if in_doubt == Some(later.decided) {
            return Ok(true);
        }
        if self.decided == later.decided {
            return Ok(false);
        }
        let (pipeline, before, after) = (&self.epochs.pipeline, self.decided, later.decided);
        let message = format!(
            "the table inflight_epochs says that epoch {after} of the pipeline \"{pipeline}\" counts, and before the \
             connection was lost it was {before}: somebody has changed it; run again"
        );
        Err(Error::new(ErrorKind::Changed, message))
    }

    /// Puts the number into the transaction, which it begins if need be.
    pub(super) async fn write(&self, client: &Client, epoch: u64, begins: bool) -> Result<(), Error> {
        let failed = |error| postgres_error(&format!("cannot write epoch {epoch} to the table inflight_epochs"), error);
        let (epoch, generation) = (number(epoch)?, number(self.epochs.generation)?);
        if begins {
            client.batch_execute("begin").await.map_err(failed)?;
        }
        if client.execute(WRITE, &[&self.epochs.pipeline, &epoch, &generation]).await.map_err(failed)? == 1 {
            return Ok(());
        }
        let error = self.fenced(client).await;
        client.batch_execute("rollback").await.map_err(failed)?;
        Err(error)
    }

    async fn fenced(&self, client: &Client) -> Error {
        const KNOWN: &str = "select generation from inflight_epochs where pipeline = $1";
        let known: Option<i64> = match client.query_opt(KNOWN, &[&self.epochs.pipeline]).await {
            Ok(row) => row.map(|row| row.get(0)),
            Err(error) => return postgres_error("cannot read the table inflight_epochs", error),
        };
        let Epochs { pipeline, generation } = &self.epochs;
        let problem = match known {
            Some(known) => format!("has been taken over by run {known}, and this is run {generation}"),
            None => "has been removed from the table inflight_epochs".to_owned(),
        };
        let advice = "let only one of them run; if the checkpoints were deleted to begin anew, delete the row of this \
                      pipeline from inflight_epochs as well";
        Error::new(ErrorKind::Changed, format!("the pipeline \"{pipeline}\" {problem}; {advice}"))
    }
}

async fn create(client: &Client) -> Result<(), Error> {
    let failed = |error| postgres_error(&format!("cannot create the table for epochs ({CREATE})"), error);
    // Asked for first, as whoever may write to the table need not be allowed to create one.
    let there = client.query_one("select to_regclass('inflight_epochs') is not null", &[]).await.map_err(failed)?;
    if there.get(0) {
        return Ok(());
    }
    match client.batch_execute(CREATE).await {
        // Somebody else did it in the same moment.
        Err(error) if matches!(error.code(), Some(&SqlState::UNIQUE_VIOLATION | &SqlState::DUPLICATE_TABLE)) => Ok(()),
        created => created.map_err(failed),
    }
}

fn number(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::new(ErrorKind::Config, format!("{number} is too large a number")))
}
