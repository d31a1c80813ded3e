//! Python package of moco.
//!
//! Networks are not moved between threads: an `encoder::Encoder` lives on a thread of its own and
//! is asked by messages, so that Python's lock is free while it computes.

#![forbid(unsafe_code)]

mod data;
mod encoder;
mod error;
mod train;
mod worker;

use pyo3::prelude::*;

/// The native part of the package `moco`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("MocoError", module.py().get_type::<error::MocoError>())?;
    module.add_class::<encoder::Encoder>()?;
    module.add_function(wrap_pyfunction!(encoder::load_encoder, module)?)?;
    module.add_function(wrap_pyfunction!(train::pretrain, module)?)?;
    module.add_function(wrap_pyfunction!(data::doctor, module)?)?;
    module.add_function(wrap_pyfunction!(data::knn, module)?)
}
