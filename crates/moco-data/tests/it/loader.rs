//! The loader: what it delivers must not depend on threads, caching or where it starts.

use crate::support::{image, images, write_images};
use moco_data::{
    Batch, DataError, Dataset, EvalBatch, Image, Loader, LoaderConfig, Share, View, ViewKey,
    epoch_order, for_each_batch, for_each_batch_of_draws,
};
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::tempdir;

const TEXT: &str = "crop(16, 0.2..1) flip jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) blur(0.1..2; p=0.5) \
                    normalize(cifar10)";

fn config() -> LoaderConfig {
    let view: View = TEXT.parse().unwrap();
    LoaderConfig {
        batch_size: 4,
        views: vec![view.clone(), view],
        seed: 5,
        threads: 2,
        prefetch: 2,
        max_bad_share: 0.5,
        cache_mb: 0,
    }
}

/// What a batch is, without how long it took.
type Content = (usize, usize, Vec<usize>, Vec<Vec<f32>>);

fn content(batch: Batch) -> Content {
    let pixels = batch.views.into_iter().map(|view| view.pixels).collect();
    (batch.epoch, batch.step, batch.indices, pixels)
}

fn take(loader: &mut Loader, count: usize) -> Vec<Content> {
    (0..count).map(|_| content(loader.next_batch().unwrap())).collect()
}

fn start(dataset: &Arc<Dataset>, config: LoaderConfig, first_step: usize) -> Loader {
    Loader::start(Arc::clone(dataset), config, first_step).unwrap()
}

fn refusal(images: usize, config: LoaderConfig) -> String {
    match Loader::start(Arc::new(self::images(images)), config, 0) {
        Ok(_) => panic!("the loader started"),
        Err(error) => error.to_string(),
    }
}

/// A folder of images of which some are damaged.
fn folder(root: &Path, good: usize, bad: &[usize]) -> Arc<Dataset> {
    let names: Vec<String> = (0..good + bad.len()).map(|i| format!("{i:02}.png")).collect();
    write_images(root, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for &i in bad {
        fs::write(root.join(&names[i]), b"no image").unwrap();
    }
    Arc::new(Dataset::open(root).unwrap())
}

#[test]
fn batches_do_not_depend_on_threads_or_prefetch() {
    let dataset = Arc::new(images(23));
    let expected =
        take(&mut start(&dataset, LoaderConfig { threads: 1, prefetch: 0, ..config() }, 0), 12);
    for (threads, prefetch) in [(1, 3), (2, 1), (5, 4)] {
        let config = LoaderConfig { threads, prefetch, ..config() };
        assert!(take(&mut start(&dataset, config, 0), 12) == expected, "{threads} threads");
    }
}

#[test]
fn batches_do_not_depend_on_the_cache() {
    let root = tempdir().unwrap();
    let dataset = folder(root.path(), 1200, &[3, 700]);
    let with = |cache_mb| {
        let config = LoaderConfig { batch_size: 100, cache_mb, ..config() };
        take(&mut start(&dataset, config, 0), 25)
    };
    // One MiB holds some of the images, 100 MiB all.
    let expected = with(0);
    assert!(with(1) == expected);
    assert!(with(100) == expected);
}

#[test]
fn starting_at_a_step_is_running_up_to_it() {
    let dataset = Arc::new(images(23));
    let all = take(&mut start(&dataset, config(), 0), 14);
    for first in [1, 4, 5, 11] {
        let rest = take(&mut start(&dataset, config(), first), 14 - first);
        assert!(rest == all[first..], "from step {first}");
    }
}

#[test]
fn an_epoch_shows_each_image_once_in_its_order() {
    let dataset = Arc::new(images(23));
    let mut loader = start(&dataset, config(), 0);
    assert_eq!(loader.steps_per_epoch(), 5);
    for epoch in 0..3 {
        let shown: Vec<u32> = take(&mut loader, 5)
            .into_iter()
            .enumerate()
            .flat_map(|(i, (at_epoch, at_step, indices, _))| {
                assert_eq!((at_epoch, at_step), (epoch, epoch * 5 + i));
                indices.into_iter().map(|index| index as u32)
            })
            .collect();
        assert_eq!(shown, epoch_order(5, epoch as u64, 23)[..20]);
        assert_eq!(shown.iter().collect::<BTreeSet<_>>().len(), 20);
    }
    assert_ne!(epoch_order(5, 0, 23), epoch_order(5, 1, 23));
    assert_ne!(epoch_order(5, 0, 23), epoch_order(6, 0, 23));
}

#[test]
fn a_slot_holds_the_view_of_its_key() {
    let dataset = Arc::new(images(9));
    let mut loader = start(&dataset, config(), 2);
    let (epoch, _, indices, views) = content(loader.next_batch().unwrap());
    let view: View = TEXT.parse().unwrap();
    for (slot, &index) in indices.iter().enumerate() {
        for (number, pixels) in views.iter().enumerate() {
            let (image, view_number) = (index as u64, number as u64);
            let key = ViewKey { seed: 5, epoch: epoch as u64, image, view: view_number };
            let mut expected = vec![0.0; 16 * 16 * 3];
            view.apply(&dataset.load(index).unwrap(), key, &mut expected);
            assert!(pixels[slot * 768..][..768] == expected, "slot {slot}, view {number}");
        }
    }
}

#[test]
fn views_of_two_sizes_share_a_batch() {
    let views = vec!["crop(16)".parse().unwrap(), "crop(8x12)".parse().unwrap()];
    let mut loader = start(&Arc::new(images(9)), LoaderConfig { views, ..config() }, 0);
    let batch = loader.next_batch().unwrap();
    let sizes: Vec<_> =
        batch.views.iter().map(|view| (view.height, view.width, view.pixels.len())).collect();
    assert_eq!(sizes, [(16, 16, 4 * 768), (8, 12, 4 * 288)]);
}

/// Multi-crop and patches: one decode, views of several sizes and numbers.
#[test]
fn views_may_be_repeated_or_patches() {
    let texts = ["2x crop(16)", "3x crop(8)", "center(12) patches(4, stride=2)"];
    let views: Vec<View> = texts.iter().flat_map(|text| View::repeated(text).unwrap()).collect();
    let mut loader = start(&Arc::new(images(9)), LoaderConfig { views, ..config() }, 0);
    let batch = loader.next_batch().unwrap();
    let shapes: Vec<_> =
        batch.views.iter().map(|view| (view.count, view.height, view.pixels.len())).collect();
    let (large, small) = ((1, 16, 4 * 768), (1, 8, 4 * 192));
    assert_eq!(shapes, [large, large, small, small, small, (25, 4, 4 * 25 * 48)]);
    assert_ne!(batch.views[2], batch.views[3], "each repetition draws its own numbers");
}

#[test]
fn a_bad_file_is_replaced_and_reported_once() {
    let root = tempdir().unwrap();
    let dataset = folder(root.path(), 18, &[2, 11]);
    let run = |threads| {
        let mut loader = start(&dataset, LoaderConfig { threads, ..config() }, 0);
        (take(&mut loader, 15), loader.bad_files())
    };
    let (batches, bad) = run(1);
    assert!(run(3) == (batches.clone(), bad.clone()));
    let found: Vec<_> =
        bad.iter().map(|bad| (bad.index, bad.name.as_str(), bad.reason.as_str())).collect();
    let reason = "not a JPEG, PNG, WebP, BMP, GIF, TIFF or PNM image";
    assert_eq!(found, [(2, "02.png", reason), (11, "11.png", reason)]);

    for (epoch, step, indices, _) in &batches {
        let meant = &epoch_order(5, *epoch as u64, 20)[step % 5 * 4..][..4];
        for (&index, &meant) in indices.iter().zip(meant) {
            let bad = [2, 11].contains(&meant);
            assert_eq!(index != meant as usize, bad, "{index} in the place of {meant}");
            assert!(![2, 11].contains(&index));
        }
    }
    // A run that starts later meets the same stand-ins.
    assert!(take(&mut start(&dataset, config(), 7), 8) == batches[7..]);
}

#[test]
fn too_many_bad_files_stop_the_run() {
    let root = tempdir().unwrap();
    let dataset = folder(root.path(), 17, &[2, 11, 12]);
    let mut loader = start(&dataset, LoaderConfig { max_bad_share: 0.1, ..config() }, 0);
    let error = (0..5).find_map(|_| loader.next_batch().err()).unwrap();
    assert_eq!(
        error.to_string(),
        "3 of the 20 images cannot be read (15.00 %, more than the 10.00 % allowed), such as \
         `02.png` (not a JPEG, PNG, WebP, BMP, GIF, TIFF or PNM image); repair or remove them, or \
         raise data.max_bad_share"
    );
    assert!(loader.next_batch().is_err(), "and it does not go on");
    assert_eq!(loader.bad_files().len(), 3);
}

#[test]
fn nothing_but_bad_files_is_an_error_even_if_all_may_be_bad() {
    let root = tempdir().unwrap();
    let dataset = folder(root.path(), 0, &[0, 1, 2, 3]);
    let mut loader = start(&dataset, LoaderConfig { max_bad_share: 1.0, ..config() }, 0);
    let message = loader.next_batch().unwrap_err().to_string();
    assert!(message.starts_with("no readable image was found in 100 draws"), "{message}");
}

#[test]
fn settings_out_of_range_are_refused() {
    let positive = "the loader's `batch_size` must be at least 1";
    assert_eq!(refusal(9, LoaderConfig { batch_size: 0, ..config() }), positive);
    let threads = "the loader's `threads` must be at least 1";
    assert_eq!(refusal(9, LoaderConfig { threads: 0, ..config() }), threads);
    let views = "the loader's `views` must be at least one view";
    assert_eq!(refusal(9, LoaderConfig { views: Vec::new(), ..config() }), views);
    let share = "the loader's `max_bad_share` must be a share in 0..=1";
    assert_eq!(refusal(9, LoaderConfig { max_bad_share: f64::NAN, ..config() }), share);
    assert_eq!(
        refusal(3, config()),
        "the batch size 4 is larger than the data set of 3 images; lower the batch size to 3 or \
         less"
    );
}

#[test]
fn a_panic_in_a_worker_is_an_error() {
    // An image without pixels breaks what `View` asks for.
    let mut entries: Vec<_> = (0..4).map(|i| (i.to_string(), None, image(20, 20, i))).collect();
    entries[2].2 = Image::default();
    let dataset = Arc::new(Dataset::from_images(entries, Vec::new()));
    let mut loader = start(&dataset, config(), 0);
    assert!(matches!(loader.next_batch(), Err(DataError::Worker { .. })));
    assert!(matches!(loader.next_batch(), Err(DataError::Worker { .. })));
}

/// The first loader is in the middle of a batch of some seconds, the second waits with a full queue.
#[test]
fn dropping_a_loader_stops_its_threads() {
    let (done, dropped) = channel();
    thread::spawn(move || {
        let dataset = Arc::new(images(1000));
        let views = vec!["crop(64) blur(90..100)".parse().unwrap()];
        let slow = start(&dataset, LoaderConfig { batch_size: 1000, views, ..config() }, 0);
        thread::sleep(Duration::from_millis(50));
        let begin = Instant::now();
        drop(slow);
        let took = begin.elapsed();
        let mut full = start(&dataset, LoaderConfig { prefetch: 1, ..config() }, 0);
        full.next_batch().unwrap();
        drop(full);
        done.send((took, Arc::strong_count(&dataset))).unwrap();
    });
    let (took, users) = dropped.recv_timeout(Duration::from_secs(60)).expect("the drop returns");
    assert!(took < Duration::from_secs(1), "stopping took {took:?}");
    assert_eq!(users, 1, "the data set is still in use");
}

/// All batches of an evaluation, until `limit` were seen, and the names of the bad files.
fn evaluate(
    dataset: &Dataset,
    indices: &[usize],
    threads: usize,
    limit: usize,
) -> (Vec<EvalBatch>, Vec<String>) {
    let view: View = "resize(20) center(16) normalize(imagenet)".parse().unwrap();
    let mut batches = Vec::new();
    let bad = for_each_batch(dataset, indices, &view, 4, threads, &mut |batch: EvalBatch| {
        assert_eq!(batch.pixels.len(), batch.indices.len() * 16 * 16 * 3);
        batches.push(batch);
        if batches.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    (batches, bad.into_iter().map(|bad| bad.name).collect())
}

fn indices_of(batches: &[EvalBatch]) -> Vec<Vec<usize>> {
    batches.iter().map(|batch| batch.indices.clone()).collect()
}

/// The first draw is that of one draw, the second another, and neither depends on the batch.
#[test]
fn draws_of_an_image_lie_together_and_differ() {
    let (dataset, view) = (images(5), TEXT.parse::<View>().unwrap());
    let size = 16 * 16 * 3;
    let pixels = |draws, batch| {
        let mut all = Vec::new();
        let take = &mut |batch: EvalBatch| {
            all.extend(batch.pixels);
            ControlFlow::Continue(())
        };
        for_each_batch_of_draws(&dataset, &[0, 1, 2, 3, 4], &view, draws, batch, 2, take).unwrap();
        all
    };
    let (one, two) = (pixels(1, 2), pixels(2, 3));
    assert_eq!(two, pixels(2, 5));
    for (image, draws) in two.chunks_exact(2 * size).enumerate() {
        assert_eq!(draws[..size], one[image * size..][..size]);
        assert_ne!(draws[..size], draws[size..]);
    }
}

#[test]
fn evaluation_goes_through_the_indices_in_order() {
    let dataset = images(11);
    let indices: Vec<usize> = (0..11).rev().collect();
    let (batches, bad) = evaluate(&dataset, &indices, 1, usize::MAX);
    assert_eq!(indices_of(&batches), [vec![10, 9, 8, 7], vec![6, 5, 4, 3], vec![2, 1, 0]]);
    assert!(bad.is_empty());
    assert!(evaluate(&dataset, &indices, 3, usize::MAX).0 == batches);
    assert!(evaluate(&dataset, &indices, 2, 2).0 == batches[..2]);
    assert!(evaluate(&dataset, &[], 2, 2).0.is_empty());
}

#[test]
fn evaluation_leaves_bad_files_out() {
    let root = tempdir().unwrap();
    let dataset = folder(root.path(), 8, &[1, 4, 5, 6, 7]);
    let all: Vec<usize> = (0..13).collect();
    let (batches, bad) = evaluate(&dataset, &all, 2, usize::MAX);
    assert_eq!(bad, ["01.png", "04.png", "05.png", "06.png", "07.png"]);
    let kept = indices_of(&batches);
    assert_eq!(kept, [vec![0, 2, 3], vec![8, 9, 10, 11], vec![12]]);
    let (good, _) = evaluate(&dataset, &kept.concat(), 1, usize::MAX);
    let pixels = |batches: Vec<EvalBatch>| {
        batches.into_iter().flat_map(|batch| batch.pixels).collect::<Vec<f32>>()
    };
    assert!(pixels(batches) == pixels(good));
}

/// The shares of a batch, by stride, are the batch, image by image and pixel by pixel.
#[test]
fn shares_together_are_the_whole_batches() {
    let dataset = Arc::new(images(31));
    let config = || LoaderConfig { batch_size: 6, ..config() };
    let mut whole = start(&dataset, config(), 2);
    let share = |number| Share { number, of: 3 };
    let mut shares = [0, 1, 2]
        .map(|number| Loader::start_share(dataset.clone(), config(), share(number), 2).unwrap());
    for _ in 0..9 {
        let batch = whole.next_batch().unwrap();
        for (number, loader) in shares.iter_mut().enumerate() {
            let part = loader.next_batch().unwrap();
            assert_eq!((part.step, part.epoch, part.indices.len()), (batch.step, batch.epoch, 2));
            for (j, index) in part.indices.iter().enumerate() {
                let at = 3 * j + number;
                assert_eq!(*index, batch.indices[at]);
                for (part, whole) in part.views.iter().zip(&batch.views) {
                    let size = part.height * part.width * 3 * part.count;
                    let [own, all] =
                        [(part, j), (whole, at)].map(|(view, i)| &view.pixels[i * size..][..size]);
                    assert_eq!(own, all);
                }
            }
        }
    }
    let uneven = Loader::start_share(dataset, config(), Share { number: 0, of: 4 }, 0);
    assert!(matches!(uneven, Err(DataError::Setting { setting: "batch_size", .. })));
}
