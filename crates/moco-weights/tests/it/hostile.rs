//! Files that mean harm, and files that are none, are refused in one sentence.

use crate::common::folder;
use moco_weights::{Options, WeightsError, open, read};
use std::fs;
use std::path::Path;

/// The most memory this process has had, in kilobytes.
#[cfg(target_os = "linux")]
pub fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    line.split_whitespace().nth(1).expect("a number").parse().expect("kilobytes")
}

#[cfg(not(target_os = "linux"))]
pub fn peak() -> u64 {
    0
}

fn refused(path: &Path) -> WeightsError {
    let checkpoint = match open(path, &Options::default()) {
        Err(error) => error,
        Ok(_) => panic!("`{}` was read", path.display()),
    };
    let text = checkpoint.to_string();
    assert!(text.contains(&path.file_name().unwrap().to_string_lossy().into_owned()), "{text}");
    assert!(!text.contains('\n') && !text.ends_with('.') && text.len() < 500, "{text}");
    checkpoint
}

#[test]
fn hostile_files_are_refused() {
    let before = fs::read_dir(folder()).expect("a folder").count();
    let mut seen = 0;
    for entry in fs::read_dir(folder()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("hostile_") || name.ends_with(".json") {
            continue;
        }
        let error = refused(&path);
        let code = matches!(error, WeightsError::Code { .. });
        assert_eq!(code, name.starts_with("hostile_code"), "{name}: {error}");
        assert!(code || matches!(error, WeightsError::Damaged { .. }), "{name}: {error}");
        seen += 1;
    }
    assert_eq!(seen, 9);
    assert_eq!(fs::read_dir(folder()).expect("a folder").count(), before, "a file appeared");
    assert!(peak() < 1 << 20, "{} kB of memory", peak());
}

#[test]
fn files_that_hold_no_weights_are_named() {
    let place = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    for (name, bytes, says) in [
        ("empty.pth", &b""[..], "it is empty"),
        ("page.bin", b"<!DOCTYPE html><html>", "web page"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        ("image.pth", b"\x89PNG\r\n\x1a\n0000000", "no known format"),
        ("other.json", b"{\"a\": 1}", "weight_map"),
        ("plain.pkl", b"\x80\x04}\x94.", "torch.save"),
    ] {
        let error = refused(&file(name, bytes));
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = read::open(&place.path().join("nowhere.pth")).expect_err("no file");
    assert!(matches!(error, WeightsError::Missing { .. }), "{error}");
}

#[test]
fn an_index_does_not_lead_out_of_its_folder() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("model.safetensors.index.json");
    for shard in ["../x.safetensors", "/etc/passwd", "a/b.safetensors"] {
        let text = format!("{{\"weight_map\": {{\"w\": \"{shard}\"}}}}");
        fs::write(&path, text).expect("a file");
        assert!(refused(&path).to_string().contains("outside its folder"));
    }
}

#[test]
fn a_folder_without_weights_lists_its_files() {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("README.md"), "nothing").expect("a file");
    let error = read::open(place.path()).expect_err("no weights");
    assert!(error.to_string().contains("README.md"), "{error}");
}
