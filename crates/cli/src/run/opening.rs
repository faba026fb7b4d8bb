//! Opening what may keep us waiting: a CSV header on standard input, a named pipe that nobody reads. A signal must not wait for it.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::stop::Stop;

/// How often it is looked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Opens it on a thread of its own; `None` when the run was stopped meanwhile.
pub(super) fn open<T: Send + 'static>(
    stop: &Stop,
    open: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    let (sender, opened) = sync_channel(1);
    thread::spawn(move || drop(sender.send(open())));
    loop {
        match opened.recv_timeout(LOOK_EVERY) {
            Ok(opened) => return opened.map(Some).map_err(anyhow::Error::msg),
            Err(RecvTimeoutError::Timeout) if stop.is_draining() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("the thread that opens a file has panicked: this is a bug, please report it")
            }
        }
    }
}
