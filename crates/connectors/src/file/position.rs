//! Where a file source stands, and whether the file is still the one that it stood in.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use flate2::Crc;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, ErrorKind, Position};

/// How much of the beginning of a file is compared: 4 KiB.
const BEGINNING_BYTES: u64 = 4096;

/// How much of a text has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) offset: u64,
    pub(super) line: u64,
    pub(super) record: u64,
}

/// Where the next record lies, as [`Position::at`] has it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Place {
    /// Bytes before it, of the unpacked content.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) line: u64,
    /// What the input begins with, so that another one in its place is noticed. None for what has no beginning to go
    /// back to, such as stdin.
    pub(super) beginning: Option<Fingerprint>,
}

/// A checksum of the first bytes of a file, and of the names of its columns.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Fingerprint {
    /// How many bytes, as they lie on the disk.
    bytes: u64,
    /// Their CRC-32.
    crc: u32,
    /// CSV only: the CRC-32 of the names of the columns.
    pub(super) columns: Option<u32>,
}

/// What a regular file begins with.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    bytes: Vec<u8>,
}

impl Reached {
    pub(super) fn position(self, beginning: Option<Fingerprint>) -> Position {
        let Self { offset, line, record } = self;
        // Numbers can always be written.
        let at = serde_json::to_value(Place { offset, line, beginning }).unwrap_or_default();
        Position { record, skip: 0, at }
    }
}

impl Place {
    /// The place that a position of a file says.
    pub(super) fn of(position: &Position) -> Result<Self, Error> {
        if position.at == Value::Null {
            return Ok(Self::default());
        }
        Self::deserialize(&position.at).map_err(|error| {
            let message = "the checkpoint has a place in the source that is none in a file; start anew without it";
            Error::new(ErrorKind::Changed, message).caused_by(error)
        })
    }
}

impl Beginning {
    /// Reads it, and leaves the file at its start.
    pub(super) fn read(file: &mut File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.by_ref().take(BEGINNING_BYTES).read_to_end(&mut bytes)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { bytes })
    }

    /// The fingerprint of no more than `most` bytes: what comes after them may still grow.
    pub(super) fn fingerprint(&self, most: u64, columns: Option<u32>) -> Fingerprint {
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(self.bytes.len());
        Fingerprint { bytes: length as u64, crc: crc([&self.bytes[..length]]), columns }
    }

    /// Whether the file begins as it did.
    pub(super) fn check(&self, then: &Fingerprint) -> Result<(), Error> {
        let now = self.fingerprint(then.bytes, then.columns);
        if now == *then { Ok(()) } else { Err(changed("its beginning is another")) }
    }
}

/// The checksum of the names of columns.
pub(super) fn columns_crc<'a>(names: impl Iterator<Item = &'a str>) -> u32 {
    const NEVER_IN_A_NAME: &[u8] = &[0xFF];
    crc(names.flat_map(|name| [name.as_bytes(), NEVER_IN_A_NAME]))
}

fn crc<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut crc = Crc::new();
    parts.into_iter().for_each(|part| crc.update(part));
    crc.sum()
}

/// The error for a file that is not what it was, as `how` says.
pub(super) fn changed(how: &str) -> Error {
    let message = format!(
        "the source has changed since the checkpoint: {how}; bring the file back as it was, or start anew without the \
         checkpoint"
    );
    Error::new(ErrorKind::Changed, message)
}
