//! What happened in a run, as text: printed to be read, or hashed to be compared.

use core::fmt::Write as _;

/// What to make of a run's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Nothing.
    Off,
    /// A hash: equal runs have equal hashes.
    Hash,
    /// Print it to standard error.
    Print,
}

#[derive(Debug)]
pub(crate) struct Tracer {
    mode: Trace,
    line: String,
    hash: u64,
}

impl Tracer {
    pub(crate) const fn new(mode: Trace) -> Self {
        Self { mode, line: String::new(), hash: 0xCBF2_9CE4_8422_2325 }
    }

    pub(crate) fn note(&mut self, what: core::fmt::Arguments<'_>) {
        if self.mode == Trace::Off {
            return;
        }
        self.line.clear();
        let _ = self.line.write_fmt(what);
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        }
        if self.mode == Trace::Print {
            eprintln!("{}", self.line);
        }
    }

    /// FNV-1a over everything noted.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}
