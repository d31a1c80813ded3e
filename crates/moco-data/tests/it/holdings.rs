//! What a source holds: nothing is passed over without a word.

use crate::formats::golden;
use crate::support::{append, names, options, write_images};
use moco_data::doctor::{self, DoctorConfig};
use moco_data::{DataError, Dataset, OpenOptions};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::tempdir;

/// What is said of a path, with `PLACE` for the path.
fn said(path: &Path) -> String {
    let held = Dataset::open(path).unwrap().holdings().to_string();
    held.replace(&path.display().to_string(), "PLACE")
}

fn shards(root: &Path, count: usize) {
    for i in 0..count {
        let mut tar = tar::Builder::new(File::create(root.join(format!("{i:03}.tar"))).unwrap());
        append(&mut tar, &format!("{i}.png"), &fs::read(root.join("sheet.png")).unwrap());
        tar.finish().unwrap();
    }
}

#[test]
fn a_picture_does_not_hide_shards() {
    let root = tempdir().unwrap();
    write_images(root.path(), &["sheet.png"]);
    shards(root.path(), 3);
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(names(&dataset), ["000.tar/0.png", "001.tar/1.png", "002.tar/2.png"]);
    let line = "3 tars; passed over: 1 image; `:source=images` takes the images";
    assert_eq!(said(root.path()), line);
    let asked = format!("{}:source=images", root.path().display());
    let images = Dataset::open(Path::new(&asked)).unwrap();
    assert_eq!(names(&images), ["sheet.png"]);
    assert!(images.holdings().to_string().contains("passed over: 3 tars; `:source=tar` takes"));
}

#[test]
fn many_images_are_not_hidden_by_shards() {
    let root = tempdir().unwrap();
    let files: Vec<String> = (0..20).map(|i| format!("a/{i:02}.png")).collect();
    write_images(root.path(), &files.iter().map(String::as_str).collect::<Vec<_>>());
    write_images(root.path(), &["sheet.png"]);
    shards(root.path(), 2);
    let line = "a folder of images; passed over: 2 tars; `:source=tar` takes the tars";
    assert_eq!(said(root.path()), line);
    let asked = format!("{}:source=tar", root.path().display());
    assert_eq!(Dataset::open(Path::new(&asked)).unwrap().len(), 2);
}

/// The bytes of each format's beginning; the JPEGs are PNGs, which the reader does not mind.
#[test]
fn files_are_known_by_their_bytes() {
    let root = tempdir().unwrap();
    write_images(root.path(), &["0.png"]);
    let png = fs::read(root.path().join("0.png")).unwrap();
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic and more";
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf and more";
    for (name, bytes) in [
        ("0a1b2c3d", &png[..]),
        ("IMG_2.HEIC", &png),
        ("p.jfif", &png),
        ("p.jpe", &png),
        ("a.ppm", b"P6 1 1 255\n123"),
        ("b.pgm", b"P5\n# grey\n1 1\n255\n1"),
        ("IMG_1.HEIC", heic),
        ("misnamed", heic),
        ("c.avif", avif),
        ("photo.NEF", b"II*\0"),
        ("clip.mp4", b"\0\0\0\x10ftypisom\0\0\0\0"),
        ("clip", b"\0\0\0\x10ftypisom\0\0\0\0"),
        ("0.png.bak", &png),
        ("notes.txt", b"of text"),
        ("notes", b"of text"),
        ("empty", b""),
        ("noise", b"\0\x01\x02\x03"),
        (".DS_Store", b"Bud1"),
    ] {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    let dataset = Dataset::open(root.path()).unwrap();
    let images = ["0.png", "0a1b2c3d", "IMG_2.HEIC", "a.ppm", "b.pgm", "p.jfif", "p.jpe"];
    assert_eq!(names(&dataset), images);
    assert_eq!(dataset.load(1).unwrap(), dataset.load(0).unwrap());
    let counts = "2 HEIC images, 2 texts, 2 videos, 1 AVIF image, 1 RAW image, 1 backup file, \
                  1 empty file, 1 hidden file, 1 other file";
    let mend = "convert the AVIF images, HEIC images and RAW images to JPEG to have them read";
    assert_eq!(said(root.path()), format!("a folder of images; passed over: {counts}; {mend}"));

    let report = doctor::examine(&dataset, &DoctorConfig::default(), &mut |_| {});
    assert_eq!(&report.holdings, dataset.holdings());
    let text = report.to_text();
    for part in ["a folder of images", counts, mend, "not read                  2 HEIC images"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let page = doctor::html(&report, &dataset, "photos");
    assert!(page.contains("a folder of images") && page.contains(counts) && page.contains(mend));
}

#[test]
fn images_that_are_not_read_are_no_emptiness() {
    let root = tempdir().unwrap();
    fs::write(root.path().join("1.heic"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    let error = Dataset::open(root.path()).err().unwrap();
    assert!(matches!(error, DataError::NoImages { .. }));
    let expected = "holds no image that can be read (1 HEIC image); images are JPEG, PNG, WebP, BMP, \
                    GIF, TIFF and PNM files, convert others to one of these";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn a_table_beside_images_is_about_them() {
    let root = tempdir().unwrap();
    write_images(root.path(), &["a/1.png", "a/2.png", "b/3.png"]);
    fs::copy(golden("hf.parquet"), root.path().join("captions.parquet")).unwrap();
    fs::write(root.path().join("metadata.csv"), "file_name,text\na/1.png,a cat\n").unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!((dataset.len(), dataset.class_names().len()), (3, 2));
    assert_eq!(
        said(root.path()),
        "a folder of images; passed over: 1 Parquet file, 1 table; `:source=parquet` takes \
         `captions.parquet`; `:source=list` takes `metadata.csv`"
    );
    let asked = |words: &str| {
        Dataset::open(Path::new(&format!("{}:{words}", root.path().display()))).unwrap().len()
    };
    assert_eq!((asked("source=parquet"), asked("source=list")), (23, 1));
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_stay_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = tempdir().unwrap();
    write_images(root.path(), &["x/1.png", "x/2.png", "100%.png"]);
    let rename = |from: &str, to: &[u8]| {
        fs::rename(root.path().join(from), root.path().join(OsStr::from_bytes(to))).unwrap();
    };
    rename("x/1.png", b"x/\xe8 5%.png");
    rename("x/2.png", b"x/\xe9 5%.png");
    rename("x", b"caf\xff");
    let dataset = Dataset::open(root.path()).unwrap();
    let expected = ["100%.png", "caf%FF/%E8 5%25.png", "caf%FF/%E9 5%25.png"];
    assert_eq!(names(&dataset), expected);
    let widths: Vec<_> = (0..3).map(|i| dataset.load(i).unwrap().width).collect();
    assert_eq!(widths, [19, 17, 18]);
    let report = doctor::examine(&dataset, &DoctorConfig::default(), &mut |_| {});
    assert_eq!(report.count(doctor::Kind::OddName), 2);
}

#[cfg(unix)]
#[test]
fn a_kept_listing_remembers_what_was_passed_over() {
    let (root, cache) = (tempdir().unwrap(), tempdir().unwrap());
    write_images(root.path(), &["1.png", "2.png"]);
    fs::write(root.path().join("notes.txt"), "text").unwrap();
    fs::write(root.path().join("all.tar"), "").unwrap();
    let then = SystemTime::now() - Duration::from_secs(3600);
    File::open(root.path()).unwrap().set_modified(then).unwrap();
    let options = OpenOptions { keep_listing_from: 2, ..options(cache.path()) };
    let open = || options.open(root.path()).unwrap();
    assert_eq!(open().holdings().counts(), "1 tar, 1 text");
    assert!(cache.path().join("listings").exists());
    assert_eq!(open().holdings().counts(), "1 tar, 1 text");
    assert!(open().holdings().to_string().contains("`:source=tar` takes the tars"));
}
