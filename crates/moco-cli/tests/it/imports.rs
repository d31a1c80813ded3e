//! Weights of other programs through the commands.

use crate::{images, moco, moco_line};
use std::fs;
use std::path::{Path, PathBuf};

fn checkpoints() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/checkpoints").into()
}

/// Names and descriptions of the folder's checkpoints.
fn described() -> Vec<(String, serde_json::Value)> {
    let mut all: Vec<_> = fs::read_dir(checkpoints())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
        .filter(|name| !name.contains('.') && name != "expected")
        .map(|name| {
            let text = fs::read_to_string(checkpoints().join(format!("{name}.json"))).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    all.sort_by(|a: &(String, _), b| a.0.cmp(&b.0));
    all
}

fn word(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_sound_checkpoint_passes_its_check() {
    let mut checked = 0;
    for (name, about) in described().iter().filter(|(name, _)| !name.starts_with("hostile")) {
        let folder = checkpoints();
        let features = folder.join(format!("{name}.features.safetensors"));
        // Of several files, the last one leads to the others.
        let several = about["files"].as_array().and_then(|files| files.last());
        let file = about["file"].as_str().or(several.and_then(|file| file.as_str()));
        let file = folder.join(file.unwrap());
        let args = ["import".to_owned(), word(&file), "--check".into(), word(&features)];
        let outcome = moco(args);
        assert_eq!(outcome.code, Some(0), "{name}: {}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.stdout.contains("all within rounding"), "{name}: {}", outcome.stdout);
        assert!(outcome.stderr.contains("layout"), "{name}: {}", outcome.stderr);
        checked += 1;
    }
    assert!(checked >= 20, "{checked}");
}

#[test]
fn every_hostile_file_is_refused_in_one_sentence() {
    let mut refused = 0;
    for (name, about) in described().iter().filter(|(name, _)| name.starts_with("hostile")) {
        let file = checkpoints().join(about["file"].as_str().unwrap());
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("out");
        let args = ["import".to_owned(), word(&file), "--out".into(), word(&out)];
        let outcome = moco(args);
        assert_eq!(outcome.code, Some(1), "{name}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{name}: {}", outcome.stderr);
        assert!(outcome.stderr.starts_with("error: "), "{name}: {}", outcome.stderr);
        assert!(!out.exists(), "{name}");
        refused += 1;
    }
    assert_eq!(refused, 9);
}

#[test]
fn features_of_other_weights_fail_the_check() {
    let folder = checkpoints();
    let [file, features] = ["moco_v2_cifar.pth.tar", "simsiam.features.safetensors"];
    let outcome = moco_line(&format!("import {{}}/{file} --check {{}}/{features}"), &folder);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("by more than rounding"), "{}", outcome.stderr);
}

/// Imported once, weights are an encoder like a run's; read each time, they give the same features.
#[test]
fn imported_weights_work_as_a_run_does() {
    let (place, folder) = images(6);
    let file = word(&checkpoints().join("moco_v2_cifar.pth.tar"));
    let at = |line: &str| moco_line(&line.replace("FILE", &file), place.path());
    let imported = at("import FILE --out {}/imported");
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    assert!(imported.stdout.contains("moco embed --run"), "{}", imported.stdout);
    let sources =
        ["--run {}/imported", "--encoder FILE", "--encoder {}/imported/encoder.safetensors"];
    let view = "--eval-view resize(32)~center(32)~normalize(imagenet)";
    let features = sources.map(|source| {
        let line = format!("embed {source} {view} --data {{}}/images --out {{}}/f.csv");
        let words = line.replace("FILE", &file).replace("{}", place.path().to_str().unwrap());
        let outcome = moco(words.split(' ').map(|word| word.replace('~', " ")));
        assert_eq!(outcome.code, Some(0), "{source}: {}", outcome.stderr);
        fs::read_to_string(place.path().join("f.csv")).unwrap()
    });
    assert!(features.iter().all(|text| *text == features[0]));
    assert_eq!(features[0].lines().count(), 7);
    drop(folder);
}

#[test]
fn a_run_starts_from_weights_and_starts_over_from_them() {
    let (place, _folder) = images(16);
    let file = word(&checkpoints().join("moco_v2_cifar.pth.tar"));
    let at = |line: &str| moco_line(&line.replace("FILE", &file), place.path());
    let run = "--batch-size 8 --epochs 1 --set method.queue=16 --set model.bn_groups=1";
    let begun = at(&format!("pretrain --init FILE --data {{}}/images {run} --out {{}}/run"));
    assert_eq!(begun.code, Some(0), "{}", begun.stderr);
    assert!(begun.stderr.contains("from the file: "), "{}", begun.stderr);
    assert!(begun.stderr.contains("query.backbone"), "{}", begun.stderr);
    let config = fs::read_to_string(place.path().join("run/config.toml")).unwrap();
    assert!(config.contains("[init]") && config.contains("moco_v2_cifar.pth.tar"), "{config}");

    // The configuration is a recipe that begins as the run began.
    let again = at("pretrain --recipe {}/run/config.toml --out {}/again");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let encoder = |run: &str| fs::read(place.path().join(run).join("encoder.safetensors")).unwrap();
    assert_eq!(encoder("run"), encoder("again"));
    let without =
        at(&format!("pretrain --data {{}}/images {run} --backbone resnet18 --out {{}}/other"));
    assert_eq!(without.code, Some(0), "{}", without.stderr);
    assert_ne!(encoder("run"), encoder("other"));
}

#[test]
fn weights_that_cannot_be_used_are_told_in_one_sentence() {
    let (place, _folder) = images(8);
    let text = place.path().join("notes.pth");
    fs::write(&text, "not weights").unwrap();
    let folder = checkpoints();
    let cases = [
        ("import {}/none.pth --out {}/o".to_owned(), "none.pth"),
        ("import {}/notes.pth --out {}/o".to_owned(), "notes.pth"),
        (
            format!("import {}/moco_v2_cifar.pth.tar --as nonsense --out {{}}/o", word(&folder)),
            "known are",
        ),
        ("embed --data {}/images --out {}/f.npy".to_owned(), "--run"),
        (
            format!(
                "pretrain --init {}/dino_full.pth --init-heads 3 --backbone resnet18 --data {{}}/images --out {{}}/o",
                word(&folder)
            ),
            "do not fit the run's backbone",
        ),
    ];
    for (line, words) in cases {
        let outcome = moco_line(&line, place.path());
        assert_eq!(outcome.code, Some(1), "{line}: {}", outcome.stdout);
        assert!(outcome.stderr.contains(words), "{line}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{line}: {}", outcome.stderr);
    }
}
