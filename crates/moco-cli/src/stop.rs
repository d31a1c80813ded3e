//! Ctrl-C, `kill`, SIGUSR1, a stop file and a terminal that goes away: the first asks the run to stop,
//! a further Ctrl-C or `kill` ends the program.
//!
//! The second signal is answered in the signal's own handler: it works whatever the program's
//! threads are doing.

use crate::terminal;
use anyhow::Context;
#[cfg(unix)]
use signal_hook::consts::SIGUSR1;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// Environment variable of a run that is part of a comparison: it saves and ends when the
/// comparison is ended, however that happens.
pub const ENDS_WITH_PARENT: &str = "MOCO_ENDS_WITH_PARENT";

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// How soon a person reads that the signal was heard.
const ANSWER: Duration = Duration::from_millis(50);

/// From now on the returned flag turns true at the first Ctrl-C or `kill`, or when the terminal
/// goes away.
pub fn on_interrupt() -> anyhow::Result<&'static AtomicBool> {
    if let Some(stop) = STOP.get() {
        return Ok(stop);
    }
    let stop = STOP.get_or_init(Arc::default);
    listen(stop).context("cannot listen for Ctrl-C")?;
    // Without the thread the signal is heard all the same, only not answered at once.
    let _ = thread::Builder::new().name("signals".into()).spawn(|| answer(stop));
    Ok(stop)
}

/// From now on a file of this name asks the run to stop, and is deleted when it was seen; for whoever
/// can reach the run's folder, but not its processes.
pub fn on_file(path: PathBuf) {
    let Some(stop) = STOP.get() else { return };
    let look = move || {
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(ANSWER * 10);
            if path.exists() {
                // One that stays would stop the run again when it goes on, which is told there.
                let _ = std::fs::remove_file(&path);
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    // Without the thread there are the signals.
    let _ = thread::Builder::new().name("stop file".into()).spawn(look);
}

/// Says that a signal was heard; where asked to, takes the end of the parent process for one.
fn answer(stop: &AtomicBool) {
    let parent = std::env::var_os(ENDS_WITH_PARENT).and_then(|_| parent());
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(ANSWER);
        if parent.is_some() && self::parent() != parent {
            stop.store(true, Ordering::Relaxed);
        }
    }
    // Where the whole terminal is drawn on, it is given back first.
    while terminal::is_diverted() {
        thread::sleep(ANSWER);
    }
    eprintln!("\nfinishing the step and saving; press Ctrl-C again to stop at once");
}

#[cfg(unix)]
fn parent() -> Option<u32> {
    Some(std::os::unix::process::parent_id())
}

#[cfg(not(unix))]
fn parent() -> Option<u32> {
    None
}

fn listen(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the flag is not set yet when the first signal comes.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(stop))?;
        flag::register(signal, Arc::clone(stop))?;
    }
    // What `mpirun` passes on to all ranks, where it ends them soon after an interrupt.
    #[cfg(unix)]
    flag::register(SIGUSR1, Arc::clone(stop))?;
    #[cfg(unix)]
    if !hangup_is_ignored() {
        // It comes twice, from the system and from the shell, so a second one ends nothing.
        flag::register(signal_hook::consts::SIGHUP, Arc::clone(stop))?;
    }
    Ok(())
}

/// Whether this process was told to outlive its terminal, as `nohup` does.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    match std::fs::read_to_string("/proc/self/status") {
        Ok(status) => ignores(&status, signal_hook::consts::SIGHUP),
        // Where the system does not tell: `nohup` leaves neither stream on a terminal.
        Err(_) => {
            use std::io::{IsTerminal, stderr, stdout};
            !stdout().is_terminal() && !stderr().is_terminal()
        }
    }
}

/// `SigIgn: 0000000000001001` of `/proc/self/status` has a bit for each ignored signal, from 1.
#[cfg(unix)]
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_off_the_mask() {
        let status = "Name:\tmoco\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, 1) && ignores(status, 13));
        assert!(!ignores(status, 2) && !ignores("Name:\tmoco\n", 1));
    }
}
