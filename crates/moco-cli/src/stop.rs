//! Ctrl-C: the first asks the run to stop, the second ends the program.

use anyhow::Context;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// What a shell reports for a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// From now on the returned flag turns true at the first Ctrl-C or `kill`.
pub fn on_interrupt() -> anyhow::Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            process::exit(INTERRUPTED);
        }
        eprintln!("\nfinishing the step and saving; press Ctrl-C again to stop at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(&STOP)
}
