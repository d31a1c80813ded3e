//! Errors as Python exceptions, with our sentences.

use pyo3::PyErr;
use pyo3::exceptions::PyValueError;
use std::error::Error;
use std::fmt;

pyo3::create_exception!(moco, MocoError, PyValueError, "What a person can mend, in one sentence.");

/// An error on its way to Python.
#[derive(Debug)]
pub struct Fault(String);

/// What every function here returns.
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// One sentence that names the thing and the mend.
    pub fn new(sentence: impl Into<String>) -> Self {
        Fault(sentence.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Fault {
    /// The error and what caused it, as one sentence.
    fn from(error: E) -> Self {
        let mut sentence = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !sentence.contains(&text) {
                sentence = format!("{sentence}: {text}");
            }
            cause = error.source();
        }
        Fault(sentence)
    }
}

impl From<Fault> for PyErr {
    fn from(Fault(sentence): Fault) -> PyErr {
        MocoError::new_err(sentence)
    }
}
