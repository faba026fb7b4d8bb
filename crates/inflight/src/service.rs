//! Any `tower::Service` as a function.

use std::future::poll_fn;

use tower_service::Service;

use crate::function::AsyncFunction;

/// An [`AsyncFunction`] that calls `service`: each record is a request. Every call works on a clone, and waits until that is ready.
pub const fn service<S>(service: S) -> FromService<S> {
    FromService { service }
}

/// See [`service`].
#[derive(Clone, Copy, Debug)]
pub struct FromService<S> {
    service: S,
}

impl<I, S> AsyncFunction<I> for FromService<S>
where
    I: Send + 'static,
    S: Service<I> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Output = S::Response;
    type Error = S::Error;

    async fn invoke(&self, input: I) -> Result<S::Response, S::Error> {
        let mut service = self.service.clone();
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(input).await
    }
}
