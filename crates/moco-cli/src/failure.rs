//! Errors as one line and an exit code.

use std::fmt;
use std::process::ExitCode;

/// Exit code for what a person can mend on the command line or in the data.
pub const BAD_INPUT: u8 = 1;
/// Exit code of a run that began and could not go on.
const RUN_FAILED: u8 = 2;

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

/// Prints `error` in one line and says with which code to exit.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", sentence(error));
    ExitCode::from(if error.is::<RunFailed>() { RUN_FAILED } else { BAD_INPUT })
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
