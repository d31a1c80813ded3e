//! Pages on runs, as files: what is in them, whatever the run lacks.

use crate::{Outcome, moco, moco_line};
use moco_data::synthetic::{shapes, write_folder};
use moco_data::{Image, save_png};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A network and batches small enough for a test.
const SMALL: &str = "--recipe moco-v1-small --batch-size 16 --set model.width=4 --epochs 2 \
                     --set model.bn_groups=2 --set method.queue=48 --set method.dim=16 --threads 1";

#[track_caller]
fn done(line: &str, path: &Path) -> Outcome {
    let outcome = moco_line(line, path);
    assert_eq!(outcome.code, Some(0), "{line}\n{}", outcome.stderr);
    outcome
}

fn page(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn has_sections(html: &str, anchors: &[&str]) {
    for anchor in anchors {
        assert!(html.contains(&format!("<section id={anchor} ")), "no section {anchor}");
    }
    for address in ["http://", "https://", "src=\"/", "@import"] {
        assert!(!html.contains(address), "{address}");
    }
}

/// Images with classes, and a finished run on them.
fn trained(more: &str) -> (TempDir, PathBuf, Outcome) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_path_buf();
    write_folder(&shapes(64, 32, 0), &path.join("images")).unwrap();
    let line = format!("pretrain --data {{}}/images --out {{}}/run {SMALL} {more}");
    let outcome = done(&line, &path);
    (place, path, outcome)
}

#[test]
fn a_run_leaves_a_page_with_all_sections_and_can_be_told_not_to() {
    let (_place, path, outcome) = trained("");
    assert!(outcome.stdout.contains("report:  "), "{}", outcome.stdout);
    let html = page(&path.join("run/report.html"));
    has_sections(
        &html,
        &["curves", "map", "neighbours", "extremes", "looks", "views", "health", "settings"],
    );
    for words in [
        "Age of the queue",
        "Own keys in the queue",
        "Length of the feature at each place",
        "class checker",
        "optim.weight_decay",
        "Begun as",
        "kernels",
    ] {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("this page follows"), "the run is finished");
    // The same run, the same page.
    done("report {}/run --out {}/again.html --images 256 --threads 2", &path);
    assert_eq!(page(&path.join("again.html")), html);

    let none = format!("pretrain --data {{}}/images --out {{}}/none {SMALL} --no-report");
    assert!(!done(&none, &path).stdout.contains("report"));
    assert!(!path.join("none/report.html").exists());

    // Both on one page.
    let both = done("report {}/run {}/none --out {}/both.html", &path);
    assert!(both.stdout.starts_with("wrote "), "{}", both.stdout);
    let html = page(&path.join("both.html"));
    has_sections(&html, &["curves", "map"]);
    assert!(html.contains("run, none"), "the title names both");
}

#[test]
fn a_page_follows_a_run() {
    let (_place, path, outcome) = trained("--report --max-steps 5");
    assert!(outcome.stderr.contains("written anew every epoch"), "{}", outcome.stderr);
    // The last word is that of the end: nobody reloads a finished run.
    assert!(!page(&path.join("run/report.html")).contains("\"reload\":15"));
}

#[test]
fn names_and_bad_files_are_told_as_they_are() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    let images = path.join("images");
    fs::create_dir(&images).unwrap();
    for i in 0..40u8 {
        let name = format!("{i}<img src=x onerror=alert(1)>.png");
        save_png(&Image::filled(32, 32, [i * 6, i, 255 - i]), &images.join(name)).unwrap();
    }
    fs::write(images.join("broken<b>.png"), "no image").unwrap();
    done(&format!("pretrain --data {{}}/images --out {{}}/run {SMALL}"), path);
    let html = page(&path.join("run/report.html"));
    has_sections(&html, &["curves", "map", "neighbours", "health", "settings"]);
    assert!(!html.contains("<img src=x"), "a name became an element");
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert!(html.contains("1 image could not be read") && html.contains("broken&lt;b&gt;.png"));
    assert!(!html.contains("most frequent class"), "there are no classes");

    // One image alone has neither neighbours nor a spectrum, and a page all the same.
    let one = path.join("one");
    fs::create_dir(&one).unwrap();
    save_png(&Image::filled(32, 32, [9; 3]), &one.join("one.png")).unwrap();
    done("report {}/run --data {}/one --out {}/one.html", path);
    has_sections(&page(&path.join("one.html")), &["map", "neighbours", "health"]);
    assert!(page(&path.join("one.html")).contains("too few images"));
}

#[test]
fn what_cannot_be_read_is_named_on_the_page_and_beside_it() {
    let (_place, path, _) = trained("--no-report");
    let checkpoints = fs::read_dir(path.join("run/checkpoints")).unwrap();
    for file in
        checkpoints.map(|entry| entry.unwrap().path()).chain([path.join("run/summary.json")])
    {
        fs::write(file, "{").unwrap();
    }
    let outcome = done("report {}/run --out {}/page.html", &path);
    let html = page(&path.join("page.html"));
    has_sections(&html, &["curves", "map", "neighbours"]);
    for words in ["summary.json cannot be read", "What the method keeps beside its encoder"] {
        assert!(html.contains(&format!("<b>Not shown.</b> {words}")), "{words}");
        assert!(outcome.stderr.contains(&format!("note: run: {words}")), "{}", outcome.stderr);
    }
    assert!(!html.contains("not finished"), "nobody knows");
    assert!(!html.contains("Age of the queue"), "it is in the checkpoint");
}

#[test]
fn an_old_run_whose_images_are_gone_has_a_page_too() {
    let (_place, path, _) = trained("--no-report");
    let run = path.join("run");
    for file in ["summary.json", "run.log"] {
        fs::remove_file(run.join(file)).unwrap();
    }
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let old = "{\"kind\":\"step\",\"step\":1,\"loss\":3.5}\n{\"kind\":\"epoch\",\"step\":4,\
               \"epoch\":1,\"loss\":3.25}\nhalf";
    fs::write(run.join("metrics.jsonl"), old).unwrap();
    done("report {}/run", &path);
    let html = page(&run.join("report.html"));
    has_sections(&html, &["curves", "map", "health", "settings"]);
    assert!(!html.contains("Age of the queue"), "there is no checkpoint");

    fs::rename(path.join("images"), path.join("elsewhere")).unwrap();
    let outcome = done("report {}/run", &path);
    assert!(outcome.stderr.contains("give the same ones with --data"), "{}", outcome.stderr);
    let html = page(&run.join("report.html"));
    has_sections(&html, &["curves", "settings"]);
    assert!(html.contains("give the same ones with --data"));
    done("report {}/run --data {}/elsewhere", &path);
    has_sections(&page(&run.join("report.html")), &["neighbours"]);
}

#[test]
fn a_transformer_shows_its_heads_and_an_autoencoder_what_it_paints() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    write_folder(&shapes(48, 32, 0), &path.join("images")).unwrap();
    let small = "--batch-size 16 --epochs 1 --threads 1 --set model.backbone=vit-micro";
    let mae = "--recipe mae-small --set method.decoder_depth=1";
    done(&format!("pretrain --data {{}}/images --out {{}}/mae {mae} {small}"), path);
    let html = page(&path.join("mae/report.html"));
    has_sections(&html, &["looks", "paintings", "views"]);
    assert!(html.contains("head 1") && html.contains("one panel for each head"));
    // The decoder paints images of the size that it was trained for, whatever evaluation looks at.
    let words = format!("pretrain --data {{}}/images --out {{}}/larger {mae} {small} --set");
    let words = words.replace("{}", path.to_str().unwrap());
    let view = "data.eval_view=\"resize(48) center(48) normalize(cifar10)\"";
    let outcome = moco(words.split(' ').chain([view]));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    has_sections(&page(&path.join("larger/report.html")), &["looks", "paintings"]);
    let dino = "--recipe dino-small --set method.outputs=64";
    done(&format!("pretrain --data {{}}/images --out {{}}/dino {dino} {small}"), path);
    let html = page(&path.join("dino/report.html"));
    for words in ["Use of the prototypes", "The centre", "head 1"] {
        assert!(html.contains(words), "{words}");
    }
}

#[test]
fn what_is_no_run_is_refused_in_a_sentence() {
    let place = tempfile::tempdir().unwrap();
    let outcome = moco_line("report {}/none", place.path());
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("holds no run"), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}
