//! Runs of several ranks, as processes under `mpirun`.

use crate::{Outcome, moco_line, outcome};
use moco_data::synthetic::{shapes, write_folder};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run of five steps on a tiny network.
const SMALL: &str = "--recipe moco-v1-small --batch-size 24 --epochs 1 --threads 1 --seed 3 \
                     --set model.width=4 --set model.bn_groups=4 --set method.queue=48 \
                     --set method.dim=16 --set train.log_steps=1";

fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    write_folder(&shapes(120, 32, 0), &place.path().join("train")).unwrap();
    let path = place.path().to_path_buf();
    (place, path)
}

/// `mpirun` of so many ranks; `None`, which is said, where there is no `mpirun`.
fn mpirun(ranks: &str) -> Option<Command> {
    if Command::new("mpirun").arg("--version").output().is_err() {
        println!("skipped: there is no mpirun here (openmpi-bin has one)");
        return None;
    }
    let mut command = Command::new("mpirun");
    command
        .args(["--oversubscribe", "--bind-to", "none", "-n", ranks])
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .stdin(Stdio::null());
    Some(command)
}

fn words(line: &str, path: &Path) -> Vec<String> {
    line.split_whitespace().map(|word| word.replace("{}", path.to_str().unwrap())).collect()
}

/// `moco` with the words of `line`, as so many ranks.
fn ranks(count: &str, line: &str, path: &Path) -> Option<Outcome> {
    let mut command = mpirun(count)?;
    Some(outcome(command.arg(env!("CARGO_BIN_EXE_moco")).args(words(line, path))))
}

/// Losses of the steps of a run.
fn losses(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "step").map(|line| line["loss"].as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        // Sums in another order, of f32, after a few steps.
        assert!((a - b).abs() < 2e-3 * b.abs(), "{found:?}, not {expected:?}");
    }
}

#[test]
fn two_and_four_ranks_train_as_one() {
    let (_place, path) = place();
    let alone = moco_line(&format!("pretrain --data {{}}/train --out {{}}/one {SMALL}"), &path);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    let expected = losses(&path.join("one"));
    for count in ["2", "4"] {
        let line = format!("pretrain --data {{}}/train --out {{}}/r{count} {SMALL}");
        let Some(many) = ranks(count, &line, &path) else { return };
        assert_eq!(many.code, Some(0), "{}", many.stderr);
        assert_eq!(many.stdout.matches("finished 5 steps").count(), 1, "rank 0 alone prints");
        let said = format!("{count} ranks by Open MPI");
        assert_eq!(many.stderr.matches(&said).count(), 1, "{}", many.stderr);
        assert_close(&losses(&path.join(format!("r{count}"))), &expected);
    }
}

/// Every way in which ranks need each other: keys and their places, gathers that carry gradients, Sinkhorn's
/// sums, centres, patches of other images, banks.
#[test]
fn methods_train_as_one_on_two_and_four_ranks() {
    let (_place, path) = place();
    let common = "--data {}/train --batch-size 24 --max-steps 4 --epochs 1 --threads 1 --seed 3 \
                  --no-report --set train.log_steps=1 --set monitor.knn_epochs=0 --set model.width=4";
    for (recipe, more) in [
        ("moco-v2-small", "--set method.queue=48 --set model.bn_groups=4"),
        ("moco-v3-small", ""),
        ("simclr-small", ""),
        // At its recipe's epsilon of 0.005, sharp assignments make rounding large: two instruction sets are 4e-3
        // apart after four steps.
        ("swav-small", "--set method.prototypes=8 --set method.queue=48 --set method.epsilon=0.05"),
        ("dino-small", "--set method.outputs=32"),
        ("cpc-small", ""),
        ("instdisc-small", ""),
    ] {
        let line =
            |out: &str| format!("pretrain --recipe {recipe} --out {{}}/{out} {common} {more}");
        let alone = moco_line(&line(recipe), &path);
        assert_eq!(alone.code, Some(0), "{recipe}: {}", alone.stderr);
        let expected = losses(&path.join(recipe));
        assert_eq!(expected.len(), 4);
        for count in ["2", "4"] {
            let out = format!("{recipe}-{count}");
            let Some(many) = ranks(count, &line(&out), &path) else { return };
            assert_eq!(many.code, Some(0), "{recipe}: {}", many.stderr);
            assert_close(&losses(&path.join(out)), &expected);
        }
    }
}

/// A checkpoint of two ranks goes on alone, and then as four.
#[test]
fn a_run_goes_on_with_any_number_of_ranks() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/train --out {{}}/run {SMALL} --max-steps 2");
    let Some(two) = ranks("2", &line, &path) else { return };
    assert_eq!(two.code, Some(0), "{}", two.stderr);
    let one = moco_line("pretrain --resume {}/run --threads 1 --set train.max_steps=3", &path);
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    let line = "pretrain --resume {}/run --threads 1 --set train.max_steps=5";
    let four = ranks("4", line, &path).unwrap();
    assert_eq!(four.code, Some(0), "{}", four.stderr);
    let alone = moco_line(&format!("pretrain --data {{}}/train --out {{}}/one {SMALL}"), &path);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    assert_close(&losses(&path.join("run")), &losses(&path.join("one")));
}

#[test]
fn what_cannot_be_is_one_sentence() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/train --out {{}}/run {SMALL} --batch-size 20");
    let line = line.replace("--batch-size 24", "");
    let Some(uneven) = ranks("3", &line, &path) else { return };
    assert_eq!(uneven.code, Some(1), "{}", uneven.stderr);
    let sentence = "does not split over 3 of them: set it to 18 or 21";
    assert_eq!(uneven.stderr.matches(sentence).count(), 1, "{}", uneven.stderr);
    assert!(!path.join("run").exists(), "refused before anything is written");

    let doctor = ranks("2", "doctor {}/train", &path).unwrap();
    assert_eq!(doctor.code, Some(1));
    assert!(doctor.stderr.contains("this command runs as one process, not as 2 ranks"));

    // Two folders of one name, with other images in them.
    write_folder(&shapes(121, 32, 5), &path.join("other/train")).unwrap();
    let line = format!("pretrain --data train --out {{}}/run {SMALL}");
    let two = [(path.clone(), "portable", ""), (path.join("other"), "portable", "")];
    assert_differ(&path, &line, two, "has another number of images than rank 0");
    let two = [(path.clone(), "portable", ""), (path.clone(), "stock", "")];
    assert_differ(&path, &line, two, "has another instruction set than rank 0");
    let two = [(path.clone(), "portable", ""), (path.clone(), "portable", " --set optim.lr=0.5")];
    assert_differ(&path, &line, two, "has another configuration than rank 0");
    assert!(!path.join("run").exists(), "found before anything is written");
}

/// Two ranks, each with its folder, instruction set and further arguments, are told that they differ.
#[track_caller]
fn assert_differ(path: &Path, line: &str, ranks: [(PathBuf, &str, &str); 2], sentence: &str) {
    let mut command = mpirun("1").unwrap();
    for (i, (folder, isa, more)) in ranks.into_iter().enumerate() {
        if i > 0 {
            command.args([":", "-n", "1"]);
        }
        command.arg("-wdir").arg(folder).args(["-x", &format!("MOCO_KERNELS={isa}")]);
        command.arg(env!("CARGO_BIN_EXE_moco")).args(words(&format!("{line}{more}"), path));
    }
    let differ = outcome(&mut command);
    assert_eq!(differ.code, Some(1), "{}", differ.stderr);
    assert!(differ.stderr.contains(sentence), "{}", differ.stderr);
}

/// What the library or the launcher lacks is told before anything is done.
#[test]
fn a_library_that_does_not_fit_is_one_sentence() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/train --out {{}}/run {SMALL}");
    let Some(mut command) = mpirun("2") else { return };
    command.arg(env!("CARGO_BIN_EXE_moco")).args(words(&line, &path));
    let missing = outcome(command.env("MOCO_MPI", "/nowhere/libmpi.so"));
    let sentence = "no MPI library can be opened (tried /nowhere/libmpi.so): install";
    assert_eq!(
        (missing.code, missing.stderr.contains(sentence)),
        (Some(1), true),
        "{}",
        missing.stderr
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_moco"));
    let alone = command.args(words(&line, &path)).env("OMPI_COMM_WORLD_SIZE", "2");
    let alone = outcome(alone.env("OMPI_ALLOW_RUN_AS_ROOT", "1"));
    let sentence = "has started 2 ranks, but";
    assert_eq!((alone.code, alone.stderr.contains(sentence)), (Some(1), true), "{}", alone.stderr);
    assert!(!path.join("run").exists());
}

/// Ranks share the encoding and end with the very numbers of one process.
#[test]
fn measurements_are_those_of_one_process() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    write_folder(&shapes(400, 32, 0), &path.join("train")).unwrap();
    write_folder(&shapes(140, 32, 1), &path.join("test")).unwrap();
    let class = fs::read_dir(path.join("train")).unwrap().next().unwrap().unwrap().path();
    fs::write(class.join("broken.png"), "no image").unwrap();
    let line =
        format!("pretrain --data {{}}/train --out {{}}/run {SMALL} --max-steps 1 --no-report");
    let run = moco_line(&line, path);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let both = "--run {}/run --train {}/train --test {}/test --threads 1";
    let lines = [
        "embed --run {}/run --data {}/train --out {}/features.npy --threads 1".to_owned(),
        format!("eval knn {both}"),
        format!("eval linear {both}"),
        format!("eval linear --solver sgd --epochs 2 --batch-size 60 {both}"),
        "dedup --run {}/run --data {}/train --no-cache --threads 1".to_owned(),
    ];
    let features = || {
        let read = fs::read(path.join("features.npy")).unwrap_or_default();
        let _ = fs::remove_file(path.join("features.npy"));
        read
    };
    for line in lines {
        let one = moco_line(&line, path);
        assert_eq!(one.code, Some(0), "{line}: {}", one.stderr);
        let expected = (one.stdout.clone(), features());
        assert_ne!(expected.1.is_empty(), line.starts_with("embed"));
        for count in ["2", "3"] {
            let Some(many) = ranks(count, &line, path) else { return };
            assert_eq!(many.code, Some(0), "{line}: {}", many.stderr);
            let warnings = [&one, &many].map(|of| of.stderr.matches("left out 1 of 401").count());
            assert_eq!(warnings[1], warnings[0], "rank 0 alone speaks: {}", many.stderr);
            assert!((many.stdout, features()) == expected, "{line}, {count} ranks");
        }
    }
}

/// Batches are shared, and what is trained is scored by all; it is that of one process within rounding,
/// so that of 140 test images hardly one may be judged otherwise.
#[test]
fn fine_tuning_and_distillation_are_those_of_one_process() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    write_folder(&shapes(96, 32, 0), &path.join("train")).unwrap();
    write_folder(&shapes(140, 32, 1), &path.join("test")).unwrap();
    let line =
        format!("pretrain --data {{}}/train --out {{}}/run {SMALL} --max-steps 1 --no-report");
    let run = moco_line(&line, path);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let images = "--run {}/run --train {}/train --test {}/test --epochs 1 --threads 1 --json";
    let tune = format!("eval finetune {images} --mixup 0.8 --cutmix 1");
    let uneven = moco_line(&format!("{tune} --batch-size 50"), path);
    let sentence = "--batch-size 50 does not split into the 4 BatchNorm groups (model.bn_groups)";
    assert_eq!(
        (uneven.code, uneven.stderr.contains(sentence)),
        (Some(1), true),
        "{}",
        uneven.stderr
    );
    assert!(uneven.stderr.contains("a multiple of 4, such as 52"), "{}", uneven.stderr);

    let tune = format!("{tune} --batch-size 24 --out {{}}/teacher.safetensors");
    let distill =
        format!("eval distill {images} --teacher {{}}/teacher.safetensors --batch-size 24");
    let read = |outcome: &Outcome| {
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let Outcome { stdout, .. } = outcome;
        serde_json::from_str::<Value>(stdout.trim()).unwrap_or_else(|e| panic!("{e}: {stdout}"))
    };
    let one = [&tune, &distill].map(|line| read(&moco_line(line, path)));
    fs::remove_file(path.join("teacher.safetensors")).unwrap();
    let Some(tuned) = ranks("2", &tune, path) else { return };
    let taught = ranks("2", &distill, path).unwrap();
    let two = [read(&tuned), read(&taught)];
    assert_eq!(two[1]["teacher_top1"], two[0]["top1"], "the file holds what was scored");
    for (many, alone) in two.iter().zip(&one) {
        let (many, alone) = (many.as_object().unwrap(), alone.as_object().unwrap());
        assert!(many.keys().eq(alone.keys()));
        for (key, value) in many {
            match (value.as_f64(), alone[key].as_f64()) {
                (Some(a), Some(b)) => assert!((a - b).abs() < 1.5 / 140.0, "{key}: {a}, not {b}"),
                (_, _) => assert_eq!(value, &alone[key], "{key}"),
            }
        }
    }
    let mut differ = mpirun("1").unwrap();
    let program = env!("CARGO_BIN_EXE_moco");
    differ.arg(program).args(words(&tune, path));
    differ.args([":", "-n", "1", program]).args(words(&format!("{tune} --seed 9"), path));
    let differ = outcome(&mut differ);
    let sentence = "has another protocol or network than rank 0";
    assert_eq!(
        (differ.code, differ.stderr.contains(sentence)),
        (Some(1), true),
        "{}",
        differ.stderr
    );

    let three = ranks("3", &tune, path).unwrap();
    let sentence = "so many BatchNorm groups do not lie evenly on 3 ranks";
    assert_eq!(
        (three.code, three.stderr.matches(sentence).count()),
        (Some(1), 1),
        "{}",
        three.stderr
    );
}

/// The ranks train and measure one method after the other, and go on where they were.
#[test]
fn a_comparison_is_made_by_all_ranks() {
    let (_place, path) = place();
    let line = "compare --data {}/train --out {}/all --methods simsiam,moco-v2 --epochs 1 --threads 1 \
                --recipes small --set model.width=4 --set train.batch_size=24 --set train.max_steps=2 \
                --no-report";
    let Some(first) = ranks("2", line, &path) else { return };
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let table = fs::read_to_string(path.join("all/compare.md")).unwrap();
    assert!(table.contains("simsiam") && table.contains("moco-v2"), "{table}");
    assert_eq!(first.stdout.matches("untrained kNN").count(), 1, "{}", first.stdout);
    let again = ranks("2", line, &path).unwrap();
    assert_eq!(again.stderr.matches("already trained").count(), 2, "{}", again.stderr);
    assert_eq!(fs::read_to_string(path.join("all/compare.md")).unwrap(), table);
    // What ranks have trained one process measures alike.
    fs::remove_file(path.join("all/compare.jsonl")).unwrap();
    let alone = moco_line(line, &path);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    assert_eq!(fs::read_to_string(path.join("all/compare.md")).unwrap(), table);
}

/// Only rank 0 has the run's folder.
#[test]
fn a_run_goes_on_where_other_ranks_have_no_folder() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/train --out {{}}/run {SMALL} --max-steps 2");
    let begun = moco_line(&line, &path);
    assert_eq!(begun.code, Some(0), "{}", begun.stderr);
    let Some(mut command) = mpirun("1") else { return };
    let program = env!("CARGO_BIN_EXE_moco");
    let line =
        |run: &str| format!("pretrain --resume {{}}/{run} --threads 1 --set train.max_steps=4");
    command.arg(program).args(words(&line("run"), &path));
    command.args([":", "-n", "1", program]).args(words(&line("nowhere"), &path));
    let resumed = outcome(&mut command);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert!(!path.join("nowhere").exists());
    let epochs = fs::read_to_string(path.join("run/metrics.jsonl")).unwrap();
    let steps = epochs.lines().filter(|line| line.contains("slowest_rank")).count();
    assert_eq!(steps, 2, "{epochs}");
}

/// A rank that is stopped is named, and the run ends.
#[test]
fn a_stopped_rank_is_named() {
    let (_place, path) = place();
    let Some(child) = begun(&path, &[("MOCO_PEERS_TIMEOUT", "3")]) else { return };
    let pids = processes(&child);
    signal("-STOP", pids[1]);
    let begin = Instant::now();
    // What is stopped answers to nothing but its end.
    let (stopped, waits) = (pids[1], Duration::from_secs(40));
    let ends = std::thread::spawn(move || {
        sleep(waits);
        let _ = Command::new("kill").args(["-KILL", &stopped.to_string()]).status();
    });
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && begin.elapsed() < Duration::from_secs(90));
    assert!(stderr.contains("rank 1 has not come to the exchange of"), "{stderr}");
    drop(ends);
}

/// A long run of two ranks that has done its first step.
fn begun(path: &Path, environment: &[(&str, &str)]) -> Option<Child> {
    let line = format!("pretrain --data {{}}/train --out {{}}/run {SMALL}")
        .replace("--epochs 1", "--epochs 2000 --set train.checkpoint_steps=1");
    let mut command = mpirun("2")?;
    command.arg(env!("CARGO_BIN_EXE_moco")).args(words(&line, path));
    command.envs(environment.iter().copied());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (begin, metrics) = (Instant::now(), path.join("run/metrics.jsonl"));
    while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 2 {
        assert!(begin.elapsed() < Duration::from_secs(120), "the run begins");
        sleep(Duration::from_millis(50));
    }
    Some(child)
}

/// The two ranks of a launcher.
fn processes(launcher: &Child) -> Vec<u32> {
    let children = Command::new("pgrep").args(["-P", &launcher.id().to_string()]).output().unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    let pids: Vec<u32> = children.lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2, "two ranks");
    pids
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[track_caller]
fn stopped_and_saved(child: Child, path: &Path) {
    let begin = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(60));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("everything is saved"), "{out}{err}");
    let line = "pretrain --resume {}/run --threads 1 --set train.max_steps=1";
    assert_eq!(moco_line(line, path).code, Some(0), "the run can go on");
}

#[test]
fn a_stop_file_saves_and_stops_all_ranks() {
    let (_place, path) = place();
    let Some(child) = begun(&path, &[]) else { return };
    fs::write(path.join("run/stop"), "").unwrap();
    stopped_and_saved(child, &path);
    assert!(!path.join("run/stop").exists(), "so that the run can go on");
}

#[test]
fn a_signal_to_the_launcher_saves_and_stops_all_ranks() {
    let (_place, path) = place();
    let Some(child) = begun(&path, &[]) else { return };
    signal("-USR1", child.id());
    stopped_and_saved(child, &path);
}

#[test]
fn a_killed_rank_ends_the_run_which_then_goes_on() {
    let (_place, path) = place();
    let Some(child) = begun(&path, &[]) else { return };
    let pids = processes(&child);
    signal("-KILL", pids[1]);
    let begin = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success() && begin.elapsed() < Duration::from_secs(60));
    let line = "pretrain --resume {}/run --threads 1 --set train.max_steps=1";
    let resumed = moco_line(line, &path);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
}
