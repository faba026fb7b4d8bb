//! The driver inside an operator.

use std::cell::{RefCell, RefMut};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use inflight::driver::{Setup, Stopped, drive};
use inflight::{Completed, Element, Function};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use tokio::runtime::Handle;

use crate::carry::Carry;
use crate::monitor::Monitor;
use crate::worker_host::{Port, WorkerHost};

/// The driver of one operator until it ends, and the port where they meet.
pub(crate) struct Running<T: Timestamp, D, R, I, O, E> {
    port: Rc<RefCell<Port<T, D, R, I, O, E>>>,
    /// Boxed: one dynamic call per turn.
    driver: Option<Pin<Box<dyn Future<Output = Result<(), Stopped<E>>>>>>,
    waker: Waker,
    /// Calls are polled, and dropped, in its context.
    runtime: Handle,
    pub(crate) monitor: Monitor<E>,
}

impl<T: Timestamp + TotalOrder, D: Clone + 'static, R: 'static, I: Clone + Send + 'static, O: 'static, E: 'static>
    Running<T, D, R, I, O, E>
{
    /// `take` and `give` are [`WorkerHost`]'s.
    pub(crate) fn start<F: Function<I, Shape, Output = O, Error = E>, Shape: 'static>(
        runtime: &Handle,
        waker: Waker,
        function: F,
        setup: Setup<I, O, E>,
        carry: Option<Carry<T, I, O, E>>,
        take: impl Fn(D) -> Element<I> + 'static,
        give: impl Fn(Element<Completed<I, O, E>>) -> Option<R> + 'static,
    ) -> Self {
        let monitor = Monitor::new();
        let port = Rc::new(RefCell::new(Port::new(carry)));
        let mut host = WorkerHost::new(Rc::clone(&port), take, give, monitor.clone());
        let driver = async move { drive(function, setup, &mut host).await };
        Self { port, driver: Some(Box::pin(driver)), waker, runtime: runtime.clone(), monitor }
    }

    pub(crate) fn port(&self) -> RefMut<'_, Port<T, D, R, I, O, E>> {
        self.port.borrow_mut()
    }

    /// A batch has come in. Records sent under no capability make no claim on progress, and would leave under none.
    pub(crate) fn accept(&self, capability: Option<Capability<T>>, records: &mut Vec<D>) {
        let Some(capability) = capability else {
            panic!("records without a time cannot wait: there is no capability to keep for them");
        };
        self.port().push(capability, std::mem::take(records));
    }

    /// Whether the driver goes on.
    pub(crate) fn poll(&mut self) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        let _context = self.runtime.enter();
        let Poll::Ready(ended) = driver.as_mut().poll(&mut Context::from_waker(&self.waker)) else { return true };
        self.driver = None;
        if let Err(stopped) = ended {
            self.monitor.stop(stopped);
        }
        false
    }

    /// What has left goes out.
    pub(crate) fn send(&self, output: &mut OutputBuilder<T, CapacityContainerBuilder<Vec<R>>>) {
        let mut output = output.activate();
        for mut run in self.port().out.drain(..) {
            output.session(&run.capability).give_container(&mut run.records);
        }
    }
}

impl<T: Timestamp, D, R, I, O, E> Drop for Running<T, D, R, I, O, E> {
    fn drop(&mut self) {
        let _context = self.runtime.enter();
        self.driver = None;
    }
}
