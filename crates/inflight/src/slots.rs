//! The futures of the calls on the wire, each in a slot that is used again.
//!
//! A slot is boxed once, and a future is put into it and dropped in place from then on, so calls cost no allocation and futures
//! never move while they are pinned.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use inflight_core::CallId;

use crate::blocking::panic_message;
use crate::woken::{SlotWaker, Woken};

pub(crate) struct Slots<Fut> {
    slots: Vec<Slot<Fut>>,
    woken: Arc<Woken>,
}

struct Slot<Fut> {
    call: Option<CallId>,
    future: Pin<Box<Option<Fut>>>,
    waker: Waker,
    flag: Arc<SlotWaker>,
}

/// What a future came to: its output, or what its panic said.
pub(crate) type Ended<T> = Result<T, String>;

impl<Fut: Future> Slots<Fut> {
    pub(crate) const fn new(woken: Arc<Woken>) -> Self {
        Self { slots: Vec::new(), woken }
    }

    /// Makes the future of a call, and polls it once right away: many are ready at once, and then it was never parked.
    pub(crate) fn start(&mut self, call: CallId, make: impl FnOnce() -> Fut) -> Poll<Ended<Fut::Output>> {
        while self.slots.len() <= call.index() {
            self.grow();
        }
        let slot = &mut self.slots[call.index()];
        slot.call = Some(call);
        // Made in its place: moving a future there costs more than polling it, if it is ready at once.
        match catch_unwind(AssertUnwindSafe(|| slot.future.set(Some(make())))) {
            Ok(()) => slot.poll(),
            Err(panic) => {
                slot.clear();
                Poll::Ready(Err(panic_message(&*panic)))
            }
        }
    }

    /// Polls the future in a slot whose waker was called. `None`: the slot is empty; the waker was late.
    pub(crate) fn poll(&mut self, index: u32) -> Option<(CallId, Poll<Ended<Fut::Output>>)> {
        let slot = self.slots.get_mut(index as usize)?;
        slot.flag.taken();
        let call = slot.call?;
        Some((call, slot.poll()))
    }

    /// Drops the future of a call where it stands.
    pub(crate) fn cancel(&mut self, call: CallId) {
        if let Some(slot) = self.slots.get_mut(call.index()).filter(|slot| slot.call == Some(call)) {
            slot.clear();
        }
    }

    fn grow(&mut self) {
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let flag = Arc::new(SlotWaker::new(index, Arc::clone(&self.woken)));
        let waker = Waker::from(Arc::clone(&flag));
        self.slots.push(Slot { call: None, future: Box::pin(None), waker, flag });
    }
}

impl<Fut: Future> Slot<Fut> {
    fn poll(&mut self) -> Poll<Ended<Fut::Output>> {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let mut cx = Context::from_waker(&self.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic_message(&*panic)),
        };
        self.clear();
        Poll::Ready(ended)
    }

    /// Drops the future. A panic of its destructor ends here: the call has ended, and nobody else is to suffer for it.
    fn clear(&mut self) {
        self.call = None;
        drop(catch_unwind(AssertUnwindSafe(|| self.future.set(None))));
    }
}
