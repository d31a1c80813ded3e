//! How long a server is waited for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Threads of this process that wait for a server now.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Whether any thread of this process waits for a server, which it may do for minutes.
pub(crate) fn someone_waits() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

/// Lives while a thread waits for a server.
#[cfg(feature = "remote")]
pub(super) struct Waiting(());

#[cfg(feature = "remote")]
impl Waiting {
    pub(super) fn begin() -> Waiting {
        WAITING.fetch_add(1, Ordering::Relaxed);
        Waiting(())
    }
}

#[cfg(feature = "remote")]
impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a server is waited for, and how often it is asked again. By default one that says
/// nothing is given up after two and a half minutes, one that cannot be reached after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Longest time until a connection stands.
    pub connect: Duration,
    /// Longest time until an answer begins, and until another kilobyte of it has come.
    pub silence: Duration,
    /// Times that a request is made before it is given up.
    pub attempts: u32,
    /// Pause before a failed request is made again; each pause is five times the one before, up to
    /// eighty times the first.
    pub pause: Duration,
    /// Waiting time after which [`OpenOptions::notice`](super::OpenOptions::notice) hears of it.
    pub tell_after: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_millis(500),
            tell_after: Duration::from_secs(5),
        }
    }
}

#[cfg(feature = "remote")]
impl Patience {
    /// The pause after the failed attempt `number`, from 1.
    pub(super) fn pause_after(&self, number: u32) -> Duration {
        self.pause * 5_u32.saturating_pow(number - 1).min(80)
    }
}
