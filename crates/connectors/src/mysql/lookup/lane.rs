//! One connection of several, made when it is needed, with one statement under way.

use mysql_async::{Conn, Value as Part};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};

use super::question::Question;
use crate::halves::Halves;
use crate::lanes::{Lane, Trouble};
use crate::mysql::MysqlLookupConfig;
use crate::mysql::connect::{CONNECT_WITHIN, Server, close, kill};
use crate::mysql::error::mysql_error;
use crate::renewed::{Usable, in_time};
use crate::{Answer, Error, ErrorKind, Key};

/// All it takes to make a connection.
pub(super) struct Way {
    pub(super) server: Server,
    pub(super) config: MysqlLookupConfig,
    pub(super) key_columns: Vec<String>,
}

/// A connection that works, as far as is known.
pub(super) struct Live {
    /// None when it is lost, or somebody gave up waiting for an answer.
    conn: Mutex<Option<Conn>>,
    pub(super) question: Question,
}

impl Lane for Live {
    type Way = Way;
    type Asked = [Key];

    async fn connect(way: &Way) -> Result<Self, Error> {
        let mut conn = way.server.connect().await?;
        let prepare = Question::prepare(&mut conn, &way.config, &way.key_columns);
        let question = in_time(CONNECT_WITHIN, "cannot prepare the look-up", prepare).await?;
        Ok(Self { conn: Mutex::new(Some(conn)), question })
    }

    async fn ask(&self, _way: &Way, keys: &[Key]) -> Result<Vec<Answer>, Trouble> {
        self.question.check(keys).map_err(Trouble::Refused)?;
        let mut answers: Vec<Answer> = vec![Ok(None); keys.len()];
        let (mut asked, mut parts) = (Vec::with_capacity(keys.len()), Vec::new());
        for (index, key) in keys.iter().enumerate() {
            match self.question.parts(key) {
                Ok(Some(of_key)) => {
                    asked.push(index);
                    parts.extend(of_key);
                }
                Ok(None) => {}
                Err(error) => answers[index] = Err(error),
            }
        }
        let mut halves = Halves::new(&asked, &parts, self.question.most(), answers);
        while let Some(slice) = halves.next() {
            match self.ask_together(slice.parts).await {
                Ok(found) => halves.answered(slice, found),
                Err(Trouble::Refused(error)) => halves.refused(slice, error).map_err(Trouble::Refused)?,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(halves.answers())
    }
}

impl Live {
    async fn ask_together(&self, parts: &[Part]) -> Result<Vec<Answer>, Trouble> {
        let place = self.conn.lock().await;
        let mut flight = Flight { place, has_landed: false };
        let Some(conn) = &mut *flight.place else {
            let message = "cannot look up: whoever used the connection before has given it up";
            return Err(Trouble::Lost(Error::new(ErrorKind::Unavailable, message)));
        };
        let result = self.question.ask(conn, parts).await;
        flight.has_landed = !result.as_ref().is_err_and(is_to_blame);
        match result {
            Ok(rows) => self.question.answers(rows, parts).map_err(Trouble::Refused),
            Err(error) => {
                let error = mysql_error("cannot look up", error);
                Err(if flight.has_landed { Trouble::Refused(error) } else { Trouble::Lost(error) })
            }
        }
    }
}

/// Whether the connection is of no use any more: it is lost, or the table has changed since the statements were prepared.
fn is_to_blame(error: &mysql_async::Error) -> bool {
    match error {
        mysql_async::Error::Server(refusal) => {
            matches!(refusal.code, 1053 | 1054 | 1146 | 1243 | 1615 | 1927) || refusal.state.starts_with("08")
        }
        _ => true,
    }
}

impl Usable for Live {
    fn is_usable(&self) -> bool {
        // Who has it will leave it there, or not.
        self.conn.try_lock().map_or(true, |conn| conn.is_some())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let (Some(conn), Ok(runtime)) = (self.conn.get_mut().take(), Handle::try_current()) {
            runtime.spawn(close(conn));
        }
    }
}

/// A statement on its way, by a connection that nobody else has. If it is dropped before it has landed, the connection is not used
/// again, and the server is asked to end it, with what it is doing.
struct Flight<'a> {
    place: MutexGuard<'a, Option<Conn>>,
    has_landed: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.has_landed {
            return;
        }
        if let (Some(conn), Ok(runtime)) = (self.place.take(), Handle::try_current()) {
            runtime.spawn(kill(conn));
        }
    }
}
