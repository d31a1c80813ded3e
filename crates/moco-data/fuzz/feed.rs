//! What all targets do with their bytes.

use moco_data::Dataset;
use std::panic;

/// Images that are loaded at most.
const LOADED: usize = 64;

/// Opens the bytes as a file of this name and loads its images. Errors are as good as images; a
/// panic that escapes, a crash, or memory out of proportion is a bug.
pub fn feed(name: &str, data: &[u8]) {
    let caught = panic::catch_unwind(|| {
        let Ok(dataset) = Dataset::from_bytes(name, data.to_vec()) else { return };
        for i in 0..dataset.len().min(LOADED) {
            if let Ok(image) = dataset.load(i) {
                assert_eq!(image.pixels.len(), image.width * image.height * 3);
            }
        }
    });
    if caught.is_err() {
        std::process::abort();
    }
}

/// The fuzzer stops at every panic. Those of the decoders, which the library catches, are no bugs.
pub fn allow_caught_panics() {
    panic::set_hook(Box::new(|_| {}));
}
