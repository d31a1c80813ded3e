//! Lists of paths, beside a folder with an image.

#![no_main]

use moco_data::{Dataset, Image, save_png};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::{env, fs, process};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = env::temp_dir().join(format!("moco-fuzz-list-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder for lists");
    save_png(&Image::filled(2, 2, [1, 2, 3]), &folder.join("1.png")).expect("an image");
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // The first byte says what kind of list it is.
    let Some((&kind, text)) = data.split_first() else { return };
    let name = ["list.txt", "list.csv", "list.tsv", "list.lst"][kind as usize % 4];
    let path = FOLDER.join(name);
    fs::write(&path, text).expect("room for a list");
    if let Ok(dataset) = Dataset::open(&path) {
        for i in 0..dataset.len().min(8) {
            let _ = (dataset.name(i), dataset.label(i), dataset.load(i));
        }
    }
});
