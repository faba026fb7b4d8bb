//! For clients that block: a bounded pool of threads.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::function::{AsyncFunction, Cancellation};

/// An [`AsyncFunction`] that runs `f` on one of `threads` threads of its own.
///
/// A call that is given up cannot be stopped: it counts as on the wire until `f` returns, or the options' grace time has passed.
/// Set the concurrency to `threads`: what waits for a thread waits better in the queue, where it is not on any clock but its own.
///
/// ```
/// use inflight::{AsyncStreamExt, Options, blocking};
/// use futures_util::{StreamExt, stream};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let sizes = blocking(4, |path: &'static str| std::fs::metadata(path).map(|meta| meta.is_dir()));
/// let mut results = stream::iter(["/"]).ordered_wait(sizes, Options::new().concurrency(4));
/// assert!(results.next().await.unwrap().unwrap());
/// # });
/// ```
///
/// # Panics
/// If `threads` is zero.
pub fn blocking<F>(threads: usize, f: F) -> Blocking<F> {
    assert!(threads > 0, "a pool needs at least one thread");
    Blocking { f: Arc::new(f), pool: Pool::new(threads, || ()) }
}

/// See [`blocking`].
#[derive(Debug)]
pub struct Blocking<F> {
    f: Arc<F>,
    pool: Pool<()>,
}

impl<I, O, E, F> AsyncFunction<I> for Blocking<F>
where
    I: Send + 'static,
    F: Fn(I) -> Result<O, E> + Send + Sync + 'static,
    O: Send + 'static,
    E: Send + 'static,
{
    type Output = O;
    type Error = E;

    async fn invoke(&self, input: I) -> Result<O, E> {
        let f = Arc::clone(&self.f);
        self.pool.run(move |()| f(input)).await
    }

    fn cancellation(&self) -> Cancellation {
        Cancellation::Wait
    }
}

/// Threads that each own a `State` (a connection, a prepared statement) and run what they are given, one job at a time.
///
/// Dropping the pool lets the jobs that run finish; those that wait are dropped.
pub struct Pool<State> {
    jobs: Sender<Job<State>>,
    threads: usize,
}

type Job<State> = Box<dyn FnOnce(&mut State) + Send>;

impl<State: 'static> Pool<State> {
    /// Starts `threads` threads; each makes its own state.
    pub fn new(threads: usize, state: impl Fn() -> State + Send + Sync + 'static) -> Self {
        let (jobs, queue) = channel();
        let (queue, state) = (Arc::new(Mutex::new(queue)), Arc::new(state));
        for _ in 0..threads {
            let (queue, state) = (Arc::clone(&queue), Arc::clone(&state));
            thread::spawn(move || work(&queue, &mut state()));
        }
        Self { jobs, threads }
    }

    /// How many threads there are.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `job` on the next free thread.
    ///
    /// # Panics
    /// With the job's own panic. The thread goes on with its state as the job left it.
    ///
    /// # Cancel safety
    /// A job that has not started when the future is dropped never starts; one that has runs to its end.
    pub async fn run<R: Send + 'static>(&self, job: impl FnOnce(&mut State) -> R + Send + 'static) -> R {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move |state: &mut State| {
            if !sender.is_closed() {
                let result = catch_unwind(AssertUnwindSafe(|| job(state)));
                drop(sender.send(result));
            }
        });
        let result = match self.jobs.send(job) {
            Ok(()) => receiver.await,
            // Threads end only with the pool, or when making their state panicked.
            Err(_) => panic!("no thread of the pool is left"),
        };
        match result {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => panic!("no thread of the pool is left"),
        }
    }
}

fn work<State>(queue: &Mutex<Receiver<Job<State>>>, state: &mut State) {
    loop {
        // The lock is held while waiting: the next thread waits for the lock instead.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(state),
            Err(_) => return,
        }
    }
}

impl<State> fmt::Debug for Pool<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)").to_string()
}
