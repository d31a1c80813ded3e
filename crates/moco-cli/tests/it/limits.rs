//! Machines with little of something: disk, memory, threads, open files.

#![cfg(target_os = "linux")]

use crate::training::{
    ENDLESS, Running, SMALL, command, in_place_of, names, newest, next_checkpoint, place, text,
};
use crate::{images, moco, moco_line};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// A small disk at a folder, if this user may mount one.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(folder: &'a Path, size: &str) -> Option<Disk<'a>> {
        fs::create_dir(folder).unwrap();
        let size = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            println!("left out: this user may not mount a small disk");
        }
        mounted.then(|| Disk(folder))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// Writes zeros until the disk is full.
fn fill(path: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_disk_without_room_is_told_before_training() {
    let (_place, path) = place();
    let disk = path.join("disk");
    let Some(_disk) = Disk::mount(&disk, "600k") else { return };
    let line = format!("pretrain --data {{}}/images --out {{}}/disk/run {SMALL} --epochs 2");
    let outcome = moco_line(&line, &path);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    let message = outcome.stderr.lines().last().unwrap();
    for words in
        ["the disk of `", "/disk/run` has ", " free and ", " are needed: make room and run"]
    {
        assert!(message.contains(words), "{message}");
    }
    assert!(message.ends_with("no checkpoint was written yet"), "{message}");
}

#[test]
fn a_disk_that_becomes_full_keeps_the_last_checkpoint() {
    let (_place, path) = place();
    let disk = path.join("disk");
    let Some(_disk) = Disk::mount(&disk, "8m") else { return };
    let line = format!("pretrain --data {{}}/images --out {{}}/disk/run {SMALL} {ENDLESS}");
    let running = Running::start(command(&line, &path));
    let run = disk.join("run");
    next_checkpoint(&run, None);
    fill(&disk.join("others"));
    let output = running.end();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let message = stderr.lines().last().unwrap();
    let last = newest(&run).unwrap();
    let last = last.strip_suffix(".safetensors").unwrap();
    let go_on = format!("moco pretrain --resume {}`", run.display());
    assert!(message.contains("the run failed: the disk of `") && message.contains(&go_on));
    let named = message.split("; the last good checkpoint is ").nth(1);
    assert!(named.is_some_and(|named| named.contains(last)), "{message}");
    assert!(names(&run.join("checkpoints")).iter().all(|name| name.ends_with(".safetensors")));
    assert!(!run.join("encoder.tmp").exists());

    fs::remove_file(disk.join("others")).unwrap();
    let resumed = Running::start(command("pretrain --resume {}/disk/run", &path));
    next_checkpoint(&run, newest(&run).as_ref());
    resumed.signal("TERM");
    let output = resumed.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// Runs `moco` with the words of `line` under a limit of the shell's `ulimit`.
fn limited(limit: &str, line: &str, path: &Path) -> Output {
    let mut shell = in_place_of("sh", "", path);
    let words: Vec<String> =
        line.split_whitespace().map(|word| word.replace("{}", path.to_str().unwrap())).collect();
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_moco")).args(words);
    Running::start(shell).end()
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_leaves_no_rest() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/images --out {{}}/run {SMALL} --epochs 1");
    let output = limited("-f 100", &line, &path);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let message = stderr.lines().last().unwrap();
    assert!(message.starts_with("error: the run failed: cannot write"), "{message}");
    assert_eq!(names(&path.join("run/checkpoints")), [""; 0]);
}

#[test]
fn few_open_files_are_enough() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/images --out {{}}/run {SMALL} --epochs 2");
    let output = limited("-n 64", &line, &path);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn two_gigabytes_of_addresses_are_enough_for_a_small_run() {
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/images --out {{}}/run {SMALL} --epochs 2");
    let output = limited("-v 2000000", &line, &path);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let large = line.replace("/run", "/large").replace("queue=48", "queue=100000000");
    let output = limited("-v 2000000", &large, &path);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let words = "method.queue = 100000000: a queue of 100000000 keys of 16 values takes 6.4 GB, \
                 and this machine has 2 GB, so lower it";
    assert!(stderr.contains(words), "{stderr}");
}

/// Limits of threads bind users other than root.
#[test]
fn without_threads_there_is_a_sentence() {
    let (_place, path) = place();
    let moco = path.join("moco");
    fs::copy(env!("CARGO_BIN_EXE_moco"), &moco).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let line = format!("pretrain --data {}/images --out", path.display());
    for limit in 1..=9 {
        let mut shell = Command::new("prlimit");
        shell.arg(format!("--nproc={limit}")).arg(&moco).args(line.split_whitespace());
        shell.arg(path.join(format!("run-{limit}")));
        let settings = SMALL.replace("--threads 1", "--threads 4");
        shell.args(settings.split_whitespace()).args(["--epochs", "2"]).uid(54_321);
        shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = match shell.spawn() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                println!("left out: this user may not become another");
                return;
            }
            child => child.unwrap(),
        };
        let output = Running(Some(child)).end();
        let stderr = text(&output.stderr);
        let last = stderr.lines().last().unwrap_or_default();
        match output.status.code() {
            Some(0) => {}
            Some(1 | 2) => assert!(last.contains("starts no more threads"), "{limit}: {stderr}"),
            other => panic!("{limit}: {other:?} {stderr}"),
        }
    }
}

#[test]
fn settings_beyond_any_machine_are_refused_with_the_number() {
    let (_place, folder) = images(64);
    let cases = [
        (
            "moco-v2 --set method.queue=1000000000000",
            "method.queue = 1000000000000: a queue of 1000000000000 keys of 128 values takes 512 TB",
        ),
        ("simclr --set model.width=10000000", "model.width = 10000000: its layers take"),
        (
            "swav --set method.prototypes=16777216 --set method.queue=3000000 --set method.dim=16777216",
            "so lower it",
        ),
    ];
    for (settings, words) in cases {
        for line in ["check", "pretrain --out {}-run"] {
            let outcome = moco_line(&format!("{line} --data {{}} --method {settings}"), &folder);
            assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
            let message = outcome.stderr.lines().last().unwrap();
            assert!(message.contains(words) && message.contains("this machine has"), "{message}");
        }
    }
}

#[test]
fn memory_that_runs_out_is_told() {
    let (_place, path) = place();
    let output = limited("-v 1500000", "bench step --size 64 --batch-size 2048 --threads 1", &path);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("bytes of memory: lower --batch-size"), "{stderr}");
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let (_place, folder) = images(16);
    let long = "9".repeat(100_000);
    for setting in [
        format!("train.batch_size={long}"),
        format!("optim.lr=x{long}"),
        format!("{long}=1"),
        long.clone(),
        format!("data.eval_view={long}"),
        format!("data.eval_view=crop({long})"),
        format!("model.backbone={long}"),
        format!("method.name={long}"),
    ] {
        let data = folder.to_str().unwrap();
        let outcome = moco(["check", "--data", data, "--set", setting.as_str()]);
        assert_eq!(outcome.code, Some(1));
        let message = outcome.stderr.lines().last().unwrap();
        assert!(message.len() < 700 && message.contains(" ..."), "{message}");
    }
}
