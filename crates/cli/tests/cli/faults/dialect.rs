//! What a client says, cut into messages, so that calls can be told from the rest.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The protocol that goes through a proxy, without TLS.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dialect {
    Postgres,
    Mysql,
    Redis,
    Http,
    /// Not cut, and without calls.
    Nats,
    #[cfg(feature = "kafka")]
    Kafka,
}

/// What a client has said and is not whole yet.
pub(super) struct Sentence {
    dialect: Dialect,
    /// The first message of PostgreSQL has no letter.
    greeted: bool,
    bytes: Vec<u8>,
}

/// One whole message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// If it is a call: a number for what it asks. Two calls that ask the same have the same.
    pub(super) asks: Option<u64>,
}

impl Sentence {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, greeted: false, bytes: Vec::new() }
    }

    /// The messages that are whole with these bytes.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.bytes.extend(bytes);
        let mut messages = Vec::new();
        while let Some(length) = self.length() {
            let rest = self.bytes.split_off(length);
            let bytes = std::mem::replace(&mut self.bytes, rest);
            let asks = self.asks(&bytes);
            self.greeted = true;
            messages.push(Message { bytes, asks });
        }
        messages
    }

    /// Bytes of the first message, if all of them are here.
    fn length(&self) -> Option<usize> {
        let length = match self.dialect {
            Dialect::Postgres => {
                let letter = usize::from(self.greeted);
                let length = self.bytes.get(letter..letter + 4)?;
                letter + u32::from_be_bytes(length.try_into().unwrap()) as usize
            }
            // Three bytes, and the number of the packet in the conversation.
            Dialect::Mysql => match self.bytes.get(..4)? {
                [low, middle, high, _] => 4 + u32::from_le_bytes([*low, *middle, *high, 0]) as usize,
                _ => return None,
            },
            Dialect::Redis => command(&self.bytes)?.0,
            Dialect::Http => request(&self.bytes)?,
            Dialect::Nats => Some(self.bytes.len()).filter(|length| *length > 0)?,
            #[cfg(feature = "kafka")]
            Dialect::Kafka => 4 + u32::from_be_bytes(self.bytes.get(..4)?.try_into().unwrap()) as usize,
        };
        (self.bytes.len() >= length).then_some(length)
    }

    fn asks(&self, message: &[u8]) -> Option<u64> {
        match self.dialect {
            // Bind. Its portal and its statement have other names on each connection; what follows is what is asked.
            Dialect::Postgres if self.greeted && message[0] == b'B' => {
                message[5..].splitn(3, |byte| *byte == 0).nth(2).map(hash)
            }
            Dialect::Postgres | Dialect::Nats => None,
            Dialect::Mysql => executed(message).map(hash),
            // What is about the connection is no call.
            Dialect::Redis => command(message).filter(|(_, word)| word.ends_with("GET")).map(|_| hash(message)),
            Dialect::Http => Some(hash(message)),
            // To produce, and to fetch.
            #[cfg(feature = "kafka")]
            Dialect::Kafka => matches!(message[4..6], [0, 0 | 1]).then(|| hash(message)),
        }
    }
}

/// The values of a statement of MySQL that is executed, unless it is about the table: our look-ups have numbers in them, and no texts.
fn executed(message: &[u8]) -> Option<&[u8]> {
    const EXECUTE: [u8; 2] = [0, 0x17];
    let values = message.get(3..)?.strip_prefix(&EXECUTE)?.get(4..)?;
    (!values.windows(5).any(|text| text == b"users")).then_some(values)
}

/// Bytes of a command of Redis and its first word: `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`.
fn command(bytes: &[u8]) -> Option<(usize, String)> {
    let line = |at: usize| {
        let length = bytes.get(at..)?.windows(2).position(|end| end == b"\r\n")?;
        let number = std::str::from_utf8(&bytes[at + 1..at + length]).unwrap().parse::<usize>().unwrap();
        Some((number, at + length + 2))
    };
    let (words, mut at) = line(0)?;
    let mut first = None;
    for _ in 0..words {
        let (length, begin) = line(at)?;
        let word = bytes.get(begin..begin + length)?;
        first.get_or_insert_with(|| String::from_utf8_lossy(word).to_uppercase());
        at = begin + length + 2;
    }
    (bytes.len() >= at).then(|| (at, first.unwrap_or_default()))
}

/// Bytes of a request without a body.
fn request(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn a_call_is_known_by_what_it_asks() {
    let bind = |statement: &str, key: u8| {
        let body = [b"\0", statement.as_bytes(), b"\0", &[0, 1, key]].concat();
        [b"B", &(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
    };
    let said = [&[0, 0, 0, 8, 0, 3, 0, 0][..], &bind("s1", 7), b"S\0\0\0\x04", &bind("s2", 7), &bind("s1", 8)].concat();
    let mut sentence = Sentence::new(Dialect::Postgres);
    let messages: Vec<Message> = said.chunks(3).flat_map(|chunk| sentence.hear(chunk)).collect();
    let asks: Vec<bool> = messages.iter().map(|message| message.asks.is_some()).collect();
    assert_eq!(asks, [false, true, false, true, true]);
    assert_eq!(messages[1].asks, messages[3].asks);
    assert_ne!(messages[1].asks, messages[4].asks);
    assert_eq!(messages.into_iter().flat_map(|message| message.bytes).collect::<Vec<u8>>(), said);
}

#[test]
fn a_statement_of_mysql_is_known_by_its_values() {
    let packet = |number: u8, body: &[u8]| [&(body.len() as u32).to_le_bytes()[..3], &[number], body].concat();
    let execute = |statement: u8, key: u8| packet(0, &[0x17, statement, 0, 0, 0, 0, key]);
    let said =
        [packet(1, &[0x17, 0, 0]), packet(0, b"\x03select 1"), execute(1, 7), execute(2, 7), execute(1, 8)].concat();
    let mut sentence = Sentence::new(Dialect::Mysql);
    let messages: Vec<Message> = said.chunks(3).flat_map(|chunk| sentence.hear(chunk)).collect();
    assert_eq!(
        messages.iter().map(|message| message.asks.is_some()).collect::<Vec<_>>(),
        [false, false, true, true, true]
    );
    assert_eq!(messages[2].asks, messages[3].asks);
    assert_ne!(messages[2].asks, messages[4].asks);
    assert_eq!(messages.into_iter().flat_map(|message| message.bytes).collect::<Vec<u8>>(), said);
}

#[test]
fn commands_and_requests_are_cut_where_they_end() {
    for (dialect, said, asks) in [
        (Dialect::Redis, "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nMGET\r\n$1\r\nk\r\n", [false, true]),
        (Dialect::Http, "GET /1 HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\n", [true, true]),
    ] {
        let mut sentence = Sentence::new(dialect);
        let messages: Vec<Message> = said.as_bytes().chunks(5).flat_map(|chunk| sentence.hear(chunk)).collect();
        assert_eq!(messages.iter().map(|message| message.asks.is_some()).collect::<Vec<_>>(), asks);
        assert_eq!(messages.into_iter().flat_map(|message| message.bytes).collect::<Vec<u8>>(), said.as_bytes());
    }
}
