//! What the doctor finds, against planted findings and against Python's `imagehash` and numpy.

use crate::formats::golden;
use crate::support::{append, image, images, write_images};
use moco_data::doctor::{self, DoctorConfig, Kind, Report};
use moco_data::{Dataset, Image, save_png};
use safetensors::SafeTensors;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

fn examine(dataset: &Dataset, threads: usize) -> Report {
    let config = DoctorConfig { threads, ..DoctorConfig::default() };
    doctor::examine(dataset, &config, &mut |_| {})
}

/// Smooth and unlike any other seed's, so that near-duplicates are the planted ones.
fn scene(width: usize, height: usize, seed: f64) -> Image {
    let wave =
        |x: f64, y: f64, c: f64| (x * (3.0 + seed) + c).sin() + (y * (9.0 - seed) + x * seed).cos();
    let sample = |i: usize| {
        let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
        (128.0 + 60.0 * wave(x as f64 / width as f64, y as f64 / height as f64, c as f64)) as u8
    };
    Image::new(width, height, (0..width * height * 3).map(sample).collect())
}

fn planted(root: &Path) {
    let save = |image: &Image, name: &str| {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        save_png(image, &root.join(name)).unwrap();
    };
    save(&scene(80, 60, 1.0), "a/one.png");
    save(&scene(80, 60, 4.0), "b/two.png");
    fs::copy(root.join("a/one.png"), root.join("b/one again.png")).unwrap();
    save(&scene(120, 90, 4.0), "b/two larger.png");
    save(&scene(9, 9, 2.5), "a/tiny.png");
    let grey = scene(70, 50, 6.0);
    let grey = grey.pixels.chunks_exact(3).flat_map(|pixel| [pixel[0]; 3]).collect();
    save(&Image::new(70, 50, grey), "a/grey.png");
    fs::copy(root.join("b/two.png"), root.join("b/wrong.jpg")).unwrap();
    let png = fs::read(root.join("a/one.png")).unwrap();
    fs::write(root.join("a/cut.png"), &png[..png.len() / 2]).unwrap();
    fs::write(root.join("a/<b>&.jpg"), "text").unwrap();
    fs::write(root.join("a/none.jpg"), "").unwrap();
    // A header that promises 30,000 x 30,000 pixels.
    let mut bomb = png[..33].to_vec();
    bomb[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let sum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&sum.to_be_bytes());
    fs::write(root.join("a/bomb.png"), [&bomb[..], &png[33..]].concat()).unwrap();
}

/// The checksum of PNG's chunks (ISO/IEC 15948, Annex D).
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[test]
fn planted_findings_are_found() {
    let root = tempdir().unwrap();
    planted(root.path());
    let dataset = Dataset::open(root.path()).unwrap();
    let report = examine(&dataset, 2);
    assert_eq!((report.images, report.readable, report.faults()), (11, 7, 4));
    let found: Vec<_> = report.findings.iter().map(|f| (f.kind, &*f.name, &*f.detail)).collect();
    assert_eq!(
        found,
        [
            (Kind::Empty, "a/none.jpg", "the file is empty"),
            (Kind::Truncated, "a/cut.png", "the file is cut off before the image ends"),
            (Kind::NotAnImage, "a/<b>&.jpg", &*dataset.load(0).unwrap_err().to_string()),
            (Kind::Oversized, "a/bomb.png", "30000x30000 pixels are over the limit of 178 million"),
            (Kind::Tiny, "a/tiny.png", "9x9 pixels"),
            (Kind::Greyscale, "a/grey.png", ""),
            (Kind::WrongExtension, "b/wrong.jpg", "is PNG"),
        ]
    );
    let name = |groups: &doctor::Groups| -> Vec<Vec<String>> {
        let names = |group: &Vec<doctor::Member>| group.iter().map(|m| m.name.clone()).collect();
        groups.listed.iter().map(names).collect()
    };
    assert_eq!(
        name(&report.duplicates),
        [vec!["a/one.png", "b/one again.png"], vec!["b/two.png", "b/wrong.jpg"]]
    );
    assert_eq!((report.duplicates.surplus, report.duplicates.across_classes), (2, 1));
    assert_eq!(name(&report.near_duplicates), [vec!["b/two larger.png", "b/two.png"]]);
    let classes: Vec<_> = report.classes.iter().map(|c| (&*c.name, c.images)).collect();
    assert_eq!(classes, [("a", 7), ("b", 4)]);
    assert_eq!((report.widths.min, report.widths.median, report.widths.max), (9, 80, 120));
    let bins: Vec<_> = report.sizes.iter().map(|bin| (bin.from, bin.images)).collect();
    assert_eq!(bins, [(0, 1), (32, 5), (64, 1)]);
    assert_eq!(report.formats.get("PNG"), Some(&7));
}

#[test]
fn reports_do_not_depend_on_threads_and_survive_json() {
    let root = tempdir().unwrap();
    planted(root.path());
    let dataset = Dataset::open(root.path()).unwrap();
    let report = examine(&dataset, 1);
    assert_eq!(examine(&dataset, 5), report);
    let text = serde_json::to_string(&report).unwrap();
    assert!(text.contains("\"not_an_image\":1"), "{text}");
    // Reading a number back may be off by its last bit.
    let mut read: Report = serde_json::from_str(&text).unwrap();
    for c in 0..3 {
        assert!((read.mean[c] - report.mean[c]).abs() < 1e-15);
        assert!((read.std[c] - report.std[c]).abs() < 1e-15);
    }
    (read.mean, read.std) = (report.mean, report.std);
    assert_eq!(read, report);
}

#[test]
fn progress_reaches_the_end() {
    let dataset = images(40);
    let mut seen = Vec::new();
    doctor::examine(&dataset, &DoctorConfig::default(), &mut |done| seen.push(done));
    assert!(seen.is_sorted() && seen.last() == Some(&40), "{seen:?}");
}

/// By the definition, in f64 over all pixels of images of one size.
#[test]
fn mean_and_deviation_are_those_of_the_pixels() {
    let all: Vec<Image> = (0..5).map(|i| image(31, 17, i)).collect();
    let rows = all.iter().enumerate().map(|(i, image)| (i.to_string(), None, image.clone()));
    let report = examine(&Dataset::from_images(rows.collect(), Vec::new()), 3);
    for c in 0..3 {
        let values: Vec<f64> = all
            .iter()
            .flat_map(|image| image.pixels.chunks_exact(3))
            .map(|pixel| f64::from(pixel[c]) / 255.0)
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        // Fixed point of 2^-32 of a level, and the cancellation of the squares.
        assert!((report.mean[c] - mean).abs() < 1e-9, "{} {mean}", report.mean[c]);
        assert!(
            (report.std[c] - square.sqrt()).abs() < 1e-8,
            "{} {}",
            report.std[c],
            square.sqrt()
        );
    }
}

/// Images, their JPEG copies of low quality and smaller copies: grouped as the hashes of Python's
/// imagehash, which are in the file, have it.
#[test]
fn near_duplicates_agree_with_imagehash() {
    let bytes = fs::read(golden("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (mut rows, mut hashes) = (Vec::new(), Vec::new());
    for i in 0..18 {
        let tensor = tensors.tensor(&format!("phash.{i:02}.image")).unwrap();
        let &[height, width, 3] = tensor.shape() else { panic!("{:?}", tensor.shape()) };
        let image = Image::new(width, height, tensor.data().to_vec());
        rows.push((format!("{i:02}"), None, image));
        let hash = tensors.tensor(&format!("phash.{i:02}.hash")).unwrap().data().to_vec();
        hashes.push(u64::from_be_bytes(hash.try_into().unwrap()));
    }
    let report = examine(&Dataset::from_images(rows, Vec::new()), 1);
    let groups = &report.near_duplicates.listed;
    let indices: Vec<Vec<usize>> =
        groups.iter().map(|group| group.iter().map(|member| member.index).collect()).collect();
    // The group of an image, by steps of at most four bits of imagehash's hashes.
    let group = |i: usize| {
        let mut group = vec![i];
        for _ in 0..hashes.len() {
            let near =
                |&j: &usize| group.iter().any(|&i| (hashes[i] ^ hashes[j]).count_ones() <= 4);
            group = (0..hashes.len()).filter(near).collect();
        }
        group
    };
    let mut expected: Vec<Vec<usize>> = (0..18).map(group).filter(|g| g.len() > 1).collect();
    expected.sort();
    expected.dedup();
    assert_eq!(indices, expected);
    assert_eq!(expected.len(), 6);
}

#[test]
fn texts_and_pages_name_everything_safely() {
    let root = tempdir().unwrap();
    planted(root.path());
    let dataset = Dataset::open(root.path()).unwrap();
    let report = examine(&dataset, 2);
    let text = report.to_text();
    for part in ["images", "11 (7 readable)", "not an image", "a/<b>&.jpg: ", "duplicates", "32-63"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let page = doctor::html(&report, &dataset, "<script>alert(1)</script>");
    assert!(!page.contains("<script"), "an unescaped title");
    assert!(!page.contains("<b>&.jpg") && page.contains("a/&lt;b&gt;&amp;.jpg"));
    assert_eq!(page.matches("<figure>").count(), 3 + 4 + 2);
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 9);
    assert!(!page.contains("http://") && !page.contains("https://"));
}

#[test]
fn a_sound_data_set_has_nothing_to_complain_about() {
    let root = tempdir().unwrap();
    write_images(root.path(), &["1.png", "2.png"]);
    let path = root.path().join("images.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
    for name in ["1.png", "2.png"] {
        append(&mut tar, name, &fs::read(root.path().join(name)).unwrap());
    }
    tar.finish().unwrap();
    let report = examine(&Dataset::open(&path).unwrap(), 2);
    assert!(report.to_text().ends_with("nothing to complain about\n"), "{}", report.to_text());
}

#[test]
fn what_a_page_does_not_show_is_counted_on_it() {
    let rows = (0..70).map(|i| (format!("{i:02}.png"), None, image(9, 9, i)));
    let dataset = Dataset::from_images(rows.collect(), Vec::new());
    let report = examine(&dataset, 2);
    let page = doctor::html(&report, &dataset, "tiny images");
    assert_eq!(report.count(Kind::Tiny), 70);
    assert!(page.contains("<h2>Tiny (70)</h2>") && page.contains("<p>and 10 more</p>"), "{page}");
}

/// Nothing is known of pixels that could not be read: no width of 0, no mean of 0.
#[test]
fn without_a_readable_image_there_are_no_measures() {
    let root = tempdir().unwrap();
    fs::write(root.path().join("none.jpg"), "").unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    let report = examine(&dataset, 1);
    let (text, page) = (report.to_text(), doctor::html(&report, &dataset, "nothing"));
    assert!(text.contains("1 (0 readable)") && text.contains("the file is empty"), "{text}");
    for measure in ["idths", "eights", "ean", "eviation", "horter side"] {
        assert!(!text.contains(measure), "{measure} in\n{text}");
        assert!(!page.contains(measure), "{measure} in\n{page}");
    }
}
