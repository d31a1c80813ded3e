//! What several test modules share.

use moco_data::{Dataset, Image, OpenOptions, Random, save_png};
use std::fs;
use std::path::Path;
use tar::{Builder, Header};

/// An image of smooth colours and noise, different for each seed.
pub fn image(width: usize, height: usize, seed: u64) -> Image {
    let mut random = Random::from_words([seed, 0, 0, 0]);
    let tint = [random.unit(), random.unit(), random.unit()];
    let sample = |i: usize| {
        let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
        let wave = ((x as f64 * 0.2 + tint[c] * 9.0).sin() + (y as f64 * 0.17).cos()) * 50.0;
        (tint[c] * 120.0 + 60.0 + wave + random.uniform(-15.0, 15.0)).clamp(0.0, 255.0) as u8
    };
    Image::new(width, height, (0..width * height * 3).map(sample).collect())
}

/// A data set in memory without labels.
pub fn images(count: usize) -> Dataset {
    let entry = |i: usize| (format!("{i:04}"), None, image(24 + i % 7, 20 + i % 5, i as u64));
    Dataset::from_images((0..count).map(entry).collect(), Vec::new())
}

/// Writes PNG images under the names, and makes the folders that these need.
pub fn write_images(root: &Path, names: &[&str]) {
    for (i, name) in names.iter().enumerate() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        save_png(&image(17 + i, 19, i as u64), &path).unwrap();
    }
}

/// Adds a file to an archive.
pub fn append(tar: &mut Builder<fs::File>, name: &str, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).unwrap();
}

/// Names of all images, in order.
pub fn names(dataset: &Dataset) -> Vec<&str> {
    (0..dataset.len()).map(|i| dataset.name(i)).collect()
}

/// Options with a cache of the test's own.
pub fn options(cache: &Path) -> OpenOptions {
    OpenOptions { cache: Some(cache.into()), threads: 2, ..OpenOptions::default() }
}
