//! Which record, and which of its columns, the server refused.

use tokio_postgres::{Client, Statement};

use super::batch::Batch;
use super::insert::Insert;
use crate::postgres::error::postgres_error;
use crate::{Error, ErrorKind};

/// The error for a batch that failed with `error`. Where a record is to blame, the batch is tried again in halves, in a
/// transaction that leaves nothing, until the record is found.
pub(super) async fn blame(
    client: &Client,
    insert: &Insert,
    statement: &Statement,
    batch: &Batch,
    error: tokio_postgres::Error,
) -> Error {
    let what = format!("cannot write to \"{}\"", insert.table());
    let of_batch = postgres_error(&what, error);
    if of_batch.kind() != ErrorKind::Malformed {
        return of_batch;
    }
    let found = find(client, insert, statement, batch).await;
    // Whatever came of it, nothing of it shall stay.
    let _ = client.batch_execute("rollback").await;
    match found {
        Ok(Some((index, column, error))) => {
            let error = postgres_error(&what, error).in_record(batch.record(index));
            match column {
                Some(column) => error.in_field(&column),
                None => error,
            }
        }
        // It is refused only together with earlier ones of the transaction, or not any more.
        _ => of_batch,
    }
}

type Found = Option<(usize, Option<String>, tokio_postgres::Error)>;

/// The first record that is refused, the column if that can be told, and the server's words about it.
async fn find(
    client: &Client,
    insert: &Insert,
    statement: &Statement,
    batch: &Batch,
) -> Result<Found, tokio_postgres::Error> {
    client.batch_execute("rollback; begin").await?;
    // All before `low` are in; one from there to before `high` is refused.
    let (mut low, mut high) = (0, batch.len());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        client.batch_execute("savepoint halves").await?;
        match client.execute(statement, &[&batch.part(low, middle)]).await {
            Ok(_) => low = middle,
            Err(_) => {
                client.batch_execute("rollback to savepoint halves").await?;
                high = middle;
            }
        }
    }
    client.batch_execute("savepoint one").await?;
    let one = batch.part(low, high);
    let Err(error) = client.execute(statement, &[&one]).await else { return Ok(None) };
    if let Some(column) = error.as_db_error().and_then(|error| error.column()) {
        let column = column.to_owned();
        return Ok(Some((low, Some(column), error)));
    }
    for (column, conversion) in insert.conversions() {
        client.batch_execute("rollback to savepoint one").await?;
        if client.query(&conversion, &[&one]).await.is_err() {
            return Ok(Some((low, Some(column.to_owned()), error)));
        }
    }
    Ok(Some((low, None, error)))
}
