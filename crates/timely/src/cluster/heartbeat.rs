//! Signs of life between processes, on connections of their own, and their last words.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::alarm::{Alarm, Stands};
use super::error::ClusterError;
use super::hello::{is_timeout, read_until};
use super::meeting::Link;

/// A process says so many times that it is there before it may be taken for dead.
const BEATS_PER_SILENCE: u32 = 4;
/// Most bytes of a reason for giving up.
const LONGEST_REASON: usize = 2_000;
/// How long a process that gives up waits for the others to have heard it.
const LINGER: Duration = Duration::from_secs(1);
/// How long saying a word may take: they are short, and the other side listens all the time.
const SAID_WITHIN: Duration = Duration::from_millis(500);

/// What one process says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// I have all my connections.
    Ready,
    /// I am there.
    Beat,
    /// My work is done.
    Goodbye,
    /// I lost something, or did not fit: this.
    GaveUp(String),
}

const READY: u8 = 1;
const BEAT: u8 = 2;
const GOODBYE: u8 = 3;
const GAVE_UP: u8 = 4;

impl Word {
    /// Whether nothing comes after a word that begins so.
    pub(super) fn is_last(first: u8) -> bool {
        matches!(first, GOODBYE | GAVE_UP)
    }
}

pub(super) fn say(mut heart: &TcpStream, word: &Word) -> io::Result<()> {
    let bytes = match word {
        Word::Ready => vec![READY],
        Word::Beat => vec![BEAT],
        Word::Goodbye => vec![GOODBYE],
        Word::GaveUp(why) => {
            let why = &why[..why.floor_char_boundary(LONGEST_REASON)];
            let length = u16::try_from(why.len()).unwrap_or(0).to_be_bytes();
            [&[GAVE_UP][..], &length, why.as_bytes()].concat()
        }
    };
    heart.set_write_timeout(Some(SAID_WITHIN))?;
    heart.write_all(&bytes)
}

/// Waits for a word, but not longer than this.
pub(super) fn hear(heart: &TcpStream, until: Instant) -> io::Result<Word> {
    let mut first = [0; 1];
    read_until(heart, &mut first, until)?;
    match first[0] {
        READY => Ok(Word::Ready),
        BEAT => Ok(Word::Beat),
        GOODBYE => Ok(Word::Goodbye),
        GAVE_UP => {
            let mut length = [0; 2];
            read_until(heart, &mut length, until)?;
            let mut why = vec![0; u16::from_be_bytes(length).into()];
            read_until(heart, &mut why, until)?;
            Ok(Word::GaveUp(String::from_utf8_lossy(&why).into_owned()))
        }
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it says {other}, which is no word"))),
    }
}

/// The threads that say and hear signs of life.
pub(super) struct Heartbeat {
    links: Arc<Vec<Link>>,
    alarm: Arc<Alarm>,
    silent_after: Duration,
    speaks: JoinHandle<()>,
    listen: Vec<JoinHandle<()>>,
    /// Closed when nobody listens any more.
    all_heard: Receiver<()>,
}

impl Heartbeat {
    /// From now on, who is silent for so long is lost.
    pub(super) fn start(links: Vec<Link>, silent_after: Duration, alarm: &Arc<Alarm>) -> Result<Self, ClusterError> {
        let links = Arc::new(links);
        let (listening, all_heard) = channel();
        let speaks = spawn("heartbeat".to_owned(), {
            let (links, alarm) = (Arc::clone(&links), Arc::clone(alarm));
            move || speak(&links, &alarm, silent_after / BEATS_PER_SILENCE)
        })?;
        let mut listen = Vec::new();
        for index in 0..links.len() {
            let (links, their, listening) = (Arc::clone(&links), Arc::clone(alarm), listening.clone());
            let listener = spawn(format!("heartbeat-{}", links[index].peer.process), move || {
                listen_to(&links[index], &their, silent_after, listening);
            });
            // The others end by themselves: nobody is silent for ever.
            listen.push(listener.inspect_err(|error| alarm.raise(error.clone()))?);
        }
        Ok(Self { links, alarm: Arc::clone(alarm), silent_after, speaks, listen, all_heard })
    }

    /// Everything is sent and received, or the alarm was raised: says which, and waits, not for long, until all others have said it too.
    pub(super) fn end(self) {
        self.alarm.done();
        // Its last words are out then.
        let _ = self.speaks.join();
        let patience = if self.alarm.lost().is_some() { LINGER } else { self.silent_after };
        if self.all_heard.recv_timeout(patience) == Err(RecvTimeoutError::Timeout)
            && let Some(listener) = self.listen.iter().position(|listener| !listener.is_finished())
        {
            let how = format!("its work is done, but it did not say goodbye within {patience:?}");
            self.alarm.raise(ClusterError::lost(&self.links[listener].peer, how));
        }
        for link in self.links.iter() {
            let _ = link.heart.shutdown(Shutdown::Both);
        }
        for listener in self.listen {
            let _ = listener.join();
        }
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ClusterError> {
    thread::Builder::new().name(name).spawn(work).map_err(ClusterError::no_thread)
}

/// Says to all that we are there, until there is a last word to say.
fn speak(links: &[Link], alarm: &Alarm, every: Duration) {
    let say_to_all = |word: &Word| {
        for link in links {
            // Who cannot be spoken to is not heard from either, and that is noticed.
            let _ = say(&link.heart, word);
        }
    };
    loop {
        match alarm.wait(every) {
            Stands::AtWork => say_to_all(&Word::Beat),
            Stands::Done => return say_to_all(&Word::Goodbye),
            Stands::Lost(lost) => {
                say_to_all(&Word::GaveUp(lost.to_string()));
                for link in links {
                    let _ = link.heart.shutdown(Shutdown::Write);
                    // Timely's threads wait there, and would not end by themselves.
                    let _ = link.data.shutdown(Shutdown::Both);
                }
                return;
            }
        }
    }
}

/// Listens to one process until its last word. The alarm is raised if that is not a goodbye, or does not come.
fn listen_to(link: &Link, alarm: &Alarm, silent_after: Duration, _listening: Sender<()>) {
    let peer = &link.peer;
    let lost = loop {
        match hear(&link.heart, Instant::now() + silent_after) {
            Ok(Word::Beat | Word::Ready) => {}
            Ok(Word::Goodbye) => return,
            Ok(Word::GaveUp(why)) => break ClusterError::GaveUp { peer: peer.clone(), why },
            Err(error) if is_timeout(&error) => {
                break ClusterError::lost(peer, format!("nothing was heard of it for {silent_after:?}"));
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                break ClusterError::lost(peer, "it closed its connection without a goodbye");
            }
            Err(error) => break ClusterError::lost(peer, error.to_string()),
        }
    };
    alarm.raise(lost);
}
