//! Thousands of damaged pipeline files: each is refused or accepted, none makes the program panic.

use inflight_cli::explain::explain;
use inflight_cli::file;
use inflight_cli::pipeline::Pipeline;

/// Files damaged per sample and run.
const ROUNDS: u64 = 4_000;

/// Pieces that mean something, to get past the first check more often than random bytes would.
const PIECES: [&str; 24] = [
    "${env:",
    "${file:x}",
    "}",
    "$${",
    "{",
    "[",
    ":",
    " ",
    "\n",
    "\t",
    "&a ",
    "*a",
    "<<: *a\n",
    "!x ",
    "null",
    "0",
    "-1",
    "9999999999999999999999",
    "10k",
    "..",
    "é",
    "\u{feff}",
    "---\n",
    "'",
];

const SAMPLES: [&str; 2] = [
    include_str!("../../../../examples/flights/pipeline.yaml"),
    "\
source: { stdin: { format: csv, null: [NA], columns: { a: int } } }
enrich:
  user:
    sqlite: { database: '${env:DB:-users.db}', table: users, columns: [name, firm] }
    key: { id: .user_id }
    order: key_serial
    capacity: 10k
    concurrency: { min: 4, max: 40 }
    timeout: 1s
    deadline: 5s
    retries: { max: 3, backoff: 50ms..2s, on: [timeout, connection, busy], budget: 5% }
    batch: { size: 100, linger: 2ms }
    single_flight: true
    cache: { entries: 200k, ttl: 10m, missing_ttl: 30s, stale_for: 1h }
    hedge: off
    rate_limit: { rate: 500/s, burst: 50, per_key: 5/s }
    breaker: { failures: 50%, window: 20, min_calls: 5, open_for: 1s, probes: 2 }
    destination: users
    on_missing: dead_letter
    on_error: { default: { name: none, list: [1, 2.5, true, null] } }
  firm:
    sqlite: { database: users.db, query: 'select name from firms where id = $id' }
    key: { id: .user.firm }
    on_error: drop
sink: { file: { path: out.jsonl.gz } }
dead_letter: { stdout: {} }
",
];

/// A small generator with a seed (SplitMix64): the same files in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn damage(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(chars.len());
        let end = (at + 1 + random.below(20)).min(chars.len());
        match random.below(6) {
            0 => chars.truncate(at),
            1 => drop(chars.drain(at..end)),
            2 => drop(chars.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
            3 => drop(chars.splice(at..end, PIECES[random.below(PIECES.len())].chars())),
            4 => {
                let copy = chars[at..end].to_vec();
                let to = random.below(chars.len());
                drop(chars.splice(to..to, copy));
            }
            _ => chars[at] = char::from_u32(random.next() as u32 % 0x250).unwrap_or('?'),
        }
        if chars.is_empty() {
            break;
        }
    }
    chars.into_iter().collect()
}

#[test]
fn damaged_files_never_cause_a_panic() {
    let (mut right, mut wrong) = (0, 0);
    for (sample, text) in SAMPLES.iter().enumerate() {
        for seed in 0..ROUNDS {
            let damaged = damage(text, &mut Random(seed + sample as u64 * ROUNDS));
            let outcome = file::parse("p.yaml", &damaged).and_then(Pipeline::check);
            match outcome {
                Ok(pipeline) => {
                    assert!(explain(&pipeline).is_ok(), "seed {seed} of sample {sample}:\n{damaged}");
                    right += 1;
                }
                Err(faults) => {
                    let shown = faults.to_string();
                    assert!(!faults.is_empty() && shown.starts_with("error: "), "seed {seed} of sample {sample}");
                    wrong += 1;
                }
            }
        }
    }
    // Both ways are taken often enough to mean something.
    assert!(right > 500 && wrong > 500, "{right} right, {wrong} wrong");
}
