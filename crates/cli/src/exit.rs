//! What the exit code of the program says.

use std::process::ExitCode;

/// How a command ended. A script can tell from the code what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: finished, or stopped by a signal and drained.
    Done = 0,
    /// 1: the pipeline failed: a source, a sink or a look-up, or a step whose `on_error` says `fail`. Of `check --connect`:
    /// something does not answer.
    Failed = 1,
    /// 2: the command line is wrong.
    Usage = 2,
    /// 3: finished, but records went to the dead letters; only with `--strict`.
    DeadLettered = 3,
    /// 4: stopped before everything in flight was finished; that work will be done again.
    NotDrained = 4,
    /// 78: the pipeline file is wrong, or does not fit the checkpoint to go on from. Nothing was read or written.
    BadPipeline = 78,
}

impl Exit {
    /// The code itself.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   finished, or stopped by a signal and drained
  1   the pipeline failed
  2   the command line is wrong
  3   finished, but records went to the dead letters (only with --strict)
  4   stopped before everything in flight was finished
  78  the pipeline file is wrong, or does not fit the checkpoint to go on from";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_tells_every_code() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::DeadLettered, Exit::NotDrained, Exit::BadPipeline];
        let told: Vec<String> =
            EXIT_CODES.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        assert_eq!(told, all.map(|exit| exit.code().to_string()));
    }
}
