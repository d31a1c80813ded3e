//! A command of the program, tried under every fault of every call that it makes.

use crate::injector::{Call, Fault, Kind, Outcome, Watch, moco};
use crate::tally::{Tally, Way};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use tempfile::TempDir;

/// Faults of a scenario that are tried when not all are asked for.
const SAMPLE: usize = 16;
const SIGKILL: i32 = 9;

/// A command, what it finds, and what must be there after it.
pub struct Scenario<'a> {
    pub name: &'static str,
    /// Numbers reads instead of changes.
    pub reads: bool,
    /// Fills a new folder with what the command finds. Calls on files in it are numbered.
    pub prepare: &'a dyn Fn(&Path),
    /// The command, working on that folder.
    pub command: &'a dyn Fn(&Path) -> Vec<String>,
    /// Looks at the folder after the command, puts it right as the documentation says, and looks
    /// again.
    pub check: &'a dyn Fn(&Path, &Outcome) -> Result<Way, String>,
}

/// Tries the scenario's faults, prints what came of them, and says how many came out wrong.
pub fn try_all(scenario: &Scenario) -> usize {
    let (calls, again) = (unharmed(scenario), unharmed(scenario));
    let fixed = |calls: &[Call]| calls.iter().map(Call::fixed).collect::<Vec<_>>();
    assert_eq!(
        fixed(&calls),
        fixed(&again),
        "{}: the calls are not always the same",
        scenario.name
    );
    let every = faults(scenario, &calls);
    let (chosen, keep) = chosen(&every);
    let mut tally = Tally::default();
    for fault in &chosen {
        let call = &calls[fault.number - 1];
        let (came, error) = try_one(scenario, *fault, keep);
        tally.count(*fault, call, came);
        error.into_iter().for_each(|error| tally.said(error));
    }
    let (name, tried, all) = (scenario.name, chosen.len(), every.len());
    println!("\n{name}: {} calls, {tried} of {all} faults\n\n{tally}", calls.len());
    if chosen.len() == every.len() {
        println!("{}", tally.messages());
    }
    tally.failed()
}

/// The calls of the command when nothing is spoilt.
fn unharmed(scenario: &Scenario) -> Vec<Call> {
    let (_place, outcome) = attempt(scenario, None);
    assert_eq!(outcome.code(), Some(0), "{}: {}", scenario.name, outcome.stderr);
    assert!(!outcome.calls.is_empty(), "{}: no call was seen", scenario.name);
    outcome.calls
}

/// All faults, kind by kind.
fn faults(scenario: &Scenario, calls: &[Call]) -> Vec<Fault> {
    let kinds: &[Kind] = if scenario.reads { &Kind::OF_READS } else { &Kind::ALL };
    let suiting = |kind: Kind| {
        let numbered = (1..).zip(calls).filter(move |(_, call)| kind.suits(call));
        numbered.map(move |(number, _)| Fault { kind, number })
    };
    kinds.iter().copied().flat_map(suiting).collect()
}

/// The faults that `MOCO_FAULTS` asks for, and whether to keep the folder for a person to look at.
fn chosen(every: &[Fault]) -> (Vec<Fault>, bool) {
    let asked = std::env::var("MOCO_FAULTS").unwrap_or(SAMPLE.to_string());
    let count = if asked == "all" { Ok(every.len()) } else { asked.parse() };
    match count {
        Ok(count) => {
            let count = every.len().min(count);
            ((0..count).map(|i| every[i * every.len() / count]).collect(), false)
        }
        Err(_) => (vec![asked.parse().unwrap_or_else(|error: String| panic!("{error}"))], true),
    }
}

/// What came of a fault, and what the program said if it failed.
fn try_one(scenario: &Scenario, fault: Fault, keep: bool) -> (Result<Way, String>, Option<String>) {
    let (place, outcome) = attempt(scenario, Some(fault));
    let root = root(&place);
    let came = ended_well(&outcome, fault).and_then(|()| (scenario.check)(&root, &outcome));
    if keep {
        println!("{fault}: {}\n{}", place.keep().display(), outcome.stderr);
    }
    let shorter = |text: &str| shorter(text, root.to_str().unwrap());
    let failed = outcome.code().filter(|code| *code != 0);
    let error = failed.map(|code| format!("exit {code}, {}", shorter(outcome.error())));
    (came.map_err(|reason| shorter(&reason)), error)
}

/// `text` without what is different in each attempt: the folder, and the names of event files.
fn shorter(text: &str, root: &str) -> String {
    let text = text.replace(root, "ROOT");
    let Some((before, event_file)) = text.split_once("events.out.tfevents.") else { return text };
    let rest = event_file.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    format!("{before}events.out.tfevents.{rest}")
}

fn attempt(scenario: &Scenario, fault: Option<Fault>) -> (TempDir, Outcome) {
    let place = tempfile::tempdir().unwrap();
    let root = root(&place);
    fs::create_dir(&root).unwrap();
    (scenario.prepare)(&root);
    let watch = Watch { root: &root, reads: scenario.reads, fault };
    let outcome = moco(&(scenario.command)(&root), Some(watch));
    (place, outcome)
}

fn root(place: &TempDir) -> std::path::PathBuf {
    place.path().canonicalize().unwrap().join("root")
}

/// Whether the program ended as its documentation says: 0, 1 or 2, with one sentence if it failed.
fn ended_well(outcome: &Outcome, fault: Fault) -> Result<(), String> {
    let Some(status) = outcome.status else { return Err("hangs".into()) };
    said_well(outcome)?;
    match (status.code(), status.signal()) {
        (None, Some(SIGKILL)) if fault.kind.kills() => Ok(()),
        (Some(0..=2), _) if fault.kind.kills() => Err("goes on after SIGKILL".into()),
        (Some(0..=2), _) => Ok(()),
        _ => Err(format!("ends with {status}")),
    }
}

/// Whether stderr holds one sentence about what failed, if anything did, and no panic.
pub fn said_well(outcome: &Outcome) -> Result<(), String> {
    if let Some(line) = outcome.stderr.lines().find(|line| line.contains("panicked at")) {
        return Err(format!("panics: {line}"));
    }
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("error:")).count();
    let expected = usize::from(outcome.code().is_some_and(|code| code != 0));
    match errors == expected {
        true => Ok(()),
        false => Err(format!("{errors} errors are named, exit {:?}", outcome.code())),
    }
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
