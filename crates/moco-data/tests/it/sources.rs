//! Folders, tars and images in memory.

use crate::support::{append, folder, image, images, names, tar_of};
use moco_data::{DataError, Dataset, Image, contact_sheet, save_png};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use tar::Builder;
use tempfile::tempdir;

/// Everything that can be asked of two data sets is equal.
fn assert_same(a: &Dataset, b: &Dataset) {
    assert_eq!(names(a), names(b));
    assert_eq!(a.class_names(), b.class_names());
    assert_eq!(a.fingerprint(), b.fingerprint());
    for i in 0..a.len() {
        assert_eq!(a.label(i), b.label(i));
        assert_eq!(a.load(i).unwrap(), b.load(i).unwrap(), "{}", a.name(i));
    }
}

fn error(path: &Path) -> DataError {
    match Dataset::open(path) {
        Ok(dataset) => panic!("opened {} images", dataset.len()),
        Err(error) => error,
    }
}

#[test]
fn classes_are_the_first_folders() {
    let root = folder(&["dog/b/2.png", "cat/1.PNG", "dog/1.png", "ant/x/y/z.png"]);
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(names(&dataset), ["ant/x/y/z.png", "cat/1.PNG", "dog/1.png", "dog/b/2.png"]);
    assert_eq!(dataset.class_names(), ["ant", "cat", "dog"]);
    let labels: Vec<_> = (0..4).map(|i| dataset.label(i)).collect();
    assert_eq!(labels, [Some(0), Some(1), Some(2), Some(2)]);
    assert_eq!(dataset.load(3).unwrap(), image(17, 19, 0));
}

/// Sorted as text, `a-b/` would come between the files of `a/` and its number would be lower.
#[test]
fn order_goes_folder_by_folder() {
    let root = folder(&["a-b/1.png", "a/1.png", "a/b/1.png", "a/b-c/1.png"]);
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(names(&dataset), ["a/1.png", "a/b/1.png", "a/b-c/1.png", "a-b/1.png"]);
    assert_eq!(dataset.class_names(), ["a", "a-b"]);
}

#[test]
fn an_image_outside_all_folders_means_no_classes() {
    for files in [vec!["2.png", "1.png"], vec!["cat/1.png", "dog/1.png", "stray.png"]] {
        let root = folder(&files);
        let dataset = Dataset::open(root.path()).unwrap();
        assert_eq!(dataset.len(), files.len());
        assert!(dataset.class_names().is_empty());
        assert_eq!(dataset.label(0), None);
    }
}

#[test]
fn a_tar_equals_its_folder() {
    let files = ["dog/2.png", "cat/1.png", "dog/1.png"];
    let root = folder(&files);
    let expected = Dataset::open(root.path()).unwrap();
    let scratch = tempdir().unwrap();
    for prefix in ["", "./", "train/", "./train/"] {
        let path = scratch.path().join("images.tar");
        tar_of(root.path(), &files, prefix, &path);
        assert_same(&Dataset::open(&path).unwrap(), &expected);
    }
}

#[test]
fn a_flat_tar_has_no_classes() {
    let root = folder(&["1.png", "2.png"]);
    let path = root.path().join("images.TAR");
    for prefix in ["", "photos/"] {
        tar_of(root.path(), &["1.png", "2.png"], prefix, &path);
        let dataset = Dataset::open(&path).unwrap();
        assert_eq!(names(&dataset), ["1.png", "2.png"]);
        assert!(dataset.class_names().is_empty());
    }
}

/// Names over 100 bytes take extension records.
#[test]
fn a_tar_may_hold_long_names_and_later_versions() {
    let root = folder(&["old.png", "new.png"]);
    let [old, new] = ["old.png", "new.png"].map(|name| fs::read(root.path().join(name)).unwrap());
    let long = format!("{}/{}.png", "folder".repeat(15), "name".repeat(30));
    let path = root.path().join("images.tar");
    let mut tar = Builder::new(File::create(&path).unwrap());
    append(&mut tar, &format!("top/{long}"), &old);
    append(&mut tar, "top/other/1.png", &old);
    append(&mut tar, &format!("top/{long}"), &new);
    tar.finish().unwrap();
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!(names(&dataset), [long.as_str(), "other/1.png"]);
    assert_eq!(dataset.load(0).unwrap(), image(18, 19, 1));
}

#[test]
fn hidden_files_and_folders_are_passed_over() {
    let files = ["a/1.png", "a/._1.png", "a/.cache/2.png", ".b/3.png"];
    let root = folder(&files);
    assert_eq!(names(&Dataset::open(root.path()).unwrap()), ["a/1.png"]);
    let path = root.path().join("images.tar");
    tar_of(root.path(), &files, "", &path);
    assert_eq!(Dataset::open(&path).unwrap().len(), 1);
}

#[test]
fn a_folder_named_like_an_image_is_a_folder() {
    let root = folder(&["x.png/1.png"]);
    assert_eq!(names(&Dataset::open(root.path()).unwrap()), ["x.png/1.png"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_dangling_ones_are_bad_files() {
    use std::os::unix::fs::symlink;
    let root = folder(&["a/1.png"]);
    let at = |name: &str| root.path().join(name);
    symlink(at("a/1.png"), at("a/2.png")).unwrap();
    symlink(at("nowhere"), at("a/3.png")).unwrap();
    symlink(at("nowhere"), at("a/notes")).unwrap();
    symlink(root.path(), at("a/loop")).unwrap();
    symlink(at("a"), at("b")).unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    let expected = ["a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"];
    assert_eq!(names(&dataset), expected);
    assert_eq!(dataset.load(1).unwrap(), dataset.load(0).unwrap());
    assert!(dataset.load(2).unwrap_err().to_string().starts_with("cannot be read: "));
}

/// A read from the pipe would wait for ever.
#[cfg(unix)]
#[test]
fn pipes_are_passed_over() {
    let root = folder(&["1.png"]);
    let made = Command::new("mkfifo").arg(root.path().join("2.png")).status().unwrap();
    assert!(made.success());
    assert_eq!(names(&Dataset::open(root.path()).unwrap()), ["1.png"]);
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_listed_and_loaded() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = folder(&["1.png"]);
    let odd = root.path().join(OsStr::from_bytes(b"caf\xe9.png"));
    fs::rename(root.path().join("1.png"), odd).unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(names(&dataset), ["caf%E9.png"]);
    assert!(dataset.load(0).is_ok());
}

#[test]
fn fingerprints_tell_names_and_sizes_apart() {
    let root = folder(&["a/1.png", "a/2.png"]);
    let fingerprint = || Dataset::open(root.path()).unwrap().fingerprint();
    let first = fingerprint();
    assert_eq!(fingerprint(), first);
    fs::rename(root.path().join("a/2.png"), root.path().join("a/3.png")).unwrap();
    let renamed = fingerprint();
    assert_ne!(renamed, first);
    fs::write(root.path().join("a/3.png"), b"short").unwrap();
    assert_ne!(fingerprint(), renamed);
}

#[test]
fn images_in_memory_keep_their_order() {
    let dataset = images(3);
    assert_eq!(names(&dataset), ["0000", "0001", "0002"]);
    assert_eq!(dataset.label(1), None);
    assert_eq!(dataset.load(2).unwrap(), image(26, 22, 2));
    let labelled = vec![("x".into(), Some(1), Image::filled(1, 1, [0; 3]))];
    let dataset = Dataset::from_images(labelled, vec!["a".into(), "b".into()]);
    assert_eq!((dataset.label(0), dataset.class_names().len()), (Some(1), 2));
}

#[test]
fn each_wrong_path_has_its_sentence() {
    let root = tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let check = |path: &Path, expected: &str| {
        let message = error(path).to_string();
        assert_eq!(message.replace(&root.path().display().to_string(), "ROOT"), expected);
    };
    check(&at("none"), "`ROOT/none` does not exist; check the path to the images");
    check(root.path(), "`ROOT` holds no files; give the folder or .tar that holds the images");
    fs::create_dir(at("notes")).unwrap();
    fs::write(at("notes/a.txt"), "text").unwrap();
    fs::write(at("notes/b.svg"), "text").unwrap();
    check(
        &at("notes"),
        "`ROOT/notes` holds no image that can be read (1 SVG drawing, 1 text); images are JPEG, \
         PNG, WebP, BMP, GIF, TIFF and PNM files, convert others to one of these",
    );
    fs::write(at("images.zip"), "PK").unwrap();
    check(
        &at("images.zip"),
        "`ROOT/images.zip` is neither a folder nor a .tar, nor another kind of data set; give the \
         folder that holds the images, a .tar or .tar.gz of it, .parquet files, a .txt list of \
         paths, or the files of CIFAR or MNIST",
    );
    let long = "x".repeat(300);
    let message = error(&at(&long)).to_string();
    assert!(message.contains("check its permissions"), "{message}");
}

#[test]
fn a_tar_that_is_not_whole_says_so() {
    let files = ["a/1.png", "a/2.png"];
    let root = folder(&files);
    let path = root.path().join("images.tar");
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let message = error(&path).to_string();
        assert!(message.contains("is not a whole .tar archive"), "{message}");
        assert!(message.ends_with("copy or build it again, uncompressed"), "{message}");
    };
    tar_of(root.path(), &files, "", &path);
    let bytes = fs::read(&path).unwrap();
    check(&bytes[..800]);
    check(&b"no archive, but long enough for a header of one. ".repeat(20));
    check(b"no archive");
    let mut damaged = bytes.clone();
    damaged[10] ^= 1;
    check(&damaged);

    fs::write(&path, [0; 1024]).unwrap();
    assert!(matches!(error(&path), DataError::Empty { .. }));
}

#[test]
fn a_sheet_lays_images_out_in_rows() {
    let images = [[10, 0, 0], [20, 0, 0], [30, 0, 0]].map(|color| Image::filled(4, 3, color));
    let sheet = contact_sheet(&images, 2);
    assert_eq!((sheet.width, sheet.height), (14, 12));
    let pixel = |x: usize, y: usize| sheet.pixels[(y * 14 + x) * 3];
    assert_eq!([pixel(2, 2), pixel(8, 2), pixel(2, 7), pixel(8, 7)], [10, 20, 30, 255]);

    let root = tempdir().unwrap();
    save_png(&sheet, &root.path().join("sheet.png")).unwrap();
    assert_eq!(Dataset::open(root.path()).unwrap().load(0).unwrap(), sheet);
    assert!(save_png(&sheet, &root.path().join("none/sheet.png")).is_err());
}
