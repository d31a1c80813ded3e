//! Spoiled files: an answer or an error, never a panic, and no memory beyond a bound.

use crate::common::folder;
use crate::hostile::peak;
use moco_weights::{Options, import, read};
use std::fs;
use std::path::Path;

/// A generator of numbers: splitmix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn read_all(path: &Path) {
    let Ok(checkpoint) = read::open(path) else { return };
    for (name, tensor) in &checkpoint.tensors {
        let _ = tensor.read(name);
    }
    let _ = import(&checkpoint, &Options { heads: Some(3), ..Options::default() });
}

#[test]
fn spoiled_files_give_errors() {
    let place = tempfile::tempdir().expect("a folder");
    let mut numbers = Numbers(23);
    for (name, ending) in [
        ("hostile_code.pth", "pth"),
        ("hf_vit_model.safetensors", "safetensors"),
        ("mae_encoder.pth", "pth"),
        ("torchvision_resnet18_cuda_legacy.pth", "pth"),
        ("instdisc.pth.tar", "pth.tar"),
    ] {
        let whole = fs::read(folder().join(name)).expect("a golden file");
        let path = place.path().join(format!("spoiled.{ending}"));
        // Structure is dense at both ends of these files; values fill the middle.
        let dense = whole.len().min(4096);
        for round in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..=numbers.below(4) {
                let at = match numbers.below(3) {
                    0 => numbers.below(dense),
                    1 => whole.len() - 1 - numbers.below(dense),
                    _ => numbers.below(whole.len()),
                };
                bytes[at] = match numbers.below(3) {
                    0 => 0xff,
                    1 => numbers.below(256) as u8,
                    _ => bytes[at] ^ (1 << numbers.below(8)),
                };
            }
            if round % 10 == 0 {
                bytes.truncate(numbers.below(whole.len()));
            }
            fs::write(&path, &bytes).expect("a file");
            read_all(&path);
        }
    }
    assert!(peak() < 1 << 20, "{} kB of memory", peak());
}

#[test]
fn a_small_file_cannot_ask_for_much_memory() {
    // A memo that is taken again and again, tuples of tuples, long texts that are never there.
    let place = tempfile::tempdir().expect("a folder");
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
    let doubled: Vec<u8> = [&b"\x80\x02)"[..], &b"2\x86".repeat(100_000), b".\x80\x02]."].concat();
    let long = b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec();
    let marks = [&b"\x80\x02"[..], &b"(".repeat(1 << 20), b"."].concat();
    for (i, pickle) in [doubled, long, marks].into_iter().enumerate() {
        let head = b"\x80\x02M\xe9\x03.\x80\x02}q\x00X\x0d\x00\x00\x00little_endianq\x01\x88s.";
        let path = place.path().join(format!("{i}.pth"));
        fs::write(&path, [&magic[..], head, &pickle].concat()).expect("a file");
        assert!(read::open(&path).is_err());
    }
    assert!(peak() < 1 << 20, "{} kB of memory", peak());
}
