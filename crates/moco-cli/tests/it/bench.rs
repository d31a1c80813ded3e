use crate::{Outcome, images, moco_line, outcome};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn bench(line: &str) -> Value {
    let outcome = moco_line(&format!("bench {line} --json"), Path::new(""));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    serde_json::from_str(outcome.stdout.lines().last().unwrap()).unwrap()
}

/// The threads' own scratch settles within the first tenth of the steps. The least of the second
/// tenth and the least of the last are compared: they differ by up to 4 MB either way, and a leak of
/// 16 kB per step, as of the smallest activations, shows as 10 MB or more.
#[test]
fn memory_does_not_grow_over_a_thousand_steps() {
    for network in [
        "--backbone resnet18 --set model.width=4 --size 8 --batch-size 8",
        "--backbone vit-micro --size 8 --batch-size 2",
    ] {
        let report = bench(&format!("step {network} --steps 1000 --threads 2"));
        let bytes = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key}"));
        let (early, end) = (bytes("memory_early_bytes"), bytes("memory_end_bytes"));
        assert!(end < early + (8 << 20), "{network}: {early} bytes, then {end}");
        assert!(bytes("peak_memory_bytes") > 0);
    }
}

#[test]
fn every_kind_of_step_is_timed() {
    for work in ["method", "train", "forward"] {
        let network = "--backbone resnet18 --set model.width=4 --size 8 --batch-size 8";
        let report = bench(&format!("step --work {work} {network} --steps 1"));
        assert_eq!(report["work"], work);
        assert!(report["seconds_per_step"].as_f64().unwrap() > 0.0, "{work}");
    }
}

#[test]
fn a_run_is_measured_beside_its_steps() {
    let (_place, folder) = images(24);
    let line = "bench run --batch-size 8 --set model.width=4 --set model.bn_groups=1 --steps 2 \
                --threads 1 --json --data {}";
    let outcome = moco_line(line, &folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let report: Value = serde_json::from_str(outcome.stdout.lines().last().unwrap()).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key}"));
    assert_eq!(number("steps"), 6.0, "three turns of two");
    assert!(number("seconds_in_run") > 0.0 && number("data_wait_seconds") >= 0.0);
    let share = number("seconds_alone") / number("seconds_in_run");
    assert!((number("share") - share).abs() < 1e-9);
}

#[test]
fn the_machine_is_measured() {
    let report = bench("machine --threads 1");
    for key in ["fma_gflop_per_second", "copy_gb_per_second"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}");
    }
}

/// A step with the kernels that the environment names.
fn with_kernels(name: &str) -> Outcome {
    let line = "bench step --backbone vit-micro --size 8 --batch-size 2 --steps 1 --json";
    let mut command = Command::new(env!("CARGO_BIN_EXE_moco"));
    outcome(command.args(line.split(' ')).env("MOCO_KERNELS", name))
}

#[test]
fn the_environment_chooses_the_kernels() {
    for name in ["portable", "stock"] {
        let report: Value = serde_json::from_str(&with_kernels(name).stdout).unwrap();
        assert_eq!(report["kernels"], name);
    }
    let unknown = with_kernels("mmx");
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("MOCO_KERNELS=mmx is not possible here"), "{}", unknown.stderr);
}
