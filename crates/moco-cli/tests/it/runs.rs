//! Whole runs as a person makes them: train, be interrupted, resume, measure, embed, export.

use crate::{Outcome, moco, moco_line};
use moco_data::synthetic::{shapes, write_folder};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A temporary folder with labelled images in `train` and `test`.
fn place(train: usize, test: usize) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    for (name, count, seed) in [("train", train, 0), ("test", test, 1)] {
        write_folder(&shapes(count, 32, seed), &place.path().join(name)).unwrap();
    }
    let path = place.path().to_path_buf();
    (place, path)
}

/// A network and batches small enough for a test.
const SMALL: &str = "--recipe moco-v1-small --batch-size 16 --set model.width=4 \
                     --set model.bn_groups=2 --set method.queue=48 --set method.dim=16";

#[track_caller]
fn done(line: &str, path: &Path) -> Outcome {
    let outcome = moco_line(line, path);
    assert_eq!(outcome.code, Some(0), "{line}\n{}", outcome.stderr);
    outcome
}

fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn from_images_to_embeddings() {
    let (_place, path) = place(96, 40);
    let trained =
        done(&format!("pretrain --data {{}}/train --out {{}}/run --epochs 2 {SMALL}"), &path);
    assert!(trained.stdout.contains("kNN top-1"), "{}", trained.stdout);
    assert!(trained.stderr.contains("chance loss"), "{}", trained.stderr);
    let run = path.join("run");
    for name in ["config.toml", "metrics.jsonl", "run.log", "encoder.safetensors"] {
        assert!(run.join(name).is_file(), "{name}");
    }
    assert!(run.join("checkpoints/step-00000012.safetensors").is_file());
    let events = |entry: fs::DirEntry| entry.file_name().to_string_lossy().contains("tfevents");
    assert!(fs::read_dir(&run).unwrap().any(|entry| events(entry.unwrap())));
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let epochs: Vec<Value> =
        metrics.lines().map(json).filter(|line| line["kind"] == "epoch").collect();
    assert_eq!(epochs.len(), 2);
    assert!(epochs.iter().all(|epoch| epoch["knn"].is_number()), "{metrics}");

    let labelled = "--run {}/run --train {}/train --test {}/test --json";
    let sgd = "linear --solver sgd --epochs 2 --batch-size 32";
    for probe in ["knn", "linear", "linear --feature head", sgd, &format!("{sgd} --normalize")] {
        let result = json(&done(&format!("eval {probe} {labelled}"), &path).stdout);
        assert_eq!(result["test_images"], 40, "{result}");
        let (top1, top5) = (result["top1"].as_f64().unwrap(), result["top5"].as_f64().unwrap());
        assert!((0.0..=1.0).contains(&top1) && top1 <= top5, "{result}");
    }

    let tuned = "eval finetune --labels 0.5 --epochs 1 --batch-size 16";
    let result = json(&done(&format!("{tuned} {labelled}"), &path).stdout);
    assert_eq!((&result["train_images"], &result["test_images"]), (&48.into(), &40.into()));
    assert!(result["top1"].as_f64().unwrap() <= 1.0, "{result}");
    let view = "crop(32,0.2..1)randaugment(9,0.5)normalize(imagenet)erase(p=0.25)";
    let result = json(&done(&format!("{tuned} --view {view} {labelled}"), &path).stdout);
    let view = "crop(32, 0.2..1) randaugment(9, 0.5) normalize(imagenet) erase(p=0.25)";
    assert_eq!(result["view"], view);
    let small = format!("{tuned} --view crop(16,0.2..1) {labelled}");
    let outcome = moco_line(&small, &path);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("makes images of another size"), "{}", outcome.stderr);
    let mixed = format!("{tuned} --mixup 0.8 --cutmix 1 {labelled}");
    let result = json(&done(&mixed, &path).stdout);
    assert_eq!((&result["mixup"], &result["cutmix"]), (&0.8.into(), &1.0.into()));
    assert!(result["top1"].as_f64().unwrap() <= 1.0, "{result}");

    assert!(result["best_top1"].as_f64() >= result["top1"].as_f64(), "{result}");
    let preset = "eval finetune --preset simclr --epochs 2 --batch-size 16 --test-epochs 1";
    let result = json(&done(&format!("{preset} --smoothing 0.05 {labelled}"), &path).stdout);
    for (key, expected) in [
        ("optimizer", Value::from("lars")),
        ("head", "normal 0".into()),
        ("weight_decay", 0.0.into()),
        ("smoothing", 0.05.into()),
        ("lr", 0.02.into()),
    ] {
        assert_eq!(result[key], expected, "{key}: {result}");
    }
    assert!((1..=2).contains(&result["best_epoch"].as_u64().unwrap()), "{result}");
    finetunes_on_a_list(&path, labelled);

    for name in ["f.npy", "f.csv", "f.parquet"] {
        done(&format!("embed --run {{}}/run --data {{}}/test --out {{}}/{name}"), &path);
    }
    let npy = fs::read(path.join("f.npy")).unwrap();
    let header = String::from_utf8_lossy(&npy[..128]).into_owned();
    assert!(npy.starts_with(b"\x93NUMPY") && header.contains("(40, 32"), "{header}");
    let csv = fs::read_to_string(path.join("f.csv")).unwrap();
    assert_eq!(csv.lines().count(), 41);
    assert!(fs::read(path.join("f.parquet")).unwrap().starts_with(b"PAR1"));

    done("export --run {}/run --out {}/tv.safetensors --names torchvision", &path);
    assert!(path.join("tv.safetensors").is_file());
    let again = format!("pretrain --data {{}}/train --out {{}}/run {SMALL}");
    assert_eq!(moco_line(&again, &path).code, Some(1), "a run is never written over");
    let config = "check --recipe {}/run/config.toml --data {}/train";
    assert!(done(config, &path).stdout.contains("width = 4"), "config.toml is itself a recipe");
}

/// A list of names chooses the images, whatever stands before and behind the names.
fn finetunes_on_a_list(path: &Path, labelled: &str) {
    let mut names = Vec::new();
    for class in fs::read_dir(path.join("train")).unwrap() {
        let class = class.unwrap().path();
        let files = fs::read_dir(&class).unwrap().take(3);
        let name = |file: fs::DirEntry| file.path().strip_prefix(path).unwrap().to_owned();
        names.extend(files.map(|file| name(file.unwrap()).to_str().unwrap().to_owned()));
    }
    let list = path.join("list.txt");
    let tuned = "eval finetune --epochs 1 --batch-size 16 --labels-list {}/list.txt";
    let ends: Vec<&str> = names.iter().map(|name| name.split_once('/').unwrap().1).collect();
    fs::write(&list, ends.join("\n") + "\n\n").unwrap();
    let result = json(&done(&format!("{tuned} {labelled}"), path).stdout);
    assert_eq!(result["train_images"], names.len(), "{result}");
    fs::write(&list, "circle/of-another-set.png\n").unwrap();
    let outcome = moco_line(&format!("{tuned} {labelled}"), path);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("1 of its 1 names are no training image"),
        "{}",
        outcome.stderr
    );
}

/// Neighbours from the memory bank, and a batch in parts that is compared as a whole.
#[test]
fn banks_and_parts_are_what_was_asked_for() {
    let (_place, path) = place(96, 40);
    let small = "--epochs 2 --batch-size 16 --set model.width=4 --set method.dim=16";
    let bank = "pretrain --recipe instdisc-small --data {}/train --out {}/bank \
                --set monitor.knn_bank=true --set monitor.knn_test={}/test \
                --set method.loss=sampled-softmax --set monitor.knn_feature=head";
    let trained = done(&format!("{bank} {small}"), &path);
    let log = fs::read_to_string(path.join("bank/run.log")).unwrap() + &trained.stdout;
    assert!(log.contains("40 test images against the memory bank"), "{log}\n{}", trained.stderr);
    // The monitor's last figure, by the same neighbours, queries and settings.
    let metrics = fs::read_to_string(path.join("bank/metrics.jsonl")).unwrap();
    let last = metrics.lines().map(json).rfind(|line| line["knn"].is_number()).unwrap();
    let knn = "eval knn --run {}/bank --train {}/train --test {}/test --json --bank";
    let result = json(&done(knn, &path).stdout);
    assert_eq!((&result["top1"], &result["neighbours"]), (&last["knn"], &"memory bank".into()));
    assert_eq!((&result["feature"], &result["train_images"]), (&"head".into(), &96.into()));
    let others = moco_line(&knn.replace("{}/train", "{}/test"), &path);
    assert_eq!(others.code, Some(1), "{}", others.stdout);
    assert!(others.stderr.contains("cannot take the memory of"), "{}", others.stderr);

    let parts = "check --recipe simclr-small --data {}/train --set optim.accumulate=4";
    let planned = done(&format!("{parts} {small}"), &path).stdout;
    assert!(planned.contains("4 of 4 images, compared as one batch"), "{planned}");
    let apart = format!("{parts} --set optim.accumulate_exact=false {small}");
    assert!(done(&apart, &path).stdout.contains("4 of 4 images, each a batch of its own"));
}

/// Trains two methods; a further call takes what it finds trained and measured, keeps the rows of
/// methods that it is not asked for, and measures an encoder that is no longer the same.
#[test]
fn a_comparison_ends_in_a_table_and_goes_on_where_it_was() {
    let (_place, path) = place(96, 40);
    let line = "compare --data {}/train --test {}/test --methods invaspread,simsiam --epochs 1 \
                --set train.batch_size=16 --set model.width=4 --out {}/out";
    let first = done(line, &path);
    for words in ["| invaspread ", "| simsiam ", "| raw pixels ", "| guessing "] {
        assert!(first.stdout.contains(words), "{words}\n{}", first.stdout);
    }
    let table = fs::read_to_string(path.join("out/compare.md")).unwrap();
    let lines = fs::read_to_string(path.join("out/compare.jsonl")).unwrap();
    let rows: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["knn"].is_number() && row["summary"]["finished"] == true));

    let second = done(line, &path);
    assert!(second.stderr.contains("already trained"), "{}", second.stderr);
    assert_eq!(fs::read_to_string(path.join("out/compare.md")).unwrap(), table);

    // Accuracies that no measurement gives show where a row comes from.
    let marked = |row: &Value| {
        let mut row = row.clone();
        row["knn"] = 2.0.into();
        format!("{row}\n")
    };
    let kept = path.join("out/compare.jsonl");
    fs::write(&kept, rows.iter().map(marked).collect::<String>()).unwrap();
    let other = "pretrain --data {}/train --out {}/other --method simsiam --epochs 1 --seed 5 \
                 --set train.batch_size=16 --set model.width=4 --set monitor.knn_epochs=0";
    done(other, &path);
    let [other, encoder] = ["other", "out/simsiam"].map(|run| path.join(run));
    fs::copy(other.join("encoder.safetensors"), encoder.join("encoder.safetensors")).unwrap();
    for methods in ["invaspread,simsiam", "simsiam"] {
        done(&line.replace("invaspread,simsiam", methods), &path);
        let rows: Vec<Value> = fs::read_to_string(&kept).unwrap().lines().map(json).collect();
        let [invaspread, simsiam] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!(
            (&invaspread["method"], &invaspread["knn"]),
            (&"invaspread".into(), &2.0.into())
        );
        assert!(simsiam["knn"].as_f64().unwrap() <= 1.0, "{simsiam}");
    }

    let unknown = moco_line("compare --data {}/train --methods simsam --out {}/x", &path);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("did you mean `simsiam`?"), "{}", unknown.stderr);
}

#[test]
fn methods_lists_the_family() {
    let listed = moco(["methods"]).stdout;
    for name in ["instdisc", "cpc", "cmc", "moco-v3", "simclr-v2", "byol", "swav", "dino", "mae"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{name}");
    }
    assert_eq!(listed.matches("arXiv").count(), 14);
}

const LONG: &str = "--epochs 20 --max-steps 60 --set train.checkpoint_steps=4 \
                    --set train.keep_checkpoints=1 --set monitor.knn_epochs=0";

fn start(arguments: &str, path: &Path) -> std::process::Child {
    let words = arguments.split_whitespace().map(|word| word.replace("{}", path.to_str().unwrap()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_moco"));
    command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits for a checkpoint other than `seen` and returns its name.
fn next_checkpoint(run: &Path, seen: Option<&String>) -> String {
    let begin = Instant::now();
    loop {
        let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let newest = names.filter(|name| name.ends_with(".safetensors")).max();
        match newest {
            Some(name) if Some(&name) != seen => return name,
            _ => assert!(begin.elapsed() < Duration::from_secs(60), "no checkpoint in a minute"),
        }
        sleep(Duration::from_millis(1));
    }
}

/// Killed twice without warning, then resumed to the end: the same encoder, byte for byte.
#[test]
fn a_killed_run_resumes_to_the_same_encoder() {
    let (_place, path) = place(96, 8);
    let line = |out: &str| format!("pretrain --data {{}}/train --out {{}}/{out} {SMALL} {LONG}");
    done(&line("straight"), &path);

    let run = path.join("killed");
    let mut seen = None;
    for arguments in [line("killed"), "pretrain --resume {}/killed".to_string()] {
        let mut child = start(&arguments, &path);
        seen = Some(next_checkpoint(&run, seen.as_ref()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    done("pretrain --resume {}/killed", &path);
    let encoder = |run: &str| fs::read(path.join(run).join("encoder.safetensors")).unwrap();
    assert!(encoder("straight") == encoder("killed"), "the encoders differ");
    let steps = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut steps: Vec<u64> = steps
        .lines()
        .map(json)
        .filter_map(|line| match line["kind"] == "step" {
            true => line["step"].as_u64(),
            false => None,
        })
        .collect();
    let all = steps.len();
    steps.dedup();
    assert_eq!(all, steps.len(), "no step is reported twice");
    assert!(steps.is_sorted());
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let (_place, path) = place(96, 8);
    let words = format!(
        "pretrain --data {{}}/train --out {{}}/run {SMALL} --epochs 5000 --set monitor.knn_epochs=0"
    );
    let words: Vec<String> =
        words.split_whitespace().map(|word| word.replace("{}", path.to_str().unwrap())).collect();
    let child = Command::new(env!("CARGO_BIN_EXE_moco"))
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    next_checkpoint(&path.join("run"), None);
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.contains("everything is saved") && stdout.contains("--resume"), "{stdout}");
}

#[test]
fn unreadable_images_are_listed_and_skipped_up_to_a_share() {
    let (_place, path) = place(200, 8);
    let first = fs::read_dir(path.join("train")).unwrap().next().unwrap().unwrap().path();
    fs::write(first.join("broken.png"), b"\x89PNG\r\n\x1a\n and no more").unwrap();
    fs::create_dir(first.join("folder.png")).unwrap();
    let line =
        |out: &str| format!("pretrain --data {{}}/train --out {{}}/{out} {SMALL} --epochs 2");
    done(&line("run"), &path);
    let listed = fs::read_to_string(path.join("run/bad_files.csv")).unwrap();
    for name in ["broken.png", "folder.png"] {
        assert_eq!(listed.matches(name).count(), 1, "{listed}");
    }

    for i in 0..5 {
        fs::write(first.join(format!("text-{i}.jpg")), "no JPEG").unwrap();
    }
    let outcome = moco_line(&line("other"), &path);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot be read"), "{}", outcome.stderr);
}
