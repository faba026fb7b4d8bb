//! At the end: what has left, over all lives, against what the source had.

use inflight_core::{Emit, Timestamp};

use super::World;
use crate::scenario::Element;
use crate::{Violation, ensure};

impl World<'_> {
    /// What has left, over all lives, is what came: each record once, each on the side of the watermarks where it was.
    pub(super) fn all_is_there(&self) -> Result<(), Violation> {
        let mut watermark = None;
        let mut late = vec![false; self.scenario.source.len()];
        let (mut controls, mut records) = (Vec::new(), 0);
        for (place, arrival) in self.scenario.source.iter().enumerate() {
            match arrival.element {
                Element::Record { timestamp, .. } => {
                    records += 1;
                    late[place] = is_late(timestamp, watermark);
                }
                Element::Idle => controls.push(Element::Idle),
                Element::Watermark(at) if watermark.is_none_or(|last| at > last) => {
                    watermark = Some(at);
                    controls.push(arrival.element);
                }
                Element::Watermark(_) => {}
            }
        }
        let (mut watermark, mut seen) = (None, vec![false; self.scenario.source.len()]);
        let mut controls = controls.into_iter();
        for emit in &self.log {
            match emit {
                Emit::Record(emitted) => {
                    let input = emitted.input as usize;
                    ensure!(!seen[input], "each record leaves once", "{input}, over all lives");
                    seen[input] = true;
                    records -= 1;
                    let now_late = is_late(emitted.timestamp, watermark);
                    ensure!(
                        now_late == late[input],
                        "no on-time record becomes late",
                        "{emitted:?} after {watermark:?}, over all lives"
                    );
                }
                Emit::Watermark(at) => {
                    ensure!(
                        controls.next() == Some(Element::Watermark(*at)),
                        "watermarks leave in order",
                        "{at:?}, over all lives"
                    );
                    watermark = Some(*at);
                }
                Emit::Idle => {
                    ensure!(controls.next() == Some(Element::Idle), "watermarks leave in order", "idle, over all lives")
                }
                Emit::End => {}
            }
        }
        ensure!(records == 0, "snapshot + emitted = accepted", "{records} records never left");
        let lost = controls.next();
        ensure!(lost.is_none(), "watermarks leave in order", "{lost:?} never left");
        Ok(())
    }
}

fn is_late(timestamp: Option<Timestamp>, watermark: Option<Timestamp>) -> bool {
    timestamp.is_some_and(|at| watermark.is_some_and(|watermark| at <= watermark))
}
