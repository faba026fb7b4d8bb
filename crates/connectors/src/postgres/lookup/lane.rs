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
use crate::postgres::PostgresLookupConfig;
use crate::postgres::connect::Server;
use crate::postgres::error::postgres_error;
use crate::renewed::{Renewed, Usable};
use crate::{Answer, Error, Key};

pub(super) struct Lane {
    way: Arc<Way>,
    pub(super) connection: Renewed<Live>,
}

/// All it takes to make a connection.
struct Way {
    server: Arc<Server>,
    config: PostgresLookupConfig,
    key_columns: Vec<String>,
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

/// Why nothing came of it.
enum Trouble {
    /// The connection is to blame; another may do.
    Lost(Error),
    Refused(Error),
}

impl Lane {
    pub(super) fn new(server: Arc<Server>, config: PostgresLookupConfig, key_columns: Vec<String>) -> Self {
        let way = Arc::new(Way { server, config, key_columns });
        Self { way, connection: Renewed::default() }
    }

    /// A new connection.
    pub(super) fn connect(&self) -> impl Future<Output = Result<Live, Error>> + Send + use<> {
        let way = Arc::clone(&self.way);
        async move { Live::connect(&way).await }
    }

    /// The connection; made anew if there is none.
    pub(super) async fn live(&self) -> Result<Arc<Live>, Error> {
        self.connection.live(|| self.connect()).await
    }

    pub(super) async fn answer(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let _under_way = self.connection.begin();
        let server = &self.way.server;
        let lost = match self.live().await?.answer(keys, server).await {
            Ok(answers) => return Ok(answers),
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Lost(error)) => error,
        };
        // The connection may have been dead for long, and this the first to notice: once more, and no more.
        match self.live().await.map_err(|_| lost)?.answer(keys, server).await {
            Ok(answers) => Ok(answers),
            Err(Trouble::Refused(error) | Trouble::Lost(error)) => Err(error),
        }
    }
}

impl Live {
    async fn connect(way: &Way) -> Result<Self, Error> {
        let client = way.server.connect().await?;
        let prepare = Question::prepare(&client, &way.config, &way.key_columns);
        let question = way.server.in_time("cannot prepare the look-up", prepare).await?;
        let (flights, sent, is_retired) = Default::default();
        Ok(Self { client, question, flights, sent, is_retired })
    }

    async fn answer(self: &Arc<Self>, keys: &[Key], server: &Arc<Server>) -> Result<Vec<Answer>, Trouble> {
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
            match self.ask(slice.parts, server).await {
                Ok(found) => halves.answered(slice, found),
                Err(Trouble::Refused(error)) => halves.refused(slice, error).map_err(Trouble::Refused)?,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(halves.answers())
    }

    async fn ask(self: &Arc<Self>, parts: &[Part<'_>], server: &Arc<Server>) -> Result<Vec<Answer>, Trouble> {
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
struct Flight {
    live: Arc<Live>,
    server: Arc<Server>,
    number: u64,
    has_landed: bool,
}

impl Flight {
    fn begin(live: &Arc<Live>, server: &Arc<Server>) -> Self {
        let number = live.sent.fetch_add(1, Ordering::Relaxed);
        live.flights().push_back(number);
        Self { live: Arc::clone(live), server: Arc::clone(server), number, has_landed: false }
    }

    fn landed(mut self) {
        self.has_landed = true;
    }
}

impl Drop for Flight {
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
            let (token, server) = (self.live.client.cancel_token(), Arc::clone(&self.server));
            runtime.spawn(async move { server.cancel(token).await });
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("connection", &self.connection).finish_non_exhaustive()
    }
}
