//! How much memory this process uses.

use memory_stats::memory_stats;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The largest amount of memory in use while `work` runs, sampled often.
pub fn with_peak_memory<T>(work: impl FnOnce() -> T) -> (T, Option<usize>) {
    let (peak, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(bytes_in_use().unwrap_or(0), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    });
    (result, Some(peak.into_inner()).filter(|peak| *peak > 0))
}

/// Bytes of physical memory in use, where the system tells.
pub fn bytes_in_use() -> Option<usize> {
    memory_stats().map(|stats| stats.physical_mem)
}
