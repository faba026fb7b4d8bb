//! A connection that is made when it is needed, and made again when it is lost.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Error, ErrorKind};

/// Look-ups that go by a connection that could not be made, until somebody tries to make it again.
const PASSED_BY_MAX: usize = 100;

/// One connection of several. All who wait for it to be made share what comes of that, and it goes on being made when
/// they have given up: who has little time would never get one otherwise.
pub(crate) struct Renewed<T> {
    shared: Arc<Shared<T>>,
    under_way: AtomicUsize,
    /// Look-ups that went elsewhere since it could not be made.
    passed_by: AtomicUsize,
}

struct Shared<T> {
    slot: Mutex<Slot<T>>,
    settled: Notify,
}

enum Slot<T> {
    Empty,
    Making,
    Live(Arc<T>),
    Failed(Error),
}

/// A connection as far as [`Renewed`] is concerned.
pub(crate) trait Usable: Send + Sync + 'static {
    /// Whether it works, as far as is known.
    fn is_usable(&self) -> bool;
}

impl<T> Default for Renewed<T> {
    fn default() -> Self {
        let shared = Shared { slot: Mutex::new(Slot::Empty), settled: Notify::new() };
        Self { shared: Arc::new(shared), under_way: AtomicUsize::new(0), passed_by: AtomicUsize::new(0) }
    }
}

impl<T: Usable> Renewed<T> {
    /// The connection; made anew by `connect` if there is none that works.
    pub(crate) async fn live<C>(&self, connect: impl Fn() -> C) -> Result<Arc<T>, Error>
    where
        C: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut has_waited = false;
        loop {
            let settled = self.shared.settled.notified();
            match &mut *self.shared.slot() {
                Slot::Live(live) if live.is_usable() => return Ok(Arc::clone(live)),
                Slot::Failed(error) if has_waited => return Err(error.clone()),
                Slot::Making => {}
                slot => {
                    *slot = Slot::Making;
                    tokio::spawn(Making(Arc::clone(&self.shared)).make(connect()));
                }
            }
            settled.await;
            has_waited = true;
        }
    }

    /// Whether it could not be made when that was tried last.
    pub(crate) fn is_down(&self) -> bool {
        matches!(&*self.shared.slot(), Slot::Failed(_))
    }

    /// Somebody goes elsewhere. Now and then it is tried to make it again all the same, with nobody waiting.
    fn pass_by<C>(&self, connect: impl Fn() -> C)
    where
        C: Future<Output = Result<T, Error>> + Send + 'static,
    {
        if self.passed_by.fetch_add(1, Ordering::Relaxed) < PASSED_BY_MAX {
            return;
        }
        let mut slot = self.shared.slot();
        if matches!(&*slot, Slot::Failed(_)) {
            self.passed_by.store(0, Ordering::Relaxed);
            *slot = Slot::Making;
            tokio::spawn(Making(Arc::clone(&self.shared)).make(connect()));
        }
    }

    /// Look-ups of this connection that have not ended.
    fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Counts a look-up until the guard is dropped.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.under_way)
    }
}

impl<T> Shared<T> {
    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody makes the connection. Nobody waits for ever, whatever becomes of this.
struct Making<T>(Arc<Shared<T>>);

impl<T> Making<T> {
    async fn make(self, connecting: impl Future<Output = Result<T, Error>>) {
        let made = connecting.await;
        *self.0.slot() = match made {
            Ok(live) => Slot::Live(Arc::new(live)),
            Err(error) => Slot::Failed(error),
        };
    }
}

impl<T> Drop for Making<T> {
    fn drop(&mut self) {
        let mut slot = self.0.slot();
        if matches!(&*slot, Slot::Making) {
            *slot = Slot::Failed(Error::new(ErrorKind::Unavailable, "nobody goes on making the connection"));
        }
        drop(slot);
        self.0.settled.notify_waiters();
    }
}

/// The connection to use: of those that are there the one with the fewest look-ups under way.
pub(crate) fn choose<T: Usable, C>(of: &[Renewed<T>], connect: impl Fn() -> C) -> Result<&Renewed<T>, Error>
where
    C: Future<Output = Result<T, Error>> + Send + 'static,
{
    let chosen = of.iter().min_by_key(|one| (one.is_down(), one.under_way()));
    of.iter().filter(|one| one.is_down()).for_each(|down| down.pass_by(&connect));
    chosen.ok_or_else(|| Error::new(ErrorKind::Config, "there is no connection"))
}

/// What is done about a connection, given up when it takes longer: a server that hangs accepts connections, and closes none.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) async fn in_time<T>(
    limit: Duration,
    what: &str,
    doing: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let hangs = |_| {
        let message = format!("{what}: there is no answer within {limit:?}; check that the server is well");
        Error::new(ErrorKind::Unavailable, message)
    };
    tokio::time::timeout(limit, doing).await.map_err(hangs)?
}

pub(crate) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> std::fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewed").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct Link(AtomicBool);

    impl Usable for Link {
        fn is_usable(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn link() -> Link {
        Link(AtomicBool::new(true))
    }

    fn refusal() -> Error {
        Error::new(ErrorKind::Unavailable, "nobody is there")
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_takes_longer_than_anybody_waits_is_made() {
        let renewed = Renewed::default();
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok(link())
        };
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::from_millis(900), renewed.live(slow)).await.is_err());
        }
        assert!(tokio::time::timeout(Duration::from_millis(900), renewed.live(slow)).await.is_ok());
    }

    #[tokio::test]
    async fn all_who_wait_share_what_comes_of_it_and_the_next_tries_again() {
        let (renewed, attempts) = (Renewed::<Link>::default(), Arc::new(AtomicUsize::new(0)));
        let refused = || {
            attempts.fetch_add(1, Ordering::Relaxed);
            async { Err(refusal()) }
        };
        let (one, other) = tokio::join!(renewed.live(refused), renewed.live(refused));
        assert!(one.is_err() && other.is_err() && renewed.is_down());
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        assert!(renewed.live(|| async { Ok(link()) }).await.is_ok());
        assert!(!renewed.is_down());
    }

    #[tokio::test]
    async fn one_that_is_lost_is_made_again() {
        let renewed = Renewed::default();
        let first = renewed.live(|| async { Ok(link()) }).await.unwrap();
        first.0.store(false, Ordering::Relaxed);
        let second = renewed.live(|| async { Ok(link()) }).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
    }

    #[tokio::test]
    async fn who_makes_it_may_panic() {
        let renewed = Renewed::<Link>::default();
        let panics = || async { if true { panic!("no") } else { Ok(link()) } };
        assert!(renewed.live(panics).await.is_err());
    }

    #[tokio::test]
    async fn one_that_is_down_is_passed_by_and_tried_now_and_then() {
        let several = [Renewed::default(), Renewed::default()];
        let attempts = Arc::new(AtomicUsize::new(0));
        let refused = || {
            attempts.fetch_add(1, Ordering::Relaxed);
            async { Err(refusal()) }
        };
        several[0].live(refused).await.unwrap_err();
        several[1].live(|| async { Ok(link()) }).await.unwrap();
        for _ in 0..=PASSED_BY_MAX {
            let chosen = choose(&several, refused).unwrap();
            assert!(std::ptr::eq(chosen, &several[1]));
        }
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
    }
}
