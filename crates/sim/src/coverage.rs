//! Which fault met which situation, in which order: a simulator that never gets into trouble proves nothing.

use core::fmt;

use inflight_core::Order;

/// What may happen to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers.
    Answer,
    /// It fails, and may be tried again.
    Error,
    /// It never answers, and is given up.
    Never,
    /// It answers a second time.
    Twice,
    /// It answers after it was given up.
    AfterTimeout,
    /// It answers after it was cancelled and said to have stopped.
    AfterCancel,
    /// It answers before one that started earlier.
    OutOfOrder,
    /// Whoever made it died: it ends without any completion.
    Panic,
    /// It answers for some of its records.
    ShortBatch,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Answer,
        Self::Error,
        Self::Never,
        Self::Twice,
        Self::AfterTimeout,
        Self::AfterCancel,
        Self::OutOfOrder,
        Self::Panic,
        Self::ShortBatch,
    ];
}

/// What else is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Nothing of what follows.
    Normal,
    /// A record is backing off.
    RetryPending,
    /// The call is a batch that was not full.
    BatchPartial,
    /// A snapshot was taken while the call was on the wire.
    Snapshot,
    /// The call has a restored record.
    Restore,
    /// A record that was restored with its outcome has not left.
    Carried,
    /// The queue drains.
    Drain,
    /// The input has ended.
    EndOfInput,
    /// There is no room.
    FullQueue,
    /// More calls are on the wire than may be now.
    ConcurrencyLowered,
}

impl Situation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Normal,
        Self::RetryPending,
        Self::BatchPartial,
        Self::Snapshot,
        Self::Restore,
        Self::Carried,
        Self::Drain,
        Self::EndOfInput,
        Self::FullQueue,
        Self::ConcurrencyLowered,
    ];
}

/// How often each fault met each situation in each order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage([[[u64; 10]; 9]; 4]);

impl Coverage {
    pub(crate) fn hit(&mut self, order: Order, fault: Fault, situation: Situation) {
        self.0[order as usize][fault as usize][situation as usize] += 1;
    }

    /// How often.
    #[must_use]
    pub const fn count(&self, order: Order, fault: Fault, situation: Situation) -> u64 {
        self.0[order as usize][fault as usize][situation as usize]
    }

    /// The sum of both.
    pub fn add(&mut self, other: &Self) {
        let cells = self.0.as_flattened_mut().as_flattened_mut();
        for (cell, more) in cells.iter_mut().zip(other.0.as_flattened().as_flattened()) {
            *cell += more;
        }
    }

    /// The cells that no run has reached.
    #[must_use]
    pub fn missing(&self) -> Vec<(Order, Fault, Situation)> {
        let situations = |order, fault| Situation::ALL.map(|situation| (order, fault, situation));
        let faults = |order| Fault::ALL.into_iter().flat_map(move |fault| situations(order, fault));
        Order::ALL
            .into_iter()
            .flat_map(faults)
            .filter(|&(order, fault, situation)| self.count(order, fault, situation) == 0)
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for order in Order::ALL {
            write!(f, "{:<13}", format!("{order:?}"))?;
            for situation in Situation::ALL {
                write!(f, "{:>19}", format!("{situation:?}"))?;
            }
            writeln!(f)?;
            for fault in Fault::ALL {
                write!(f, "{:<13}", format!("{fault:?}"))?;
                for situation in Situation::ALL {
                    write!(f, "{:>19}", self.count(order, fault, situation))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
