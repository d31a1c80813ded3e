//! The same seed is the same run, whatever the number of threads and however many images are kept
//! in memory.

use crate::moco_line;
use moco_data::synthetic::{shapes, write_folder};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Everything that a run leaves for later, but for what tells the time.
#[derive(PartialEq)]
struct Left {
    encoder: Vec<u8>,
    checkpoint: Vec<u8>,
    metrics: Vec<Value>,
}

impl Left {
    fn by(settings: &str, path: &Path) -> Left {
        let run = tempfile::tempdir_in(path).unwrap();
        let line = format!("pretrain --data {{}}/images --epochs 2 {settings}");
        let outcome = moco_line(&format!("{line} --out {}/run", run.path().display()), path);
        assert_eq!(outcome.code, Some(0), "{settings}: {}", outcome.stderr);
        let run = run.path().join("run");
        let mut checkpoints: Vec<_> =
            fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
        checkpoints.sort();
        let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        Left {
            encoder: fs::read(run.join("encoder.safetensors")).unwrap(),
            checkpoint: fs::read(checkpoints.pop().unwrap()).unwrap(),
            metrics: metrics.lines().map(without_times).collect(),
        }
    }
}

fn without_times(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let times = ["seconds", "data_wait", "images_per_second", "data_wait_share"];
    line.as_object_mut().unwrap().retain(|key, _| !times.contains(&key.as_str()));
    line
}

/// Networks wide enough for their layers to be shared among threads: a ResNet with shuffled
/// BatchNorm and a queue, and a vision transformer of a teacher and a student.
#[test]
fn threads_and_cache_change_no_bit() {
    let place = tempfile::tempdir().unwrap();
    write_folder(&shapes(96, 40, 0), &place.path().join("images")).unwrap();
    let common = "--batch-size 32 --seed 3 --set train.log_steps=1";
    for method in
        ["--recipe moco-v1-small --set method.queue=96 --set model.width=16", "--recipe dino-small"]
    {
        let run = |machine: &str| Left::by(&format!("{method} {common} {machine}"), place.path());
        let first = run("--threads 1 --cache-mb 0");
        assert_eq!(first.metrics.len(), 6 + 2);
        for machine in ["--threads 1 --cache-mb 0", "--threads 2", "--threads 2 --cache-mb 0"] {
            let other = run(machine);
            assert!(first.metrics == other.metrics, "{method} {machine}: the metrics differ");
            assert!(first.checkpoint == other.checkpoint, "{method} {machine}: the states differ");
            assert!(first.encoder == other.encoder, "{method} {machine}: the encoders differ");
        }
        let other = run("--threads 1 --set train.seed=4");
        assert!(first.encoder != other.encoder, "{method}: the seed changes nothing");
    }
}
