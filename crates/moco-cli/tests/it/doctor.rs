use crate::{images, moco_line};
use std::fs;

#[test]
fn a_table_a_page_and_json() {
    let (place, folder) = images(6);
    fs::write(folder.join("text.jpg"), "no image").unwrap();
    fs::copy(folder.join("001.png"), folder.join("copy.png")).unwrap();

    let outcome = moco_line("doctor {} --out {}.html", &folder);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for part in ["8 (7 readable)", "not an image", "text.jpg", "1 groups, 1 images too many"] {
        assert!(outcome.stdout.contains(part), "{part} in {}", outcome.stdout);
    }
    let page = fs::read_to_string(place.path().join("images.html")).unwrap();
    assert!(page.contains("data:image/jpeg;base64,") && page.contains("copy.png"));

    let outcome = moco_line("doctor {} --json", &folder);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["readable"], 7);
    assert_eq!(report["counts"]["not_an_image"], 1);
}

/// More findings than a page or the library's default list.
#[test]
fn json_has_every_finding() {
    let place = tempfile::tempdir().unwrap();
    for i in 0..1100 {
        fs::write(place.path().join(format!("{i:04}.jpg")), "").unwrap();
    }
    let outcome = moco_line("doctor {} --json", place.path());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["counts"]["empty"], 1100);
    assert_eq!(report["findings"].as_array().unwrap().len(), 1100);
}

#[test]
fn nothing_to_examine() {
    let (place, _) = images(1);
    let outcome = moco_line("doctor {}/nowhere", place.path());
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("does not exist"), "{}", outcome.stderr);
}
