//! How the processes come together: each dials those before it, is called by those after it, and all begin when all are there.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::dial::{GAVE_UP, REFUSED, WELCOME, dial};
use super::error::{ClusterError, Peer};
use super::heartbeat::{self, Word};
use super::hello::{Garbled, Hello, Purpose, WORDS_WITHIN, hear, is_timeout, say};
use super::layout::Layout;

/// How often callers and connections are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long an address may still be held by a process that is about to end.
const FREE_WITHIN: Duration = Duration::from_secs(1);
/// How long one that gives up tells callers why.
const TURN_AWAY_FOR: Duration = Duration::from_secs(1);
/// Most callers that have not introduced themselves yet; more are hung up on.
const MOST_STRANGERS: usize = 64;

/// The connections to another process.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Peer,
    pub(super) data: TcpStream,
    pub(super) heart: TcpStream,
}

/// What threads of the set-up report.
pub(super) enum Event {
    /// We dialled, and are in.
    Connected { process: usize, purpose: Purpose, stream: TcpStream },
    /// We dialled, and do not fit.
    Refused { process: usize, why: String },
    /// We dialled, and it will not be there.
    GaveUp { process: usize, why: String },
    /// We dialled in vain.
    Trouble { process: usize, why: String },
    /// Somebody called and said who he is.
    Called { stream: TcpStream, hello: Hello },
    /// Another version of this program called, from this address.
    OtherVersion { address: String, why: String },
}

/// Brings all processes together: the connections to each of the others.
pub(super) fn meet(layout: &Layout, greeting: &str) -> Result<Vec<Link>, ClusterError> {
    let mut meeting = Meeting::new(layout, greeting);
    meeting.assemble().and_then(|()| meeting.all_ready()).inspect_err(|error| meeting.tell_those_here(error))?;
    let link = |(process, place): (usize, Place)| {
        Some(Link { peer: peer(layout, process), data: place.data?, heart: place.heart? })
    };
    Ok(meeting.places.into_iter().enumerate().filter_map(link).collect())
}

struct Meeting<'l> {
    layout: &'l Layout,
    own: Hello,
    until: Instant,
    /// By process; our own stays empty.
    places: Vec<Place>,
}

/// What has come of another process.
#[derive(Default)]
struct Place {
    /// The start of the process that called.
    start: Option<u64>,
    data: Option<TcpStream>,
    heart: Option<TcpStream>,
    /// Why we could not reach it the last time.
    trouble: String,
}

impl Place {
    fn is_complete(&self) -> bool {
        self.data.is_some() && self.heart.is_some()
    }

    fn put(&mut self, purpose: Purpose, stream: TcpStream) {
        match purpose {
            Purpose::Data => self.data = Some(stream),
            Purpose::Heartbeat => self.heart = Some(stream),
        }
    }
}

impl<'l> Meeting<'l> {
    fn new(layout: &'l Layout, greeting: &str) -> Self {
        let own = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            from: layout.process,
            to: layout.process,
            purpose: Purpose::Data,
            start: number_of_this_start(),
            processes: layout.processes(),
            workers: layout.workers,
            greeting: greeting.to_owned(),
        };
        let places = std::iter::repeat_with(Place::default).take(layout.processes()).collect();
        Self { layout, own, until: Instant::now() + layout.connect_within, places }
    }

    /// Until there are connections to all.
    fn assemble(&mut self) -> Result<(), ClusterError> {
        let doors = Doors::new(self.listen()?);
        for process in 0..self.layout.process {
            let (peer, own, until, report) =
                (peer(self.layout, process), self.own.clone(), self.until, doors.report.clone());
            // Not waited for: it ends when nobody listens any more.
            thread::Builder::new()
                .name(format!("dial-{process}"))
                .spawn(move || dial(&peer, &own, until, &report))
                .map_err(ClusterError::no_thread)?;
        }
        self.gather(&doors).inspect_err(|error| doors.turn_away(error))
    }

    fn gather(&mut self, doors: &Doors) -> Result<(), ClusterError> {
        while !self.missing().is_empty() {
            if Instant::now() >= self.until {
                return Err(self.absent());
            }
            doors.let_in()?;
            let mut patience = LOOK_EVERY;
            while let Ok(event) = doors.events.recv_timeout(patience) {
                self.take(event)?;
                patience = Duration::ZERO;
            }
            self.look_at_hearts()?;
        }
        Ok(())
    }

    fn listen(&self) -> Result<TcpListener, ClusterError> {
        let process = self.layout.process;
        let address = &self.layout.hosts[process];
        let patience = Instant::now() + FREE_WITHIN;
        loop {
            match TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener)) {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience => {
                    thread::sleep(LOOK_EVERY);
                }
                Err(error) => {
                    return Err(ClusterError::Listen { process, address: address.clone(), why: error.to_string() });
                }
            }
        }
    }

    fn missing(&self) -> Vec<usize> {
        let is_missing = |process: &usize| *process != self.layout.process && !self.places[*process].is_complete();
        (0..self.layout.processes()).filter(is_missing).collect()
    }

    fn absent(&self) -> ClusterError {
        let missing = self.missing();
        let why = missing.iter().map(|process| self.places[*process].trouble.as_str());
        let mut why: Vec<&str> = why.filter(|why| !why.is_empty()).collect();
        why.dedup();
        ClusterError::Absent {
            peers: missing.iter().map(|process| peer(self.layout, *process)).collect(),
            within: self.layout.connect_within,
            why: why.join("; "),
        }
    }

    fn take(&mut self, event: Event) -> Result<(), ClusterError> {
        let peer = |process| peer(self.layout, process);
        match event {
            Event::Connected { process, purpose, stream } => self.places[process].put(purpose, stream),
            Event::Trouble { process, why } => self.places[process].trouble = why,
            Event::Refused { process, why } => return Err(ClusterError::Unfit { peer: peer(process), why }),
            Event::GaveUp { process, why } => return Err(ClusterError::GaveUp { peer: peer(process), why }),
            Event::OtherVersion { address, why } => return Err(ClusterError::OtherVersion { address, why }),
            Event::Called { stream, hello } => self.answer(stream, hello)?,
        }
        Ok(())
    }

    fn answer(&mut self, stream: TcpStream, hello: Hello) -> Result<(), ClusterError> {
        let twice = |place: &Place| {
            let other = place.start.is_some_and(|start| start != hello.start);
            other.then(|| format!("two processes were started as process {}", hello.from))
        };
        let misfit = hello.misfit(&self.own).or_else(|| self.places.get(hello.from).and_then(twice));
        if let Some(why) = misfit {
            let _ = say(&stream, &format!("{REFUSED}{why}"));
            return Err(ClusterError::Unfit { peer: Peer { process: hello.from, address: caller(&stream) }, why });
        }
        // If it hung up meanwhile, it calls again.
        if stream.set_nodelay(true).is_ok() && say(&stream, WELCOME).is_ok() {
            let place = &mut self.places[hello.from];
            place.start = Some(hello.start);
            place.put(hello.purpose, stream);
        }
        Ok(())
    }

    /// One that is here already may give up before all are.
    fn look_at_hearts(&self) -> Result<(), ClusterError> {
        for (process, place) in self.places.iter().enumerate() {
            let Some(heart) = &place.heart else { continue };
            let mut first = [0; 1];
            let peek = || {
                heart.set_nonblocking(true)?;
                let peeked = heart.peek(&mut first);
                heart.set_nonblocking(false)?;
                peeked
            };
            let peer = || peer(self.layout, process);
            match { peek }() {
                Ok(0) => return Err(ClusterError::lost(&peer(), "it hung up during the set-up")),
                Ok(_) if Word::is_last(first[0]) => return Err(last_word(heart, peer())),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(ClusterError::lost(&peer(), error.to_string())),
            }
        }
        Ok(())
    }

    fn tell_those_here(&self, error: &ClusterError) {
        let word = Word::GaveUp(error.to_string());
        for heart in self.places.iter().filter_map(|place| place.heart.as_ref()) {
            // Who does not hear it will see that we hung up.
            let _ = heartbeat::say(heart, &word);
        }
    }

    /// Nobody begins before all have all their connections: who is silent from then on is lost.
    fn all_ready(&self) -> Result<(), ClusterError> {
        let hearts = || (0..).zip(&self.places).filter_map(|(process, place)| Some((process, place.heart.as_ref()?)));
        for (process, heart) in hearts() {
            heartbeat::say(heart, &Word::Ready)
                .map_err(|error| ClusterError::lost(&peer(self.layout, process), error.to_string()))?;
        }
        let until = Instant::now() + self.layout.connect_within;
        for (process, heart) in hearts() {
            let peer = peer(self.layout, process);
            match heartbeat::hear(heart, until) {
                Ok(Word::Ready) => {}
                Ok(Word::GaveUp(why)) => return Err(ClusterError::GaveUp { peer, why }),
                Ok(_) => return Err(ClusterError::lost(&peer, "it said something unexpected")),
                Err(error) if is_timeout(&error) => {
                    let how = format!("it was not ready within {:?}", self.layout.connect_within);
                    return Err(ClusterError::lost(&peer, how));
                }
                Err(error) => return Err(ClusterError::lost(&peer, format!("during the set-up: {error}"))),
            }
        }
        Ok(())
    }
}

fn peer(layout: &Layout, process: usize) -> Peer {
    Peer { process, address: layout.hosts[process].clone() }
}

fn last_word(heart: &TcpStream, peer: Peer) -> ClusterError {
    match heartbeat::hear(heart, Instant::now() + WORDS_WITHIN) {
        Ok(Word::GaveUp(why)) => ClusterError::GaveUp { peer, why },
        _ => ClusterError::lost(&peer, "it left during the set-up"),
    }
}

/// Where callers come in, and reports.
struct Doors {
    listener: TcpListener,
    report: Sender<Event>,
    events: Receiver<Event>,
    /// Shared with every caller that has not introduced himself yet.
    strangers: Arc<()>,
}

impl Doors {
    fn new(listener: TcpListener) -> Self {
        let (report, events) = channel();
        Self { listener, report, events, strangers: Arc::new(()) }
    }

    /// Asks all who have called who they are. Each on a thread of its own, for a bounded time: one who says nothing must not keep others
    /// from being heard.
    fn let_in(&self) -> Result<(), ClusterError> {
        for _ in 0..MOST_STRANGERS {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if Arc::strong_count(&self.strangers) > MOST_STRANGERS {
                continue;
            }
            let (report, stranger) = (self.report.clone(), Arc::clone(&self.strangers));
            let ask = move || {
                if let Some(event) = ask_who_it_is(stream) {
                    // If nobody wants to know any more, it is hung up on.
                    let _ = report.send(event);
                }
                drop(stranger);
            };
            thread::Builder::new().name("caller".to_owned()).spawn(ask).map_err(ClusterError::no_thread)?;
        }
        Ok(())
    }

    /// Tells all who call, or will soon, that it is in vain.
    fn turn_away(&self, error: &ClusterError) {
        let until = Instant::now() + TURN_AWAY_FOR;
        while Instant::now() < until && self.let_in().is_ok() {
            if let Ok(Event::Called { stream, .. }) = self.events.recv_timeout(LOOK_EVERY) {
                let _ = say(&stream, &format!("{GAVE_UP}{error}"));
            }
        }
    }
}

fn ask_who_it_is(stream: TcpStream) -> Option<Event> {
    stream.set_nonblocking(false).ok()?;
    match hear(&stream, Instant::now() + WORDS_WITHIN) {
        Ok(text) => Hello::from_text(&text).map(|hello| Event::Called { stream, hello }),
        Err(garbled @ Garbled::Protocol(_)) => {
            // It finds our own number in the answer.
            let _ = say(&stream, REFUSED);
            Some(Event::OtherVersion { address: caller(&stream), why: garbled.describe() })
        }
        Err(_) => None,
    }
}

fn caller(stream: &TcpStream) -> String {
    stream.peer_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
}

/// Tells a process from another that was started with the same index.
fn number_of_this_start() -> u64 {
    static STARTS: AtomicU64 = AtomicU64::new(0);
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = since_epoch.as_nanos() as u64;
    nanoseconds ^ (u64::from(process::id()) << 40) ^ STARTS.fetch_add(1, Ordering::Relaxed)
}
