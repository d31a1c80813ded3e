//! Where the checkpoints are, and what is known of them.

use moco_weights::{Architecture, Options};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The copies in the repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/checkpoints")
}

/// A checkpoint and what was said of it when it was made.
pub struct Case {
    pub name: String,
    pub file: PathBuf,
    pub layout: String,
    pub tensors: u64,
    pub crc32: u64,
    /// Its own JSON.
    pub about: Value,
}

/// The copies; and all of them, where `MOCO_GOLDEN_CHECKPOINTS` names their folder.
pub fn cases() -> Vec<Case> {
    let mut cases = of(&folder(), "copy");
    if let Some(whole) = std::env::var_os("MOCO_GOLDEN_CHECKPOINTS") {
        cases.extend(of(Path::new(&whole), "whole"));
    }
    assert!(cases.len() >= 20, "the golden checkpoints are gone");
    cases
}

fn of(folder: &Path, kind: &str) -> Vec<Case> {
    let expected = json(&self::folder().join("expected.json"));
    let rows = expected.as_object().expect("rows");
    let case = |(name, row): (&String, &Value)| {
        let numbers = row.get(kind)?;
        Some(Case {
            name: name.clone(),
            file: folder.join(row["file"].as_str()?),
            layout: row["layout"].as_str()?.to_owned(),
            tensors: numbers["tensors"].as_u64()?,
            crc32: numbers["crc32"].as_u64()?,
            about: json(&folder.join(format!("{name}.json"))),
        })
    };
    rows.iter().filter_map(case).collect()
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a golden file")).expect("JSON")
}

impl Case {
    pub fn number(&self, keys: &[&str]) -> Option<usize> {
        let found = keys.iter().find_map(|key| self.about.get(key)?.as_u64());
        found.map(|number| number as usize)
    }

    /// What a user would have to say: the tiny transformers have heads of no published model.
    pub fn options(&self) -> Options {
        Options { heads: self.number(&["heads", "num_heads"]), ..Options::default() }
    }

    pub fn weights(&self) -> moco_weights::Weights {
        moco_weights::open(&self.file, &self.options())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// The transformer of an architecture.
pub fn vit(architecture: &Architecture) -> &moco_weights::Vit {
    match architecture {
        Architecture::Vit(vit) => vit,
        other => panic!("{other:?}"),
    }
}
