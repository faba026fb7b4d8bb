//! The two kinds of time: [`Time`], which passes, and [`Timestamp`], which records carry.

use core::time::Duration;

/// A moment on the host's clock, in nanoseconds since an origin of the host's choice.
///
/// The queue never reads a clock: whoever drives it says what time it is (*processing time* in Flink's words).
///
/// ```
/// use core::time::Duration;
/// use inflight_core::Time;
///
/// let start = Time::ZERO + Duration::from_millis(2);
/// assert_eq!(start.as_nanos(), 2_000_000);
/// assert_eq!((start + Duration::from_secs(1)).since(start), Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin of the host's clock.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens: 584 years after the origin.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment this many nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment this much earlier; [`Time::ZERO`] if the clock does not go back so far.
    pub(crate) fn back(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub((Self::ZERO + duration).0))
    }

    /// The moment this many nanoseconds later; it saturates at [`Time::NEVER`].
    #[inline]
    pub(crate) const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds passed since `earlier`.
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time passed since `earlier`; zero when `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }
}

impl core::ops::Add<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::NEVER`].
    #[inline]
    fn add(self, duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_mul(1_000_000_000);
        Self(self.0.saturating_add(seconds).saturating_add(u64::from(duration.subsec_nanos())))
    }
}

/// Event time of a record or of a watermark. The unit is the user's (Flink: milliseconds since 1970); the queue only compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);
