//! Flink's historic bugs, re-made as switches of test builds (feature `mutants`): the simulation has to find each of them.
//!
//! The numbers are those of the project's study of Flink's operator: B for bugs, S for rules.

use crate::config::Config;

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table in `describe` says what each is")]
pub enum Mutant {
    B2,
    B3,
    B4,
    B9,
    B12,
    B13,
    B17,
    B18,
    B22,
    B23,
    B24,
    B26,
    B27,
    B28,
    B30,
    B32,
    S6,
    S15,
    S22,
    S53,
    S60,
    S71,
    S83,
    S91,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::B2,
        Self::B3,
        Self::B4,
        Self::B9,
        Self::B12,
        Self::B13,
        Self::B17,
        Self::B18,
        Self::B22,
        Self::B23,
        Self::B24,
        Self::B26,
        Self::B27,
        Self::B28,
        Self::B30,
        Self::B32,
        Self::S6,
        Self::S15,
        Self::S22,
        Self::S53,
        Self::S60,
        Self::S71,
        Self::S83,
        Self::S91,
    ];

    /// The Flink issue, if there is one, and what goes wrong.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::B2 => "FLINK-5652: timers of completed records are kept",
            Self::B3 => "FLINK-6435: a record that timed out does not leave until another one is answered",
            Self::B4 => "FLINK-7949: records restored beyond the capacity never start",
            Self::B9 => "FLINK-13491: the end of input overtakes records in flight",
            Self::B12 => "FLINK-22573: a completed record times out",
            Self::B13 => "FLINK-24686: a record that times out gets no outcome, and its slot is lost",
            Self::B17 => "FLINK-30477: a retry starts after the record timed out",
            Self::B18 => "FLINK-33698: the backoff of one record is spoiled by the others'",
            Self::B22 => "FLINK-38082: a record that ran out of time is tried again",
            Self::B23 => "FLINK-37981: the last watermark is not sent at the end of input",
            Self::B24 => "FLINK-40456: a record that times out while it backs off is lost",
            Self::B26 => "no ticket: a snapshot holds the records being called twice",
            Self::B27 => "no ticket: a failure with no retries left turns into a missing answer",
            Self::B28 => "no ticket: an idle status overtakes records",
            Self::B30 => "FLINK-39532: answers of a batch go to the wrong records",
            Self::B32 => "no ticket: a snapshot scrambles the order of records",
            Self::S6 => "S6, S51: a call that was given up no longer counts, though it has not ended",
            Self::S15 => "S15: records pass watermarks though the rule is strict",
            Self::S22 => "S22: a late answer overwrites an outcome",
            Self::S53 => "S53: one attempt too many",
            Self::S60 => "S60: a straggler of an earlier attempt is taken for this one's answer",
            Self::S71 => "S71: the end of input forces an extra attempt",
            Self::S83 => "S83: a snapshot's result is forgotten, and its record called again",
            Self::S91 => "S91: two calls of a key run at a time",
        }
    }
}

impl Config {
    /// Whether this build has this bug.
    #[cfg(feature = "mutants")]
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    #[allow(clippy::unused_self, reason = "it does use it with the feature")]
    pub(crate) const fn has(&self, _: Mutant) -> bool {
        false
    }
}
