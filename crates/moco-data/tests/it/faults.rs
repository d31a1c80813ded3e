//! Folders with everything in them that goes wrong; and listings that are kept.

use crate::support::{names, options, write_images};
use moco_data::doctor::{self, DoctorConfig, Kind};
use moco_data::{Dataset, OpenOptions};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::tempdir;

fn skipped(dataset: &Dataset) -> Vec<(&str, &str)> {
    dataset.skipped().iter().map(|skipped| (&*skipped.name, &*skipped.reason)).collect()
}

#[cfg(unix)]
#[test]
fn each_planted_fault_has_its_reason() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    let root = tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    write_images(root.path(), &["good/1.png", "good/odd.png", "good/sub/2.png"]);
    fs::rename(at("good/odd.png"), at("good").join(OsStr::from_bytes(b"caf\xe9.png"))).unwrap();
    fs::create_dir(at("good/folder.png")).unwrap();
    fs::write(at("good/empty.jpg"), "").unwrap();
    fs::write(at("good/text.jpg"), "no image at all").unwrap();
    symlink(at("nowhere"), at("good/dangling.png")).unwrap();
    symlink(at("good/self.png"), at("good/self.png")).unwrap();
    symlink(root.path(), at("good/sub/up")).unwrap();
    // A regular file that nobody, not even root, can read from its beginning.
    symlink("/proc/self/mem", at("good/unreadable.png")).unwrap();
    write_images(root.path(), &["locked/3.png"]);
    fs::set_permissions(at("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    let locked = fs::read_dir(at("locked")).is_err();

    let dataset = Dataset::open(root.path()).unwrap();
    let report = doctor::examine(&dataset, &DoctorConfig::default(), &mut |_| {});
    fs::set_permissions(at("locked"), fs::Permissions::from_mode(0o755)).unwrap();

    let mut expected = vec![
        ("good/folder.png", "named like an image, but a folder"),
        ("good/sub/up", "a link back to a folder above it"),
    ];
    let found = skipped(&dataset);
    if locked {
        assert!(found[2].1.starts_with("the folder cannot be read ("), "{:?}", found[2]);
        expected.push(("locked", found[2].1));
    }
    assert_eq!(found, expected);
    let faults: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.kind.is_fault())
        .map(|finding| (finding.kind, &*finding.name))
        .collect();
    assert_eq!(
        faults,
        [
            (Kind::Unreadable, "good/dangling.png"),
            (Kind::Unreadable, "good/self.png"),
            (Kind::Unreadable, "good/unreadable.png"),
            (Kind::Empty, "good/empty.jpg"),
            (Kind::NotAnImage, "good/text.jpg"),
        ]
    );
    assert_eq!(report.readable, if locked { 3 } else { 4 });
    assert_eq!(report.count(Kind::OddName), 1);
}

/// Both ways of closing a circle: through a link to a folder above, and through two links.
#[cfg(unix)]
#[test]
fn circles_of_links_end() {
    use std::os::unix::fs::symlink;
    let root = tempdir().unwrap();
    write_images(root.path(), &["a/1.png", "b/2.png"]);
    symlink(root.path().join("b"), root.path().join("a/to-b")).unwrap();
    symlink(root.path().join("a"), root.path().join("b/to-a")).unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(names(&dataset), ["a/1.png", "a/to-b/2.png", "b/2.png", "b/to-a/1.png"]);
    let found: Vec<_> = skipped(&dataset).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["a/to-b/to-a", "b/to-a/to-b"]);
}

fn keeping(cache: &Path) -> OpenOptions {
    OpenOptions { keep_listing_from: 2, ..options(cache) }
}

/// Sets when a folder was changed, as if it had been left alone since.
fn date(folder: &Path, hours_ago: u64) {
    let then = SystemTime::now() - Duration::from_secs(3600 * hours_ago);
    File::open(folder).unwrap().set_modified(then).unwrap();
}

#[cfg(unix)]
#[test]
fn a_kept_listing_holds_until_a_folder_changes() {
    let (root, cache) = (tempdir().unwrap(), tempdir().unwrap());
    write_images(root.path(), &["a/1.png", "a/b/2.png"]);
    let folders = ["", "a", "a/b"].map(|folder| root.path().join(folder));
    let settle = || folders.iter().zip(1..).for_each(|(folder, hours)| date(folder, hours));
    let open = || keeping(cache.path()).open(root.path()).unwrap();
    let kept = || fs::read_dir(cache.path().join("listings")).map_or(0, |folder| folder.count());

    // Folders that have just been changed are not trusted.
    open();
    assert_eq!(kept(), 0);
    settle();
    let stamps = folders.each_ref().map(|folder| fs::metadata(folder).unwrap().modified().unwrap());
    let first = open();
    assert_eq!(kept(), 1);

    // With the dates as they were, the new file goes unseen: the listing comes from the cache.
    write_images(root.path(), &["a/b/3.png"]);
    for (folder, stamp) in folders.iter().zip(stamps) {
        File::open(folder).unwrap().set_modified(stamp).unwrap();
    }
    let again = open();
    assert_eq!(names(&again), names(&first));
    assert_eq!(again.fingerprint(), first.fingerprint());
    assert_eq!(again.load(1).unwrap(), first.load(1).unwrap());
    assert_eq!(again.class_names(), ["a"]);

    date(&folders[2], 9);
    assert_eq!(open().len(), 3);
}

#[cfg(unix)]
#[test]
fn a_damaged_listing_is_made_again() {
    let (root, cache) = (tempdir().unwrap(), tempdir().unwrap());
    write_images(root.path(), &["1.png", "2.png"]);
    date(root.path(), 1);
    let open = || keeping(cache.path()).open(root.path()).unwrap();
    let expected = open();
    let file = fs::read_dir(cache.path().join("listings")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        fs::write(&file, &damaged).unwrap();
        assert_eq!(names(&open()), names(&expected), "byte {at}");
        fs::write(&file, &bytes[..at]).unwrap();
        assert_eq!(open().fingerprint(), expected.fingerprint(), "{at} bytes");
    }
}

/// A fault must be told again in the next run.
#[cfg(unix)]
#[test]
fn listings_with_faults_are_not_kept() {
    let (root, cache) = (tempdir().unwrap(), tempdir().unwrap());
    write_images(root.path(), &["1.png", "2.png"]);
    std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
    date(root.path(), 1);
    keeping(cache.path()).open(root.path()).unwrap();
    assert!(!cache.path().join("listings").exists());
}
