//! What a long run takes of the machine does not grow with its steps.

#![cfg(target_os = "linux")]

use moco_data::synthetic::{shapes, write_folder};
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// What a process takes.
#[derive(Clone, Copy, Debug)]
struct Taken {
    memory_kb: usize,
    threads: usize,
    files: usize,
}

fn taken(id: u32) -> Option<Taken> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let files = fs::read_dir(format!("/proc/{id}/fd")).ok()?.count();
    Some(Taken { memory_kb: number("VmRSS:")?, threads: number("Threads:")?, files })
}

/// By hand: `cargo test --release -p moco-cli --test it long -- --ignored --nocapture`.
#[test]
#[ignore = "trains for ten thousand steps, which takes a minute"]
fn ten_thousand_steps_take_no_more_memory_threads_or_files_than_the_first_ones() {
    let place = tempfile::tempdir().unwrap();
    write_folder(&shapes(1600, 32, 0), &place.path().join("train")).unwrap();
    let words = "--recipe moco-v1-small --batch-size 16 --set model.width=4 --set method.dim=16 \
                 --set model.bn_groups=1 --set method.queue=160 --set monitor.knn_epochs=0 \
                 --epochs 200 --max-steps 10000 --threads 2";
    let mut child = Command::new(env!("CARGO_BIN_EXE_moco"))
        .args(["pretrain", "--data"])
        .arg(place.path().join("train"))
        .arg("--out")
        .arg(place.path().join("run"))
        .args(words.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut samples = Vec::new();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        samples.extend(taken(child.id()));
        sleep(Duration::from_millis(100));
    };
    assert!(status.success());
    let part = |from: usize, to: usize| {
        let part = &samples[samples.len() * from / 100..samples.len() * to / 100];
        let most = |of: fn(&Taken) -> usize| part.iter().map(of).max().unwrap();
        (most(|t| t.memory_kb), most(|t| t.threads), most(|t| t.files))
    };
    let (early, late) = (part(10, 40), part(70, 100));
    println!("{} samples: early {early:?}, late {late:?} (kB, threads, files)", samples.len());
    assert!(
        late.0 as f64 <= 1.03 * early.0 as f64,
        "memory grows from {} to {} kB",
        early.0,
        late.0
    );
    // A file that is being written is open in one sample and not in another.
    assert!(late.1 <= early.1 && late.2 <= early.2 + 1, "{early:?}, {late:?}");
}
