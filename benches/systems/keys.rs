//! Keys to look up, the same in every run.

/// How often each key comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spread {
    Uniform,
    /// The n-th most frequent key comes 1/n as often as the first.
    Zipf,
}

/// Numbers from 1 to `rows`, for ever.
pub(crate) struct Keys {
    seed: u64,
    rows: u64,
    /// For Zipf: how much of all comes up to each rank.
    shares: Vec<f64>,
}

impl Keys {
    pub(crate) fn new(spread: Spread, rows: u64) -> Self {
        let mut shares = Vec::new();
        if spread == Spread::Zipf {
            let mut sum = 0.0;
            shares.extend((1..=rows).map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            }));
            shares.iter_mut().for_each(|share| *share /= sum);
        }
        Self { seed: 1, rows, shares }
    }

    /// The generator is splitmix64.
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Iterator for Keys {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let random = self.random();
        if self.shares.is_empty() {
            return Some(1 + random % self.rows);
        }
        let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = self.shares.partition_point(|&up_to| up_to < share) as u64;
        // Frequent keys are not neighbours: the multiplier and the number of rows have no common factor.
        Some(1 + rank.min(self.rows - 1).wrapping_mul(0x9E37_79B1) % self.rows)
    }
}
