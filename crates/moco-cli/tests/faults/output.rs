//! Commands whose outcome is a file or two.

use crate::injector::{Outcome, moco};
use crate::run_folder::left_over;
use crate::scenario::{Scenario, try_all};
use crate::tally::Way;
use std::fs;
use std::path::Path;

/// A command that writes files into a folder.
pub struct Output<'a> {
    /// The command for a folder.
    pub command: &'a dyn Fn(&Path) -> Vec<String>,
    /// The files that it writes there.
    pub names: &'a [&'a str],
    /// What it could not read, a file may lack, if a note says so.
    pub may_lack: bool,
}

/// What stood under a name before.
const OLD: &[u8] = b"written before";

impl<'a> Output<'a> {
    /// A command that writes `names`, whole or not at all.
    pub fn new(command: &'a dyn Fn(&Path) -> Vec<String>, names: &'a [&'a str]) -> Output<'a> {
        Output { command, names, may_lack: false }
    }

    /// Spoils each change of a file, where there was no such file and where there was one; says how
    /// many faults came out wrong.
    pub fn try_all(&self, name: &'static str) -> usize {
        let written_before = |root: &Path| {
            self.names.iter().for_each(|name| fs::write(root.join(name), OLD).unwrap());
        };
        self.scenario(name, false, &|_| ()) + self.scenario(name, false, &written_before)
    }

    /// Spoils each read from the folder, which `prepare` fills.
    pub fn try_reads(&self, name: &'static str, prepare: &dyn Fn(&Path)) -> usize {
        self.scenario(name, true, prepare)
    }

    fn scenario(&self, name: &'static str, reads: bool, prepare: &dyn Fn(&Path)) -> usize {
        let expected = self.expected(prepare);
        let check = |root: &Path, outcome: &Outcome| self.check(root, outcome, &expected);
        try_all(&Scenario { name, reads, prepare, command: self.command, check: &check })
    }

    /// The files as the command writes them.
    fn expected(&self, prepare: &dyn Fn(&Path)) -> Vec<Vec<u8>> {
        let place = tempfile::tempdir().unwrap();
        prepare(place.path());
        let outcome = moco(&(self.command)(place.path()), None);
        assert_eq!(outcome.code(), Some(0), "{}", outcome.stderr);
        self.names.iter().map(|name| fs::read(place.path().join(name)).unwrap()).collect()
    }

    fn check(&self, root: &Path, outcome: &Outcome, expected: &[Vec<u8>]) -> Result<Way, String> {
        let succeeded = outcome.code() == Some(0);
        for (name, whole) in self.names.iter().zip(expected) {
            match fs::read(root.join(name)) {
                Ok(bytes) if bytes == *whole => {}
                Ok(bytes) if bytes == OLD && !succeeded => {}
                Ok(_) if succeeded && self.may_lack && has_note(outcome) => {
                    self.repeat(root, expected)?;
                    return Ok(Way::WentOn);
                }
                Err(_) if !succeeded => {}
                Ok(bytes) if bytes == OLD => return Err(format!("success, but {name} is old")),
                Ok(_) => return Err(format!("{name} is torn, exit {:?}", outcome.code())),
                Err(_) => return Err(format!("success, but there is no {name}")),
            }
        }
        if !succeeded {
            self.repeat(root, expected)?;
        }
        // A killed program may leave a temporary file, until the same command is given again.
        left_over(root, &|name| self.names.contains(&name) || name == "run")?;
        Ok(if succeeded { Way::None } else { Way::WentOn })
    }

    fn repeat(&self, root: &Path, expected: &[Vec<u8>]) -> Result<(), String> {
        let again = moco(&(self.command)(root), None);
        if again.code() != Some(0) {
            return Err(format!("the same command fails afterwards: {}", again.error()));
        }
        for (name, expected) in self.names.iter().zip(expected) {
            if fs::read(root.join(name)).unwrap_or_default() != *expected {
                return Err(format!("{name} is wrong after the same command again"));
            }
        }
        Ok(())
    }
}

/// Whether the program said that something is left out.
fn has_note(outcome: &Outcome) -> bool {
    outcome.stderr.lines().any(|line| line.starts_with("note: run: "))
}
