//! JPEGs of every legal layout against Pillow, whole and damaged: `golden/jpeg.py`, `golden/jpeg_damage.py`.

use md5::{Digest, Md5};
use moco_data::{DecodeOptions, Image, ImageError};
use safetensors::SafeTensors;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// Levels by which an ordinary file may differ: zune-jpeg rounds otherwise than libjpeg. In photos it
/// is 3, but for one sample of 300,000.
const ROUNDING: u8 = 4;
/// As much in the last column and row where chroma is halved: zune-jpeg takes the chroma beyond
/// the edge from the file, libjpeg repeats the last one.
const EDGE: u8 = 10;
/// The marker after the last pixel.
const END: [u8; 2] = [0xff, 0xd9];

/// One file of the collection, with what Pillow makes of it.
struct Case<'a> {
    name: &'a str,
    file: &'a [u8],
    /// MD5 of the RGB pixels; zeros if Pillow refuses the file.
    digest: &'a [u8],
    size: [usize; 2],
    /// The pixels, of ordinary files.
    pixels: &'a [u8],
}

/// A file of golden vectors.
struct Golden<'a>(SafeTensors<'a>);

impl<'a> Golden<'a> {
    fn bytes(name: &str) -> Vec<u8> {
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(name)).unwrap()
    }

    fn of(bytes: &'a [u8]) -> Golden<'a> {
        Golden(SafeTensors::deserialize(bytes).unwrap())
    }

    fn data(&self, name: &str) -> &'a [u8] {
        self.0.tensor(name).unwrap().data()
    }

    fn numbers(&self, name: &str) -> Vec<usize> {
        let words = self.data(name).as_chunks::<4>().0.iter();
        words.map(|&word| u32::from_le_bytes(word) as usize).collect()
    }

    /// From the end of the one before to its own end.
    fn ranges(&self, name: &str) -> Vec<Range<usize>> {
        let ends = self.numbers(name);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, &end)| start..end).collect()
    }
}

fn each_case(check: &mut dyn FnMut(Case)) {
    let bytes = Golden::bytes("jpeg.safetensors");
    let golden = Golden::of(&bytes);
    let data = |name: &str| golden.data(name);
    let names = str::from_utf8(data("names")).unwrap();
    let (files, pixels) = (golden.ranges("file_ends"), golden.ranges("pixel_ends"));
    let sizes = golden.numbers("sizes");
    for (i, name) in names.lines().enumerate() {
        check(Case {
            name,
            file: &data("files")[files[i].clone()],
            digest: &data("digests")[16 * i..16 * (i + 1)],
            size: [sizes[2 * i], sizes[2 * i + 1]],
            pixels: &data("pixels")[pixels[i].clone()],
        });
    }
}

/// What is wrong with an image, if anything is.
fn fault(case: &Case, image: &Image) -> Option<String> {
    let [width, height] = case.size;
    if [image.width, image.height] != case.size {
        return Some(format!("{}x{} pixels", image.width, image.height));
    }
    if Md5::digest(&image.pixels)[..] == *case.digest {
        return None;
    }
    if case.pixels.is_empty() {
        return Some("other pixels".into());
    }
    let allowed = |i: usize| {
        let at_edge = i / 3 % width == width - 1 || i / 3 / width == height - 1;
        if at_edge && case.name.contains('2') { EDGE } else { ROUNDING }
    };
    let pairs = image.pixels.iter().zip(case.pixels).enumerate();
    let worst = pairs
        .filter(|(i, (a, b))| a.abs_diff(**b) > allowed(*i))
        .max_by_key(|x| x.1.0.abs_diff(*x.1.1));
    worst.map(|(i, (a, b))| format!("{a} for {b} at sample {i}"))
}

/// Every sampling, in one scan or several, progressive, with restarts, grey, YCbCr, RGB, CMYK and
/// YCCK, under every marker: Pillow's pixels, or refused as unsupported where Pillow refuses it.
#[test]
fn every_layout_is_decoded_as_by_pillow() {
    let (mut count, mut refused, mut faults) = (0, 0, Vec::new());
    each_case(&mut |case| {
        count += 1;
        let unread = case.digest.iter().all(|&byte| byte == 0);
        match Image::decode(case.file, &DecodeOptions::default()) {
            Ok(_) if unread => faults.push(format!("{}: read", case.name)),
            Ok(image) => {
                faults.extend(fault(&case, &image).map(|fault| format!("{}: {fault}", case.name)));
            }
            Err(ImageError::Unsupported { .. }) if unread => refused += 1,
            Err(error) => faults.push(format!("{}: {error}", case.name)),
        }
    });
    assert!(faults.is_empty(), "{} of {count}: {faults:#?}", faults.len());
    assert_eq!((count, refused), (503, 7));
}

/// What Pillow refuses is refused: nothing is trained on that is grey from some row on because a byte
/// of its compressed data became a marker. What Pillow reads is read, but for files whose end is
/// gone, or has become a part of something else, for the same reason.
#[test]
fn damaged_files_are_read_or_refused_as_by_pillow() {
    let mut originals = Vec::new();
    each_case(&mut |case| originals.push((case.name.to_owned(), case.file.to_vec())));
    let bytes = Golden::bytes("jpeg_damage.safetensors");
    let golden = Golden::of(&bytes);
    let [files, places, removed] = ["file", "at", "removed"].map(|name| golden.numbers(name));
    let inserted = golden.ranges("inserted_end");
    let (mut faults, mut endless) = (Vec::new(), 0);
    for (i, &read) in golden.data("read").iter().enumerate() {
        let (name, file) = &originals[files[i]];
        let (head, rest) = file.split_at(places[i]);
        let inserted = &golden.data("inserted")[inserted[i].clone()];
        let damaged = [head, inserted, &rest[removed[i].min(rest.len())..]].concat();
        match Image::decode(&damaged, &DecodeOptions::default()) {
            Ok(_) if read == 0 => faults.push(format!("{i}, {name}: read")),
            Err(ImageError::Truncated) if read == 1 => endless += 1,
            Err(ImageError::Damaged { .. }) if read == 1 && damaged.ends_with(&END) => endless += 1,
            Err(error) if read == 1 => faults.push(format!("{i}, {name}: {error}")),
            _ => {}
        }
    }
    assert!(faults.is_empty(), "{} of {}: {faults:#?}", faults.len(), files.len());
    assert_eq!((files.len(), endless), (3472, 117));
}

/// No byte of any layout leads to more than an error.
#[test]
fn changed_layouts_never_panic() {
    let mut random = moco_data::Random::from_words([17, 0, 0, 0]);
    let (mut read, mut failed) = (0, 0);
    each_case(&mut |case| {
        for _ in 0..4 {
            let mut mutant = case.file.to_vec();
            for _ in 0..1 + random.below(5) {
                let at = random.below(mutant.len());
                mutant[at] = random.below(256) as u8;
            }
            match Image::decode(
                &mutant,
                &DecodeOptions { max_pixels: 1 << 22, ..DecodeOptions::default() },
            ) {
                Ok(image) => {
                    assert_eq!(image.pixels.len(), image.width * image.height * 3);
                    read += 1;
                }
                Err(_) => failed += 1,
            }
        }
    });
    // Both must occur for the test to mean something.
    assert!(read > 100 && failed > 100, "{read} and {failed}");
}

/// A progressive file of thousands of scans of a large image would take hours.
#[test]
fn endless_scans_are_an_error() {
    let mut many = Vec::new();
    each_case(&mut |case| {
        if case.name == "ycc 4x1,1x1,1x1 apart" {
            let scan = case.file.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
            let (head, scan) = (&case.file[..scan], &case.file[scan..case.file.len() - 2]);
            many = [head, &scan.repeat(120), &[0xff, 0xd9]].concat();
        }
    });
    let error = Image::decode(&many, &DecodeOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "damaged JPEG image: it has more than 100 scans");
}
