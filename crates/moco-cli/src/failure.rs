//! Errors, and panics, as one line and an exit code.

use crate::ranks;
use signal_hook::consts::SIGABRT;
use signal_hook::flag;
use std::cell::Cell;
use std::fmt;
use std::io::{Write, stderr};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Exit code for what a person can mend on the command line or in the data.
pub const BAD_INPUT: u8 = 1;
/// Exit code of a run that began and could not go on.
const RUN_FAILED: u8 = 2;

/// How long a panicking program may take to clean up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Marks an error as one of a run that had begun.
#[derive(Debug)]
pub struct RunFailed(anyhow::Error);

impl RunFailed {
    pub fn from(error: impl Into<anyhow::Error>) -> anyhow::Error {
        RunFailed(error.into()).into()
    }
}

impl fmt::Display for RunFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the run failed: {}", sentence(&self.0))
    }
}

impl std::error::Error for RunFailed {}

/// A device's memory is full: the sentence that says so.
#[derive(Debug)]
pub struct MemoryFull(pub String);

impl fmt::Display for MemoryFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MemoryFull {}

thread_local! {
    /// Whether a full memory of a device is an error on this thread.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Does what may find a device's memory full, which is then an error, [`MemoryFull`]; any other panic is one.
pub fn within_memory<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    EXPECTED.set(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(false);
    done.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        match words.and_then(moco::device::out_of_memory) {
            Some(sentence) => Err(MemoryFull(sentence).into()),
            None => panic::resume_unwind(panic),
        }
    })
}

/// Runs the program. A panic on any thread ends it within seconds, whatever waits for that thread.
pub fn guarded(program: impl FnOnce() -> ExitCode) -> ExitCode {
    panic::set_hook(Box::new(end_soon));
    moco_kernels::on_exhaustion(tell_of_memory);
    take_signals();
    match panic::catch_unwind(AssertUnwindSafe(program)) {
        Ok(code) => code,
        // Nothing is waited for: what failed may be what others wait for.
        Err(_) => process::exit(i32::from(RUN_FAILED)),
    }
}

/// Makes an abort, as of a panic within a panic, an end like that of any other panic; and a file
/// that grows beyond `ulimit -f` an error like a full disk.
fn take_signals() {
    // Where the system refuses, it has its way: it ends the program.
    let _ = flag::register_conditional_shutdown(
        SIGABRT,
        i32::from(RUN_FAILED),
        Arc::new(AtomicBool::new(true)),
    );
    #[cfg(unix)]
    let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Says that memory ran out, in pieces, since a whole text would take some.
fn tell_of_memory(bytes: usize) {
    let _ = writeln!(
        stderr(),
        "error: the system gives no {bytes} bytes of memory: lower --batch-size or --cache-mb, or \
         take a smaller network"
    );
}

/// Says once what happened, and sees to it that the program ends.
fn end_soon(panic: &PanicHookInfo<'_>) {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    let full = || panic.payload_as_str().is_some_and(|m| moco::device::out_of_memory(m).is_some());
    if EXPECTED.get() && full() {
        return;
    }
    if moco_data::panic_is_caught() || PANICKED.swap(true, Ordering::Relaxed) {
        return;
    }
    crate::dashboard::give_back();
    eprintln!("error: {}", told(panic));
    let end = || process::exit(i32::from(RUN_FAILED));
    let watchdog = thread::Builder::new().name("watchdog".into()).spawn(move || {
        thread::sleep(PATIENCE);
        end()
    });
    if watchdog.is_err() {
        end();
    }
}

fn told(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("no message");
    // The standard library's words where it has no error to give.
    if message.contains("failed to spawn thread") {
        return NO_THREADS.to_owned();
    }
    if let Some(sentence) = moco::device::out_of_memory(message) {
        return sentence;
    }
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    format!("a fault in moco ended it ({message}{place}); please report it")
}

/// What to do where the system starts no more threads.
pub const NO_THREADS: &str =
    "the system starts no more threads: pass a lower --threads, or raise `ulimit -u`";

/// Prints `error` in one line and says with which code to exit.
pub fn report(error: &anyhow::Error) -> ExitCode {
    ranks::let_first_speak();
    eprintln!("error: {}", sentence(error));
    let code = if error.is::<RunFailed>() { RUN_FAILED } else { BAD_INPUT };
    ranks::end_all(code);
    ExitCode::from(code)
}

/// The error and its causes, leaving out a cause that the message before already tells.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    /// What the child does instead of a test; it is this test's own program.
    const ROLE: &str = "MOCO_TEST_PANIC";

    fn play(role: &str) {
        match role {
            // Cleaning up waits for ever.
            "stuck" => thread::scope(|scope| {
                scope.spawn(|| {
                    loop {
                        thread::park();
                    }
                });
                panic!("of the work")
            }),
            // The panic is another thread's, and the main one waits for its word.
            "elsewhere" => {
                let (word, said) = std::sync::mpsc::channel::<()>();
                thread::spawn(|| panic!("of a worker"));
                let _ = said.recv();
                drop(word);
            }
            _ => panic!("of the work"),
        }
    }

    /// Starts this test again as a process with a role, and expects code 2 and one line.
    #[track_caller]
    fn ends(role: &str, words: &str) {
        let begin = Instant::now();
        let name = "failure::tests::a_panic_anywhere_ends_the_program";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{role}: {stderr}");
        assert!(stderr.contains(words) && stderr.lines().count() == 1, "{role}: {stderr}");
        assert!(begin.elapsed() < Duration::from_secs(30), "{role}");
    }

    #[test]
    fn a_panic_anywhere_ends_the_program() {
        if let Ok(role) = std::env::var(ROLE) {
            guarded(|| {
                play(&role);
                ExitCode::SUCCESS
            });
            return;
        }
        ends("plain", "a fault in moco ended it (of the work at ");
        ends("stuck", "a fault in moco ended it (of the work at ");
        ends("elsewhere", "a fault in moco ended it (of a worker at ");
    }
}
