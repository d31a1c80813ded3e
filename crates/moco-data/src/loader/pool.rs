//! Work shared out among threads.

use crate::error::DataError;
use std::any::Any;
use std::sync::Mutex;
use std::thread;

/// Calls `work` for each item, on one thread per worker; a free worker takes the next item. Where
/// the system starts no more threads, those that there are do all.
///
/// # Errors
/// If `work` panics; the other workers still finish the items.
pub(crate) fn share_out<T: Send, W: Send>(
    items: impl Iterator<Item = T> + Send,
    workers: &mut [W],
    work: impl Fn(T, &mut W) + Sync,
) -> Result<(), DataError> {
    let items = Mutex::new(items);
    let take = || items.lock().ok().and_then(|mut items| items.next());
    let run = |worker: &mut W| {
        while let Some(item) = take() {
            work(item, worker);
        }
    };
    thread::scope(|scope| {
        let mut handles = Vec::with_capacity(workers.len());
        for worker in &mut *workers {
            match thread::Builder::new().spawn_scoped(scope, || run(worker)) {
                Ok(handle) => handles.push(handle),
                Err(_) => break,
            }
        }
        let results: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
        results.into_iter().collect::<Result<(), _>>()
    })
    .map_err(|panic| DataError::Worker { message: panic_message(&*panic) })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or("no message".into())
}
