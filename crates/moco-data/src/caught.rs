//! Panics of libraries that are taken as errors: some decoders panic on damaged files.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Calls `work`; its panic is an error.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    DEPTH.set(DEPTH.get() + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    result
}

/// Whether a panic of this thread, at this moment, would be an unreadable file and no fault: for
/// the panic hook of a program.
pub fn panic_is_caught() -> bool {
    DEPTH.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_known_to_be_one() {
        assert!(!panic_is_caught());
        let inside = caught(|| {
            assert!(panic_is_caught());
            let inner = caught(|| panic!("of a decoder"));
            assert!(inner.is_err() && panic_is_caught());
            7
        });
        assert_eq!(inside.ok(), Some(7));
        assert!(!panic_is_caught());
    }
}
