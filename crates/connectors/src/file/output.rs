//! The bytes of an output on their way: packed, buffered, written.

use std::io::{self, BufWriter, Write};

use flate2::write::GzEncoder;

use super::Compression;
use crate::Error;
use crate::partial::{Kept, PartialFile};

const BUFFER_BYTES: usize = 64 * 1024;

pub(super) struct Output {
    buffered: BufWriter<Target>,
    packing: Option<Packing>,
}

pub(super) enum Target {
    File(PartialFile),
    Stream(Box<dyn Write + Send>),
}

/// Gzip in members, each a gzip file of its own: what is behind the end of one can be cut off.
struct Packing {
    member: Option<GzEncoder<Vec<u8>>>,
    is_empty: bool,
}

impl Output {
    /// `is_empty` tells whether nothing has been written there before.
    pub(super) fn new(target: Target, compression: Compression, is_empty: bool) -> Self {
        let packing = match compression {
            Compression::None => None,
            Compression::Gzip => Some(Packing { member: None, is_empty }),
        };
        Self { buffered: BufWriter::with_capacity(BUFFER_BYTES, target), packing }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.buffered.get_ref(), Target::File(_))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.packing {
            None => self.buffered.write_all(bytes),
            Some(packing) => {
                packing.member().write_all(bytes)?;
                packing.hand_over(&mut self.buffered)
            }
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(packing) = &mut self.packing
            && let Some(member) = &mut packing.member
        {
            member.flush()?;
            packing.hand_over(&mut self.buffered)?;
        }
        self.buffered.flush()
    }

    /// Makes what was written so far durable, so that it can be continued; nothing for a stream.
    pub(super) fn keep(&mut self) -> io::Result<Option<Kept>> {
        if !self.is_file() {
            return self.flush().map(|()| None);
        }
        if let Some(packing) = &mut self.packing {
            packing.end_member(&mut self.buffered)?;
        }
        self.buffered.flush()?;
        match self.buffered.get_mut() {
            Target::File(file) => file.sync().map(Some),
            Target::Stream(_) => Ok(None),
        }
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        let failed = |error| Error::io("cannot write", error);
        if let Some(packing) = &mut self.packing {
            if packing.is_empty {
                packing.member(); // no bytes at all would be no gzip file
            }
            packing.end_member(&mut self.buffered).map_err(failed)?;
        }
        match self.buffered.into_inner().map_err(|error| failed(error.into_error()))? {
            Target::File(file) => file.commit(),
            Target::Stream(mut stream) => stream.flush().map_err(failed),
        }
    }
}

impl Packing {
    fn member(&mut self) -> &mut GzEncoder<Vec<u8>> {
        self.is_empty = false;
        self.member.get_or_insert_with(|| GzEncoder::new(Vec::new(), flate2::Compression::default()))
    }

    fn hand_over(&mut self, to: &mut impl Write) -> io::Result<()> {
        let Some(member) = &mut self.member else { return Ok(()) };
        to.write_all(member.get_ref())?;
        member.get_mut().clear();
        Ok(())
    }

    fn end_member(&mut self, to: &mut impl Write) -> io::Result<()> {
        match self.member.take() {
            Some(member) => to.write_all(&member.finish()?),
            None => Ok(()),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}
