//! A folder with every fault that users have met: what can be read is trained on, and each fault is
//! listed with its reason, by the loader and by the doctor.
#![cfg(unix)]

use crate::damage::files;
use crate::doctor::crc32;
use crate::support::write_images;
use flate2::{Compression, write::ZlibEncoder};
use moco_data::doctor::{self, DoctorConfig, Kind};
use moco_data::{BadFile, Dataset, Loader, LoaderConfig, Skipped};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use tempfile::tempdir;

/// Images that anyone can read.
const GOOD: usize = 12;

const LOCKED: &str = "f-locked.png";

/// Writes the images and the faults. The owner of a file without permissions cannot read it, root
/// can; returns whether it is a fault to whoever runs this.
fn plant(root: &Path) -> bool {
    let at = |name: &str| root.join(name);
    let names: Vec<String> = (0..GOOD - 1).map(|i| format!("good-{i:02}.png")).collect();
    write_images(root, &names.iter().map(String::as_str).collect::<Vec<_>>());
    write_images(root, &["odd.png", LOCKED]);
    fs::rename(at("odd.png"), root.join(OsStr::from_bytes(b"caf\xe9.png"))).unwrap();

    let (_, photo) = files().into_iter().find(|(name, _)| name.contains("jpeg444")).unwrap();
    fs::write(at("a-cut.jpg"), &photo[..photo.len() / 2]).unwrap();
    fs::write(at("b-text.jpg"), "no image at all").unwrap();
    let bomb = bomb();
    assert!(bomb.len() < 300_000, "{} bytes", bomb.len());
    fs::write(at("c-bomb.png"), bomb).unwrap();
    fs::write(at("d-huge.jpg"), resized(photo, 30_000)).unwrap();
    symlink(at("nowhere"), at("e-dangling.png")).unwrap();
    fs::create_dir(at("x.png")).unwrap();
    fs::set_permissions(at(LOCKED), fs::Permissions::from_mode(0o000)).unwrap();
    fs::read(at(LOCKED)).is_err()
}

/// A whole PNG of 20,000 x 20,000 black pixels of one bit each: 0.2 MB that become 1.2 GB.
fn bomb() -> Vec<u8> {
    const SIDE: u32 = 20_000;
    let mut header = [SIDE.to_be_bytes(), SIDE.to_be_bytes()].concat();
    header.extend([1, 0, 0, 0, 0]);
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
    let row = vec![0; 1 + SIDE as usize / 8];
    (0..SIDE).for_each(|_| packer.write_all(&row).unwrap());
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [(b"IHDR", header), (b"IDAT", packer.finish().unwrap()), (b"IEND", vec![])]
    {
        png.extend((data.len() as u32).to_be_bytes());
        let chunk = [name.to_vec(), data].concat();
        png.extend(&chunk);
        png.extend(crc32(&chunk).to_be_bytes());
    }
    png
}

/// The JPEG with another width and height in its frame header (ITU-T T.81, B.2.2).
fn resized(mut jpeg: Vec<u8>, side: u16) -> Vec<u8> {
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    let [high, low] = side.to_be_bytes();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[high, low, high, low]);
    jpeg
}

/// Names and reasons, sorted by name.
fn expected(locked: bool) -> Vec<(&'static str, String)> {
    let text = "not a JPEG, PNG, WebP, BMP, GIF, TIFF or PNM image".to_string();
    let over = |side| format!("{side}x{side} pixels are over the limit of 178 million");
    let mut faults = vec![
        ("a-cut.jpg", "the file is cut off before the image ends".into()),
        ("b-text.jpg", text),
        ("c-bomb.png", over(20_000)),
        ("d-huge.jpg", over(30_000)),
        ("e-dangling.png", "cannot be read: No such file or directory (os error 2)".into()),
    ];
    if locked {
        faults.push((LOCKED, "cannot be read: Permission denied (os error 13)".into()));
    }
    faults
}

fn check_skipped(dataset: &Dataset) {
    let folder =
        Skipped { name: "x.png".into(), reason: "named like an image, but a folder".into() };
    assert_eq!(dataset.skipped(), [folder]);
}

#[test]
fn the_loader_goes_on_with_the_rest_and_lists_each_fault() {
    let root = tempdir().unwrap();
    let locked = plant(root.path());
    let dataset = Arc::new(Dataset::open(root.path()).unwrap());
    check_skipped(&dataset);
    let config = LoaderConfig {
        batch_size: dataset.len(),
        views: vec!["crop(8, 0.5..1) normalize(imagenet)".parse().unwrap()],
        seed: 3,
        threads: 2,
        prefetch: 1,
        max_bad_share: 0.5,
        cache_mb: 0,
    };
    let mut loader = Loader::start(Arc::clone(&dataset), config, 0).unwrap();
    let batch = loader.next_batch().unwrap();

    let listed = loader.bad_files();
    let found: Vec<(&str, String)> =
        listed.iter().map(|BadFile { name, reason, .. }| (&**name, reason.clone())).collect();
    let faults = expected(locked);
    assert_eq!(found, faults);
    let seen: BTreeSet<&str> = batch.indices.iter().map(|&i| dataset.name(i)).collect();
    assert_eq!(seen.len(), GOOD + usize::from(!locked), "{seen:?}");
    assert!(seen.contains("caf%E9.png") && faults.iter().all(|(name, _)| !seen.contains(name)));
    assert!(batch.views[0].pixels.iter().all(|value| value.is_finite()));
}

#[test]
fn the_doctor_lists_each_fault() {
    let root = tempdir().unwrap();
    let locked = plant(root.path());
    let dataset = Dataset::open(root.path()).unwrap();
    check_skipped(&dataset);
    let report = doctor::examine(&dataset, &DoctorConfig::default(), &mut |_| {});
    let faults = report.findings.iter().filter(|finding| finding.kind.is_fault());
    let mut found: Vec<(&str, String)> =
        faults.map(|finding| (&*finding.name, finding.detail.clone())).collect();
    found.sort();
    assert_eq!(found, expected(locked));
    assert_eq!(report.readable, GOOD + usize::from(!locked));
    assert_eq!(report.count(Kind::OddName), 1);
}
