//! How much memory this process uses.

use memory_stats::memory_stats;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The largest amount of memory in use while `work` runs, sampled often; `None` if the system does
/// not tell, or starts no thread that samples.
pub fn with_peak_memory<T>(work: impl FnOnce() -> T) -> (T, Option<usize>) {
    let sampler = Sampler::default();
    let samples = Arc::clone(&sampler.0);
    // Nobody waits for the thread: it ends by itself, even if `work` panics.
    let _ = thread::Builder::new().name("memory".into()).spawn(move || samples.take());
    let result = work();
    let peak = sampler.0.peak.load(Ordering::Relaxed);
    (result, Some(peak).filter(|peak| *peak > 0))
}

/// Tells its thread to end when dropped.
#[derive(Default)]
struct Sampler(Arc<Samples>);

#[derive(Default)]
struct Samples {
    peak: AtomicUsize,
    done: AtomicBool,
}

impl Samples {
    fn take(&self) {
        while !self.done.load(Ordering::Relaxed) {
            self.peak.fetch_max(bytes_in_use().unwrap_or(0), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Relaxed);
    }
}

/// Bytes of physical memory in use, where the system tells.
pub fn bytes_in_use() -> Option<usize> {
    memory_stats().map(|stats| stats.physical_mem)
}
