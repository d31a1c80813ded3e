//! What the program says of its data: which part, which kind of source, what was passed over, and
//! test images that were trained on.

use crate::moco_line;
use moco_data::synthetic::{shapes, write_folder};
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// A folder of the parts `train` and `test`.
fn split(train: usize, test: usize) -> TempDir {
    let root = tempdir().unwrap();
    for (name, count, seed) in [("train", train, 0), ("test", test, 1)] {
        write_folder(&shapes(count, 32, seed), &root.path().join(name)).unwrap();
    }
    root
}

#[test]
fn the_doctor_says_once_what_it_looks_at() {
    let root = split(6, 4);
    fs::write(root.path().join("test/1.heic"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    let outcome = moco_line("doctor {}:test", root.path());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for part in [
        "source                    a folder of images\n",
        "passed over               1 HEIC image\n",
        "this is the part test of train and test\n",
        "images                    4 (4 readable)\n",
        "not read                  1 HEIC image\n",
    ] {
        assert_eq!(outcome.stdout.matches(part).count(), 1, "{part} in {}", outcome.stdout);
    }
    assert!(!outcome.stderr.contains("HEIC"), "{}", outcome.stderr);
    let outcome = moco_line("doctor {}:test --json", root.path());
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["holdings"]["passed_over"]["HEIC images"], 1);
    let outcome = moco_line("doctor {}:val", root.path());
    assert_eq!(outcome.code, Some(1));
    let error = "has no part `val`; it has train and test";
    assert!(outcome.stderr.contains(error), "{}", outcome.stderr);
}

/// Any file of a class.
fn image_of(folder: &Path) -> (String, String) {
    let class = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let class = class.filter(|path| path.is_dir()).min().unwrap();
    let file = fs::read_dir(&class).unwrap().next().unwrap().unwrap().file_name();
    let name = class.file_name().unwrap().to_string_lossy().into_owned();
    (name, file.to_string_lossy().into_owned())
}

/// Each evaluation of a tiny encoder, on test images of which one is, and none is, a copy.
#[test]
fn test_images_that_are_training_images_are_counted() {
    let root = split(64, 12);
    let train = "pretrain --recipe moco-v1-small --data {}:train --out {}/run --batch-size 16 \
                 --set model.width=4 --set model.bn_groups=2 --set method.queue=48 \
                 --set method.dim=16 --max-steps 1";
    let outcome = moco_line(train, root.path());
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let line = ":train: 64 images, a folder of images; this is the part train of train and test";
    assert_eq!(outcome.stderr.matches(line).count(), 1, "{}", outcome.stderr);

    let (class, file) = image_of(&root.path().join("train"));
    let copy = root.path().join(format!("test/{class}/same.png"));
    fs::copy(root.path().join(format!("train/{class}/{file}")), &copy).unwrap();
    let evaluated = |probe: &str| {
        let line = format!("eval {probe} --run {{}}/run --train {{}}:train --test {{}}:test");
        let outcome = moco_line(&line, root.path());
        assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.stderr);
        outcome.stderr
    };
    let expected = format!(
        "warning: 1 of 13 test images is also in the training images (equal bytes), such as \
         `{class}/same.png`: the accuracy is too high"
    );
    for probe in ["knn", "linear", "linear --solver sgd --epochs 1", "finetune --epochs 1"] {
        assert!(evaluated(probe).contains(&expected), "{probe}: {}", evaluated(probe));
    }
    fs::remove_file(&copy).unwrap();
    assert!(!evaluated("knn").contains("warning"));
}
