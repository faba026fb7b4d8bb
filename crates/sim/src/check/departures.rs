//! What leaves: each record once, in order, on the right side of every watermark, and not later than it must.

use inflight_core::{Emit, Emitted, EventTime, Order, Outcome};

use super::{Checker, Controls, Element, Record, record};
use crate::{Input, Output, Violation, ensure};

impl Checker {
    /// What the queue gave out, if something.
    pub(crate) fn emitted(&mut self, emit: Option<&Emit<Input, Output>>) -> Result<(), Violation> {
        if emit.is_some() {
            ensure!(!self.over, "nothing runs after the end", "{emit:?}");
        }
        match emit {
            None => self.nothing_may_leave(),
            Some(Emit::Record(emitted)) => self.record_left(emitted),
            Some(Emit::Watermark(at)) => {
                let place = self.held.iter().position(|element| record(element).is_none());
                let first = place.map(|place| &self.held[place]);
                let right = matches!(first, Some(Element::Watermark(first)) if first == at);
                ensure!(right, "watermarks leave in order", "{at:?} instead of {first:?}");
                self.control_left(place.unwrap_or_default())?;
                let later = self.controls_out.watermark.is_none_or(|last| *at > last);
                ensure!(later, "watermarks advance", "{at:?} after {:?}", self.controls_out.watermark);
                self.controls_out.watermark = Some(*at);
                self.controls_out.watermarks += 1;
                Ok(())
            }
            Some(Emit::Idle) => {
                let place = self.held.iter().position(|element| record(element).is_none());
                let right = place.is_some_and(|place| matches!(self.held[place], Element::Idle));
                ensure!(right, "watermarks leave in order", "idle instead of {place:?}");
                self.control_left(place.unwrap_or_default())?;
                self.controls_out.idles += 1;
                Ok(())
            }
            Some(Emit::End) => {
                ensure!(self.ended, "no end before the end of input", "");
                ensure!(self.held.is_empty(), "the end is last", "held are {:?}", self.held);
                ensure!(self.calls.is_empty(), "nothing is on the wire at the end", "{:?}", self.calls);
                self.over = true;
                Ok(())
            }
        }
    }

    fn record_left(&mut self, emitted: &Emitted<Input, Output>) -> Result<(), Violation> {
        let input = emitted.input;
        let place = self.place(input);
        ensure!(place.is_some(), "each record leaves once", "{input} is not held");
        let place = place.unwrap_or_default();
        let Element::Record(gone) = self.held.remove(place) else { return Ok(()) };
        let index = input as usize;
        self.left.resize(self.left.len().max(index + 1), false);
        ensure!(!self.left[index], "each record leaves once", "{input} has left before");
        self.left[index] = true;
        self.emitted += 1;
        self.timed_out += u64::from(matches!(emitted.outcome, Outcome::TimedOut { .. }));
        if let Outcome::Done(output) | Outcome::TimedOut { last: Some(output), .. } = &emitted.outcome {
            ensure!(output.input == input, "answers go to their own records", "{emitted:?}");
        }
        let right = gone.decided.contains(&(emitted.outcome.clone(), emitted.decided));
        ensure!(right, "the outcome is the first that happened", "{emitted:?} instead of {gone:?}");
        let same =
            (emitted.timestamp, emitted.attempts, emitted.admitted) == (gone.timestamp, gone.attempts, gone.admitted);
        ensure!(same, "a record leaves with what it came with", "{emitted:?} instead of {gone:?}");
        self.order_is_kept(place, &gone)?;
        self.stays_on_its_side(&gone)
    }

    fn order_is_kept(&self, place: usize, gone: &Record) -> Result<(), Violation> {
        let earlier = self.held[..place].iter().filter_map(record).find(|other| other.key == gone.key);
        match self.config.order {
            Order::Ordered => ensure!(place == 0, "arrival order", "{gone:?} before {:?}", self.held[0]),
            Order::Unordered => {}
            Order::KeyOrdered | Order::KeySerial => {
                ensure!(earlier.is_none(), "arrival order within a key", "{gone:?} before {earlier:?}");
            }
        }
        Ok(())
    }

    /// Event time: an on-time record does not become late; a late one stays as late as it was; nothing passes an idle status.
    fn stays_on_its_side(&self, gone: &Record) -> Result<(), Violation> {
        let (before, after) = (gone.before, self.controls_out);
        ensure!(before.idles == after.idles, "nothing passes an idle status", "{gone:?}, now {after:?}");
        let late = |controls: Controls| {
            gone.timestamp.is_some_and(|at| controls.watermark.is_some_and(|watermark| at <= watermark))
        };
        ensure!(late(before) || !late(after), "no on-time record becomes late", "{gone:?}, now {after:?}");
        let keeps_its_place = gone.timestamp.is_none() || late(before);
        let moved = before.watermarks != after.watermarks;
        ensure!(!keeps_its_place || !moved, "a late record stays exactly as late", "{gone:?}, now {after:?}");
        let strict = self.config.event_time == EventTime::Strict || self.config.order == Order::Ordered;
        ensure!(!strict || !moved, "nothing passes a watermark", "{gone:?}, now {after:?}");
        Ok(())
    }

    /// A watermark or idle status has left: nothing that had to go first is held.
    fn control_left(&mut self, place: usize) -> Result<(), Violation> {
        let control = self.held.remove(place);
        let left_behind = self.held[..place].iter().find(|element| self.blocks(element, &control));
        ensure!(left_behind.is_none(), "a watermark waits for what it covers", "{control:?} before {left_behind:?}");
        Ok(())
    }

    /// Whether an earlier element keeps a watermark or idle status from leaving.
    fn blocks(&self, earlier: &Element, control: &Element) -> bool {
        let all = self.config.event_time == EventTime::Strict || self.config.order == Order::Ordered;
        match (record(earlier), control) {
            (Some(record), Element::Watermark(at)) if !all => {
                let covered = |timestamp| timestamp <= *at;
                let late = |timestamp| record.before.watermark.is_some_and(|watermark| timestamp <= watermark);
                record.timestamp.is_none_or(|timestamp| covered(timestamp) || late(timestamp))
            }
            _ => true,
        }
    }

    /// The queue gave nothing out: then nothing that is sure to be decided may leave, and no watermark is held longer than it must.
    fn nothing_may_leave(&self) -> Result<(), Violation> {
        let over = self.ended && !self.over && self.held.is_empty() && self.calls.is_empty() && self.overdue.is_empty();
        ensure!(!over, "the end leaves at the end", "");
        for (place, element) in self.held.iter().enumerate() {
            let before = &self.held[..place];
            let waits = match record(element) {
                None => before.iter().any(|earlier| self.blocks(earlier, element)),
                Some(waiting) => waiting.open || self.record_waits(before, waiting),
            };
            ensure!(waits, "what may leave leaves", "{element:?} does not, behind {before:?}");
        }
        Ok(())
    }

    fn record_waits(&self, before: &[Element], waiting: &Record) -> bool {
        let same_key = |other: &Record| self.config.order.is_keyed() && other.key == waiting.key;
        let watermark = waiting.before.watermark;
        let fixed = self.config.event_time == EventTime::Strict
            || waiting.timestamp.is_none_or(|timestamp| watermark.is_some_and(|watermark| timestamp <= watermark));
        before.iter().any(|earlier| match earlier {
            _ if self.config.order == Order::Ordered => true,
            Element::Record(other) => same_key(other),
            Element::Watermark(_) => fixed,
            Element::Idle => true,
        })
    }
}
