//! A proxy between the program and a server, on loopback, that behaves as badly as it is told to.
//!
//! ```text
//!  client --- hear: whole messages, calls counted ---> line: late, at the server's pace ---> server
//!         <--------------------------- reply: as it comes, or not -------------------------
//! ```

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::dialect::{Dialect, Sentence};

/// Messages under way to the server, of one connection.
const LINE: usize = 10_000;
const GLANCE: Duration = Duration::from_millis(2);

/// How the proxy treats what goes through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Manner {
    /// It goes through.
    Pass,
    /// Nothing goes through and nothing is closed. Connections of that time never come back to life.
    Hang,
    /// The server does nothing, and afterwards all that has piled up.
    Stall,
    /// Each message to the server is so late.
    Late(Duration),
    /// After so many bytes of answers to calls the connection is reset.
    Reset(usize),
    /// The next commit costs its connection, before it has arrived or before that is told; then it goes through again.
    LoseCommit { arrives: bool },
}

/// A call as it went by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at: Instant,
    /// A number for what is asked.
    pub(super) asks: u64,
}

pub(super) struct Proxy {
    shared: Arc<Shared>,
    /// Bound and never listened on: while nobody listens the port is still ours.
    _reserved: Socket,
    address: SocketAddr,
}

struct Shared {
    server: SocketAddr,
    dialect: Dialect,
    state: Mutex<State>,
}

struct State {
    /// Whether there should be a listener, and whether there is.
    up: bool,
    listens: bool,
    over: bool,
    manner: Manner,
    /// Time that the server needs for each call.
    pace: Duration,
    /// When it can begin with the next.
    free_at: Instant,
    connections: HashMap<u64, Arc<Connection>>,
    accepted: u64,
    calls: Vec<Call>,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    hangs: AtomicBool,
    /// It is reset with the next answer.
    loses_answer: AtomicBool,
    calls: AtomicUsize,
}

impl Proxy {
    pub(super) fn to(server: SocketAddr, dialect: Dialect) -> Self {
        let reserved = socket((Ipv4Addr::LOCALHOST, 0).into());
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let state = State {
            up: true,
            listens: false,
            over: false,
            manner: Manner::Pass,
            pace: Duration::ZERO,
            free_at: Instant::now(),
            connections: HashMap::new(),
            accepted: 0,
            calls: Vec::new(),
        };
        let shared = Arc::new(Shared { server, dialect, state: Mutex::new(state) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(address));
        let proxy = Self { shared, _reserved: reserved, address };
        proxy.wait_until_it_listens(true);
        proxy
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nobody listens at the address any more, and all connections are cut.
    pub(super) fn go_down(&self) {
        self.shared.state().up = false;
        self.wait_until_it_listens(false);
        self.cut();
    }

    /// Somebody listens at the address again.
    pub(super) fn come_up(&self) {
        self.shared.state().up = true;
        self.wait_until_it_listens(true);
    }

    /// Resets all connections.
    pub(super) fn cut(&self) {
        let connections: Vec<_> = self.shared.state().connections.drain().collect();
        connections.iter().for_each(|(_, connection)| connection.reset());
    }

    /// From now on it treats what goes through like this.
    pub(super) fn behave(&self, manner: Manner) {
        let mut state = self.shared.state();
        state.manner = manner;
        if manner == Manner::Hang {
            state.connections.values().for_each(|connection| connection.hangs.store(true, Ordering::Relaxed));
        }
    }

    /// The server does so many calls in a second, and no more.
    pub(super) fn limit_to(&self, calls_per_second: u32) {
        self.shared.state().pace = Duration::from_secs(1) / calls_per_second;
    }

    /// All calls so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    fn wait_until_it_listens(&self, whether: bool) {
        while self.shared.state().listens != whether {
            thread::sleep(GLANCE);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.cut();
    }
}

/// Two may be bound to one address as long as none of them listens, and afterwards too.
fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

fn listener(address: SocketAddr) -> TcpListener {
    let socket = socket(address);
    socket.listen(128).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn accept(self: &Arc<Self>, address: SocketAddr) {
        let mut listening = None;
        loop {
            let up = {
                let mut state = self.state();
                if state.over {
                    return;
                }
                if state.up != listening.is_some() {
                    listening = state.up.then(|| listener(address));
                    state.listens = state.up;
                }
                state.up
            };
            match listening.as_ref().filter(|_| up).map(TcpListener::accept) {
                Some(Ok((client, _))) => self.connect(client),
                Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => panic!("cannot accept: {error}"),
                _ => thread::sleep(GLANCE),
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        client.set_nonblocking(false).unwrap();
        // A server that has gone: so has the connection.
        let Ok(server) = TcpStream::connect(self.server) else { return reset(&client) };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let mut state = self.state();
        let hangs = AtomicBool::new(state.manner == Manner::Hang);
        let connection = Arc::new(Connection {
            client,
            server,
            hangs,
            loses_answer: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
        });
        state.accepted += 1;
        let number = state.accepted;
        state.connections.insert(number, Arc::clone(&connection));
        drop(state);
        let (line, under_way) = sync_channel(LINE);
        for work in [
            Box::new({
                let (shared, connection) = (Arc::clone(self), Arc::clone(&connection));
                move || shared.hear(&connection, &line)
            }) as Box<dyn FnOnce() + Send>,
            Box::new({
                let (shared, connection) = (Arc::clone(self), Arc::clone(&connection));
                move || shared.carry(&connection, &under_way)
            }),
            Box::new({
                let shared = Arc::clone(self);
                move || {
                    shared.reply(&connection);
                    shared.state().connections.remove(&number);
                }
            }),
        ] {
            thread::spawn(work);
        }
    }

    /// Takes what the client says, until it has said everything.
    fn hear(&self, connection: &Connection, line: &SyncSender<Carried>) {
        let mut sentence = Sentence::new(self.dialect);
        let mut chunk = [0; 16 * 1024];
        while let Ok(count @ 1..) = (&connection.client).read(&mut chunk) {
            for message in sentence.hear(&chunk[..count]) {
                let mut state = self.state();
                let at = Instant::now();
                let due = if let Manner::Late(late) = state.manner { at + late } else { at };
                if let Some(asks) = message.asks {
                    state.calls.push(Call { at, asks });
                    connection.calls.fetch_add(1, Ordering::Relaxed);
                }
                drop(state);
                if line.send(Carried { due, bytes: message.bytes, is_call: message.asks.is_some() }).is_err() {
                    return;
                }
            }
        }
    }

    /// Brings it to the server.
    fn carry(&self, connection: &Connection, under_way: &Receiver<Carried>) {
        for Carried { due, bytes, is_call } in under_way {
            wait_for(due);
            while self.state().manner == Manner::Stall {
                thread::sleep(GLANCE);
            }
            if is_call {
                wait_for(self.next_turn());
            }
            match self.loses_commit(&bytes) {
                Some(true) => connection.loses_answer.store(true, Ordering::Relaxed),
                Some(false) => return connection.reset(),
                None => {}
            }
            if !connection.hangs() && (&connection.server).write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = connection.server.shutdown(Shutdown::Write);
    }

    /// Whether this is a commit that is to be lost, and arrives.
    fn loses_commit(&self, bytes: &[u8]) -> Option<bool> {
        let mut state = self.state();
        let Manner::LoseCommit { arrives } = state.manner else { return None };
        bytes.starts_with(b"Q").then_some(())?;
        bytes.windows(7).any(|text| text == b"commit\0").then(|| {
            state.manner = Manner::Pass;
            arrives
        })
    }

    /// When the server can begin with one call more.
    fn next_turn(&self) -> Instant {
        let mut state = self.state();
        let turn = state.free_at.max(Instant::now());
        state.free_at = turn + state.pace;
        turn
    }

    /// Brings the answers back.
    fn reply(&self, connection: &Connection) {
        let mut chunk = [0; 16 * 1024];
        let mut replied = 0;
        while let Ok(count @ 1..) = (&connection.server).read(&mut chunk) {
            if connection.hangs() {
                continue;
            }
            if connection.loses_answer.load(Ordering::Relaxed) {
                return connection.reset();
            }
            let mut bytes = &chunk[..count];
            let manner = self.state().manner;
            let limit = if let Manner::Reset(limit) = manner { limit } else { usize::MAX };
            if limit == usize::MAX || connection.calls.load(Ordering::Relaxed) == 0 {
                replied = 0;
            } else {
                bytes = &bytes[..count.min(limit.saturating_sub(replied))];
                replied += count;
            }
            if (&connection.client).write_all(bytes).is_err() || replied > limit {
                return connection.reset();
            }
        }
        if !connection.hangs() {
            let _ = connection.client.shutdown(Shutdown::Write);
        }
    }
}

/// A message on its way to the server.
struct Carried {
    due: Instant,
    bytes: Vec<u8>,
    is_call: bool,
}

impl Connection {
    fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Relaxed)
    }

    fn reset(&self) {
        reset(&self.client);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

/// The other side is told that the connection is broken, as soon as nobody here holds it.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

fn wait_for(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}
