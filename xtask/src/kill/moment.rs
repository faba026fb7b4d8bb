//! When to kill.

use std::time::Duration;

use super::chance::Chance;

/// How long a start takes at most: reading the last checkpoint, meeting the other processes.
const START: Duration = Duration::from_millis(200);
/// What happens between the name of the output and the end of the process.
const FAREWELL: Duration = Duration::from_millis(6);
/// One run is killed about so often on its way.
const KILLS_OF_A_RUN: u32 = 12;

/// When to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long after the start.
    After(Duration),
    /// When the output is this long: shortly before its end, or at it.
    AtLength(u64),
    /// So long after the output has got its name.
    Named(Duration),
}

impl Moment {
    /// `run`: how long an undisturbed run takes; `length`: that of its output.
    pub(super) fn draw(chance: &mut Chance, run: Duration, length: u64) -> Self {
        match chance.below(100) {
            0..20 => Self::After(chance.up_to(START)),
            20..25 => Self::AtLength(length - chance.below(length / 50 + 1)),
            25..30 => Self::Named(chance.up_to(FAREWELL)),
            _ => Self::After(chance.up_to(2 * run / KILLS_OF_A_RUN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_middle_and_end_are_hit() {
        let (mut chance, run) = (Chance::new(1, 1), Duration::from_secs(6));
        let drawn: Vec<Moment> = (0..200).map(|_| Moment::draw(&mut chance, run, 1_000)).collect();
        let count = |is: fn(&Moment) -> bool| drawn.iter().filter(|moment| is(moment)).count();
        assert!(count(|moment| matches!(moment, Moment::After(time) if *time <= START)) > 20);
        assert!(count(|moment| matches!(moment, Moment::After(time) if *time > START)) > 60);
        assert!(count(|moment| matches!(moment, Moment::AtLength(980..=1_000))) > 2);
        assert!(count(|moment| matches!(moment, Moment::Named(_))) > 2);
    }
}
