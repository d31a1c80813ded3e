//! Counts of what came of faults, as a table.

use crate::injector::{Call, Fault, Kind};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// How things were put right after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There was nothing to put right: the program ended well and left all that it should.
    None,
    /// The same command again, or `--resume`, went on.
    WentOn,
    /// The documented answer was to start again, and that worked.
    StartedAgain,
}

/// What came of all faults of a scenario.
#[derive(Default)]
pub struct Tally {
    kinds: BTreeMap<Kind, Counts>,
    failures: BTreeMap<String, Vec<String>>,
    errors: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Counts {
    tried: usize,
    unharmed: usize,
    went_on: usize,
    started_again: usize,
    failed: usize,
}

impl Tally {
    pub fn count(&mut self, fault: Fault, call: &Call, came: Result<Way, String>) {
        let counts = self.kinds.entry(fault.kind).or_default();
        counts.tried += 1;
        match came {
            Ok(Way::None) => counts.unharmed += 1,
            Ok(Way::WentOn) => counts.went_on += 1,
            Ok(Way::StartedAgain) => counts.started_again += 1,
            Err(reason) => {
                counts.failed += 1;
                let at = format!("{fault} ({})", call.fixed());
                self.failures.entry(reason).or_default().push(at);
            }
        }
    }

    /// Remembers what the program said of a fault.
    pub fn said(&mut self, error: String) {
        *self.errors.entry(error).or_default() += 1;
    }

    pub fn failed(&self) -> usize {
        self.kinds.values().map(|counts| counts.failed).sum()
    }
}

/// A table of counts, then each reason of a failure with the faults that have it.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| fault | tried | unharmed | went on | started again | failed |")?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|")?;
        for (kind, counts) in &self.kinds {
            let Counts { tried, unharmed, went_on, started_again, failed } = counts;
            let name = kind.name();
            writeln!(
                f,
                "| {name} | {tried} | {unharmed} | {went_on} | {started_again} | {failed} |"
            )?;
        }
        for (reason, faults) in &self.failures {
            writeln!(f, "FAILED {} times: {reason}\n    {}", faults.len(), faults.join(", "))?;
        }
        Ok(())
    }
}

impl Tally {
    /// The different messages of the program, with how often each came.
    pub fn messages(&self) -> String {
        self.errors.iter().fold(String::new(), |mut all, (error, times)| {
            let _ = writeln!(all, "{times:>4} x {error}");
            all
        })
    }
}
