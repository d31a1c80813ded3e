//! A run that goes on with images that have changed, and how many may be unreadable.

use crate::support::{images, write_images};
use moco_data::{Dataset, FileList, Loader, LoaderConfig, allowed_bad, scan_headers};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::tempdir;

fn config(max_bad_share: f64) -> LoaderConfig {
    let views = vec!["crop(16) flip".parse().unwrap()];
    LoaderConfig {
        batch_size: 4,
        views,
        seed: 5,
        threads: 2,
        prefetch: 1,
        max_bad_share,
        cache_mb: 0,
    }
}

/// A folder of `count` images of which the first `bad` are none.
fn folder(root: &Path, count: usize, bad: usize) -> Arc<Dataset> {
    let names: Vec<String> = (0..count).map(|i| format!("{i:03}.png")).collect();
    write_images(root, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names[..bad] {
        fs::write(root.join(name), b"no image").unwrap();
    }
    Arc::new(Dataset::open(root).unwrap())
}

/// The error of two epochs, if there is one.
fn trouble(dataset: &Arc<Dataset>, max_bad_share: f64) -> Option<String> {
    let mut loader = Loader::start(dataset.clone(), config(max_bad_share), 0).unwrap();
    let steps = 2 * loader.steps_per_epoch();
    (0..steps).find_map(|_| loader.next_batch().err()).map(|error| error.to_string())
}

fn list_of(dataset: &Dataset) -> FileList {
    let mut bytes = Vec::new();
    dataset.write_list(&mut bytes).unwrap();
    FileList::read(bytes.as_slice()).unwrap()
}

/// One bad file of 66 is 1.52 %, and says nothing about the data set.
#[test]
fn a_few_bad_files_of_few_images_do_not_stop_a_run() {
    let root = tempdir().unwrap();
    let dataset = folder(root.path(), 66, 1);
    assert_eq!(trouble(&dataset, 0.01), None);
    let none = trouble(&dataset, 0.0).expect("none may be bad");
    assert!(none.contains("1 of the 66 images"), "{none}");

    let root = tempdir().unwrap();
    let dataset = folder(root.path(), 66, 5);
    let five = trouble(&dataset, 0.01).expect("five are too many");
    assert!(five.contains("data.max_bad_share") && five.contains("of the 66 images"), "{five}");
    assert_eq!(trouble(&dataset, 0.1), None);

    let allowed = |images| allowed_bad(0.01, images);
    assert_eq!([9, 20, 66, 299, 300, 500].map(allowed), [0, 2, 3, 3, 3, 5]);
    assert_eq!((allowed_bad(0.0, 1000), allowed_bad(1.0, 7)), (0, 7));
}

/// The bad files are removed: what is left trains as before, image by image.
#[test]
fn removed_images_are_stood_in_for_and_do_not_count() {
    let root = tempdir().unwrap();
    let before = folder(root.path(), 66, 5);
    let list = list_of(&before);
    assert!(trouble(&before, 0.01).is_some());
    for i in 0..5 {
        fs::remove_file(root.path().join(format!("{i:03}.png"))).unwrap();
    }
    let now = Arc::new(Dataset::open(root.path()).unwrap());
    let (now, changes) = now.in_order_of(list).unwrap();
    assert_eq!(changes.gone, [0, 1, 2, 3, 4]);
    let now = Arc::new(now);
    assert_eq!(trouble(&now, 0.01), None);

    let batches = |dataset: &Arc<Dataset>| {
        let mut loader = Loader::start(dataset.clone(), config(1.0), 3).unwrap();
        let batch = |_| loader.next_batch().map(|batch| (batch.indices, batch.views)).unwrap();
        (0..20).map(batch).collect::<Vec<_>>()
    };
    assert!(batches(&now) == batches(&before), "the same images stand in for the same ones");
}

/// A repaired image is its old self under its number; an added one is not there.
#[test]
fn repaired_images_are_read_and_added_ones_are_left_out() {
    let root = tempdir().unwrap();
    let before = folder(root.path(), 20, 2);
    let list = list_of(&before);
    write_images(root.path(), &["000.png", "001.png", "000-new.png"]);
    let now = Arc::new(Dataset::open(root.path()).unwrap());
    assert_ne!(now.fingerprint(), before.fingerprint());
    let (now, changes) = now.in_order_of(list).unwrap();
    assert_eq!((changes.gone.len(), changes.resized.0, changes.added.0), (0, 2, 1));
    assert_eq!(changes.added.1.as_deref(), Some("000-new.png"));
    assert_eq!((now.fingerprint(), now.name(19)), (before.fingerprint(), "019.png"));
    assert!(now.load(0).is_ok() && before.load(19).unwrap() == now.load(19).unwrap());
}

/// A list of paths from which the bad ones were taken out, and to which a label was added.
#[test]
fn an_edited_list_of_paths_is_matched_by_its_paths() {
    let root = tempdir().unwrap();
    folder(root.path(), 20, 2);
    let list = root.path().join("all.txt");
    let write = |numbers: std::ops::Range<usize>, label: &str| {
        fs::write(&list, numbers.map(|i| format!("{i:03}.png{label}\n")).collect::<String>())
            .unwrap();
        Arc::new(Dataset::open(&list).unwrap())
    };
    let before = write(0..20, "");
    let now = write(2..20, "\tcat");
    let (now, changes) = now.in_order_of(list_of(&before)).unwrap();
    assert_eq!((changes.gone, changes.added.0), (vec![0, 1], 0));
    assert_eq!((now.len(), now.fingerprint()), (20, before.fingerprint()));
    assert!(now.load(5).unwrap() == before.load(5).unwrap());
}

#[test]
fn headers_tell_what_cannot_be_read() {
    let root = tempdir().unwrap();
    let names: Vec<String> = (0..300).map(|i| format!("{i:03}.png")).collect();
    write_images(root.path(), &names.iter().map(String::as_str).collect::<Vec<_>>());
    fs::write(root.path().join("007.png"), b"no image").unwrap();
    fs::write(root.path().join("120.png"), b"").unwrap();
    let head = fs::read(root.path().join("299.png")).unwrap()[..20].to_vec();
    fs::write(root.path().join("299.png"), head).unwrap();
    let tar = root.path().join("all.tar");
    let mut builder = tar::Builder::new(fs::File::create(&tar).unwrap());
    for name in &names {
        builder.append_path_with_name(root.path().join(name), name).unwrap();
    }
    builder.finish().unwrap();
    drop(builder);

    let on = &mut |_, _| ControlFlow::Continue(());
    for path in [root.path(), &tar] {
        let dataset = Dataset::open(path).unwrap();
        for threads in [1, 3] {
            let scan = scan_headers(&dataset, threads, Duration::from_secs(60), on);
            assert_eq!((scan.seen, scan.images), (300, 300), "{}", path.display());
            let bad: Vec<_> = scan.bad.iter().map(|bad| (bad.index, bad.name.as_str())).collect();
            assert_eq!(bad, [(7, "007.png"), (120, "120.png"), (299, "299.png")]);
            for bad in &scan.bad {
                assert_eq!(bad.reason, dataset.load(bad.index).unwrap_err().to_string());
            }
        }
    }
    let in_memory = scan_headers(&images(9), 2, Duration::from_secs(60), on);
    assert_eq!((in_memory.seen, in_memory.bad.len()), (9, 0));
    let no_time = scan_headers(&images(9), 1, Duration::ZERO, on);
    assert_eq!((no_time.seen, no_time.images), (0, 9));
}
