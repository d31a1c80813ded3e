//! The arrows between the library's modules, as ARCHITECTURE.md states them.

use std::fs;
use std::path::{Path, PathBuf};

/// A module, and modules that nothing in it may import.
const FORBIDDEN: [(&str, &[&str]); 12] = [
    ("nn", &["methods", "models", "train", "eval", "config", "parts", "optim"]),
    ("models", &["methods", "train", "eval", "optim", "checkpoint"]),
    ("loss.rs", &["methods", "models", "train", "eval", "config"]),
    ("loss", &["methods", "models", "train", "eval", "config"]),
    ("parts", &["methods", "models", "train", "eval"]),
    ("methods", &["train", "eval", "checkpoint", "optim", "export", "report"]),
    ("optim", &["methods", "models", "train", "eval", "checkpoint"]),
    ("eval", &["methods", "train", "report"]),
    ("checkpoint.rs", &["methods", "models", "train", "eval", "config"]),
    ("checkpoint", &["methods", "models", "train", "eval", "config"]),
    ("schedule.rs", &["methods", "models", "train", "eval", "optim"]),
    ("report", &["methods", "models", "eval", "checkpoint"]),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    entries.flat_map(|entry| sources(&entry.unwrap().path())).collect()
}

#[test]
fn imports_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (module, forbidden) in FORBIDDEN {
        for file in sources(&root.join(module)) {
            let text = fs::read_to_string(&file).unwrap();
            for target in forbidden {
                let import = format!("crate::{target}");
                assert!(!text.contains(&import), "{} uses {import}", file.display());
            }
        }
    }
}

#[test]
fn only_the_cli_and_the_crate_root_know_the_trainer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inside = |file: &PathBuf| {
        let relative = file.strip_prefix(&root).unwrap();
        !relative.starts_with("train") && !relative.starts_with("report")
    };
    for file in sources(&root).into_iter().filter(inside) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("crate::train"), "{} imports train", file.display());
    }
}
