//! Fine-tuned networks as files, and students that learn from them.

use crate::{Outcome, moco_line};
use moco_data::synthetic::{shapes, write_folder};
use serde_json::Value;
use std::fs;
use std::path::Path;

#[track_caller]
fn json(line: &str, path: &Path) -> Value {
    let outcome = moco_line(&format!("{line} --json"), path);
    assert_eq!(outcome.code, Some(0), "{line}\n{}", outcome.stderr);
    serde_json::from_str(outcome.stdout.trim())
        .unwrap_or_else(|e| panic!("{e}: {}", outcome.stdout))
}

#[track_caller]
fn refused(line: &str, path: &Path, words: &str) {
    let Outcome { code, stderr, stdout } = moco_line(line, path);
    assert_eq!(code, Some(1), "{line}\n{stdout}{stderr}");
    assert!(stderr.contains(words), "no `{words}` in: {stderr}");
    assert_eq!(
        stderr.trim().lines().filter(|line| line.starts_with("error")).count(),
        1,
        "{stderr}"
    );
}

#[test]
fn a_student_learns_from_a_tuned_network() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    for (name, count, seed) in [("train", 96, 0), ("test", 40, 1)] {
        write_folder(&shapes(count, 32, seed), &path.join(name)).unwrap();
    }
    let small = "--data {}/train --epochs 1 --batch-size 16 --set model.width=4";
    for (recipe, run) in [("simclr-v2-small", "large"), ("moco-v1-small", "other")] {
        let queue =
            if run == "other" { "--set model.bn_groups=1 --set method.queue=48" } else { "" };
        let line = format!("pretrain --recipe {recipe} --out {{}}/{run} {small} {queue}");
        let trained = moco_line(&line, path);
        assert_eq!(trained.code, Some(0), "{}", trained.stderr);
    }
    let images = "--train {}/train --test {}/test";
    let tune =
        format!("eval finetune --run {{}}/large {images} --epochs 2 --batch-size 16 --lr 0.003");
    let tuned = json(&format!("{tune} --out {{}}/teacher.safetensors"), path);
    assert_eq!(tuned["pool"], "projector", "SimCLR v2 fine-tunes from its projection head");

    // What the file holds scores as the network did after its training.
    let distill = format!(
        "eval distill --teacher {{}}/teacher.safetensors {images} --epochs 1 --batch-size 16"
    );
    let same = json(&format!("{distill} --run {{}}/large --out {{}}/student.safetensors"), path);
    assert_eq!(same["teacher_top1"], tuned["top1"], "{same}");
    for (key, expected) in [
        ("start", Value::from("encoder")),
        ("temperature", 1.0.into()),
        ("teacher_share", 1.0.into()),
        ("lr", 0.4.into()),
        ("optimizer", "lars".into()),
        ("train_images", 96.into()),
        ("labelled_images", 0.into()),
    ] {
        assert_eq!(same[key], expected, "{key}: {same}");
    }
    let from_student = distill.replace("teacher.safetensors", "student.safetensors");
    let again = json(&format!("{from_student} --run {{}}/large"), path);
    assert_eq!(again["teacher_top1"], same["top1"], "a student is a teacher too");
    let view = "--eval-view resize(32,bicubic)center(32)normalize(none)";
    let labelled = "--labelled {}/train --teacher-share 0.3 --optimizer adamw";
    let other = json(&format!("{distill} --run {{}}/other {view} --fresh {labelled}"), path);
    assert_eq!((&other["start"], &other["labelled_images"]), (&"fresh".into(), &96.into()));

    refused(&format!("{distill} --run {{}}/other"), path, "are given the same pixels");
    let no_teacher = distill.replace("teacher.safetensors", "large/encoder.safetensors");
    refused(&format!("{no_teacher} --run {{}}/large"), path, "holds no classifier: give the file");
    let as_encoder = format!("eval knn --encoder {{}}/teacher.safetensors {images}");
    refused(&as_encoder, path, "holds a classifier");
    let long = format!("{distill} --run {{}}/large --warmup-epochs 1");
    refused(&long, path, "leaves nothing of the 1 epochs");
    fs::rename(path.join("test/ring"), path.join("test/round")).unwrap();
    refused(&format!("{distill} --run {{}}/large"), path, "must be the same by name");
}
