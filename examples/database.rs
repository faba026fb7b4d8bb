//! A database on loopback, far away by its latency, and a client for it that reports by callback from a thread of its own.
//!
//! A query is a line `ID KEY`, its answer a line `ID ROW`; many may be under way on one connection.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// From a query to its answer.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);

/// Starts the database.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || serve(&connection));
        }
    });
    Ok(address)
}

fn serve(connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut answers = connection.try_clone()?;
    let (queries, due) = mpsc::channel::<(Instant, String)>();
    thread::spawn(move || -> io::Result<()> {
        for (at, query) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            let (id, key) = query.split_once(' ').unwrap_or_default();
            answers.write_all(format!("{id} user {key}\n").as_bytes())?;
        }
        Ok(())
    });
    for query in BufReader::new(connection).lines() {
        queries.send((Instant::now() + LATENCY, query?)).map_err(io::Error::other)?;
    }
    Ok(())
}

/// One connection. Callbacks of queries that are never answered are dropped.
pub(crate) struct DatabaseClient {
    connection: Mutex<TcpStream>,
    waiting: Waiting,
    next_id: AtomicU64,
}

type Waiting = Arc<Mutex<HashMap<u64, Box<dyn FnOnce(String) + Send>>>>;

impl DatabaseClient {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        let waiting = Waiting::default();
        let (answers, theirs) = (connection.try_clone()?, Arc::clone(&waiting));
        thread::spawn(move || report(answers, &theirs));
        Ok(Self { connection: Mutex::new(connection), waiting, next_id: AtomicU64::new(0) })
    }

    /// Sends a query and returns; `callback` is called with its row later, on another thread.
    pub(crate) fn query(&self, key: u64, callback: impl FnOnce(String) + Send + 'static) -> io::Result<()> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Box::new(callback));
        let query = format!("{id} {key}\n");
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).write_all(query.as_bytes())
    }

    /// Sends a query and waits for its row.
    pub(crate) fn query_and_wait(&self, key: u64) -> io::Result<String> {
        let (sender, row) = mpsc::channel();
        self.query(key, move |row| drop(sender.send(row)))?;
        row.recv().map_err(io::Error::other)
    }
}

impl Drop for DatabaseClient {
    fn drop(&mut self) {
        let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(connection.shutdown(Shutdown::Both));
    }
}

fn report(answers: TcpStream, waiting: &Waiting) {
    for answer in BufReader::new(answers).lines().map_while(Result::ok) {
        let Some((id, row)) = answer.split_once(' ') else { continue };
        let Ok(id) = id.parse() else { continue };
        let callback = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(callback) = callback {
            callback(row.to_string());
        }
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
