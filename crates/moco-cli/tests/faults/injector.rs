//! The program under a fault: the interposed library, built with the system's C compiler, and calls
//! of `moco` with it.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::str::FromStr;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fmt, process};

/// How long a command may take; on a busy machine, none comes near.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What is done to a call; `inject.c` says it in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Kill,
    Torn,
    Enospc,
    Full,
    Eio,
    Short,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Kill, Kind::Torn, Kind::Enospc, Kind::Full, Kind::Eio, Kind::Short];
    /// Faults that change what a read gives.
    pub const OF_READS: [Kind; 2] = [Kind::Eio, Kind::Short];

    /// The name that `inject.c` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::Torn => "torn",
            Kind::Enospc => "enospc",
            Kind::Full => "full",
            Kind::Eio => "eio",
            Kind::Short => "short",
        }
    }

    /// Whether the fault means something else to this call than the simpler ones do.
    pub fn suits(self, call: &Call) -> bool {
        match self {
            Kind::Kill | Kind::Enospc | Kind::Eio => true,
            Kind::Torn | Kind::Short => call.bytes > 1,
            Kind::Full => call.bytes > 0 || call.name == "mkdir",
        }
    }

    /// Whether the program ends with it.
    pub fn kills(self) -> bool {
        matches!(self, Kind::Kill | Kind::Torn)
    }
}

/// One call spoilt in one way, written `KIND@NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// Counted from 1.
    pub number: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.kind.name(), self.number)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let wrong = || {
            format!("MOCO_FAULTS={text}: give `all`, a number of faults, or one such as torn@17")
        };
        let (kind, number) = text.split_once('@').ok_or_else(wrong)?;
        let kind = Kind::ALL.into_iter().find(|each| each.name() == kind).ok_or_else(wrong)?;
        Ok(Fault { kind, number: number.parse().map_err(|_| wrong())? })
    }
}

/// A call that was numbered.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// Bytes that were to be moved.
    pub bytes: usize,
    pub path: String,
}

impl Call {
    /// What is the same in each run: event files are named after time and process.
    pub fn fixed(&self) -> String {
        let file = Path::new(&self.path).file_name().unwrap_or_default().to_string_lossy();
        let file = if file.starts_with("events.out") { "events.out.tfevents".into() } else { file };
        format!("{} {file}", self.name)
    }
}

/// Which calls are numbered.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Calls on files below this folder are numbered.
    pub root: &'a Path,
    /// Reads instead of changes.
    pub reads: bool,
    pub fault: Option<Fault>,
}

/// How a call of the program ended.
#[derive(Debug)]
pub struct Outcome {
    /// `None`: it had to be ended after the time limit.
    pub status: Option<ExitStatus>,
    pub stderr: String,
    pub calls: Vec<Call>,
}

impl Outcome {
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// The line that says why the program failed.
    pub fn error(&self) -> &str {
        self.stderr.lines().rfind(|line| line.starts_with("error:")).unwrap_or("no error line")
    }
}

/// Calls `moco` with these arguments, watched or not.
pub fn moco(arguments: &[String], watch: Option<Watch>) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moco"));
    let mut stderr = tempfile::tempfile().unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    command.args(arguments).stdout(process::Stdio::null()).stderr(stderr.try_clone().unwrap());
    if let Some(Watch { root, reads, fault }) = watch {
        let library = library().expect("asked for before");
        command.env("LD_PRELOAD", library).env("MOCO_FAULT_ROOT", root);
        command
            .env("MOCO_FAULT_LOG", log.path())
            .env("MOCO_FAULT_READS", u8::from(reads).to_string());
        if let Some(fault) = fault {
            command.env("MOCO_FAULT_KIND", fault.kind.name());
            command.env("MOCO_FAULT_AT", fault.number.to_string());
        }
    }
    let status = wait(command.spawn().unwrap());
    Outcome { status, stderr: text(&mut stderr), calls: calls(log.path()) }
}

fn wait(mut child: Child) -> Option<ExitStatus> {
    let begin = Instant::now();
    while begin.elapsed() < TIME_LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn calls(log: &Path) -> Vec<Call> {
    let read = |line: &str| {
        let mut words = line.splitn(5, ' ').skip(1);
        let (name, bytes) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(Call { name, bytes, path: words.nth(1)?.to_owned() })
    };
    fs::read_to_string(log).unwrap().lines().filter_map(read).collect()
}

/// The interposed library; `None` where there is no C compiler.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inject.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/inject.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    match compiler.status() {
        Ok(status) => {
            assert!(status.success(), "{compiler:?} failed");
            Some(library)
        }
        Err(_) => None,
    }
}
