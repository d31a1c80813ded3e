//! Archives with changed bytes: the entry points of the fuzz targets, on fixed seeds. An error or
//! an image, never a panic, and no more memory than the file is worth.

use crate::formats::golden;
use moco_data::{Dataset, Random};
use std::fs;
use std::time::{Duration, Instant};

/// Opens and loads everything; how many data sets opened and how many images loaded.
fn feed(name: &str, bytes: Vec<u8>) -> (usize, usize) {
    let Ok(dataset) = Dataset::from_bytes(name, bytes) else { return (0, 0) };
    let loaded = (0..dataset.len().min(64)).filter(|&i| dataset.load(i).is_ok()).count();
    (1, loaded)
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    for _ in 0..1 + random.below(6) {
        let at = random.below(mutant.len());
        match random.below(5) {
            0 => mutant[at] = random.below(256) as u8,
            1 => mutant[at] ^= 1 << random.below(8),
            2 => mutant.truncate(at.max(1)),
            3 => {
                let end = mutant.len().min(at + 1 + random.below(8));
                mutant[at..end].fill([0, 0x7f, 0xff][random.below(3)]);
            }
            _ => {
                let end = mutant.len().min(at + random.below(64));
                let piece = mutant[at..end].to_vec();
                let to = random.below(mutant.len());
                mutant.splice(to..to, piece);
            }
        }
    }
    mutant
}

/// Mutants of the whole file; and of its last bytes, where Parquet has all its structure.
fn check(name: &str, rounds: usize) {
    let bytes = fs::read(golden(name)).unwrap();
    assert!(feed(name, bytes.clone()).1 > 0, "{name} itself");
    let mut random = Random::from_words([41, bytes.len() as u64, 0, 0]);
    let (mut opened, mut loaded) = (0, 0);
    for round in 0..rounds {
        let tail = if round % 2 == 0 { 0 } else { bytes.len() - bytes.len().min(4000) };
        let mutant = [&bytes[..tail], &mutate(&bytes[tail..], &mut random)].concat();
        let (data_sets, images) = feed(name, mutant);
        opened += data_sets;
        loaded += images;
    }
    // Some must open and some must not for the test to mean something.
    assert!(opened > 0 && opened < rounds, "{name}: {opened} of {rounds} opened");
    assert!(loaded > 0, "{name}");
}

#[test]
fn tars() {
    check("json.tar", 300);
}

#[test]
fn parquet_files() {
    check("hf.parquet", 300);
    check("pages.parquet", 300);
    check("dictionary.parquet", 300);
}

#[test]
fn idx_files() {
    check("color.idx4-ubyte", 300);
}

#[test]
fn cifar_files() {
    check("test_batch.bin", 200);
    check("test.bin", 200);
}

/// Found by the fuzzer: a page header with a list, in an unknown field, of 2^31 numbers.
#[test]
fn a_list_without_end_in_a_page_header_is_an_error() {
    let mut bytes = fs::read(golden("pages.parquet")).unwrap();
    // Where the first page of the paths begins. Thrift's compact protocol: field 15, a list; its
    // length as a number of its own, of doubles; that number.
    bytes[4052..4059].copy_from_slice(&[0xf9, 0xf7, 0xff, 0xff, 0xff, 0xff, 0x07]);
    let start = Instant::now();
    assert_eq!(feed("x.parquet", bytes), (0, 0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Found by the fuzzer: the library takes no byte for a truth value in a list that it passes over. Twenty
/// lists of 2^31 of them are passed over in less than a minute by no processor.
#[test]
fn lists_of_truth_values_without_end_are_an_error() {
    let file = fs::read(golden("pages.parquet")).unwrap();
    let list = [0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
    // Field 15, a list; of lists; twenty.
    let lists = [&[0xf9, 0xf9, 20][..], &list.repeat(20)].concat();
    let [.., l0, l1, l2, l3, _, _, _, _] = *file else { panic!("no footer") };
    let footer = file.len() - 8 - u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let (first_page_of_images, first_page_of_paths) = (4, 4052);
    // As an unknown field, and behind a number that is written as a text in which all of this lies.
    for behind in [&[][..], &[0x18, 0x7f]] {
        let bytes = [behind, &lists].concat();
        for at in [first_page_of_images, first_page_of_paths, footer] {
            let (opened, loaded) = ends_soon(&file, at, &bytes);
            assert!(opened == 0 || loaded < feed("x.parquet", file.clone()).1, "{at}");
        }
    }
    let indexed = fs::read(golden("hf.parquet")).unwrap();
    let index_of_images = 9712;
    assert_eq!(indexed[index_of_images..][..4], [0x19, 0x1c, 0x16, 8]);
    let two_lists = [&[0xf9, 0x29][..], &list, &list].concat();
    // Room for 2^31 places of pages.
    let room = [&[0x19, 0xfc][..], &list[1..]].concat();
    let images = feed("x.parquet", indexed.clone());
    for bytes in [two_lists, room] {
        assert_eq!(ends_soon(&indexed, index_of_images, &bytes), images, "the index is not needed");
    }
}

/// What is opened and loaded of a file with these bytes in it, in a few seconds.
fn ends_soon(file: &[u8], at: usize, bytes: &[u8]) -> (usize, usize) {
    let mut spoiled = file.to_vec();
    spoiled[at..at + bytes.len()].copy_from_slice(bytes);
    let start = Instant::now();
    let found = feed("x.parquet", spoiled);
    assert!(start.elapsed() < Duration::from_secs(5), "{at}: {:?}", start.elapsed());
    found
}
