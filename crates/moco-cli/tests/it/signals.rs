//! Signals, terminals that go away and streams that take nothing.

#![cfg(unix)]

use crate::training::{
    ENDLESS, Running, SMALL, command, in_place_of, newest, next_checkpoint, place, text, wait_for,
};
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn endless() -> String {
    format!("pretrain --data {{}}/images --out {{}}/run {SMALL} {ENDLESS}")
}

#[track_caller]
fn saved(running: Running, run: &Path) {
    let output = running.end();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("everything is saved"), "{stdout}");
    let steps = stdout.split("stopped after ").nth(1).unwrap().split(' ').next().unwrap();
    let last = format!("step-{:08}.safetensors", steps.parse::<usize>().unwrap());
    assert_eq!(newest(run), Some(last));
}

/// Whether a hang-up is ignored here, and so in every program that is started from here.
fn hang_ups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The first signal is the lowest bit.
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

#[test]
fn a_terminal_that_goes_away_saves_the_run() {
    if hang_ups_are_ignored() {
        println!("skipped: these tests run under nohup");
        return;
    }
    let (_place, path) = place();
    let running = Running::start(command(&endless(), &path));
    next_checkpoint(&path.join("run"), None);
    // The system and the shell send one each.
    running.signal("HUP");
    running.signal("HUP");
    saved(running, &path.join("run"));
}

#[test]
fn under_nohup_a_run_goes_on() {
    let (_place, path) = place();
    let line = format!("{} {}", env!("CARGO_BIN_EXE_moco"), endless());
    let mut running = Running::start(in_place_of("nohup", &line, &path));
    let mut seen = next_checkpoint(&path.join("run"), None);
    running.signal("HUP");
    for _ in 0..3 {
        seen = next_checkpoint(&path.join("run"), Some(&seen));
    }
    assert!(running.is_running());
    running.signal("TERM");
    saved(running, &path.join("run"));
}

/// A step of this run takes many seconds.
#[test]
fn a_second_signal_ends_the_program_at_once() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (_place, path) = place();
        let slow = "pretrain --data {}/images --out {}/run --method simclr --backbone resnet101 \
                    --batch-size 96 --set model.width=64 --threads 1";
        let running = Running::start(command(slow, &path));
        let log = path.join("run/run.log");
        wait_for("the start", || fs::read_to_string(&log).is_ok_and(|log| log.contains("steps")));
        running.signal(signal);
        sleep(Duration::from_millis(300));
        let begin = Instant::now();
        running.signal(signal);
        let output = running.end();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        assert!(text(&output.stderr).contains("press Ctrl-C again"), "{}", text(&output.stderr));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_on_a_full_disk_does_not_stop_a_run() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (_place, path) = place();
    let line = format!("pretrain --data {{}}/images --out {{}}/run {SMALL} --epochs 2");
    let mut logged = command(&line, &path);
    logged.stderr(full());
    let output = Running::start(logged).end();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("finished 12 steps"), "{}", text(&output.stdout));

    // A signal is answered there all the same.
    let mut logged = command(&endless().replace("/run", "/other"), &path);
    logged.stderr(full());
    let running = Running::start(logged);
    next_checkpoint(&path.join("other"), None);
    running.signal("TERM");
    saved(running, &path.join("other"));

    // Results are what the program is for.
    for line in ["methods", "devices"] {
        let mut command = command(line, &path);
        command.stdout(Stdio::from(full()));
        let output = Running::start(command).end();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: the results cannot be written: "), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
