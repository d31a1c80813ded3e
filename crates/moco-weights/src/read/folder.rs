//! Weights in several files: folders in the form of Hugging Face, and shards with an index.

use super::bytes::Bytes;
use super::checkpoint::Checkpoint;
use crate::error::{Result, WeightsError};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Longest JSON file that is read, in bytes.
const LONGEST_JSON: u64 = 64 << 20;

/// What a folder's weights are called, in the order of choice.
pub(crate) const WEIGHTS: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.safetensors",
];

/// Endings of files that hold weights.
pub(crate) const ENDINGS: [&str; 7] =
    [".safetensors", ".safetensors.index.json", ".bin", ".pth", ".pt", ".ckpt", ".pth.tar"];

/// Reads the weights of a folder.
pub(super) fn open(folder: &Path) -> Result<Checkpoint> {
    let weights = choose(folder)?;
    let mut checkpoint = super::file(&weights)?;
    add_config(&mut checkpoint, &weights)?;
    checkpoint.path = folder.to_owned();
    Ok(checkpoint)
}

/// The file of a folder that holds its weights.
fn choose(folder: &Path) -> Result<PathBuf> {
    let io = |source| WeightsError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    match pick(&names) {
        Ok(name) => Ok(folder.join(name)),
        Err(problem) => {
            Err(WeightsError::Folder { path: folder.to_owned(), problem, files: listed(&names) })
        }
    }
}

/// The one of a folder's or a repository's files that holds its weights, or why there is none.
pub(crate) fn pick(names: &[String]) -> std::result::Result<&str, String> {
    if let Some(known) = WEIGHTS.iter().find(|known| names.iter().any(|name| name == *known)) {
        return Ok(known);
    }
    let holds = |name: &&String| ENDINGS.iter().any(|ending| name.ends_with(ending));
    let found: Vec<&String> = names.iter().filter(holds).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] => Err("holds no weights".into()),
        several => Err(format!("holds {} files of weights", several.len())),
    }
}

/// A few names for a message.
pub(crate) fn listed(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(12).map(String::as_str).collect();
    match names.len() {
        0 => "none".into(),
        1..=12 => first.join(", "),
        more => format!("{} and {} more", first.join(", "), more - first.len()),
    }
}

/// Reads what stands beside weights: `config.json`, or `NAME.config.json` beside `NAME.safetensors`.
pub(super) fn add_config(checkpoint: &mut Checkpoint, weights: &Path) -> Result<()> {
    let folder = weights.parent().unwrap_or(Path::new(""));
    let name = weights.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.split(".safetensors").next().unwrap_or(&name);
    let beside = folder.join(format!("{stem}.config.json"));
    let usual = WEIGHTS.contains(&name.as_str()) || checkpoint.path.is_dir();
    checkpoint.config = match json(&beside)? {
        Some(config) => Some(config),
        None if usual || name.ends_with(".safetensors") => json(&folder.join("config.json"))?,
        None => None,
    };
    if checkpoint.config.is_some() {
        checkpoint.preprocessor = json(&folder.join("preprocessor_config.json"))?;
    }
    Ok(())
}

/// A file of JSON, if there is one.
fn json(path: &Path) -> Result<Option<Value>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = Bytes::open(path)?;
    if bytes.length() > LONGEST_JSON {
        return Err(bytes.damaged("JSON of over 64 MB"));
    }
    let text = bytes.read(0, bytes.length())?;
    let value = serde_json::from_slice(&text);
    value.map(Some).map_err(|error| bytes.damaged(format!("it is not JSON: {error}")))
}

/// The index of shards: which tensor is in which file.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads the shards that an index names.
pub(super) fn index(bytes: &Bytes) -> Result<Checkpoint> {
    let path = bytes.path();
    if bytes.length() > LONGEST_JSON {
        return Err(bytes.damaged("JSON of over 64 MB"));
    }
    let text = bytes.read(0, bytes.length())?;
    let index: Index = serde_json::from_slice(&text).map_err(|_| WeightsError::NotWeights {
        path: path.to_owned(),
        found: "it is JSON without a `weight_map`, so no index of shards".into(),
    })?;
    let mut checkpoint = Checkpoint::new(path, "");
    let folder = path.parent().unwrap_or(Path::new(""));
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    for name in &names {
        let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || Path::new(name).components().count() != 1 {
            return Err(bytes.damaged(format!("it names the shard `{name}` outside its folder")));
        }
        let shard = folder.join(name);
        if !shard.is_file() {
            return Err(bytes.damaged(format!("its shard `{name}` is not beside it")));
        }
        let shard = super::file(&shard)?;
        checkpoint.format = format!("{}, {} shards", shard.format, names.len());
        checkpoint.skipped.extend(shard.skipped);
        checkpoint.metadata.extend(shard.metadata);
        let here = |key: &String| index.weight_map.get(key) == Some(name);
        checkpoint.tensors.extend(shard.tensors.into_iter().filter(|(key, _)| here(key)));
    }
    let skipped = |key: &String| checkpoint.skipped.iter().any(|skipped| skipped.name == *key);
    let absent = |key: &&String| !checkpoint.tensors.contains_key(*key) && !skipped(key);
    match index.weight_map.keys().find(absent) {
        Some(key) => Err(bytes.damaged(format!("`{key}` is in none of its shards"))),
        None => Ok(checkpoint),
    }
}
