//! Tars in WebDataset's naming: which files are a sample, which image is taken, what its label is,
//! and what is said.

use crate::support::{Archive, image, names};
use moco_data::{Dataset, save_png};
use std::fs;
use tempfile::tempdir;

/// An image file.
fn png(seed: u64) -> Vec<u8> {
    let root = tempdir().unwrap();
    let path = root.path().join("x.png");
    save_png(&image(8, 8, seed), &path).unwrap();
    fs::read(path).unwrap()
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Archive::default();
    for (name, bytes) in files {
        archive.file(name, bytes);
    }
    archive.end()
}

/// One archive, whose images are all the same.
fn one(files: &[(&str, &[u8])]) -> Dataset {
    Dataset::from_bytes("x.tar", archive(files)).unwrap()
}

/// Several archives `0.tar`, `1.tar` and so on, opened by a pattern.
fn several(archives: &[&[(&str, &[u8])]]) -> Dataset {
    let root = tempdir().unwrap();
    for (i, files) in archives.iter().enumerate() {
        fs::write(root.path().join(format!("{i}.tar")), archive(files)).unwrap();
    }
    Dataset::open(&root.path().join("*.tar")).unwrap()
}

/// The class of each image.
fn classes(dataset: &Dataset) -> Vec<&str> {
    let class = |label: u32| dataset.class_names()[label as usize].as_str();
    (0..dataset.len()).map(|i| dataset.label(i).map_or("", class)).collect()
}

fn said(dataset: &Dataset, sentence: &str) {
    let line = dataset.holdings().to_string();
    assert!(line.contains(sentence), "{line}");
}

#[test]
fn one_image_is_taken_of_a_sample() {
    let x = &png(0)[..];
    let dataset = one(&[
        ("0.left.jpg", x),
        ("0.seg.png", x),
        ("0.png", x),
        ("0.txt", b"a caption"),
        ("1.webp", x),
        ("1.PNG", x),
        ("1.jpeg", x),
        ("2.right.png", x),
        ("2.left.png", x),
        ("d/0.mask.png", x),
    ]);
    assert_eq!(names(&dataset), ["0.png", "1.jpeg", "2.left.png", "d/0.mask.png"]);
    said(
        &dataset,
        "a tar of samples (WebDataset); passed over: 5 further images of a sample, 1 text",
    );
    said(&dataset, "`0.png`, not `0.left.jpg` (`:source=images` behind the tar takes all)");
}

/// A key ends at the first dot: these eight are one sample.
#[test]
fn dots_in_keys_are_said_and_can_be_overridden() {
    let x = png(0);
    let files: Vec<(String, Vec<u8>)> = (0..8)
        .flat_map(|i| {
            let (image, label) = (format!("photo v1.{i}.jpg"), format!("photo v1.{i}.cls"));
            [(image, x.clone()), (label, (i % 4).to_string().into())]
        })
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    let root = tempdir().unwrap();
    let path = root.path().join("dots.tar");
    fs::write(&path, archive(&files)).unwrap();
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!((names(&dataset), classes(&dataset)), (vec!["photo v1.0.jpg"], vec!["0"]));
    said(&dataset, "7 further images of a sample");
    said(&dataset, "up to its first dot: `photo v1.0.jpg`, not `photo v1.1.jpg`");
    said(
        &dataset,
        "the label files of 1 sample disagree; one is taken of each, such as `photo v1.0.cls`",
    );

    let every = Dataset::open(&root.path().join("dots.tar:source=images")).unwrap();
    assert_eq!(every.len(), 8);
    assert_eq!(classes(&every), ["0", "1", "2", "3", "0", "1", "2", "3"]);
    assert_eq!(every.holdings().to_string(), "a tar of images");

    let x = &png(0)[..];
    let files = [("0.png", x), ("0.webp", x), ("0.cls", b"2"), ("1.png", x), ("2.cls", b"1")];
    fs::write(&path, archive(&files)).unwrap();
    let every = Dataset::open(&root.path().join("dots.tar:source=images")).unwrap();
    assert_eq!(classes(&every), ["2", "2", ""]);
    said(&every, "1 label file with no image, such as `2.cls`");
}

/// Pictures whose names have dots are no samples as long as nothing says so.
#[test]
fn a_tree_of_images_is_no_data_set_of_samples() {
    let x = &png(0)[..];
    let dataset = one(&[
        ("cat/v1.0.png", x),
        ("cat/v1.1.png", x),
        ("dog/1.png", x),
        ("dog/1.mask.png", x),
        ("dog/readme.txt", b"x"),
        ("dog/1.png.json", br#"{"label": 1}"#),
        ("coco.json", b"no JSON"),
    ]);
    assert_eq!(dataset.len(), 4);
    assert_eq!(classes(&dataset), ["cat", "cat", "dog", "dog"]);
    let expected = "a tar of images; passed over: 2 texts; 1 label file with no image, such as \
                    `dog/1.png.json`";
    assert_eq!(dataset.holdings().to_string(), expected);
}

#[test]
fn labels_of_every_kind() {
    let x = &png(0)[..];
    let json: [&[u8]; 5] = [
        br#"{"label": 1}"#,
        br#"{"label": 2.0}"#,
        br#"{"cls": "10"}"#,
        br#"{"label": null}"#,
        br#"{"caption": "no label"}"#,
    ];
    let names: Vec<_> = (0..5).map(|i| [format!("{i}.png"), format!("{i}.json")]).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(json).flat_map(|([a, b], json)| [(&**a, x), (&**b, json)]).collect();
    let dataset = one(&files);
    assert_eq!(classes(&dataset), ["1", "2", "10", "", ""]);
    assert_eq!(dataset.class_names(), ["1", "2", "10"]);
    said(&dataset, "2 of 5 images have no label, such as `3.png`");

    let truths = one(&[
        ("0.png", x),
        ("0.json", br#"{"label": true}"#),
        ("1.png", x),
        ("1.json", br#"{"label": false}"#),
    ]);
    assert_eq!(classes(&truths), ["true", "false"]);
    assert_eq!(truths.holdings().notes, [""; 0]);

    let fractions = one(&[("0.png", x), ("0.cls", b"0.5"), ("1.png", x), ("1.cls", b"0.25")]);
    assert_eq!(classes(&fractions), ["0.5", "0.25"]);
    said(&fractions, "labels are fractions (`0.5`), each taken as a class");
}

#[test]
fn what_is_odd_about_labels_is_said() {
    let x = &png(0)[..];
    let dataset = one(&[
        ("0.png", x),
        ("0.cls", b"3"),
        ("0.json", br#"{"label": 4}"#),
        ("1.png", x),
        ("1.cls", b"cat"),
        ("2.png", x),
        ("2.json", b"{"),
        ("3.png", x),
        ("3.json", br#"{"label": [1, 2]}"#),
        ("4.cls", b"5"),
        ("5.png", x),
        ("5.cls", b""),
    ]);
    assert_eq!(classes(&dataset), ["3", "cat", "", "", ""]);
    for sentence in [
        "1 label file with no image, such as `4.cls`",
        "the label files of 1 sample disagree; one is taken of each, such as `0.cls`",
        "1 label file with no JSON in them, such as `2.json`",
        "1 label file with a list or object as label, such as `3.json`",
        "labels are of several kinds: 1 are whole numbers (`3`), 1 are text (`cat`)",
        "3 of 5 images have no label, such as `2.png`",
    ] {
        said(&dataset, sentence);
    }
    said(&dataset, "a tar of samples (WebDataset); passed over: 2 texts; ");
}

#[test]
fn keys_that_occur_again_are_counted() {
    let (x, y) = (&png(0)[..], &png(1)[..]);
    let dataset = several(&[
        &[("0.png", x), ("1.png", x), ("0.cls", b"5"), ("1.cls", b"6")],
        &[("1.png", x), ("1.cls", b"7"), ("2.png", x), ("2.cls", b"5"), ("2.png", y)],
    ]);
    assert_eq!(names(&dataset), ["0.tar/0.png", "0.tar/1.png", "1.tar/1.png", "1.tar/2.png"]);
    assert_eq!(classes(&dataset), ["5", "6", "7", "5"]);
    assert_eq!(dataset.load(3).unwrap(), image(8, 8, 1), "the later of two of one name");
    assert_eq!(dataset.holdings().chosen, "2 tars");
    said(&dataset, "1 file that a later one of the same name replaces");
    said(&dataset, "the files of 2 samples do not lie together");
    said(&dataset, "1 key in several tars at once, each time a sample of its own");
}

#[test]
fn what_webdataset_keeps_for_itself_is_passed_over() {
    let x = &png(0)[..];
    let dataset = several(&[
        &[("__meta__", b"x"), ("__cache__/0.png", x), ("0.png", x), ("0.cls", b"1")],
        &[("1.png", x), ("1.cls", b"1")],
    ]);
    assert_eq!(names(&dataset), ["0.tar/0.png", "1.tar/1.png"]);
    said(&dataset, "2 files in webdataset's own `__folders__`");
}

/// `0.jpg` of the first archive has no label, and the others keep theirs.
#[test]
fn one_image_without_label_leaves_the_others_theirs() {
    let x = &png(0)[..];
    let dataset = several(&[
        &[("0.png", x)],
        &[("1.png", x), ("1.cls", b"1"), ("2.png", x), ("2.cls", b"0")],
    ]);
    assert_eq!(classes(&dataset), ["", "1", "0"]);
    said(&dataset, "1 of 3 images has no label, such as `0.tar/0.png`");
    let none = several(&[&[("0.png", x)], &[("1.png", x)]]);
    assert!(none.class_names().is_empty() && none.holdings().notes.is_empty());
}
