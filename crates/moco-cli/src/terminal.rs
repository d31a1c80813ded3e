//! Writing to the terminal, or to whatever stands in its place.
//!
//! The standard library's macros panic when nothing can be written: a full disk under a log, a
//! terminal that went away. The macros here have their names and take their place in this crate.
//! What goes to stderr is lost then, and nothing else; results that cannot be written end the
//! program.

use crate::failure::BAD_INPUT;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a shell reports for a program whose reader has left (SIGPIPE). The signal itself stays
/// ignored, as Rust has it: it would end a run whose server closes a connection.
const READER_LEFT: i32 = 141;

/// Writes results to stdout.
macro_rules! print {
    ($($text:tt)*) => { $crate::terminal::result(format_args!($($text)*)) };
}

/// Writes a line of results to stdout.
macro_rules! println {
    () => { $crate::terminal::result(format_args!("\n")) };
    ($($text:tt)*) => {
        $crate::terminal::result(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Writes a line of anything else to stderr.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::terminal::remark(format_args!($($text)*)) };
}

/// Who speaks, if this is one of several ranks.
static SPEAKER: Mutex<Option<Speaker>> = Mutex::new(None);

#[derive(Clone, Copy)]
struct Speaker {
    rank: usize,
    verbose: bool,
}

/// From now on this process is rank `rank` of several: results are rank 0's alone, and of the others
/// only errors are told, or with `verbose` all lines, with their numbers.
pub fn speak_as(rank: usize, verbose: bool) {
    if let Ok(mut speaker) = SPEAKER.lock() {
        *speaker = Some(Speaker { rank, verbose });
    }
}

/// Whether nothing but errors is told of this process.
pub fn is_quiet() -> bool {
    other_rank().is_some_and(|speaker| !speaker.verbose)
}

fn other_rank() -> Option<Speaker> {
    SPEAKER.lock().ok().and_then(|speaker| *speaker).filter(|speaker| speaker.rank > 0)
}

pub fn result(text: Arguments<'_>) {
    if other_rank().is_some() {
        return;
    }
    or_end(stdout().write_fmt(text));
}

type Sink = Box<dyn Fn(&str) + Send>;

/// Who shows remarks while the whole terminal is drawn on.
static SINK: Mutex<Option<Sink>> = Mutex::new(None);
static DIVERTED: AtomicBool = AtomicBool::new(false);

/// From now on remarks go to `sink`.
pub fn divert(sink: impl Fn(&str) + Send + 'static) {
    *SINK.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(sink));
    DIVERTED.store(true, Ordering::SeqCst);
}

/// From now on remarks go to stderr again. It waits for nobody, so that a panic may call it.
pub fn no_longer_diverted() {
    DIVERTED.store(false, Ordering::SeqCst);
}

/// Whether remarks go elsewhere now.
pub fn is_diverted() -> bool {
    DIVERTED.load(Ordering::SeqCst)
}

pub fn remark(text: Arguments<'_>) {
    if is_diverted()
        && let Ok(sink) = SINK.try_lock()
        && let Some(sink) = &*sink
    {
        return sink(&text.to_string());
    }
    // In one piece, so that lines of several threads or processes do not mix.
    let mut line = format!("{text}\n");
    if let Some(Speaker { rank, verbose }) = other_rank() {
        if !verbose && !line.starts_with("error:") {
            return;
        }
        line = format!("[rank {rank}] {line}");
    }
    let _ = stderr().write_all(line.as_bytes());
}

/// Makes sure that all results have left the program.
pub fn flush() {
    or_end(stdout().flush());
}

fn or_end(written: std::io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(READER_LEFT),
        Err(error) => {
            eprintln!("error: the results cannot be written: {error}");
            process::exit(i32::from(BAD_INPUT));
        }
    }
}
