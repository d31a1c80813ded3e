//! The architecture, told from names and shapes.

mod resnet;
mod vit;

pub(crate) use resnet::{Stages, infer as resnet};
pub(crate) use vit::{Hints, infer as vit};

use crate::error::{Result, WeightsError};
use crate::layout::{Keys, Naming};
use crate::read::Tensor;
use crate::tensor::Values;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A tensor of ours: one of the file's, or three in a row.
#[derive(Clone, Debug)]
pub(crate) struct Source<'a> {
    /// Names in the file, and tensors.
    pub pieces: Vec<(&'a str, &'a Tensor)>,
    pub shape: Vec<usize>,
}

/// The tensors of one backbone under our names.
pub(crate) struct Mapped<'a> {
    pub path: PathBuf,
    pub tensors: BTreeMap<String, Source<'a>>,
    /// Where it begins in the file's clean names.
    pub prefix: String,
    pub layout: String,
}

impl<'a> Mapped<'a> {
    /// The backbone that begins at `prefix`.
    pub fn of(
        path: &Path,
        layout: &str,
        keys: &Keys<'a>,
        prefix: &str,
        naming: Naming,
    ) -> Result<Mapped<'a>> {
        let offset = naming.offset(keys, prefix);
        let mut thirds: BTreeMap<String, BTreeMap<usize, (&'a str, &'a Tensor)>> = BTreeMap::new();
        for (name, file, tensor) in keys.under(prefix) {
            if let Some((ours, third)) = naming.ours(name, offset) {
                thirds.entry(ours).or_default().insert(third.unwrap_or(0), (file, tensor));
            }
        }
        let mut mapped = Mapped {
            path: path.to_owned(),
            tensors: BTreeMap::new(),
            prefix: prefix.to_owned(),
            layout: layout.to_owned(),
        };
        for (name, pieces) in thirds {
            let split = naming == Naming::HuggingFace && name.contains(".attn.qkv.");
            if split && pieces.len() != 3 {
                return Err(mapped.incomplete(&[format!("{name} (query, key or value)")]));
            }
            let pieces: Vec<_> = pieces.into_values().collect();
            let shape = mapped.joined(&pieces)?;
            mapped.tensors.insert(name, Source { pieces, shape });
        }
        Ok(mapped)
    }

    /// The shape of tensors one behind the other along the first axis.
    fn joined(&self, pieces: &[(&str, &Tensor)]) -> Result<Vec<usize>> {
        let mut shape = pieces[0].1.shape.clone();
        for (name, piece) in &pieces[1..] {
            if piece.shape.is_empty() || piece.shape[1..] != shape[1..] {
                return Err(self.misshapen(name, &piece.shape, format!("{shape:?}")));
            }
            shape[0] = shape[0].saturating_add(piece.shape[0]);
        }
        Ok(shape)
    }

    /// The shape of one of our tensors.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|source| source.shape.as_slice())
    }

    /// The shape of a tensor that has to be there, with so many axes.
    pub fn needed<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let shape = self.shape(name).ok_or_else(|| self.incomplete(&[name.to_owned()]))?;
        shape.try_into().map_err(|_| {
            self.misshapen(self.file_name(name), shape, format!("a tensor of {N} axes"))
        })
    }

    /// One more than the largest number behind `start`; 0 if there is none.
    pub fn count(&self, start: &str) -> usize {
        let numbers = self
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix(start)?.split('.').next()?.parse::<usize>().ok());
        numbers.map(|number| number.saturating_add(1)).max().unwrap_or(0)
    }

    /// Checks that the tensors are exactly those of a network, in name and shape.
    pub fn check(&self, expected: &BTreeMap<String, Vec<usize>>) -> Result<()> {
        let missing: Vec<String> =
            expected.keys().filter(|name| !self.tensors.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return Err(self.incomplete(&missing));
        }
        for (name, source) in &self.tensors {
            let Some(shape) = expected.get(name) else {
                return Err(self.unsupported(
                    &format!("has `{}` in its backbone", self.file_name(name)),
                    "give weights of a plain ResNet or vision transformer",
                ));
            };
            if *shape != source.shape {
                let name = self.file_name(name);
                return Err(self.misshapen(name, &source.shape, format!("{shape:?}")));
            }
        }
        Ok(())
    }

    /// What one of our tensors is called in the file.
    pub fn file_name(&self, name: &str) -> &'a str {
        self.tensors.get(name).map_or("", |source| source.pieces[0].0)
    }

    /// The error of a backbone without these tensors of ours.
    pub fn incomplete(&self, missing: &[String]) -> WeightsError {
        let first: Vec<String> =
            missing.iter().take(3).map(|name| format!("`{}{name}`", self.prefix)).collect();
        let more = missing.len() - first.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        WeightsError::Incomplete {
            path: self.path.clone(),
            layout: self.layout.clone(),
            missing: format!("{}{rest}", first.join(", ")),
            nearest: "give the whole file, or name another layout with --as".into(),
        }
    }

    /// The error of a tensor of another shape.
    pub fn misshapen(&self, name: &str, found: &[usize], expected: String) -> WeightsError {
        let (path, name, found) = (self.path.clone(), name.to_owned(), found.to_vec());
        WeightsError::Shape { path, name, found, expected }
    }

    /// The error of a network that is not built here.
    pub fn unsupported(&self, problem: &str, mend: &str) -> WeightsError {
        let (problem, mend) = (problem.to_owned(), mend.to_owned());
        WeightsError::Unsupported { path: self.path.clone(), problem, mend }
    }
}

impl Source<'_> {
    /// Reads the values.
    pub fn read(&self) -> Result<Values> {
        let mut data = Vec::new();
        for (name, tensor) in &self.pieces {
            let values = tensor.read(name)?.data;
            if data.is_empty() {
                data = values;
            } else {
                data.extend(values);
            }
        }
        Ok(Values { shape: self.shape.clone(), data })
    }
}
