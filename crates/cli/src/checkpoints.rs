//! `inflight checkpoints`: what is in a folder of checkpoints, for people and (`--json`) for programs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{anyhow, bail};
use inflight_timely::checkpoint::{Checkpoint, Folder, Listed, Listing, Mark, list, since_1970};
use serde_json::{Value, json};

use crate::args::{CheckpointsArgs, Look};
use crate::exit::Exit;
use crate::summary::{grouped, short};

/// What to print, and how the command ends.
///
/// # Errors
/// When the folder cannot be read, is none of checkpoints, or has not the one that was asked for.
pub(crate) fn checkpoints(args: &CheckpointsArgs) -> anyhow::Result<(String, Exit)> {
    let look = &args.look;
    let (Look::List { dir } | Look::Show { dir, .. } | Look::Verify { dir, .. }) = look;
    let listing = read(dir)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let folder = Shown { dir, listing: &listing, now };
    let (text, exit) = match look {
        Look::List { .. } if args.json => (folder.json(), Exit::Done),
        Look::List { .. } => (folder.table(), Exit::Done),
        Look::Show { checkpoint, .. } => {
            let (listed, checkpoint) = folder.readable(checkpoint.as_deref())?;
            let text =
                if args.json { folder.header_json(listed, checkpoint) } else { folder.header(listed, checkpoint) };
            (text, Exit::Done)
        }
        Look::Verify { checkpoint, .. } => {
            let chosen = checkpoint.as_deref().map(|asked| folder.find(asked)).transpose()?;
            let damaged = folder.damaged(chosen);
            let exit = if damaged.is_empty() { Exit::Done } else { Exit::Failed };
            (if args.json { folder.json() } else { folder.verified(chosen, &damaged) }, exit)
        }
    };
    Ok((text, exit))
}

/// The folder, if it is one of checkpoints.
fn read(dir: &Path) -> anyhow::Result<Listing> {
    let listing = list(&Folder::open(dir)?)?;
    if !listing.is_ours {
        let there = match listing.foreign {
            0 => "it is empty".to_owned(),
            1 => "its one file is none of ours".to_owned(),
            files => format!("none of its {} files is ours", grouped(files as u64)),
        };
        bail!(
            "{}: not a folder of checkpoints: {there}; name the folder that `checkpoint: {{ dir: ... }}` names",
            dir.display()
        );
    }
    Ok(listing)
}

/// A folder at a moment.
struct Shown<'a> {
    dir: &'a Path,
    listing: &'a Listing,
    /// Since the beginning of 1970.
    now: Duration,
}

impl Shown<'_> {
    /// One line for each checkpoint.
    fn table(&self) -> String {
        const HEADER: [&str; 6] = ["epoch", "run", "age", "size", "carried", ""];
        let mut rows = vec![HEADER.map(str::to_owned)];
        rows.extend(self.listing.checkpoints.iter().map(|listed| {
            let content = listed.content.as_ref().ok();
            [
                listed.mark.epoch.to_string(),
                listed.mark.generation.to_string(),
                content.map_or_else(|| "?".to_owned(), |checkpoint| self.age(checkpoint)),
                bytes(listed.size),
                content.map_or_else(|| "?".to_owned(), |checkpoint| grouped(checkpoint.carried_records as u64)),
                self.state(listed),
            ]
        }));
        let mut text = if rows.len() > 1 { aligned(&rows) } else { String::new() };
        for damaged in &self.listing.damaged {
            let _ = writeln!(text, "{damaged}");
        }
        if self.listing.next.is_none() {
            let _ = writeln!(text, "{}", self.would_use());
        }
        text
    }

    fn state(&self, listed: &Listed) -> String {
        match &listed.content {
            Err(flaw) => format!("damaged: {flaw}"),
            Ok(_) if !listed.leads_to_now => "valid, but left behind: a newer run began at another place".to_owned(),
            Ok(checkpoint) if self.listing.next == Some(listed.mark) && checkpoint.complete => {
                "valid, the end of the run".to_owned()
            }
            Ok(_) if self.listing.next == Some(listed.mark) => "valid, a restart goes on from here".to_owned(),
            Ok(_) => "valid".to_owned(),
        }
    }

    /// Everything that one checkpoint says, but for what it carries.
    fn header(&self, listed: &Listed, checkpoint: &Checkpoint) -> String {
        let mut text = format!("{}: {}\n", listed.name, self.state(listed));
        let carried =
            format!("{} records in {}", grouped(checkpoint.carried_records as u64), bytes(listed.carried_bytes));
        let rows = [
            ["epoch".to_owned(), format!("{}, by run {}", checkpoint.epoch, checkpoint.generation)],
            ["created".to_owned(), format!("{} ({} ago)", checkpoint.created, self.age(checkpoint))],
            ["size".to_owned(), bytes(listed.size)],
            ["carried".to_owned(), carried],
        ];
        text += &indented(&rows);
        let partitions = checkpoint.partitions.iter().map(|(name, position)| (name, position));
        text += &section("positions", partitions);
        text += &section("sinks", &checkpoint.sinks);
        text += &section("facts", &checkpoint.facts);
        if !checkpoint.pipeline.is_empty() {
            let pipeline = value(&checkpoint.pipeline);
            let pretty = serde_json::to_string_pretty(&pipeline).unwrap_or_else(|_| checkpoint.pipeline.clone());
            let _ = writeln!(text, "\npipeline\n  {}", pretty.replace('\n', "\n  "));
        }
        text
    }

    fn header_json(&self, listed: &Listed, checkpoint: &Checkpoint) -> String {
        let mut shown = self.listed_json(listed);
        let values = |texts: &mut dyn Iterator<Item = (&String, &String)>| -> Value {
            texts.map(|(name, text)| (name.clone(), value(text))).collect::<serde_json::Map<_, _>>().into()
        };
        // Partitions keep their order; two may have one name.
        let position = |(name, position): &(String, String)| json!({ "name": name, "position": value(position) });
        shown["partitions"] = checkpoint.partitions.iter().map(position).collect();
        shown["sinks"] = values(&mut checkpoint.sinks.iter());
        shown["facts"] = values(&mut checkpoint.facts.iter());
        shown["pipeline"] = value(&checkpoint.pipeline);
        pretty(&shown)
    }

    /// What `verify` found, and what a restart would do.
    fn verified(&self, chosen: Option<&Listed>, damaged: &[String]) -> String {
        let mut text: String = damaged.iter().map(|damaged| format!("damaged: {damaged}\n")).collect();
        if damaged.is_empty() {
            text += &match (chosen, self.listing.checkpoints.len()) {
                (Some(listed), _) => format!("{}: valid\n", listed.name),
                (None, 0) => String::new(),
                (None, 1) => "1 checkpoint, valid\n".to_owned(),
                (None, more) => format!("{} checkpoints, all valid\n", grouped(more as u64)),
            };
        }
        let _ = writeln!(text, "{}", self.would_use());
        text
    }

    /// Which checkpoint a restart would go on from.
    fn would_use(&self) -> String {
        let listed = &self.listing.checkpoints;
        let next = self.listing.next.and_then(|next| listed.iter().find(|listed| listed.mark == next));
        match next.map(|next| (next, &next.content)) {
            Some((_, Ok(checkpoint))) if checkpoint.complete => {
                format!("a restart would do nothing: the run had ended with epoch {}", checkpoint.epoch)
            }
            Some((next, Ok(checkpoint))) => {
                format!("a restart would use {} (epoch {}, {} old)", next.name, checkpoint.epoch, self.age(checkpoint))
            }
            _ if listed.iter().any(|listed| listed.leads_to_now) => {
                "a restart would be refused: no checkpoint is left that is valid; put back a copy of one, or use --from-scratch"
                    .to_owned()
            }
            _ => "a restart would begin at the beginning: there is no checkpoint yet to go on from".to_owned(),
        }
    }

    /// What is damaged: of the chosen one, or of all.
    fn damaged(&self, chosen: Option<&Listed>) -> Vec<String> {
        let looked_at = |listed: &&Listed| chosen.is_none_or(|chosen| chosen.name == listed.name);
        let flaw = |listed: &Listed| listed.content.as_ref().err().map(|flaw| format!("{} ({flaw})", listed.name));
        let starts = self.listing.damaged.iter().filter(|_| chosen.is_none()).map(ToString::to_string);
        self.listing.checkpoints.iter().filter(looked_at).filter_map(flaw).chain(starts).collect()
    }

    fn json(&self) -> String {
        let damaged =
            |damaged: &inflight_timely::checkpoint::Damaged| json!({ "name": damaged.name, "flaw": damaged.flaw });
        pretty(&json!({
            "dir": self.dir.to_string_lossy(),
            "next": self.listing.next.map(|Mark { epoch, generation }| json!({ "epoch": epoch, "run": generation })),
            "checkpoints": self.listing.checkpoints.iter().map(|listed| self.listed_json(listed)).collect::<Vec<_>>(),
            "damaged": self.listing.damaged.iter().map(damaged).collect::<Vec<_>>(),
            "all_valid": self.damaged(None).is_empty(),
        }))
    }

    fn listed_json(&self, listed: &Listed) -> Value {
        let content = listed.content.as_ref().ok();
        json!({
            "name": listed.name,
            "epoch": listed.mark.epoch,
            "run": listed.mark.generation,
            "valid": content.is_some(),
            "flaw": listed.content.as_ref().err(),
            "leads_to_now": listed.leads_to_now,
            "created": content.map(|checkpoint| &checkpoint.created),
            "age_seconds": content.and_then(|checkpoint| self.old(checkpoint)).map(|age| age.as_secs_f64()),
            "size_bytes": listed.size,
            "carried_records": content.map(|checkpoint| checkpoint.carried_records),
            "carried_bytes": content.map(|_| listed.carried_bytes),
            "complete": content.map(|checkpoint| checkpoint.complete),
        })
    }

    /// The one that was asked for, by epoch or by the name of its file.
    fn find(&self, asked: &str) -> anyhow::Result<&Listed> {
        let name = Path::new(asked).file_name().and_then(|name| name.to_str()).unwrap_or(asked);
        let is_asked = |listed: &&Listed| listed.name == name || asked.parse() == Ok(listed.mark.epoch);
        // Those that lead to now come first.
        self.listing.checkpoints.iter().find(is_asked).ok_or_else(|| {
            let epochs: Vec<_> = self.listing.checkpoints.iter().map(|listed| listed.mark.epoch.to_string()).collect();
            let there = if epochs.is_empty() {
                "there is none".to_owned()
            } else {
                format!("there are epochs {}", epochs.join(", "))
            };
            anyhow!(
                "{}: no checkpoint {asked}; {there}; name an epoch, or a file as `list --json` does",
                self.dir.display()
            )
        })
    }

    /// The one that was asked for, or the one a restart would use.
    fn readable(&self, asked: Option<&str>) -> anyhow::Result<(&Listed, &Checkpoint)> {
        let next = || self.listing.checkpoints.iter().find(|listed| Some(listed.mark) == self.listing.next);
        let listed = match asked {
            Some(asked) => self.find(asked)?,
            None => next().ok_or_else(|| anyhow!("{}: {}", self.dir.display(), self.would_use()))?,
        };
        match &listed.content {
            Ok(checkpoint) => Ok((listed, checkpoint)),
            Err(flaw) => bail!("{}: damaged: {flaw}", self.dir.join(&listed.name).display()),
        }
    }

    fn age(&self, checkpoint: &Checkpoint) -> String {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let Some(age) = self.old(checkpoint) else { return "?".to_owned() };
        match age.as_secs() {
            seconds if seconds < 2 * MINUTE => short(age),
            seconds if seconds < 2 * HOUR => format!("{} min", seconds / MINUTE),
            seconds if seconds < 2 * DAY => format!("{} h", seconds / HOUR),
            seconds => format!("{} days", seconds / DAY),
        }
    }

    fn old(&self, checkpoint: &Checkpoint) -> Option<Duration> {
        since_1970(&checkpoint.created).map(|created| self.now.saturating_sub(created))
    }
}

/// `section` and its entries below, or nothing when there are none.
fn section<'a>(name: &str, entries: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let rows: Vec<_> = entries.into_iter().map(|(name, text)| [name.clone(), text.clone()]).collect();
    if rows.is_empty() { String::new() } else { format!("\n{name}\n{}", indented(&rows)) }
}

fn indented(rows: &[[String; 2]]) -> String {
    let width = rows.iter().map(|[name, _]| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|[name, text]| format!("  {name:<width$}  {text}\n")).collect()
}

/// Numbers to the right, the last column as it is.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let (last, numbers) = row.split_last().map_or(("", &[][..]), |(last, numbers)| (last.as_str(), numbers));
        let numbers: String = numbers.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}  ")).collect();
        format!("{}\n", format!("{numbers}{last}").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Texts of JSON as what they are.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A size in three digits or so.
fn bytes(size: u64) -> String {
    const KIB: f64 = 1024.0;
    let size_f = size as f64;
    match size {
        0..=1023 => format!("{size} B"),
        1024..=1_048_575 => format!("{:.1} KiB", size_f / KIB),
        _ => format!("{:.1} MiB", size_f / KIB / KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!([0, 1023, 1024, 5_000_000].map(bytes), ["0 B", "1023 B", "1.0 KiB", "4.8 MiB"]);
        let listing = Listing { checkpoints: vec![], next: None, damaged: vec![], is_ours: true, foreign: 0 };
        let age = |seconds| {
            let shown = Shown { dir: Path::new("x"), listing: &listing, now: Duration::from_secs(seconds) };
            shown.age(&Checkpoint { created: "1970-01-01T00:00:01.000Z".to_owned(), ..Checkpoint::default() })
        };
        assert_eq!([0, 1, 4, 901, 10_801, 864_001].map(age), ["0", "0", "3.00 s", "15 min", "3 h", "10 days"]);
    }
}
