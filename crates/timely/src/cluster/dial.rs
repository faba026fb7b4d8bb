//! Calls another process until it answers.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use super::error::Peer;
use super::hello::{Garbled, Hello, Purpose, WORDS_WITHIN, hear, say};
use super::meeting::Event;

/// The answer to a caller who may come in.
pub(super) const WELCOME: &str = "welcome";
/// What the answer to one who may not begins with; the reason follows.
pub(super) const REFUSED: &str = "refused ";

/// What the answer of one begins with who will not be there; the reason follows.
pub(super) const GAVE_UP: &str = "gave up ";

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(2);

/// What came of one attempt.
enum Attempt {
    In(TcpStream),
    Refused(String),
    GaveUp(String),
    Failed(String),
}

/// Makes the connections to one process and reports what happens, until then, or until nobody listens to the reports.
pub(super) fn dial(peer: &Peer, own: &Hello, until: Instant, report: &Sender<Event>) {
    for purpose in Purpose::ALL {
        let hello = Hello { to: peer.process, purpose, ..own.clone() }.to_text();
        loop {
            let process = peer.process;
            let (event, ends) = match attempt(&peer.address, &hello) {
                Attempt::In(stream) => (Event::Connected { process, purpose, stream }, false),
                Attempt::Refused(why) => (Event::Refused { process, why }, true),
                Attempt::GaveUp(why) => (Event::GaveUp { process, why }, true),
                Attempt::Failed(why) => (Event::Trouble { process, why }, false),
            };
            let connected = matches!(event, Event::Connected { .. });
            if report.send(event).is_err() || ends || Instant::now() >= until {
                return;
            }
            if connected {
                break;
            }
            thread::sleep(PAUSE);
        }
    }
}

fn attempt(address: &str, hello: &str) -> Attempt {
    let talk = || -> Result<(TcpStream, Result<String, Garbled>), io::Error> {
        let stream = connect(address)?;
        stream.set_nodelay(true)?;
        say(&stream, hello)?;
        let answer = hear(&stream, Instant::now() + WORDS_WITHIN);
        Ok((stream, answer))
    };
    match talk() {
        Ok((stream, Ok(answer))) if answer == WELCOME => Attempt::In(stream),
        Ok((_, Ok(answer))) => match (answer.strip_prefix(REFUSED), answer.strip_prefix(GAVE_UP)) {
            (Some(why), _) => Attempt::Refused(why.to_owned()),
            (_, Some(why)) => Attempt::GaveUp(why.to_owned()),
            _ => Attempt::Failed(Garbled::Stranger.describe()),
        },
        Ok((_, Err(garbled @ Garbled::Protocol(_)))) => Attempt::Refused(garbled.describe()),
        Ok((_, Err(garbled))) => Attempt::Failed(garbled.describe()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Attempt::Failed("nobody listens there: it has not been started, or runs with others already".to_owned())
        }
        Err(error) => Attempt::Failed(error.to_string()),
    }
}

/// The name is looked up each time: it may have got its address only now.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ATTEMPT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
