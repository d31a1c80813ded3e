//! Runs that stop or are stopped, as a person meets them: what is said, and that it works.

use crate::{Outcome, moco, moco_line};
use moco_data::synthetic::{shapes, write_folder};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SMALL: &str = "--recipe moco-v1-small --batch-size 16 --set model.width=4 \
                     --set model.bn_groups=2 --set method.queue=48 --set method.dim=16 \
                     --set monitor.knn_epochs=0";

/// A temporary folder with images in `train`, of which the first `bad` are none.
fn place(count: usize, bad: usize) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    write_folder(&shapes(count, 32, 0), &place.path().join("train")).unwrap();
    let path = place.path().to_path_buf();
    for file in files(&path.join("train")).iter().take(bad) {
        fs::write(file, "no image").unwrap();
    }
    (place, path)
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect();
    found.sort();
    found
}

#[track_caller]
fn done(line: &str, path: &Path) -> Outcome {
    let outcome = moco_line(line, path);
    assert_eq!(outcome.code, Some(0), "{line}\n{}", outcome.stderr);
    outcome
}

#[track_caller]
fn told(outcome: &Outcome, code: i32, parts: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "no `{part}` in: {}", outcome.stderr);
    }
}

fn begin(path: &Path, more: &str) -> Outcome {
    moco_line(&format!("pretrain --data {{}}/train --out {{}}/run {SMALL} {more}"), path)
}

/// The command in backquotes at the end of a message, as a person would copy it.
fn command_of(outcome: &Outcome) -> Vec<String> {
    let command = outcome.stderr.trim_end().rsplit('`').nth(1).expect("a command in backquotes");
    command.strip_prefix("moco ").unwrap().split_whitespace().map(str::to_owned).collect()
}

fn finished(path: &Path) -> bool {
    let summary = fs::read_to_string(path.join("run/summary.json"));
    summary.is_ok_and(|text| serde_json::from_str::<Value>(&text).unwrap()["finished"] == true)
}

#[test]
fn each_mend_of_too_many_bad_files_works() {
    for mend in ["raise", "remove", "repair"] {
        let (_place, path) = place(96, 8);
        let stopped = begin(&path, "--epochs 2");
        told(&stopped, 2, &["of the 96 images cannot be read", "the run is saved after step"]);
        let all = files(&path.join("train"));
        let (bad, good) = (&all[..8], all[95].clone());
        let mut command = command_of(&stopped);
        let share = command.pop().unwrap();
        assert!(share.starts_with("data.max_bad_share=") && command.pop().unwrap() == "--set");
        match mend {
            "raise" => command.extend(["--set".into(), share]),
            "remove" => bad.iter().for_each(|file| fs::remove_file(file).unwrap()),
            _ => bad.iter().for_each(|file| {
                fs::copy(&good, file).unwrap();
            }),
        }
        let outcome = moco(&command);
        told(
            &outcome,
            0,
            match mend {
                "raise" => &[],
                "remove" => &["8 of the 96 images are gone since the run began"],
                _ => &["8 of the 96 images have another size"],
            },
        );
        assert!(finished(&path), "{mend}");
        let config = fs::read_to_string(path.join("run/config.toml")).unwrap();
        assert_eq!(config.contains("max_bad_share = 0.01"), mend != "raise", "{config}");
    }
}

#[test]
fn one_bad_file_of_few_is_let_pass_and_check_names_it() {
    let (_place, path) = place(66, 1);
    let checked = done(&format!("check --data {{}}/train {SMALL}"), &path).stdout;
    let line = checked.lines().find(|line| line.starts_with("headers")).unwrap();
    assert!(line.contains("all 66 images") && line.contains("1 cannot be read (1.52 %)"), "{line}");
    assert!(line.contains("pretrain goes on") && line.contains("not a JPEG"), "{line}");
    let outcome = begin(&path, "--epochs 1");
    told(&outcome, 0, &["left out"]);
}

#[test]
fn images_that_come_are_left_out_or_taken() {
    let (_place, path) = place(96, 0);
    done_begin(&path, "--epochs 9 --max-steps 2");
    fs::copy(&files(&path.join("train"))[0], path.join("train/new.png")).unwrap();
    let resume = "pretrain --resume {}/run --set train.max_steps=";
    let outcome = done(&format!("{resume}3"), &path);
    told(&outcome, 0, &["1 images are new since the run began, such as new.png"]);
    let outcome = done(&format!("{resume}4 --accept-new-data"), &path);
    told(&outcome, 0, &["taken as they are now, 97 of them"]);
    let outcome = done(&format!("{resume}5"), &path);
    assert!(!outcome.stderr.contains("since the run began"), "{}", outcome.stderr);
    let config = fs::read_to_string(path.join("run/config.toml")).unwrap();
    assert!(config.contains("max_steps = 5"), "{config}");
    told(&begin(&path, "--accept-new-data"), 1, &["--resume"]);
}

#[track_caller]
fn done_begin(path: &Path, more: &str) {
    let outcome = begin(path, more);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn settings_that_cannot_change_are_refused_and_edits_are_named() {
    let (_place, path) = place(96, 0);
    done_begin(&path, "--epochs 9 --max-steps 2");
    for set in ["optim.lr=0.5", "train.epochs=3", "model.width=8", "data.views=[]"] {
        let key = set.split_once('=').unwrap().0;
        let outcome = moco_line(&format!("pretrain --resume {{}}/run --set {set}"), &path);
        told(&outcome, 1, &[&format!("`{key}` cannot change"), "data.max_bad_share", "monitor.*"]);
    }
    let file = path.join("run/config.toml");
    let text = fs::read_to_string(&file).unwrap();
    let edited = text.replace("width = 4", "width = 8").replace("max_steps = 2", "max_steps = 3");
    assert!(edited != text);
    fs::write(&file, &edited).unwrap();

    let embed = "embed --run {}/run --data {}/train --out {}/f.npy";
    let outcome = done(embed, &path);
    told(
        &outcome,
        0,
        &["config.toml says model.width = 8, but the encoder was made with model.width = 4"],
    );
    let outcome = done("pretrain --resume {}/run", &path);
    told(&outcome, 0, &["config.toml says model.width = 8, the checkpoint model.width = 4"]);
    told(&outcome, 0, &["config.toml says train.max_steps = 3", "taken over"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), text.replace("max_steps = 2", "max_steps = 3"));
    let outcome = done(embed, &path);
    assert!(!outcome.stderr.contains("config.toml"), "{}", outcome.stderr);

    fs::remove_file(&file).unwrap();
    told(&done(embed, &path), 0, &["config.toml", "is used"]);
    told(&done("pretrain --resume {}/run", &path), 0, &["written anew"]);
    assert!(file.exists());
}

/// As kills and full disks leave a folder: without its encoder, without its summary, with half a
/// line of metrics.
#[test]
fn a_finished_run_is_made_whole_again() {
    let (_place, path) = place(96, 0);
    done_begin(&path, "--epochs 2");
    let run = path.join("run");
    let read = |name: &str| fs::read(run.join(name)).unwrap();
    let before = ["encoder.safetensors", "metrics.jsonl", "config.toml"].map(read);
    let summary: Value = serde_json::from_slice(&read("summary.json")).unwrap();
    fs::remove_file(run.join("encoder.safetensors")).unwrap();
    fs::remove_file(run.join("summary.json")).unwrap();
    fs::write(run.join("metrics.jsonl"), [&before[1], &b"{\"kind\":\"st"[..]].concat()).unwrap();
    fs::write(run.join("config.toml"), &before[2][..before[2].len() / 2]).unwrap();
    fs::write(run.join("config.tmp"), "half").unwrap();
    done("pretrain --resume {}/run", &path);
    assert!(["encoder.safetensors", "metrics.jsonl", "config.toml"].map(read) == before);
    let again: Value = serde_json::from_slice(&read("summary.json")).unwrap();
    for key in ["method", "steps", "finished", "knn", "parameters"] {
        assert_eq!(again[key], summary[key], "{key}");
    }
    let loss = |of: &Value| of["loss"].as_f64().unwrap();
    assert!((loss(&again) / loss(&summary) - 1.0).abs() < 1e-12, "{again} {summary}");
    assert!(!run.join("config.tmp").exists());

    // A summary that cannot be read is one that is not known, and that is said.
    fs::write(run.join("summary.json"), "{").unwrap();
    done("pretrain --resume {}/run", &path);
    let again: Value = serde_json::from_slice(&read("summary.json")).unwrap();
    assert_eq!(again["steps"], summary["steps"]);
    assert!(again["warnings"][0].as_str().unwrap().contains("could not be read"), "{again}");
}

#[test]
fn a_run_killed_in_its_first_instants_is_taken_over() {
    let (_place, path) = place(96, 0);
    let run = path.join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("config.toml"), "[method]\nname = \"mo").unwrap();
    let outcome = moco_line("pretrain --resume {}/run", &path);
    told(&outcome, 1, &["holds no run to go on with", "--out"]);
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{}", outcome.stderr);
    done_begin(&path, "--epochs 1");
    assert!(finished(&path));
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_taken() {
    let (_place, path) = place(96, 0);
    done_begin(&path, "--epochs 2 --set train.keep_checkpoints=2");
    let right = fs::read(path.join("run/encoder.safetensors")).unwrap();
    let newest = path.join("run/checkpoints/step-00000012.safetensors");
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let outcome = done("pretrain --resume {}/run", &path);
    told(&outcome, 0, &["step-00000012.safetensors is damaged", "the one before is taken"]);
    assert!(fs::read(path.join("run/encoder.safetensors")).unwrap() == right);

    let encoder = path.join("run/encoder.safetensors");
    fs::write(&encoder, [&right[..right.len() - 1], &[right[right.len() - 1] ^ 1]].concat())
        .unwrap();
    let outcome = moco_line("embed --run {}/run --data {}/train --out {}/f.npy", &path);
    told(&outcome, 1, &["encoder.safetensors is damaged"]);
}

/// The last step breaks the weights after the loss was found right.
#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let (_place, path) = place(96, 0);
    let outcome = begin(&path, "--set optim.lr=1e30 --max-steps 1");
    told(&outcome, 2, &["the weights are no finite numbers", "no checkpoint was written yet"]);
    assert!(!path.join("run/encoder.safetensors").exists());
    let outcome = moco_line("embed --run {}/run --data {}/train --out {}/f.npy", &path);
    assert_eq!(outcome.code, Some(1));
}
