//! Files that are not what they should be: an error each, never a panic.

use crate::support::write_images;
use moco_data::{Dataset, DecodeOptions, Image, ImageError, Random};
use safetensors::SafeTensors;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// The encoded images of the golden vectors, by name.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/augment");
    let bytes = fs::read(root.join("vectors.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let file = |name: &&str| name.starts_with("decode.") && name.ends_with(".file");
    let mut files: Vec<_> = tensors
        .names()
        .into_iter()
        .filter(file)
        .map(|name| (name.to_string(), tensors.tensor(name).unwrap().data().to_vec()))
        .collect();
    files.sort();
    files
}

/// Loads each of the byte strings from a file.
fn load_all(all: &[Vec<u8>]) -> Vec<Result<moco_data::Image, ImageError>> {
    let root = tempdir().unwrap();
    for (i, bytes) in all.iter().enumerate() {
        fs::write(root.path().join(format!("{i:05}.jpg")), bytes).unwrap();
    }
    let dataset = Dataset::open(root.path()).unwrap();
    (0..all.len()).map(|i| dataset.load(i)).collect()
}

fn message(bytes: &[u8]) -> String {
    load_all(&[bytes.to_vec()]).remove(0).unwrap_err().to_string()
}

#[test]
fn changed_bytes_never_panic() {
    let mut random = Random::from_words([11, 0, 0, 0]);
    let mut mutants = Vec::new();
    for (_, file) in files() {
        for _ in 0..40 {
            let mut mutant = file.clone();
            for _ in 0..1 + random.below(8) {
                let at = random.below(mutant.len());
                mutant[at] = random.below(256) as u8;
            }
            mutants.push(mutant);
        }
    }
    let results = load_all(&mutants);
    let loaded = results.iter().flatten().count();
    for image in results.iter().flatten() {
        assert_eq!(image.pixels.len(), image.width * image.height * 3);
    }
    // Both kinds must occur for the test to mean something.
    assert!((100..mutants.len() - 100).contains(&loaded), "{loaded} of {}", mutants.len());
}

#[test]
fn a_file_that_is_cut_off_is_an_error() {
    for (name, file) in files() {
        let step = file.len() / 40 + 1;
        // BMP and PNG may end in bytes that carry no pixels; TIFF has its directory at the end, but
        // not always; of an animation, the first frame is enough.
        let says_its_length = ["jpeg", "webp"].iter().any(|format| name.contains(format));
        let unread = if says_its_length { 0 } else { 16 };
        let end = file.len() - if name.contains("animated") { file.len() / 2 } else { unread };
        let cuts: Vec<_> = (0..end).step_by(step).map(|end| file[..end].to_vec()).collect();
        for (cut, result) in cuts.iter().zip(load_all(&cuts)) {
            assert!(result.is_err(), "{name}: {} of {} bytes", cut.len(), file.len());
        }
    }
}

/// Cameras and phones append data behind the image, and embed a thumbnail with an end of its own.
#[test]
fn the_end_of_a_jpeg_is_found_where_it_is() {
    let jpeg = files().into_iter().find(|(name, _)| name.contains("jpeg420")).unwrap().1;
    let trailing = [&jpeg[..], &[0; 100]].concat();
    let thumbnail = b"\xff\xe1\x00\x08\xff\xd8\xff\xd9 \x00";
    let embedded = [&jpeg[..2], thumbnail, &jpeg[2..]].concat();
    let cut = embedded[..embedded.len() - 9].to_vec();
    let results = load_all(&[jpeg, trailing, embedded, cut]);
    let image = results[0].as_ref().unwrap();
    assert_eq!(results[1].as_ref().unwrap(), image);
    assert_eq!(results[2].as_ref().unwrap(), image);
    assert!(matches!(results[3], Err(ImageError::Truncated)));
}

#[test]
fn each_kind_of_damage_has_its_sentence() {
    assert_eq!(message(b""), "the file is empty");
    assert_eq!(
        message(b"<html>not found</html>"),
        "not a JPEG, PNG, WebP, BMP, GIF, TIFF or PNM image"
    );
    let jpeg = files().into_iter().find(|(name, _)| name.contains("jpeg444")).unwrap().1;
    let cut = "the file is cut off before the image ends";
    assert_eq!(message(&jpeg[..jpeg.len() / 2]), cut);

    let mut huge = jpeg.clone();
    let frame = huge.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    huge[frame + 5..frame + 9].fill(0xff);
    assert_eq!(message(&huge), "65535x65535 pixels are over the limit of 178 million");

    let limit = DecodeOptions { max_pixels: 29 * 23 - 1, ..DecodeOptions::default() };
    for (name, file) in files() {
        let message = Image::decode(&file, &limit).map_err(|error| error.to_string());
        let over = message.is_err_and(|message| message.contains("pixels are over the limit"));
        // These two are smaller than the others.
        let small = name.contains("rgb16") || name.contains("rgba16");
        assert_eq!(over, !small, "{name}");
    }

    let root = tempdir().unwrap();
    write_images(root.path(), &["1.png", "2.png"]);
    let dataset = Dataset::open(root.path()).unwrap();
    fs::remove_file(root.path().join("2.png")).unwrap();
    assert!(dataset.load(1).unwrap_err().to_string().starts_with("cannot be read: "));
}
