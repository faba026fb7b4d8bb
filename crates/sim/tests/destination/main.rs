//! What operators that share a destination make of servers of all kinds, in virtual time.

mod auto;
mod hedge;
mod mutants;
mod operators;
mod outage;

/// On a runtime whose time passes when there is nothing else to do.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without threads").block_on(work)
}
