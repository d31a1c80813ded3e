use super::*;
use crate::events::{EpochReport, Quality, Start, StepReport};
use std::fs;

fn step(step: usize) -> Event {
    Event::Step(StepReport {
        step,
        epoch: (step - 1) / 10,
        loss: 8.5,
        lr: 0.03,
        metrics: vec![("accuracy", 0.25)],
        seconds: 0.5,
        data_wait: 0.1,
    })
}

fn epoch(epoch: usize) -> Event {
    Event::Epoch(EpochReport {
        epoch,
        step: epoch * 10,
        loss: 8.25,
        lr: 0.03,
        images_per_second: 512.0,
        data_wait_share: 0.2,
        seconds: 5.0,
        knn: Some(0.4125),
        knn_protocol: Some("backbone feature, k = 200".to_owned()),
        probe: Some(0.55),
        quality: Some(Quality {
            rank_me: 31.24,
            lidar: 12.0,
            alignment: 0.5,
            uniformity: -2.25,
            images: 500,
            dim: 64,
        }),
        feature_std: Some((0.08, 0.0884)),
        rank_seconds: Vec::new(),
    })
}

fn start(first_step: usize) -> Event {
    Event::Start(Start {
        method: "moco-v1".to_owned(),
        images: 2560,
        steps_per_epoch: 10,
        total_steps: 20,
        first_step,
        batch_size: 256,
        parameters: 702_000,
        chance_loss: 8.71,
    })
}

fn run(report: &mut impl Report, steps: std::ops::RangeInclusive<usize>) {
    for i in steps {
        report.record(&step(i)).unwrap();
        if i.is_multiple_of(10) {
            report.record(&epoch(i / 10)).unwrap();
        }
    }
}

#[test]
fn metrics_of_an_interrupted_run_are_those_of_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, resumed) = (dir.path().join("whole.jsonl"), dir.path().join("resumed.jsonl"));
    run(&mut JsonLines::open(&whole, 0, 5).unwrap(), 1..=20);

    run(&mut JsonLines::open(&resumed, 0, 5).unwrap(), 1..=18);
    let torn = fs::read_to_string(&resumed).unwrap() + "{\"kind\":\"step\",\"st";
    fs::write(&resumed, torn).unwrap();
    run(&mut JsonLines::open(&resumed, 10, 5).unwrap(), 11..=20);

    let whole = fs::read_to_string(whole).unwrap();
    assert_eq!(fs::read_to_string(resumed).unwrap(), whole);
    // Steps 1, 5, 10, 15, 20 and two epochs.
    assert_eq!(whole.lines().count(), 7);
    let first: serde_json::Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    assert_eq!(first["accuracy"], 0.25);
    let last: serde_json::Value = serde_json::from_str(whole.lines().last().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["knn"]), (&"epoch".into(), &0.4125.into()));
    let without_labels = ["rank_me", "lidar", "alignment", "uniformity"].map(|name| &last[name]);
    assert_eq!(without_labels, [31.24, 12.0, 0.5, -2.25]);
    assert_eq!((&last["probe"], &last["quality_dim"]), (&0.55.into(), &64.into()));
}

#[test]
fn a_new_run_starts_with_no_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    fs::write(&path, "{\"kind\":\"step\",\"step\":3}\n").unwrap();
    JsonLines::open(&path, 0, 1).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn bad_files_are_listed_once_over_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad_files.csv");
    let bad = |name: &str| Event::BadFile { name: name.to_owned(), reason: "cut, off".to_owned() };
    let mut report = BadFiles::open(&path).unwrap();
    assert!(!path.exists());
    report.record(&bad("a.jpg")).unwrap();
    report.record(&bad("a.jpg")).unwrap();
    let mut report = BadFiles::open(&path).unwrap();
    report.record(&bad("a.jpg")).unwrap();
    report.record(&bad("b.jpg")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "name,reason\na.jpg,\"cut, off\"\nb.jpg,\"cut, off\"\n");
}

#[test]
fn the_log_has_a_time_on_every_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.log");
    let mut log = RunLog::open(&path, 5).unwrap();
    log.record(&start(0)).unwrap();
    run(&mut log, 1..=10);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    // The start, steps 1, 5 and 10, one epoch.
    assert_eq!(lines.len(), 5, "{text}");
    for line in &lines {
        line.split(' ').next().unwrap().parse::<jiff::Timestamp>().unwrap();
    }
    assert!(lines[0].ends_with("0.70 M parameters, chance loss 8.71"));
    assert!(lines[4].ends_with(
        "epoch 1/2  loss 8.2500  kNN 41.25 % (backbone feature, k = 200)  linear probe 55.00 %  \
         RankMe 31.2 and LiDAR 12.0 of 64  alignment 0.500  uniformity -2.250  feature std 0.0800 \
         (healthy: 0.0884, collapsed: 0)  lr 0.0300  512 images/s  data wait 20 %  5.0 s"
    ));
}

#[test]
fn a_report_that_fails_is_left_off_and_named() {
    struct Full;
    impl Report for Full {
        fn record(&mut self, _: &Event) -> Result<(), ReportError> {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            Err(ReportError::at(Path::new("metrics.jsonl"))(full))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut files = RunFiles::open(dir.path(), 0, 1).unwrap();
    files.reports.insert(0, Box::new(Full));
    Tee(vec![&mut files]).event(&step(1));
    Tee(vec![&mut files]).event(&step(2));
    assert_eq!(files.failed().len(), 1);
    assert!(files.failed()[0].to_string().starts_with("cannot write metrics.jsonl: "));
    let metrics = fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 2);
}

#[test]
fn durations_in_words() {
    assert_eq!(duration(0.0724), "72 ms");
    assert_eq!(duration(8.24), "8.2 s");
    assert_eq!(duration(200.4), "3 min 20 s");
    assert_eq!(duration(7_500.0), "2 h 05 min");
}

/// A full disk or a kill leaves half a line, maybe with a whole one behind it, or bytes that are no
/// text.
#[test]
fn torn_lines_are_cut_out_when_a_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let line = |step: usize| format!("{{\"kind\":\"step\",\"step\":{step}}}\n").into_bytes();
    let torn = [
        [line(1), b"{\"kind\":\"st".to_vec(), line(2), line(3)].concat(),
        [line(1), b"\0\0\xff\xfe\n".to_vec(), line(3), b"{\"kin".to_vec()].concat(),
        [line(1), line(3), line(4), b"\xff".to_vec()].concat(),
    ];
    for bytes in torn {
        fs::write(&path, bytes).unwrap();
        let mut report = JsonLines::open(&path, 3, 1).unwrap();
        report.record(&step(4)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let read = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let steps: Vec<_> = text.lines().map(|line| read(line)["step"].as_u64()).collect();
        assert_eq!(steps, [Some(1), Some(3), Some(4)], "{text}");
    }
}

#[test]
fn a_torn_list_of_bad_files_and_a_torn_log_go_on_behind_their_last_whole_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad_files.csv");
    fs::write(&path, "name,reason\na.jpg,\"cut, off\"\nb.jpg,\"cu").unwrap();
    assert_eq!(bad_file_names(&path).unwrap(), ["a.jpg".to_owned()].into());
    let mut report = BadFiles::open(&path).unwrap();
    for name in ["a.jpg", "b.jpg"] {
        let (name, reason) = (name.to_owned(), "cut, off".to_owned());
        report.record(&Event::BadFile { name, reason }).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "name,reason\na.jpg,\"cut, off\"\nb.jpg,\"cut, off\"\n");

    let path = dir.path().join("run.log");
    fs::write(&path, "2026-01-01T00:00:00Z one\n2026-01-0").unwrap();
    let mut log = RunLog::open(&path, 5).unwrap();
    log.record(&Event::Note("two".to_owned())).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("2026-01-01T00:00:00Z one\n2") && text.ends_with("Z two\n"), "{text}");
}
