//! How two processes introduce themselves on a new connection, and what has to fit.
//!
//! ```text
//! dials:    "inflight" protocol:u16 length:u32 text: who I am, whom I want, what for, what I run
//! answers:  "inflight" protocol:u16 length:u32 text: "welcome", or "refused" and why
//! ```

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Most bytes of a greeting.
pub(super) const LONGEST_GREETING: usize = 16 * 1024;
/// How long one may take to introduce himself, or to answer.
pub(super) const WORDS_WITHIN: Duration = Duration::from_secs(5);

const MAGIC: &[u8; 8] = b"inflight";
const PROTOCOL: u16 = 1;
/// Bytes before the text.
const HEAD: usize = MAGIC.len() + 2 + 4;
/// Most bytes of a text: a greeting, or an answer that quotes two.
const LONGEST_TEXT: usize = LONGEST_GREETING + 4 * 1024;
/// How much of two greetings is quoted when they differ, in characters.
const QUOTED: usize = 160;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Data,
    Heartbeat,
}

impl Purpose {
    pub(super) const ALL: [Self; 2] = [Self::Data, Self::Heartbeat];

    fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// Who dials whom, what for, and what both have to agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: String,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) purpose: Purpose,
    /// A number that no other start of a process has.
    pub(super) start: u64,
    pub(super) processes: usize,
    pub(super) workers: usize,
    pub(super) greeting: String,
}

impl Hello {
    pub(super) fn to_text(&self) -> String {
        let Self { version, from, to, purpose, start, processes, workers, greeting } = self;
        let purpose = purpose.name();
        format!("{version} {from} {to} {purpose} {start} {processes} {workers}\n{greeting}")
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (line, greeting) = text.split_once('\n')?;
        let words: Vec<&str> = line.split(' ').collect();
        let [version, from, to, purpose, start, processes, workers] = words[..] else { return None };
        Some(Self {
            version: version.to_owned(),
            from: from.parse().ok()?,
            to: to.parse().ok()?,
            purpose: Purpose::ALL.into_iter().find(|known| known.name() == purpose)?,
            start: start.parse().ok()?,
            processes: processes.parse().ok()?,
            workers: workers.parse().ok()?,
            greeting: greeting.to_owned(),
        })
    }

    /// What keeps the process that said this from joining us, in words for both.
    pub(super) fn misfit(&self, own: &Self) -> Option<String> {
        let (their, our) = (format!("process {}", self.from), format!("process {}", own.from));
        let differs = |what: &str, theirs: &str, ours: &str| {
            (theirs != ours).then(|| format!("{their} has {what} {theirs}, {our} has {ours}"))
        };
        let number = |what, theirs: usize, ours: usize| differs(what, &theirs.to_string(), &ours.to_string());
        if self.from == own.from {
            return Some(format!("two processes were started as process {}", own.from));
        }
        if self.to != own.from {
            return Some(format!("{their} took {our} for process {}: their lists of hosts differ", self.to));
        }
        let greetings = || {
            let (theirs, ours) = quotes(&self.greeting, &own.greeting);
            differs("the pipeline", &theirs, &ours)
        };
        let found: Vec<String> = [
            differs("version", &self.version, &own.version),
            number("a number of processes of", self.processes, own.processes),
            number("a number of workers of", self.workers, own.workers),
            (self.greeting != own.greeting).then(greetings).flatten(),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !found.is_empty() {
            return Some(format!("{}; all must be started alike", found.join("; ")));
        }
        (self.from < own.from || self.from >= own.processes).then(|| format!("{our} did not expect a call of {their}"))
    }
}

/// Two texts from shortly before the place where they begin to differ.
fn quotes(a: &str, b: &str) -> (String, String) {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let start = if a.chars().count().max(b.chars().count()) > QUOTED { same.saturating_sub(QUOTED / 4) } else { 0 };
    let quote = |text: &str| {
        let quoted: String = text.chars().skip(start).take(QUOTED).collect();
        let more = text.chars().count() > start + QUOTED;
        format!("{}{quoted}{}", if start > 0 { "…" } else { "" }, if more { "…" } else { "" })
    };
    (quote(a), quote(b))
}

/// What came instead of words.
#[derive(Debug)]
pub(super) enum Garbled {
    /// The connection broke, or nothing came in time.
    Silent(io::Error),
    /// Something else speaks there.
    Stranger,
    /// Another version of this program.
    Protocol(u16),
}

impl Garbled {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Silent(error) if is_timeout(error) => {
                format!("it takes connections, and says nothing for {WORDS_WITHIN:?}")
            }
            Self::Silent(error) if error.kind() == io::ErrorKind::UnexpectedEof => "it hangs up".to_owned(),
            Self::Silent(error) => error.to_string(),
            Self::Stranger => "what answers there is not inflight".to_owned(),
            Self::Protocol(theirs) => {
                format!(
                    "its version speaks cluster protocol {theirs}, this one {PROTOCOL}: run the same version everywhere"
                )
            }
        }
    }
}

/// Whether a read ended because nothing came in time.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

pub(super) fn say(mut stream: &TcpStream, text: &str) -> io::Result<()> {
    let mut words = Vec::with_capacity(HEAD + text.len());
    words.extend_from_slice(MAGIC);
    words.extend_from_slice(&PROTOCOL.to_be_bytes());
    words.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    words.extend_from_slice(text.as_bytes());
    stream.set_write_timeout(Some(WORDS_WITHIN))?;
    stream.write_all(&words)?;
    stream.set_write_timeout(None)
}

/// Waits for words, but not longer than this; takes no byte more than they have.
pub(super) fn hear(stream: &TcpStream, until: Instant) -> Result<String, Garbled> {
    let mut head = [0; HEAD];
    // A stranger is known by his first byte: he need not send them all.
    for at in 0..HEAD {
        read_until(stream, &mut head[at..=at], until).map_err(Garbled::Silent)?;
        if MAGIC.get(at).is_some_and(|expected| head[at] != *expected) {
            return Err(Garbled::Stranger);
        }
    }
    let protocol = u16::from_be_bytes([head[8], head[9]]);
    if protocol != PROTOCOL {
        return Err(Garbled::Protocol(protocol));
    }
    let length = u32::from_be_bytes([head[10], head[11], head[12], head[13]]) as usize;
    if length > LONGEST_TEXT {
        return Err(Garbled::Stranger);
    }
    let mut text = vec![0; length];
    read_until(stream, &mut text, until).map_err(Garbled::Silent)?;
    stream.set_read_timeout(None).map_err(Garbled::Silent)?;
    String::from_utf8(text).map_err(|_| Garbled::Stranger)
}

/// Fills the buffer, however slowly it comes, until then.
pub(super) fn read_until(mut stream: &TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn hello() -> Hello {
        Hello {
            version: "1.0.0".to_owned(),
            from: 2,
            to: 0,
            purpose: Purpose::Heartbeat,
            start: 7,
            processes: 3,
            workers: 4,
            greeting: "steps:\n- a\n".to_owned(),
        }
    }

    fn own() -> Hello {
        Hello { from: 0, to: 0, start: 9, ..hello() }
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener.accept().unwrap().0)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn a_hello_survives_its_text() {
        assert_eq!(Hello::from_text(&hello().to_text()), Some(hello()));
        for bad in ["", "\n", "1 2 3\n", "1.0.0 2 0 nonsense 7 3 4\n", "1.0.0 -2 0 data 7 3 4\n"] {
            assert_eq!(Hello::from_text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_differs_is_said() {
        assert_eq!(hello().misfit(&own()), None);
        for (theirs, expected) in [
            (Hello { version: "2.0.0".to_owned(), ..hello() }, "process 2 has version 2.0.0, process 0 has 1.0.0"),
            (Hello { processes: 5, ..hello() }, "process 2 has a number of processes of 5, process 0 has 3"),
            (Hello { workers: 1, ..hello() }, "process 2 has a number of workers of 1, process 0 has 4"),
            (Hello { greeting: "x".to_owned(), ..hello() }, "process 2 has the pipeline x, process 0 has steps"),
            (Hello { from: 0, ..hello() }, "two processes were started as process 0"),
            (Hello { to: 1, ..hello() }, "process 2 took process 0 for process 1"),
            (Hello { from: 3, ..hello() }, "process 0 did not expect a call of process 3"),
        ] {
            let misfit = theirs.misfit(&own()).expect(expected);
            assert!(misfit.contains(expected), "{misfit}");
        }
    }

    #[test]
    fn long_texts_are_quoted_where_they_differ() {
        let (a, b) = quotes(&format!("{}1{}", "ä".repeat(1000), "y".repeat(1000)), &format!("{}2", "ä".repeat(1000)));
        assert!(a.starts_with("…ä") && a.contains("ä1y") && a.ends_with("y…"), "{a}");
        assert!(b.ends_with("ä2"), "{b}");
    }

    #[test]
    fn words_are_heard_one_by_one() {
        let (dials, listens) = pair();
        say(&dials, "first").unwrap();
        say(&dials, "").unwrap();
        assert_eq!(hear(&listens, soon()).unwrap(), "first");
        assert_eq!(hear(&listens, soon()).unwrap(), "");
        drop(dials);
        assert!(matches!(hear(&listens, soon()), Err(Garbled::Silent(_))));
    }

    #[test]
    fn strangers_are_known() {
        let (mut dials, listens) = pair();
        dials.write_all(b"G").unwrap();
        assert!(matches!(hear(&listens, soon()), Err(Garbled::Stranger)), "at once");

        let (mut dials, listens) = pair();
        dials.write_all(b"inflight\x00\x01\xff\xff\xff\xff").unwrap();
        assert!(matches!(hear(&listens, soon()), Err(Garbled::Stranger)), "too long");

        let (mut dials, listens) = pair();
        dials.write_all(b"inflight\x00\x02\x00\x00\x00\x00").unwrap();
        assert!(matches!(hear(&listens, soon()), Err(Garbled::Protocol(2))));

        let (dials, listens) = pair();
        (&dials).write_all(b"infl").unwrap();
        let error = hear(&listens, Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert!(error.describe().contains("says nothing"), "{error:?}");
    }
}
