//! Who waits for a destination: operators, each once, first come, first served.
//!
//! Only the head of the line is woken, or sleeps on a timer; when it has got its call it leaves, and the next is woken once to find out
//! what it waits for. Whoever runs anyway and has less than its fair share of the limit need not get in line: it keeps the place of
//! a call that has just ended, so that operators that are all busy do not wake each other for each call.

use std::collections::VecDeque;
use std::task::Waker;

use inflight_core::{Destination, Permit, Refusal, Time};

/// An operator.
pub(crate) type MemberId = u64;

pub(crate) struct Line {
    destination: Destination,
    waiting: VecDeque<Place>,
    /// Those that sleep while the breaker is not closed, and want to know when it is.
    until_closed: Vec<(MemberId, Waker)>,
    members: MemberId,
}

struct Place {
    member: MemberId,
    /// While it sleeps.
    waker: Option<Waker>,
    /// What it was told last, as the head.
    told: Option<Refusal>,
}

impl Line {
    pub(crate) const fn new(destination: Destination) -> Self {
        Self { destination, waiting: VecDeque::new(), until_closed: Vec::new(), members: 0 }
    }

    pub(crate) const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// For what concerns no place in line.
    pub(crate) const fn destination_mut(&mut self) -> &mut Destination {
        &mut self.destination
    }

    pub(crate) fn join(&mut self) -> MemberId {
        self.members += 1;
        self.members
    }

    /// Permits a call, or puts the member in line. Who is refused with a time has to come back then; the others are woken.
    pub(crate) fn admit(&mut self, now: Time, member: MemberId, on_wire: usize) -> Result<Permit, Option<Time>> {
        let place = self.waiting.iter().position(|place| place.member == member);
        let first = place.map_or(self.waiting.is_empty(), |place| place == 0);
        if !first && !self.is_below_its_share(on_wire, place.is_some()) {
            self.get_in_line(member, place);
            return Err(None);
        }
        match self.destination.admit(now) {
            Ok(permit) => {
                if let Some(place) = place {
                    self.waiting.remove(place);
                }
                Ok(permit)
            }
            Err(refusal) => {
                let place = self.get_in_line(member, place);
                if !first {
                    return Err(None);
                }
                self.waiting[place].told = Some(refusal);
                Err(if let Refusal::Until(at) = refusal { Some(at) } else { None })
            }
        }
    }

    fn get_in_line(&mut self, member: MemberId, place: Option<usize>) -> usize {
        place.unwrap_or_else(|| {
            self.waiting.push_back(Place { member, waker: None, told: None });
            self.waiting.len() - 1
        })
    }

    /// A share of the limit for each that wants some: up to it nobody has to wait behind others. But for a probe or the rate all do.
    fn is_below_its_share(&self, on_wire: usize, in_line: bool) -> bool {
        let wanting = self.waiting.len() + usize::from(!in_line);
        !self.destination.is_failing()
            && !self.destination.has_rate_limit()
            && (on_wire + 1) * wanting <= self.destination.limit()
    }

    /// The member wants no call any more.
    pub(crate) fn leave(&mut self, member: MemberId) {
        self.waiting.retain(|place| place.member != member);
    }

    /// The member is gone.
    pub(crate) fn part(&mut self, member: MemberId) {
        self.leave(member);
        self.until_closed.retain(|(other, _)| *other != member);
    }

    /// A call besides: not while somebody waits.
    pub(crate) fn extra(&mut self, now: Time) -> Option<Permit> {
        if self.waiting.is_empty() { self.destination.extra(now) } else { None }
    }

    /// A call that no record waits for: the same.
    pub(crate) fn spare(&mut self, now: Time) -> Option<Permit> {
        if self.waiting.is_empty() { self.destination.spare(now) } else { None }
    }

    /// The member goes to sleep; `still` if it believes that the breaker is not closed. False: it has to look again first.
    pub(crate) fn sleep(&mut self, now: Time, member: MemberId, waker: &Waker, still: bool) -> bool {
        if still != self.destination.is_failing() {
            return false;
        }
        if let Some(place) = self.waiting.iter().position(|place| place.member == member) {
            if place == 0 && self.head_has_to_look(now) {
                return false;
            }
            self.waiting[place].waker = Some(waker.clone());
        }
        if still {
            self.until_closed.retain(|(other, _)| *other != member);
            self.until_closed.push((member, waker.clone()));
        }
        true
    }

    /// The head's waker, if it sleeps and does not know how things are.
    pub(crate) fn head_to_wake(&mut self, now: Time) -> Option<Waker> {
        if self.head_has_to_look(now) { self.waiting.front_mut()?.waker.take() } else { None }
    }

    /// Whoever has become the head has to find out what it waits for; who waits for room, when there is some, or a time to wait for.
    fn head_has_to_look(&self, now: Time) -> bool {
        self.waiting.front().is_some_and(|head| match head.told {
            None => true,
            Some(Refusal::Full) => self.destination.refusal(now) != Some(Refusal::Full),
            Some(Refusal::Until(_)) => false,
        })
    }

    /// Those that want to know that the breaker has closed, when it has.
    pub(crate) fn when_closed(&mut self) -> Vec<(MemberId, Waker)> {
        if self.destination.is_failing() { Vec::new() } else { std::mem::take(&mut self.until_closed) }
    }
}
