//! Whatever a person gets wrong: exit code 1 and one sentence that names the thing and the mend.

use crate::{images, moco_line};
use std::fs;
use std::path::Path;

/// Runs `line`, with `{}` for `path`, and expects one line of complaint with all of `parts`, after
/// those that say what data sets were opened.
#[track_caller]
fn refused(line: &str, path: &Path, parts: &[&str]) {
    let outcome = moco_line(line, path);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    let lines = outcome.stderr.lines();
    let (errors, others): (Vec<&str>, Vec<&str>) = lines.partition(|l| l.starts_with("error: "));
    let opened = |line: &&str| line.contains(" images, ");
    assert!(others.iter().all(opened) && errors.len() == 1, "{}", outcome.stderr);
    let message = errors[0];
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

#[test]
fn no_images() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    refused("check", path, &["--data"]);
    refused("check --data {}/nowhere", path, &["nowhere", "does not exist"]);
    refused("check --data {}", path, &["holds no files"]);
    fs::write(path.join("notes.txt"), "no image").unwrap();
    refused("check --data {}", path, &["no image", "1 text", "JPEG"]);
    refused("check --data {}/notes.txt", path, &["neither a folder nor a .tar"]);
}

#[test]
fn images_that_are_none() {
    let place = tempfile::tempdir().unwrap();
    for name in ["a.jpg", "b.jpg"] {
        fs::write(place.path().join(name), "not a JPEG").unwrap();
    }
    refused("check --data {}", place.path(), &["none of 2 images", "b.jpg", "JPEG, PNG"]);
}

#[test]
fn fewer_images_than_a_batch() {
    let (_place, folder) = images(5);
    refused(
        "pretrain --data {} --out {}-run --recipe moco-v1-small",
        &folder,
        &["5 images", "128", "--batch-size 5"],
    );
    refused("check --data {} --batch-size 6", &folder, &["5 images", "--batch-size 5"]);
    assert!(!folder.with_file_name("images-run").exists());
}

#[test]
fn out_folders_that_cannot_take_a_run() {
    let (place, folder) = images(8);
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.tex"), "").unwrap();
    let line = "pretrain --data {}/images --out {}/out";
    refused(line, place.path(), &["not empty", "empty folder"]);
    fs::create_dir(out.join("checkpoints")).unwrap();
    fs::write(out.join("checkpoints/step-00000001.safetensors"), "").unwrap();
    refused(line, place.path(), &["already holds a run", "--resume"]);
    refused("pretrain --data {} --out {}/000.png/run", &folder, &["cannot write", "--out"]);
    refused("pretrain --data {}/images --out /proc/run", place.path(), &["cannot write", "--out"]);
}

#[test]
fn settings() {
    let (_place, folder) = images(16);
    let cases: &[(&str, &[&str])] = &[
        ("--epochs 0", &["train.epochs = 0: must be at least 1"]),
        ("--batch-size -3", &["train.batch_size = -3: must be at least 1"]),
        ("--set train.batchsize=4", &["train.batchsize", "did you mean `train.batch_size`?"]),
        ("--set optim.lr=fast", &["optim.lr", "must be a number"]),
        ("--set optim.lr", &["key=value"]),
        ("--set method.queue=2", &["method.queue = 2", "shorter", "at least 4"]),
        ("--set method.temperature=0", &["method.temperature = 0: must be above 0"]),
        ("--set data.eval_view=crop", &["data.eval_view", "crop"]),
        ("--recipe moco-v1-smal", &["moco-v1-smal", "did you mean `moco-v1-small`?", "demo"]),
        ("--recipe nowhere.toml", &["cannot read nowhere.toml"]),
        ("--method moco-v7", &["moco-v7", "choose one of instdisc, cpc, invaspread"]),
        ("--recipe moco-v1-small --method moco-v2", &["moco-v1", "choose a recipe"]),
        ("--backbone resnet19", &["resnet19", "did you mean `resnet18`?", "resnet101"]),
        ("--device tpu", &["tpu", "cpu"]),
    ];
    for (flags, parts) in cases {
        refused(&format!("check --data {{}} {flags}"), &folder, parts);
    }
}

#[test]
fn a_file_of_settings_names_itself() {
    let (place, folder) = images(16);
    fs::write(place.path().join("mine.toml"), "[train]\nepoch = 3\n").unwrap();
    refused(
        "check --data {} --recipe {}/../mine.toml",
        &folder,
        &["mine.toml: unknown key `train.epoch`: did you mean `train.epochs`?"],
    );
}

#[test]
fn folders_that_hold_no_run() {
    let place = tempfile::tempdir().unwrap();
    for line in [
        "pretrain --resume {}",
        "eval knn --run {} --train {} --test {}",
        "eval linear --run {} --train {} --test {}",
        "embed --run {} --data {} --out {}/f.npy",
        "export --run {} --out {}/encoder.safetensors",
    ] {
        refused(line, place.path(), &["holds no run"]);
    }
}

#[test]
fn strengths_of_mixing() {
    let place = tempfile::tempdir().unwrap();
    let line = "eval finetune --run {} --train {} --test {}";
    for flag in ["--mixup", "--cutmix"] {
        for value in ["-0.8", "-1e9", "nan", "inf", "101", "much"] {
            let outcome = moco_line(&format!("{line} {flag} {value}"), place.path());
            assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
            let reason = "must be a number from 0, which turns it off, to 100";
            let expected = format!("error: invalid value '{value}' for '{flag} <A>': {reason}");
            assert_eq!(outcome.stderr.lines().next(), Some(expected.as_str()));
        }
        refused(&format!("{line} {flag} 0.8"), place.path(), &["holds no run"]);
    }
}

#[test]
fn output_names() {
    let place = tempfile::tempdir().unwrap();
    refused("embed --run {} --data {} --out {}/f.xlsx", place.path(), &[".npy, .csv or .parquet"]);
    refused("export --run {} --out {}/encoder.pt", place.path(), &[".safetensors"]);
}
