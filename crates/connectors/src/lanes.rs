//! The connections of a look-up: which of them it goes by, and once more when that one is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::renewed::{Renewed, Usable, choose};
use crate::{Answer, Error};

/// A connection that works, as far as is known.
pub(crate) trait Lane: Usable {
    /// All it takes to make one and to ask it.
    type Way: Send + Sync + 'static;
    type Asked: ?Sized + Sync;

    fn connect(way: &Self::Way) -> impl Future<Output = Result<Self, Error>> + Send
    where
        Self: Sized;

    /// What is found, in the order of what is asked for.
    fn ask(&self, way: &Self::Way, asked: &Self::Asked) -> impl Future<Output = Result<Vec<Answer>, Trouble>> + Send;
}

/// Why nothing came of it.
pub(crate) enum Trouble {
    /// The connection is to blame; another may do.
    Lost(Error),
    Refused(Error),
}

/// Connections that are made when they are needed.
pub(crate) struct Lanes<L: Lane> {
    way: Arc<L::Way>,
    connections: Vec<Renewed<L>>,
    name: PathBuf,
}

impl<L: Lane> Lanes<L> {
    /// So many, none of them made; `name` is that of the server, for errors.
    pub(crate) fn new(way: L::Way, count: usize, name: &Path) -> Self {
        let connections = std::iter::repeat_with(Renewed::default).take(count).collect();
        Self { way: Arc::new(way), connections, name: name.to_owned() }
    }

    #[cfg(feature = "redis")]
    pub(crate) fn way(&self) -> &L::Way {
        &self.way
    }

    /// One of them, made if it is not there.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(crate) async fn live(&self) -> Result<Arc<L>, Error> {
        self.chosen()?.live(|| self.connect()).await.map_err(|error| error.in_file(&self.name))
    }

    /// What is found, in the order of what is asked for.
    pub(crate) async fn ask(&self, asked: &L::Asked) -> Result<Vec<Answer>, Error> {
        let in_file = |error: Error| error.in_file(&self.name);
        let chosen = self.chosen()?;
        let answers = match self.ask_by(chosen, asked).await {
            // There is no room for this connection; another may be there.
            Err(_) if chosen.is_down() && !self.chosen()?.is_down() => self.ask_by(self.chosen()?, asked).await,
            answers => answers,
        };
        let mut answers = answers.map_err(in_file)?;
        for answer in &mut answers {
            if let Err(error) = answer {
                *error = in_file(error.clone());
            }
        }
        Ok(answers)
    }

    async fn ask_by(&self, connection: &Renewed<L>, asked: &L::Asked) -> Result<Vec<Answer>, Error> {
        let _under_way = connection.begin();
        let live = || connection.live(|| self.connect());
        let lost = match live().await?.ask(&self.way, asked).await {
            Ok(answers) => return Ok(answers),
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Lost(error)) => error,
        };
        // The connection may have been dead for long, and this the first to notice: once more, and no more.
        match live().await.map_err(|_| lost)?.ask(&self.way, asked).await {
            Ok(answers) => Ok(answers),
            Err(Trouble::Refused(error) | Trouble::Lost(error)) => Err(error),
        }
    }

    fn chosen(&self) -> Result<&Renewed<L>, Error> {
        choose(&self.connections, || self.connect())
    }

    fn connect(&self) -> impl Future<Output = Result<L, Error>> + Send + use<L> {
        let way = Arc::clone(&self.way);
        async move { L::connect(&way).await }
    }
}

impl<L: Lane> std::fmt::Debug for Lanes<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, connections, .. } = self;
        f.debug_struct("Lanes").field("name", name).field("connections", connections).finish_non_exhaustive()
    }
}
