//! Configurations and checkpoints with changed bytes, on fixed seeds: an error or a value that holds
//! together, never a panic. `MOCO_MUTANTS=N` makes N mutants of each kind. The fuzz targets of this
//! crate hold their inputs to the same.

mod checkpoint;
mod config;

use checkpoint::opened;
use config::{FACTS, holds_together};
use moco::plan::{parse_run, parse_tree, recipes, resolve, set_value};
use moco_data::Random;
use std::fs;

/// Mutants of each kind that are made unless more are asked for.
const FEW: usize = 300;

fn mutants() -> usize {
    std::env::var("MOCO_MUTANTS").map_or(FEW, |count| count.parse().expect("a number of mutants"))
}

/// Changes a few bytes; half of the time what is put in comes from `words`.
fn mutate(bytes: &[u8], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(mutant.len());
        let end = mutant.len().min(at + random.below(24));
        match random.below(6) {
            0 => mutant[at] = random.below(256) as u8,
            1 => mutant[at] ^= 1 << random.below(8),
            2 => drop(mutant.drain(at..end.min(mutant.len() - 1).max(at))),
            _ => {
                let word = words[random.below(words.len())].bytes();
                mutant.splice(at..end, word).for_each(drop);
            }
        }
    }
    mutant
}

const PIECES: [&str; 24] = [
    "0",
    "-1",
    "1",
    "2",
    "1e30",
    "-0.0",
    "nan",
    "inf",
    "9223372036854775807",
    "\"auto\"",
    "true",
    "[]",
    "{}",
    "\n",
    "=",
    "[method]",
    "[[data]]",
    "name = \"mae\"",
    "width",
    "\"resnet18\"",
    "2 x ",
    "crop(32)",
    "#",
    "\"",
];

const OVERRIDES: [&str; 12] = [
    "optim.lr=0.03",
    "optim.schedule.kind=step",
    "model.backbone=vit-micro",
    "method.queue=4096",
    "data.views=[\"crop(32, 0.2..1) flip normalize(cifar10)\"]",
    "train.max_steps=auto",
    "train.batch_size=1e9",
    "monitor.knn_test=/test",
    "method.temperature=-1",
    "model.width=9223372036854775807",
    "optim.optimizer=lars",
    "train.epochs=0",
];

#[test]
fn configurations() {
    let mut random = Random::from_words([43, 0, 0, 0]);
    let (mut read, mut accepted, mut overridden) = (0, 0, 0);
    for round in 0..mutants() {
        let recipe = recipes()[random.below(recipes().len())];
        let text = mutate(recipe.text.as_bytes(), &PIECES, &mut random);
        let text = if round % 3 == 0 { recipe.text.as_bytes().to_vec() } else { text };
        let Ok(mut tree) = parse_tree(&String::from_utf8_lossy(&text)) else { continue };
        read += 1;
        let given = OVERRIDES[random.below(OVERRIDES.len())];
        let given = mutate(given.as_bytes(), &PIECES, &mut random);
        set_value(&mut tree, "data.path=photos").expect("a path for the images");
        let before = tree.clone();
        match set_value(&mut tree, &String::from_utf8_lossy(&given)) {
            Ok(()) => overridden += 1,
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "more than a line: {error}");
                assert_eq!(tree, before, "changed by what was refused");
            }
        }
        for facts in &FACTS {
            if let Ok(resolved) = resolve(&tree, facts) {
                accepted += 1;
                holds_together(&resolved.config, facts.images);
                let text = resolved.config.to_toml().unwrap_or_default();
                let text = mutate(text.as_bytes(), &PIECES, &mut random);
                if let Ok(config) = parse_run(&String::from_utf8_lossy(&text)) {
                    holds_together(&config, facts.images);
                }
            }
        }
    }
    // Some must pass and some must not for the test to mean something.
    assert!(read > 0 && read < mutants(), "{read} were read");
    assert!(accepted > 0 && overridden > 0, "{accepted} accepted, {overridden} overridden");
}

/// A file of safetensors without a checksum, as early versions wrote it: whatever is changed in it,
/// no checksum stops the reader early.
fn early_checkpoint() -> Vec<u8> {
    let state = r#"{\"format\":2,\"step\":3,\"epoch_loss\":1.5,\"config\":\"x = 1\",\"data_fingerprint\":5,\"counters\":{\"part.counter\":4}}"#;
    let mut header = format!(
        r#"{{"__metadata__":{{"moco":"{state}"}},"part.empty":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}},"part.matrix":{{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}}}"#
    );
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let values = [1.0f32, -2.0, 0.5, 3e-8, 0.0, 7.0].map(f32::to_le_bytes).concat();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &values].concat()
}

#[test]
fn checkpoints() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("step.safetensors");
    let whole = early_checkpoint();
    fs::write(&path, &whole).unwrap();
    assert_eq!(opened(&path), [true; 2], "the file itself");
    const WORDS: [&str; 14] = [
        "0",
        "9",
        "-1",
        "18446744073709551615",
        "1e400",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "F64",
        "BF16",
        "null",
        ",",
    ];
    let mut random = Random::from_words([47, 0, 0, 0]);
    let [mut open, mut restored] = [0; 2];
    for _ in 0..mutants() {
        fs::write(&path, mutate(&whole, &WORDS, &mut random)).unwrap();
        let found = opened(&path);
        open += usize::from(found[0]);
        restored += usize::from(found[1]);
    }
    assert!(open > 0 && open < mutants() && restored > 0, "{open} opened, {restored} restored");
}
