//! Recovery, as typed.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Count, Period};

/// Where and how often a run writes down what it has done.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The folder, for this pipeline alone. It is made when it is missing.
    pub dir: PathBuf,
    /// The time from one checkpoint to the next. After a crash as much is done again at most. Default: 1s.
    pub every: Option<Period>,
    /// How many checkpoints are kept, so that one that is damaged has others before it. Default: 3; at least 2.
    pub keep: Option<Count>,
    /// What the records that are done again after a crash are given as answers. Default: `none`.
    #[serde(default)]
    pub replay: Replay,
}

/// What the records that are done again after a crash are given as answers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// What the system answers now: they are looked up again.
    #[default]
    None,
    /// The answers of before the crash, which are written down until a checkpoint covers their record.
    Recorded,
}
