//! One driver's part in a destination: the calls it has on the wire, and its place in line.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use inflight_core::{CallId, Gate, Permit, Time, Verdict};

use super::Shared;
use super::line::{Line, MemberId};
use super::wire::Wire;
use crate::clock::Clock;
use crate::sync::{Ordering, lock};

pub(crate) struct Member {
    shared: Arc<Shared>,
    id: MemberId,
    /// Of the calls on the wire, by their index.
    permits: Vec<Option<Permit>>,
    on_wire: usize,
    /// For the call that is about to start.
    next: Option<Permit>,
    /// Calls that ended well since the destination was visited last: they can wait until it is visited anyway.
    well: Vec<Well>,
    /// The destination's turns, as of the last round.
    turns: u64,
    /// A call was refused in the last poll.
    refused: bool,
    in_line: bool,
    /// When to ask again for a call, and for a token.
    call_at: Option<Time>,
    token_at: Option<Time>,
}

struct Well {
    at: Time,
    permit: Permit,
    answered: usize,
}

impl Member {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = shared.clock.now();
        let id = shared.visit(now, Line::join);
        Self {
            shared,
            id,
            permits: Vec::new(),
            on_wire: 0,
            next: None,
            well: Vec::new(),
            turns: 0,
            refused: false,
            in_line: false,
            call_at: None,
            token_at: None,
        }
    }

    /// Takes the permit of a call off the wire.
    fn take(&mut self, call: CallId) -> Option<Permit> {
        let permit = self.permits.get_mut(call.index())?.take();
        self.on_wire -= usize::from(permit.is_some());
        permit
    }
}

fn report(line: &mut Line, well: &mut Vec<Well>) {
    for Well { at, mut permit, answered } in well.drain(..) {
        line.destination_mut().judge(at, &mut permit, Verdict::Good, answered);
        line.destination_mut().release(at, permit);
    }
}

impl Gate for Member {
    fn call(&mut self, now: Time) -> bool {
        let (id, on_wire, well) = (self.id, self.on_wire, &mut self.well);
        let admitted = self.shared.visit(now, |line| {
            report(line, well);
            line.admit(now, id, on_wire)
        });
        self.refused = admitted.is_err();
        self.in_line = self.refused;
        match admitted {
            Ok(permit) => {
                self.on_wire += 1;
                self.next = Some(permit);
            }
            Err(at) => self.call_at = at,
        }
        !self.refused
    }

    fn retry(&mut self, now: Time) -> bool {
        if self.token_at.is_some_and(|at| now < at) {
            return false;
        }
        let well = &mut self.well;
        let next = self.shared.visit(now, |line| {
            report(line, well);
            let destination = line.destination_mut();
            if destination.retry(now) { None } else { Some(destination.next_token(now)) }
        });
        self.token_at = next;
        next.is_none()
    }

    fn is_failing(&self) -> bool {
        !self.shared.turns.load(Ordering::Acquire).is_multiple_of(2)
    }

    fn was_well_after(&self, failure: Time) -> bool {
        lock(&self.shared.line).destination().was_well_after(failure)
    }
}

impl Wire for Member {
    const LISTENS: bool = true;

    fn clock(&self) -> Option<Clock> {
        Some(self.shared.clock)
    }

    fn begin(&mut self, now: Time) -> Option<(Duration, bool)> {
        self.token_at = None;
        let turns = self.shared.turns.load(Ordering::Acquire);
        if turns == self.turns && turns.is_multiple_of(2) {
            return None;
        }
        self.turns = turns;
        Some(self.shared.standing(now))
    }

    fn started(&mut self, call: CallId) {
        if self.permits.len() <= call.index() {
            self.permits.resize_with(call.index() + 1, || None);
        }
        self.permits[call.index()] = self.next.take();
    }

    fn ended(&mut self, now: Time, call: CallId, verdict: Verdict, answered: usize) {
        let Some(mut permit) = self.take(call) else { return };
        if verdict == Verdict::Good {
            return self.well.push(Well { at: now, permit, answered });
        }
        let well = &mut self.well;
        self.shared.visit(now, |line| {
            report(line, well);
            line.destination_mut().judge(now, &mut permit, verdict, answered);
            line.destination_mut().release(now, permit);
        });
    }

    fn given_up(&mut self, now: Time, call: CallId, too_slow: impl FnOnce(Duration) -> bool) {
        let Some(Some(permit)) = self.permits.get_mut(call.index()) else { return };
        let too_slow = too_slow(now.since(permit.started()));
        self.shared.visit(now, |line| line.destination_mut().give_up(now, permit, too_slow));
    }

    fn end(&mut self, now: Time) {
        let leaves = self.in_line && !self.refused;
        if leaves || !self.well.is_empty() {
            let (id, well) = (self.id, &mut self.well);
            self.shared.visit(now, |line| {
                report(line, well);
                if leaves {
                    line.leave(id);
                }
            });
            self.in_line &= !leaves;
        }
        if !std::mem::take(&mut self.refused) {
            self.call_at = None;
        }
    }

    fn wake_at(&self) -> Option<Time> {
        [self.call_at, self.token_at].into_iter().flatten().min()
    }

    fn sleep(&mut self, now: Time, waker: &Waker) -> bool {
        let still = !self.turns.is_multiple_of(2);
        if !self.in_line && !still {
            return true;
        }
        let id = self.id;
        self.shared.visit(now, |line| line.sleep(now, id, waker, still))
    }
}

impl Drop for Member {
    /// The calls it had on the wire are dropped with it: nothing is known of how they would have ended.
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        let (id, well, next) = (self.id, &mut self.well, self.next.take());
        let permits = self.permits.drain(..).flatten().chain(next);
        self.shared.visit(now, |line| {
            report(line, well);
            permits.for_each(|permit| line.destination_mut().release(now, permit));
            line.part(id);
        });
    }
}
