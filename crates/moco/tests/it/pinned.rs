//! What must stay as it is while the code around it changes: the configurations that recipes and
//! methods resolve to, the names of what is saved, and the bits that training comes to.
//!
//! The values are in `golden/pinned/`. A change that is meant is written there with
//! `MOCO_WRITE_PINNED=1 cargo test --release --workspace --test it pinned`, once for each instruction
//! set (`MOCO_KERNELS`) on a processor with AVX-512 and on one without, and told in the commit. A digest
//! is the beginning of a SHA-256.

use crate::device::device;
use crate::resume_methods::{CASES, config_with};
use crate::runs::{Recorder, dataset, options, state};
use moco::config::DataFacts;
use moco::methods::REGISTRY;
use moco::plan::{self, load_recipe, recipes, resolve};
use moco::run::RunDir;
use moco::train::Trainer;
use moco_kernels::Isa;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use toml::Table;

/// CIFAR-10 and ImageNet, as far as defaults look at them.
const DATA: [(&str, DataFacts); 2] = [
    ("32", DataFacts { images: 50_000, width: 32, height: 32, labelled: true }),
    ("224", DataFacts { images: 1_281_167, width: 500, height: 375, labelled: true }),
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/pinned").join(name)
}

fn digest(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether what is found is written down instead of compared.
fn writes() -> bool {
    std::env::var_os("MOCO_WRITE_PINNED").is_some()
}

/// Compares `found` with the lines `key value` of a file, of the keys that it has values for; the file
/// may have others, of other instruction sets.
fn hold(name: &str, found: &BTreeMap<String, String>) {
    let text = fs::read_to_string(file(name)).unwrap_or_default();
    let split = |line: &str| line.rsplit_once(' ').map(|(key, value)| (key.into(), value.into()));
    let mut pinned: BTreeMap<String, String> = text.lines().filter_map(split).collect();
    if writes() {
        pinned.extend(found.clone());
        let lines = pinned.iter().map(|(key, value)| format!("{key} {value}\n"));
        return fs::write(file(name), lines.collect::<String>()).unwrap();
    }
    for (key, value) in found {
        assert_eq!(pinned.get(key), Some(value), "{name}: {key}");
    }
}

fn resolved(mut tree: Table, facts: &DataFacts) -> String {
    plan::set(&mut tree, "data.path", "images".into()).unwrap();
    resolve(&tree, facts).unwrap().config.to_toml().unwrap()
}

#[test]
fn recipes_resolve_to_what_they_did() {
    let mut found = BTreeMap::new();
    for recipe in recipes() {
        for (data, facts) in &DATA {
            let text = resolved(load_recipe(recipe.name).unwrap(), facts);
            found.insert(format!("{} {data}", recipe.name), digest(text));
        }
    }
    assert_eq!(found.len(), 2 * recipes().len());
    hold("recipes.txt", &found);
}

/// In full, since this is where defaults can be read and compared.
#[test]
fn methods_without_a_recipe_resolve_to_what_they_did() {
    for (data, facts) in &DATA {
        let mut found = String::new();
        for method in REGISTRY.map(|spec| spec.card().name) {
            let mut tree = Table::new();
            plan::set(&mut tree, "method.name", method.into()).unwrap();
            writeln!(found, "######## {method}\n\n{}", resolved(tree, facts)).unwrap();
        }
        let file = file(&format!("methods-{data}.txt"));
        if writes() {
            fs::write(&file, &found).unwrap();
        }
        let pinned = fs::read_to_string(&file).unwrap();
        for (at, (is, was)) in found.lines().zip(pinned.lines()).enumerate() {
            assert_eq!(is, was, "line {} of {}", at + 1, file.display());
        }
        assert_eq!(found.len(), pinned.len(), "{}", file.display());
    }
}

/// The names and shapes in a safetensors file, from its header.
fn names(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let mut names: Vec<_> = tensors.map(|(name, t)| format!("{name} {}", t["shape"])).collect();
    names.sort_unstable();
    names
}

/// What chooses how sums are ordered: our kernels, and the processor, which Burn's own operations look at
/// whatever `MOCO_KERNELS` says. One without AVX-512 has lines of its own.
fn arithmetic(kernels: &str) -> String {
    match Isa::Avx512.is_supported() {
        true => kernels.to_owned(),
        false => format!("{kernels} without-avx512"),
    }
}

/// Three steps of every method at a size that a test can afford: losses and all state to the bit, and
/// the names and shapes in both of its files.
#[test]
fn three_steps_come_to_the_same_bits() {
    let data = dataset(64);
    let kernels = moco::device::cpu_kernel_name().unwrap();
    let arithmetic = arithmetic(kernels);
    let on_cpu = std::env::var_os("MOCO_TEST_DEVICE").is_none();
    let (mut bits, mut files) = (BTreeMap::new(), BTreeMap::new());
    for (number, case) in CASES.iter().enumerate() {
        let config = config_with(case, &["train.max_steps=3"], &data);
        let mut trainer = Trainer::new(&config, data.clone(), &device(), options(1)).unwrap();
        let (folder, mut recorder) = (tempfile::tempdir().unwrap(), Recorder::default());
        recorder.train(&mut trainer, folder.path()).unwrap();
        let mut hash = Sha256::new();
        recorder.losses().iter().for_each(|loss| hash.update(loss.to_bits().to_le_bytes()));
        for (name, values) in state(&mut trainer) {
            hash.update(name);
            values.iter().for_each(|value| hash.update(value.to_bits().to_le_bytes()));
        }
        let sum = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let case = format!("{number:02} {}", case.0);
        bits.insert(format!("{case} {arithmetic}"), sum);
        let run = RunDir::at(folder.path());
        for (what, path) in [("encoder", run.encoder()), ("checkpoint", run.checkpoint(3))] {
            let names = names(&path);
            let sum = format!("{}:{}", names.len(), digest(names.join("\n")));
            files.insert(format!("{case} {what}"), sum);
        }
    }
    hold("names.txt", &files);
    if on_cpu && kernels != "stock" {
        hold("bits.txt", &bits);
    }
}
