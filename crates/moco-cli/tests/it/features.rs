//! Search, duplicates, choice and leaks, as a person meets them.

use crate::training::SMALL;
use crate::{Outcome, outcome};
use moco_data::synthetic::{shapes, write_folder};
use moco_data::{Image, save_png};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A run of one step in `run`, 24 images in `train`, and a cache of its own.
fn trained() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_path_buf();
    write_folder(&shapes(24, 32, 0), &path.join("train")).unwrap();
    let line = format!("pretrain --data {{}}/train --out {{}}/run {SMALL} --max-steps 1");
    let outcome = on(&line, &path);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    (place, path)
}

fn on(line: &str, path: &Path) -> Outcome {
    let words = line.split_whitespace().map(|word| word.replace("{}", path.to_str().unwrap()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_moco"));
    outcome(command.args(words).env("MOCO_CACHE", path.join("cache")))
}

#[track_caller]
fn done(line: &str, path: &Path) -> Outcome {
    let outcome = on(line, path);
    assert_eq!(outcome.code, Some(0), "{line}\n{}", outcome.stderr);
    outcome
}

#[track_caller]
fn refused(line: &str, path: &Path, words: &[&str]) {
    let outcome = on(line, path);
    assert_eq!(outcome.code, Some(1), "{line}: {}{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.stderr.lines().last().map(|line| line.starts_with("error: ")), Some(true));
    for word in words {
        assert!(outcome.stderr.contains(word), "{line}: no `{word}` in {}", outcome.stderr);
    }
}

fn json(path: PathBuf) -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    all.sort();
    all
}

#[test]
fn an_image_finds_itself_first_and_the_second_search_encodes_nothing() {
    let (_place, path) = trained();
    let query = &files(&path.join("train"))[5];
    let line =
        format!("search --run {{}}/run --data {{}}/train --query {} --top 3", query.display());
    let first = done(&line, &path);
    assert!(first.stderr.contains("24 images, 24 encoded now"), "{}", first.stderr);
    let lines: Vec<&str> = first.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", first.stdout);
    let name = query.strip_prefix(path.join("train")).unwrap().to_str().unwrap();
    assert!(lines[1].contains("1.0000") && lines[1].ends_with(name), "{}", lines[1]);

    let second = done(&format!("{line} --out {{}}/found.json"), &path);
    assert!(second.stderr.contains("24 images, 0 encoded now"), "{}", second.stderr);
    let found = json(path.join("found.json"));
    assert_eq!((found.len(), &found[0]["rank"], &found[0]["image"]), (3, &1.into(), &name.into()));
    let uncached = done(&format!("{line} --no-cache --out {{}}/again.json"), &path);
    assert!(uncached.stderr.contains("24 images, 24 encoded now"), "{}", uncached.stderr);
    assert_eq!(json(path.join("again.json")), found);

    done(&format!("{line} --out {{}}/page.html"), &path);
    let page = fs::read_to_string(path.join("page.html")).unwrap();
    assert_eq!(page.matches("<img alt=").count(), 4, "the query and three images");
    assert!(!page.contains("://"), "it needs nothing else");
    done(&format!("{line} --out {{}}/found.csv"), &path);
    let table = fs::read_to_string(path.join("found.csv")).unwrap();
    assert!(table.starts_with("query,rank,image,similarity\n") && table.lines().count() == 4);
}

#[test]
fn duplicates_are_told_and_nothing_is_deleted() {
    let (_place, path) = trained();
    let images = files(&path.join("train"));
    let copy = path.join("train").join("copy.png");
    fs::copy(&images[3], &copy).unwrap();
    // The same picture with one pixel changed by a little.
    let mut near = Image::open(&images[7]).unwrap();
    near.pixels[0] ^= 1;
    save_png(&near, &path.join("train").join("near.png")).unwrap();
    let before = files(&path.join("train"));

    let line = "dedup --run {}/run --data {}/train --near 0.99999";
    let told = done(&format!("{line} --out {{}}/gone.json"), &path);
    assert!(
        told.stdout.starts_with("26 images: 1 have equal bytes, and 1 more"),
        "{}",
        told.stdout
    );
    let gone = json(path.join("gone.json"));
    let kinds: Vec<_> = gone.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["equal", "near"], "{gone:?}");
    assert!(gone[0]["remove"] == "copy.png" || gone[0]["keep"] == "copy.png", "{gone:?}");
    assert!(gone[1]["remove"] == "near.png" || gone[1]["keep"] == "near.png", "{gone:?}");

    done(&format!("{line} --out {{}}/gone.txt"), &path);
    let list = fs::read_to_string(path.join("gone.txt")).unwrap();
    assert!(list.lines().count() == 2 && list.lines().all(|line| Path::new(line).is_file()));
    assert_eq!(files(&path.join("train")), before);
    let exact = done("dedup --run {}/run --data {}/train --near 1", &path);
    assert!(exact.stdout.starts_with("26 images: 1 have equal bytes, and 0 more"));
}

#[test]
fn a_selection_is_a_list_that_data_reads() {
    let (_place, path) = trained();
    for rule in ["k-centre", "typical", "unusual", "cluster"] {
        let line = format!("select --run {{}}/run --data {{}}/train --count 6 --by {rule}");
        let printed = done(&line, &path).stdout;
        let names: std::collections::BTreeSet<&str> = printed.lines().collect();
        assert_eq!(names.len(), 6, "{rule}: {printed}");
        done(&format!("{line} --out {{}}/label.txt"), &path);
        let read = done("doctor {}/label.txt --json", &path).stdout;
        let read: Value = serde_json::from_str(&read).unwrap();
        assert_eq!((&read["images"], &read["readable"]), (&6.into(), &6.into()), "{rule}");
        done(&format!("{line} --out {{}}/label.csv"), &path);
        let table = fs::read_to_string(path.join("label.csv")).unwrap();
        assert_eq!(table.lines().count(), 7, "{rule}");
    }
    let all = done("select --run {}/run --data {}/train --count 99", &path);
    assert_eq!(all.stdout.lines().count(), 24);
    assert!(all.stderr.contains("fewer than --count 99"), "{}", all.stderr);
}

#[test]
fn leaks_between_training_and_test_images_are_found() {
    let (_place, path) = trained();
    write_folder(&shapes(6, 32, 99), &path.join("test")).unwrap();
    fs::copy(&files(&path.join("train"))[2], path.join("test/leak.png")).unwrap();
    let line = "split-check {}/train {}/test --run {}/run --near 1";
    let told = done(&format!("{line} --out {{}}/leaks.json"), &path);
    assert!(
        told.stdout.starts_with("1 of 7 test images leak (14.29 %): 1 equal"),
        "{}",
        told.stdout
    );
    let leaks = json(path.join("leaks.json"));
    assert_eq!((leaks.len(), &leaks[0]["test"]), (1, &"leak.png".into()));
    assert_eq!(leaks[0]["kind"], "equal");
    let loose = done("split-check {}/train {}/test --run {}/run --near 0.01", &path);
    assert!(loose.stdout.starts_with("7 of 7 test images leak"), "{}", loose.stdout);
}

#[test]
fn what_makes_no_sense_is_refused_in_one_sentence() {
    let (_place, path) = trained();
    let search = "search --run {}/run --data {}/train --query";
    refused(&format!("{search} {{}}/none.png"), &path, &["--query", "none.png"]);
    refused(&format!("{search} {{}}/run/config.toml"), &path, &["config.toml"]);
    refused(&format!("{search} {{}}/train --out {{}}/f.txt"), &path, &[".html or .htm or .csv"]);
    refused("dedup --run {}/nowhere --data {}/train", &path, &["nowhere holds no run"]);
    refused("dedup --run {}/run --data {}/train --out {}/no/f.txt", &path, &["there is no folder"]);
    for (line, words) in [
        ("dedup --run {}/run --data {}/train --near 1.5", "at most 1"),
        ("select --run {}/run --data {}/train --count 0", "--count"),
        ("select --run {}/run --data {}/train --count 2 --by luck", "k-centre"),
        ("split-check {}/train --run {}/run", "TEST"),
    ] {
        let outcome = on(line, &path);
        assert_eq!(outcome.code, Some(1), "{line}");
        assert!(outcome.stderr.contains(words), "{line}: {}", outcome.stderr);
    }
}

/// The images of an archive have no files that a list could name.
#[test]
fn a_list_of_images_in_an_archive_is_refused() {
    let (_place, path) = trained();
    let tar = Command::new("tar").args(["-cf", "a.tar", "train"]).current_dir(&path).status();
    assert!(tar.unwrap().success());
    let line = "select --run {}/run --data {}/a.tar --count 2";
    refused(&format!("{line} --out {{}}/f.txt"), &path, &["part of an archive", ".csv"]);
    done(&format!("{line} --out {{}}/f.csv"), &path);
}
