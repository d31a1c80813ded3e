//! The arrows between the library's modules, as ARCHITECTURE.md states them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, and modules that nothing in it may import.
const FORBIDDEN: [(&str, &[&str]); 20] = [
    ("ops", &["config", "eval", "loss", "methods", "models", "optim", "parts", "plan", "train"]),
    ("config", &["methods", "plan", "models", "nn", "parts", "train", "eval", "schedule"]),
    ("nn", &["methods", "plan", "models", "train", "eval", "config", "parts", "optim"]),
    ("models", &["methods", "plan", "train", "eval", "optim", "checkpoint"]),
    ("loss.rs", &["methods", "plan", "models", "train", "eval", "config"]),
    ("loss", &["methods", "plan", "models", "train", "eval", "config"]),
    ("parts", &["methods", "plan", "models", "train", "eval"]),
    ("methods", &["plan", "train", "eval", "checkpoint", "optim", "export", "report", "events"]),
    ("plan", &["train", "eval", "checkpoint", "optim", "export", "report", "events", "pretrained"]),
    ("pretrained", &["train", "report", "optim"]),
    ("optim", &["methods", "plan", "models", "train", "eval", "checkpoint"]),
    ("eval", &["methods", "plan", "train", "report", "events"]),
    ("features", &["methods", "train", "report", "optim"]),
    ("checkpoint.rs", &["methods", "plan", "models", "train", "eval", "config"]),
    ("checkpoint", &["methods", "plan", "models", "train", "eval", "config"]),
    ("schedule.rs", &["methods", "plan", "models", "train", "eval", "optim"]),
    ("events.rs", &["methods", "plan", "models", "train", "report", "config"]),
    ("report", &["methods", "plan", "models", "eval", "checkpoint", "train"]),
    ("export", &["train", "report", "events", "optim"]),
    ("run", &["train", "report", "events", "optim", "methods"]),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    entries.flat_map(|entry| sources(&entry.unwrap().path())).collect()
}

/// The modules of the crate that a file names, alone (`crate::nn::Module`) or in a group
/// (`crate::{nn::{Module, Param}, loss}`), in imports, paths and documentation.
fn modules_used(text: &str) -> BTreeSet<&str> {
    let paths = text.split("crate::").skip(1);
    paths
        .flat_map(|path| match path.strip_prefix('{') {
            Some(listed) => group(listed),
            None => vec![word(path)],
        })
        .collect()
}

/// The first words of what a group lists.
fn group(text: &str) -> Vec<&str> {
    let (mut depth, mut begins, mut words) = (0, true, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            letter if begins && !letter.is_whitespace() => {
                words.push(word(&text[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    words
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn modules_are_found_in_groups_too() {
    let text =
        "use crate::{\n    loss,\n    nn::{Module, eval::X},\n};\nuse crate::config::RunConfig;";
    assert!(modules_used(text).into_iter().eq(["config", "loss", "nn"]));
    assert!(modules_used("let x = crate::train::learn(y);").contains("train"));
}

#[test]
fn imports_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (module, forbidden) in FORBIDDEN {
        for file in sources(&root.join(module)) {
            let text = fs::read_to_string(&file).unwrap();
            let used = modules_used(&text);
            for target in forbidden {
                assert!(!used.contains(target), "{} uses crate::{target}", file.display());
            }
        }
    }
}

#[test]
fn only_the_cli_and_the_crate_root_know_the_trainer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inside = |file: &PathBuf| {
        let relative = file.strip_prefix(&root).unwrap();
        !relative.starts_with("train")
    };
    for file in sources(&root).into_iter().filter(inside) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!modules_used(&text).contains("train"), "{} uses crate::train", file.display());
    }
}
