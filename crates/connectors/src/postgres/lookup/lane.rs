//! One connection of several, made when it is needed, with many queries under way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::keys::Part;
use super::question::Question;
use crate::halves::Halves;
use crate::lanes::{Lane, Trouble};
use crate::postgres::PostgresLookupConfig;
use crate::postgres::connect::Server;
use crate::postgres::error::postgres_error;
use crate::renewed::Usable;
use crate::{Answer, Error, Key};

/// All it takes to make a connection.
pub(super) struct Way {
    pub(super) server: Arc<Server>,
    pub(super) config: PostgresLookupConfig,
    pub(super) key_columns: Vec<String>,
}

/// A connection that works, as far as is known.
pub(super) struct Live {
    client: Client,
    pub(super) question: Question,
    /// Queries that were sent and not answered; the server works on the first.
    flights: Mutex<VecDeque<u64>>,
    sent: AtomicU64,
    /// Nothing new is sent: it is lost, or what it works on is being cancelled.
    is_retired: AtomicBool,
}

impl Lane for Live {
    type Way = Way;
    type Asked = [Key];

    async fn connect(way: &Way) -> Result<Self, Error> {
        let client = way.server.connect().await?;
        let prepare = Question::prepare(&client, &way.config, &way.key_columns);
        let question = way.server.in_time("cannot prepare the look-up", prepare).await?;
        let (flights, sent, is_retired) = Default::default();
        Ok(Self { client, question, flights, sent, is_retired })
    }

    async fn ask(&self, way: &Way, keys: &[Key]) -> Result<Vec<Answer>, Trouble> {
        self.question.check(keys).map_err(Trouble::Refused)?;
        let width = self.question.width();
        let mut answers: Vec<Answer> = vec![Ok(None); keys.len()];
        let (mut asked, mut parts) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len() * width));
        for (index, key) in keys.iter().enumerate() {
            match self.question.add_parts(key, &mut parts) {
                Ok(true) => asked.push(index),
                Ok(false) => {}
                Err(error) => answers[index] = Err(error),
            }
        }
        let mut halves = Halves::new(&asked, &parts, keys.len().max(1), answers);
        while let Some(slice) = halves.next() {
            match self.ask_together(slice.parts, &way.server).await {
                Ok(found) => halves.answered(slice, found),
                Err(Trouble::Refused(error)) => halves.refused(slice, error).map_err(Trouble::Refused)?,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(halves.answers())
    }
}

impl Live {
    async fn ask_together(&self, parts: &[Part<'_>], server: &Arc<Server>) -> Result<Vec<Answer>, Trouble> {
        let flight = Flight::begin(self, server);
        let result = self.question.ask(&self.client, parts).await;
        flight.landed();
        let error = match result {
            Ok(rows) => return self.question.answers(&rows, parts).map_err(Trouble::Refused),
            Err(error) => error,
        };
        let is_lost = self.is_to_blame(&error);
        let error = postgres_error("cannot look up", error);
        if !is_lost {
            return Err(Trouble::Refused(error));
        }
        self.is_retired.store(true, Ordering::Release);
        Err(Trouble::Lost(error))
    }

    fn is_to_blame(&self, error: &tokio_postgres::Error) -> bool {
        match error.code() {
            None => true,
            // Meant for the query before, if we cancelled one.
            Some(&SqlState::QUERY_CANCELED) => self.is_retired.load(Ordering::Acquire),
            // The table has changed since the statement was prepared, or somebody threw it away.
            Some(&SqlState::FEATURE_NOT_SUPPORTED | &SqlState::INVALID_SQL_STATEMENT_NAME) => true,
            Some(&SqlState::UNDEFINED_COLUMN | &SqlState::UNDEFINED_TABLE) => true,
            Some(code) => code.code().starts_with("57") || code.code().starts_with("08"),
        }
    }

    fn flights(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Usable for Live {
    fn is_usable(&self) -> bool {
        !self.client.is_closed() && !self.is_retired.load(Ordering::Acquire)
    }
}

/// A query on its way. If it is dropped before it has landed, the server is asked to cancel it, provided it works on it:
/// a cancellation hits whatever the connection works on. The connection is not used again, as it might hang.
struct Flight<'a> {
    live: &'a Live,
    server: &'a Arc<Server>,
    number: u64,
    has_landed: bool,
}

impl<'a> Flight<'a> {
    fn begin(live: &'a Live, server: &'a Arc<Server>) -> Self {
        let number = live.sent.fetch_add(1, Ordering::Relaxed);
        live.flights().push_back(number);
        Self { live, server, number, has_landed: false }
    }

    fn landed(mut self) {
        self.has_landed = true;
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let is_first = {
            let mut flights = self.live.flights();
            let is_first = flights.front() == Some(&self.number);
            flights.retain(|number| *number != self.number);
            is_first
        };
        if self.has_landed || !is_first || self.live.is_retired.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (token, server) = (self.live.client.cancel_token(), Arc::clone(self.server));
            runtime.spawn(async move { server.cancel(token).await });
        }
    }
}
