//! Files of weights of every format: read, all values, and understood.

#![no_main]

use moco_weights::{Options, import, read};
use std::path::Path;

/// Values that are read at most.
const MOST: u64 = 1 << 22;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(checkpoint) = read::from_bytes(Path::new("weights.pth"), data.to_vec()) else { return };
    let mut values = 0;
    for (name, tensor) in &checkpoint.tensors {
        values += tensor.count();
        if values > MOST {
            return;
        }
        if let Ok(values) = tensor.read(name) {
            assert_eq!(values.data.len() as u64, tensor.count());
        }
    }
    let _ = import(&checkpoint, &Options { heads: Some(3), ..Options::default() });
});
