//! One checkpoint as one file: two lines that say what follows, a header that people can read, and the bytes that were carried.
//!
//! ```text
//! inflight checkpoint 2
//! header 512 bytes 1c291ca3, carried 73 bytes 9ae0daaf
//! {
//!   "epoch": 7,
//!   ...
//! }
//! (73 bytes)
//! ```
//!
//! The second line has lengths and CRC-32, and there is one way only to write it. So every byte of the file is accounted for: a file that
//! was cut off, grew, or has a byte changed is refused.

use serde::{Deserialize, Serialize};

use super::{Checkpoint, Mark};

/// The version that is written, and the only one that is read: it goes up with every change of what is carried, too.
const VERSION: u64 = 2;
const MAGIC: &str = "inflight checkpoint ";

/// What the file says besides the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) checkpoint: Checkpoint,
    /// What the run that wrote it went on from.
    pub(super) started_from: Option<Mark>,
}

#[derive(Serialize)]
struct HeaderRef<'a> {
    #[serde(flatten)]
    checkpoint: &'a Checkpoint,
    started_from: Option<Mark>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(flatten)]
    checkpoint: Checkpoint,
    started_from: Option<Mark>,
}

/// The whole file.
pub(super) fn encode(checkpoint: &Checkpoint, started_from: Option<Mark>) -> Vec<u8> {
    // Texts, numbers and lists of them: there is nothing in a header that JSON cannot say.
    let mut header = serde_json::to_vec_pretty(&HeaderRef { checkpoint, started_from }).unwrap_or_default();
    header.push(b'\n');
    let mut file = format!("{MAGIC}{VERSION}\n{}", lengths(&header, &checkpoint.carried)).into_bytes();
    file.extend_from_slice(&header);
    file.extend_from_slice(&checkpoint.carried);
    file
}

/// What is in such a file.
///
/// # Errors
///
/// What is wrong with it, for people. Whatever the bytes, nothing is allocated that is larger than they are.
pub(super) fn decode(file: &[u8]) -> Result<Decoded, String> {
    let (first, rest) = line(file).ok_or_else(|| cut_off(file))?;
    let version = first.strip_prefix(MAGIC).ok_or("it does not begin like a checkpoint")?;
    match version.parse::<u64>() {
        Ok(VERSION) if version.len() == 1 => {}
        Ok(newer) if newer > VERSION => {
            return Err(format!(
                "written by a newer version of inflight (format {newer}; this one knows format {VERSION}): use that version"
            ));
        }
        Ok(older) if (1..VERSION).contains(&older) && version.len() == 1 => {
            return Err(format!(
                "written by an older version of inflight (format {older}; this one knows format {VERSION}): end the run with that version"
            ));
        }
        _ => return Err(format!("its format {version:?} is unknown")),
    }
    let (said, rest) = line(rest).ok_or_else(|| cut_off(file))?;
    let header_length = said.strip_prefix("header ").and_then(|said| said.split_once(' ')).map(|(length, _)| length);
    let header_length: usize =
        header_length.and_then(|length| length.parse().ok()).ok_or("its second line does not say how long it is")?;
    let (header, carried) = rest.split_at_checked(header_length).ok_or_else(|| cut_off(file))?;
    check(said, header, carried)?;
    let header: Header = serde_json::from_slice(header).map_err(|error| format!("its header is wrong: {error}"))?;
    Ok(Decoded {
        checkpoint: Checkpoint { carried: carried.to_vec(), ..header.checkpoint },
        started_from: header.started_from,
    })
}

/// The second line.
fn lengths(header: &[u8], carried: &[u8]) -> String {
    let part = |bytes: &[u8]| format!("{} bytes {:08x}", bytes.len(), crc32fast::hash(bytes));
    format!("header {}, carried {}\n", part(header), part(carried))
}

/// Whether the second line is right; if not, what seems to have happened.
fn check(said: &str, header: &[u8], carried: &[u8]) -> Result<(), String> {
    let is = lengths(header, carried);
    if said == is.trim_end() {
        return Ok(());
    }
    let carried_length =
        said.split_once("carried ").and_then(|(_, said)| said.split_once(' ')).map(|(length, _)| length);
    Err(match carried_length.and_then(|length| length.parse::<usize>().ok()) {
        Some(said) if said > carried.len() => {
            format!("cut off: {} of {said} carried bytes are there", carried.len())
        }
        Some(said) if said < carried.len() => format!("{} bytes too long", carried.len() - said),
        _ => "its bytes have changed since they were written: the checksums differ".to_owned(),
    })
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    /// Far more than the first two lines ever have.
    const LONGEST: usize = 200;
    let end = bytes.iter().take(LONGEST).position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn cut_off(file: &[u8]) -> String {
    if file.is_empty() {
        return "empty".to_owned();
    }
    if file.starts_with(MAGIC.as_bytes()) || MAGIC.as_bytes().starts_with(file) {
        return format!("cut off after {} bytes", file.len());
    }
    "it does not begin like a checkpoint".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Checkpoint {
        Checkpoint {
            epoch: 7,
            generation: 2,
            created: "2026-01-02T03:04:05.678Z".to_owned(),
            pipeline: r#"{"steps":["airline","ä"]}"#.to_owned(),
            partitions: vec![("flights.csv".to_owned(), r#"{"byte":1234}"#.to_owned())],
            sinks: [("sink".to_owned(), "4711".to_owned())].into(),
            facts: [("records".to_owned(), "12".to_owned())].into(),
            carried_records: 3,
            carried: vec![0, 255, b'\n', b'{', 7],
            complete: false,
        }
    }

    const FROM: Option<Mark> = Some(Mark { epoch: 4, generation: 1 });

    #[test]
    fn a_checkpoint_comes_back() {
        let checkpoint = small();
        let found = decode(&encode(&checkpoint, FROM)).unwrap();
        assert_eq!(found, Decoded { checkpoint, started_from: FROM });
        let empty = Checkpoint::default();
        assert_eq!(decode(&encode(&empty, None)).unwrap().checkpoint, empty);
    }

    #[test]
    fn people_can_read_the_header() {
        let file = encode(&small(), FROM);
        let text = String::from_utf8_lossy(&file);
        let lines: Vec<_> = text.lines().take(4).collect();
        assert_eq!(lines[0], "inflight checkpoint 2");
        assert!(lines[1].starts_with("header ") && lines[1].contains(", carried 5 bytes "), "{}", lines[1]);
        assert_eq!(lines[2..], ["{", "  \"epoch\": 7,"]);
    }

    #[test]
    fn every_truncation_is_refused() {
        let file = encode(&small(), FROM);
        for length in 0..file.len() {
            assert!(decode(&file[..length]).is_err(), "{length} of {} bytes", file.len());
        }
    }

    #[test]
    fn every_change_of_a_byte_is_refused() {
        let mut file = encode(&small(), FROM);
        for place in 0..file.len() {
            for change in 1..=255 {
                file[place] ^= change;
                assert!(decode(&file).is_err(), "byte {place} xor {change}");
                file[place] ^= change;
            }
        }
    }

    #[test]
    fn a_byte_more_or_less_anywhere_is_refused() {
        let file = encode(&small(), FROM);
        for place in 0..file.len() {
            let mut less = file.clone();
            less.remove(place);
            assert!(decode(&less).is_err(), "without byte {place}");
            for byte in [0, b'\n', b'0', b' ', file[place]] {
                let mut more = file.clone();
                more.insert(place, byte);
                assert!(decode(&more).is_err(), "byte {byte} at {place}");
            }
        }
        assert!(decode(&[file.clone(), vec![0]].concat()).is_err());
        assert!(decode(&[file.clone(), file].concat()).is_err());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let file = encode(&small(), FROM);
        let with = |from: &str, to: &str| {
            let text = String::from_utf8_lossy(&file).replacen(from, to, 1);
            decode(text.as_bytes()).unwrap_err()
        };
        assert_eq!(decode(b"").unwrap_err(), "empty");
        assert_eq!(decode(b"inflight ch").unwrap_err(), "cut off after 11 bytes");
        assert_eq!(decode(b"id,name\n1,x\n").unwrap_err(), "it does not begin like a checkpoint");
        assert_eq!(decode(&file[..file.len() - 2]).unwrap_err(), "cut off: 3 of 5 carried bytes are there");
        assert_eq!(decode(&[&file[..], b"xyz"].concat()).unwrap_err(), "3 bytes too long");
        assert!(with("checkpoint 2", "checkpoint 3").contains("written by a newer version of inflight (format 3;"));
        assert!(with("checkpoint 2", "checkpoint 1").contains("written by an older version of inflight (format 1;"));
        for none in ["checkpoint 02", "checkpoint 01", "checkpoint 0"] {
            assert!(with("checkpoint 2", none).contains("unknown"), "{none}");
        }
        assert!(decode(&[&file[..40], &[b'9'; 30]].concat()).is_err());
        let mut changed = file.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(decode(&changed).unwrap_err().contains("checksums differ"));
    }

    #[test]
    fn lengths_that_lie_allocate_nothing() {
        let file = format!("inflight checkpoint 2\nheader {} bytes 00000000, carried 0 bytes 00000000\n", u64::MAX);
        assert!(decode(file.as_bytes()).is_err());
        let file = format!("inflight checkpoint 2\nheader 0 bytes 00000000, carried {} bytes 00000000\n", u64::MAX);
        assert!(decode(file.as_bytes()).unwrap_err().starts_with("cut off"));
    }
}
