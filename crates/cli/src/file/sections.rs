//! Decodes each section, and each step, by itself, so that the faults of all of them are found at once.

use std::ops::Range;

use serde::de::DeserializeOwned;

use super::{Sections, Step};
use crate::decode::{decode, group};
use crate::entries::Entries;
use crate::fault::Fault;
use crate::yaml::{Entry, Node, Value};

const SECTIONS: [&str; 8] = ["source", "setup", "enrich", "sink", "dead_letter", "checkpoint", "workers", "cluster"];

/// The sections of a file; `None` when one that must be there is not, or is wrong.
pub(super) fn sections(root: &Node, faults: &mut Vec<Fault>) -> Option<Sections> {
    if root.value == Value::Null {
        faults.push(Fault::new(0..0, "the file is empty").with_label("a pipeline has a source, enrich and a sink"));
        return None;
    }
    let entries = group(root, &SECTIONS, faults);
    let source = required(entries, "source", faults, section);
    let setup = optional(entries, "setup", faults);
    let enrich = required(entries, "enrich", faults, steps);
    let sink = required(entries, "sink", faults, section);
    let dead_letter = optional(entries, "dead_letter", faults);
    let (checkpoint, workers) = (optional(entries, "checkpoint", faults), optional(entries, "workers", faults));
    let cluster = optional(entries, "cluster", faults);
    Some(Sections { source: source?, setup, enrich: enrich?, sink: sink?, dead_letter, checkpoint, workers, cluster })
}

fn required<T>(
    entries: &[Entry],
    key: &str,
    faults: &mut Vec<Fault>,
    decode: fn(&Node, &Range<usize>, &mut Vec<Fault>) -> Option<T>,
) -> Option<T> {
    match entries.iter().find(|entry| entry.key == key) {
        Some(entry) => decode(&entry.node, &entry.key_at, faults),
        None => {
            let fault = Fault::new(0..0, format!("the pipeline has no `{key}`"));
            faults.push(fault.with_label("a pipeline has a source, enrich and a sink"));
            None
        }
    }
}

fn optional<T: DeserializeOwned>(entries: &[Entry], key: &str, faults: &mut Vec<Fault>) -> Option<T> {
    let entry = entries.iter().find(|entry| entry.key == key)?;
    decode(&entry.node, &entry.key_at, faults)
}

fn section<T: DeserializeOwned>(node: &Node, key_at: &Range<usize>, faults: &mut Vec<Fault>) -> Option<T> {
    decode(node, key_at, faults)
}

fn steps(node: &Node, key_at: &Range<usize>, faults: &mut Vec<Fault>) -> Option<Entries<Step>> {
    let Value::Group(entries) = &node.value else {
        let fault = Fault::new(key_at.clone(), "expected a group of steps under `enrich`");
        faults.push(fault.with_label("each step has a name, which is the field that its result is written to"));
        return None;
    };
    let mut steps = Vec::with_capacity(entries.len());
    for Entry { key, key_at, node } in entries {
        if let Some(step) = decode(node, key_at, faults) {
            steps.push((key.clone(), step));
        }
    }
    (steps.len() == entries.len()).then_some(Entries(steps))
}
