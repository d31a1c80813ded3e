//! Data sets and features.

use crate::error::{Fault, Result};
use moco::eval::{self, Features};
use moco_data::Dataset;
use moco_data::doctor::{DoctorConfig, examine};
use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;
use std::path::PathBuf;

/// What is in a data set, and what is wrong with it: what `moco doctor` tells, as a dictionary.
///
/// Raises MocoError if there is no such data set.
#[pyfunction]
#[pyo3(signature = (path, *, threads=None))]
pub fn doctor(py: Python<'_>, path: PathBuf, threads: Option<usize>) -> PyResult<Py<PyAny>> {
    let report = py.detach(|| -> Result<String> {
        let dataset = Dataset::open(&path)?;
        let usual = DoctorConfig::default();
        let config = DoctorConfig { threads: threads.unwrap_or(usual.threads).max(1), ..usual };
        Ok(serde_json::to_string(&examine(&dataset, &config, &mut |_| ()))?)
    })?;
    Ok(py.import("json")?.call_method1("loads", (report,))?.unbind())
}

/// Share of test rows that their weighted nearest training rows classify rightly, from 0 to 1.
///
/// The `k` training rows of the largest cosine vote for their labels with `exp(cosine /
/// temperature)`. Features are `[N, F]`, labels whole numbers from 0.
///
/// Raises MocoError if they do not fit together.
#[pyfunction]
#[pyo3(signature = (train, train_labels, test, test_labels, *, k=200, temperature=0.1))]
pub fn knn(
    py: Python<'_>,
    train: &Bound<'_, PyAny>,
    train_labels: &Bound<'_, PyAny>,
    test: &Bound<'_, PyAny>,
    test_labels: &Bound<'_, PyAny>,
    k: usize,
    temperature: f64,
) -> PyResult<f64> {
    let train = features("train", train, labels(train_labels)?)?;
    let test = features("test", test, labels(test_labels)?)?;
    if train.dim != test.dim {
        let (train, test) = (train.dim, test.dim);
        return Err(Fault::new(format!("train has {train} columns and test {test}")).into());
    }
    if train.is_empty() || test.is_empty() || k == 0 {
        return Err(Fault::new("knn needs training rows, test rows and k of at least 1").into());
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(Fault::new(format!("temperature = {temperature}: must be above 0")).into());
    }
    Ok(py.detach(|| eval::knn(&train, &test, k, temperature).top1))
}

/// Labels of any type of whole numbers.
fn labels(labels: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    let whole = || Fault::new("labels are a list of whole numbers from 0");
    let array = as_array(labels, "int64", "same_kind").map_err(|_| whole())?;
    let array: PyReadonlyArray1<'_, i64> = array.extract().map_err(|_| whole())?;
    let label = |&label: &i64| u32::try_from(label);
    let labels: std::result::Result<Vec<u32>, _> = array.as_array().iter().map(label).collect();
    Ok(labels.map_err(|_| whole())?)
}

/// Whatever numpy takes for an array, as one of `kind`.
fn as_array<'py>(
    values: &Bound<'py, PyAny>,
    kind: &str,
    casting: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let py = values.py();
    let array = py.import("numpy")?.call_method1("asarray", (values,))?;
    let options = [("casting", casting)].into_py_dict(py)?;
    array.call_method("astype", (kind,), Some(&options))
}

fn features(name: &str, rows: &Bound<'_, PyAny>, labels: Vec<u32>) -> PyResult<Features> {
    let shape = || Fault::new(format!("{name} is no array of numbers of the shape [N, F]"));
    let rows = as_array(rows, "float32", "same_kind").map_err(|_| shape())?;
    let rows: PyReadonlyArray2<'_, f32> = rows.extract().map_err(|_| shape())?;
    let rows = rows.as_array();
    let (count, dim) = (rows.shape()[0], rows.shape()[1]);
    if labels.len() != count {
        let labels = labels.len();
        return Err(Fault::new(format!("{name} has {count} rows and {labels} labels")).into());
    }
    Ok(Features {
        values: rows.iter().copied().collect(),
        dim,
        indices: (0..count).collect(),
        labels,
        bad: Vec::new(),
    })
}
