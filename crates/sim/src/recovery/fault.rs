//! What may be wrong with the parts around the pipeline: each of these must be found.

/// A mistake that is made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What was on its way at the end of an epoch is not stored.
    CarriedLost,
    /// Sources tell the position after the next record.
    PositionsLate,
    /// What the output got after the checkpoint stays there.
    OutputNotTruncated,
    /// A checkpoint gets its name before its bytes are durable.
    CheckpointNotSynced,
    /// A checkpoint's name is not made durable.
    FolderNotSynced,
    /// The checkpoint is written before the output is durable.
    OutputNotSynced,
    /// A checkpoint is said to be complete before it is written.
    ToldTooEarly,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::CarriedLost,
        Self::PositionsLate,
        Self::OutputNotTruncated,
        Self::CheckpointNotSynced,
        Self::FolderNotSynced,
        Self::OutputNotSynced,
        Self::ToldTooEarly,
    ];
}
