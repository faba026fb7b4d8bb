//! The fuzz targets on stable Rust: their seeds, damaged in ways that follow from a number, the same in every run.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use std::fs;
use std::io::{Seek, Write};
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "the targets of cargo-fuzz reach them")]
mod targets;

/// Damaged inputs per target, shared out over its seeds. `INFLIGHT_FUZZ` sets another number.
const INPUTS: u64 = 20_000;

/// Bytes that mean something to one of the formats.
const PIECES: [&[u8]; 24] = [
    b"\n",
    b"\r\n",
    b"\r",
    b"\"",
    b"\"\"",
    b",",
    b";",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b": ",
    b"\\u",
    b"${env:",
    b"&a ",
    b"*a",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc3\xa9",
    b"-",
    b"99999999999999999999",
    b"1e999",
    b".",
];

/// As large as that of a program's main thread: those of tests are smaller.
const STACK_BYTES: usize = 8 << 20;

fn fuzz(name: &'static str, target: fn(&[u8])) {
    let inputs = std::env::var("INFLIGHT_FUZZ").map_or(INPUTS, |text| text.parse().expect("INFLIGHT_FUZZ is a number"));
    let feed = move || feed(name, target, inputs);
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(feed).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn feed(name: &str, target: fn(&[u8]), inputs: u64) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut seeds: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort_unstable();
    assert!(!seeds.is_empty(), "no seeds in {}", corpus.display());
    // A stack that overflows ends the process without a word, so what is in hand is noted beforehand.
    let note = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    let mut in_hand = fs::File::create(&note).unwrap();
    for path in &seeds {
        let seed = fs::read(path).unwrap();
        target(&seed);
        for number in 0..inputs / seeds.len() as u64 {
            in_hand.rewind().unwrap();
            writeln!(in_hand, "{number:>20} {}", path.display()).unwrap();
            let input = damaged(&seed, number);
            let outcome = catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "{}, number {number}:\n{}", path.display(), String::from_utf8_lossy(&input));
        }
    }
    fs::remove_file(note).unwrap();
}

fn damaged(seed: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let mut chance = Chance(number);
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(16)).min(bytes.len());
        match chance.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..end, PIECES[chance.below(PIECES.len())].iter().copied())),
            3 => drop(bytes.splice(at..at, PIECES[chance.below(PIECES.len())].iter().copied())),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = chance.below(bytes.len() + 1);
                // Sometimes much of it: lengths have limits too.
                let times = if chance.below(50) == 0 { 200 } else { 1 };
                drop(bytes.splice(to..to, copy.repeat(times)));
            }
            _ => bytes[at.min(end.saturating_sub(1))..end].iter_mut().for_each(|byte| *byte = chance.below(256) as u8),
        }
    }
    bytes
}

/// SplitMix64: a number makes a row of numbers.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[test]
fn pipeline_file() {
    fuzz("pipeline_file", targets::pipeline_file);
}

#[test]
fn json_lines() {
    fuzz("json_lines", targets::json_lines);
}

#[test]
fn csv() {
    fuzz("csv", targets::csv);
}

#[test]
fn field_path() {
    fuzz("field_path", targets::field_path);
}

#[test]
fn duration() {
    fuzz("duration", targets::duration);
}

/// The smoke is worth something only if damage leads both into and past the checks.
#[test]
fn damage_is_varied_and_repeatable() {
    let seed = b"250ms";
    let all: Vec<_> = (0..1000).map(|number| damaged(seed, number)).collect();
    assert_eq!(all, (0..1000).map(|number| damaged(seed, number)).collect::<Vec<_>>());
    let accepted =
        |bytes: &Vec<u8>| core::str::from_utf8(bytes).is_ok_and(|t| inflight_connectors::duration::parse(t).is_ok());
    let right = all.iter().filter(|bytes| accepted(bytes)).count();
    assert!(right > 20 && right < 900, "{right} of 1000 are right");
}
