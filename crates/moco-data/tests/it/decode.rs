//! Files of every kind that is decoded, against Pillow: `golden/decode.py`. And those that are not
//! decoded: what they are and the mend.

use crate::support::write_images;
use moco_data::doctor::{DoctorConfig, Kind, examine};
use moco_data::{Dataset, DecodeOptions, Image, ImageError, ValueRange, View, ViewKey};
use moco_data::{Loader, LoaderConfig, for_each_batch};
use safetensors::SafeTensors;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tempfile::{TempDir, tempdir};

struct Golden(Vec<u8>);

impl Golden {
    fn read() -> Golden {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
        Golden(fs::read(root.join("decode.safetensors")).unwrap())
    }

    fn names(&self) -> Vec<String> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let names = tensors.names().into_iter().filter_map(|name| name.strip_suffix(".file"));
        let mut names: Vec<_> = names.map(String::from).collect();
        names.sort();
        names
    }

    fn file(&self, name: &str) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        tensors.tensor(&format!("{name}.file")).unwrap().data().to_vec()
    }

    fn image(&self, name: &str) -> Image {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(&format!("{name}.rgb")).unwrap();
        Image::new(tensor.shape()[1], tensor.shape()[0], tensor.data().to_vec())
    }
}

/// The range that a file is to be read with.
fn range(name: &str) -> Option<ValueRange> {
    Some(match name {
        "png_12_in_16_range" => ValueRange::Values([0.0, 4095.0]),
        "png_12_in_16_percentile" => ValueRange::Percentiles([1.0, 99.0]),
        "tiff_int16_range" => ValueRange::Values([-1000.0, 400.0]),
        "tiff_float_range" => ValueRange::Values([-0.5, 2.0]),
        _ => return None,
    })
}

#[test]
fn every_kind_is_decoded_as_by_pillow() {
    let golden = Golden::read();
    let mut faults = Vec::new();
    for name in golden.names() {
        let options = DecodeOptions { range: range(&name), ..DecodeOptions::default() };
        let expected = golden.image(&name);
        // Two decoders of JPEG; sums of 24 bits here and of 53 in numpy.
        let allowed = match name.as_str() {
            "tiff_jpeg_ycbcr" | "tiff_jpeg_grey" => 3,
            _ => 0,
        };
        match Image::decode(&golden.file(&name), &options) {
            Ok(image) if (image.width, image.height) == (expected.width, expected.height) => {
                let pairs = image.pixels.iter().zip(&expected.pixels);
                let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
                if worst > allowed {
                    faults.push(format!("{name}: {worst} levels"));
                }
            }
            Ok(image) => faults.push(format!("{name}: {}x{}", image.width, image.height)),
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A cut file is cut off or damaged, whatever its kind; GIFs and PNGs may lack what follows the
/// pixels.
#[test]
fn cut_and_changed_files_never_panic() {
    let golden = Golden::read();
    let mut random = moco_data::Random::from_words([23, 0, 0, 0]);
    let options = DecodeOptions { max_pixels: 1 << 22, ..DecodeOptions::default() };
    let (mut read, mut failed) = (0, 0);
    for name in golden.names() {
        let file = golden.file(&name);
        for cut in (0..file.len()).step_by(file.len() / 20 + 1) {
            if let Ok(image) = Image::decode(&file[..cut], &options) {
                // Bytes of pixels at the end of a TIFF or of text may be few.
                let whole = golden.image(&name);
                assert_eq!(
                    (image.width, image.height),
                    (whole.width, whole.height),
                    "{name} {cut}"
                );
            }
        }
        for _ in 0..60 {
            let mut mutant = file.clone();
            for _ in 0..1 + random.below(6) {
                // Headers are where the structure is.
                let end = if random.chance(0.5) { mutant.len().min(100) } else { mutant.len() };
                mutant[random.below(end)] = random.below(256) as u8;
            }
            match Image::decode(&mutant, &options) {
                Ok(image) => {
                    assert_eq!(image.pixels.len(), image.width * image.height * 3, "{name}");
                    read += 1;
                }
                Err(_) => failed += 1,
            }
        }
    }
    assert!(read > 300 && failed > 300, "{read} and {failed}");
}

/// What is not read says what it is and how to make it readable, and is not called damaged.
/// The library decodes as much of a JPEG in a TIFF as there is.
#[test]
fn a_tiff_whose_strip_is_cut_off_is_an_error() {
    let mut file = Golden::read().file("tiff_jpeg_ycbcr");
    assert!(Image::decode(&file, &DecodeOptions::default()).is_ok());
    let says_size =
        |entry: &[u8]| entry.starts_with(&[0x17, 1]) && entry.ends_with(&[229, 0, 0, 0]);
    let entry = file.windows(12).position(says_size).unwrap();
    // As many bytes as the whole file, from byte 8 on.
    let size = (file.len() as u16).to_le_bytes();
    file[entry + 8..entry + 10].copy_from_slice(&size);
    let cut = Image::decode(&file, &DecodeOptions::default());
    assert!(matches!(cut, Err(ImageError::Truncated)), "{cut:?}");
}

#[test]
fn what_is_not_supported_says_so() {
    let media = |brand: &[u8]| [b"\0\0\0\x18ftyp", brand, b"\0\0\0\0mif1heic"].concat();
    let dicom = [&[0; 128][..], b"DICM"].concat();
    let png = "convert it to PNG, e.g. with ImageMagick";
    let jpeg = "convert it to JPEG, e.g. with `heif-convert` or ImageMagick";
    for (bytes, what, mend) in [
        (media(b"heic"), "HEIC", jpeg),
        (media(b"mif1"), "HEIC", jpeg),
        (media(b"avif"), "AVIF", jpeg),
        (b"\0\0\0\x0cJXL \r\n\x87\n".to_vec(), "JPEG XL", png),
        (b"\xff\x0a\xfa\x1f".to_vec(), "JPEG XL", png),
        (b"\0\0\0\x0cjP  \r\n\x87\n".to_vec(), "JPEG 2000", png),
        (b"8BPS\0\x01".to_vec(), "Photoshop", png),
        (b"qoif\0\x01\0\x01\0".to_vec(), "QOI", png),
        (
            b"<?xml version='1.0'?>\n<svg width='3'/>".to_vec(),
            "SVG",
            "draw it as PNG, e.g. with `rsvg-convert` or ImageMagick",
        ),
        (dicom, "DICOM", "extract its values to 16-bit PNG or TIFF, e.g. with pydicom"),
    ] {
        let error = Image::decode(&bytes, &DecodeOptions::default()).unwrap_err();
        assert!(matches!(error, ImageError::Unsupported { .. }), "{what}: {error:?}");
        assert_eq!(error.to_string(), format!("{what} image: not read; {mend}"));
    }
    // A film and a page are no images.
    for bytes in [media(b"isom")[..16].to_vec(), b"<!DOCTYPE html><html></html>".to_vec()] {
        let error = Image::decode(&bytes, &DecodeOptions::default()).unwrap_err();
        assert!(matches!(error, ImageError::UnknownFormat), "{error:?}");
    }
}

/// Damage within a known format is told in our words, and told from what is not supported.
#[test]
fn damage_is_damage() {
    let golden = Golden::read();
    let message =
        |bytes: &[u8]| Image::decode(bytes, &DecodeOptions::default()).unwrap_err().to_string();
    let mut header = golden.file("png_grey");
    header[19] ^= 1;
    assert_eq!(message(&header), "damaged PNG image: the checksum of its header is wrong");
    let mut pixels = golden.file("png_garbage_behind");
    let data = pixels.windows(4).position(|kind| kind == b"IDAT").unwrap();
    pixels[data + 60] ^= 0x10;
    assert_eq!(
        message(&pixels),
        "damaged PNG image: its compressed data does not follow the format"
    );
    let whole = golden.file("png_without_end");
    assert_eq!(message(&whole[..whole.len() - 9]), "the file is cut off before the image ends");
    let fax3 = {
        let mut file = golden.file("tiff_bits_fax4");
        // The entry of the compression: tag 259, a short, once, 4.
        let entry = file.windows(4).position(|bytes| bytes == [3, 1, 3, 0]).unwrap();
        file[entry + 8] = 3;
        file
    };
    assert_eq!(
        message(&fax3),
        "TIFF image compressed as a fax: not read; convert it to PNG, e.g. with ImageMagick's \
         `magick FILE out.png`"
    );
}

/// A folder of the golden file of 12 bits in 16, as `a.png`, `b.png`.
fn deep_folder(golden: &Golden) -> TempDir {
    let root = tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        fs::write(root.path().join(name), golden.file("png_12_in_16")).unwrap();
    }
    root
}

#[test]
fn values_beyond_8_bits_are_a_finding() {
    let golden = Golden::read();
    let root = deep_folder(&golden);
    write_images(root.path(), &["c.png"]);
    fs::write(root.path().join("d.png"), golden.file("tiff_rgb16")).unwrap();
    fs::write(root.path().join("e.png"), golden.file("tiff_int16")).unwrap();
    fs::write(root.path().join("f.png"), golden.file("tiff_float")).unwrap();
    fs::write(root.path().join("g.png"), b"\0\0\0\x14ftypheic\0\0\0\0heic").unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    let report = examine(&dataset, &DoctorConfig::default(), &mut |_| {});
    let details = |kind: Kind| -> Vec<_> {
        let of_kind = report.findings.iter().filter(|finding| finding.kind == kind);
        of_kind.map(|finding| (finding.name.as_str(), finding.detail.as_str())).collect()
    };
    let twelve = "values up to 4095 of 65535: 8 bits keep 17 levels of them; begin each view with \
                  `range(0..4095)`";
    assert_eq!(
        details(Kind::NarrowRange),
        [
            ("a.png", twelve),
            ("b.png", twelve),
            (
                "e.png",
                "values from -1000 to 3000, where 0 is black and 32767 white: 8 bits keep 24 \
                 levels of them; begin each view with `range(-1000..3000)`"
            ),
            (
                "f.png",
                "values from -0.5 to 2, where 0 is black and 1 white: 8 bits keep 256 levels of \
                 them; begin each view with `range(-0.5..2)`"
            ),
        ]
    );
    assert_eq!(
        details(Kind::Unsupported),
        [(
            "g.png",
            "HEIC image: not read; convert it to JPEG, e.g. with `heif-convert` or ImageMagick"
        )]
    );
    assert_eq!(dataset.depth_note().unwrap(), format!("`a.png` has {twelve}"));
    let ordinary = tempdir().unwrap();
    write_images(ordinary.path(), &["c.png"]);
    assert_eq!(Dataset::open(ordinary.path()).unwrap().depth_note(), None);
}

/// The loader, with and without its cache, and evaluation give equal pixels.
#[test]
fn a_view_with_a_range_reads_files_by_it() {
    let golden = Golden::read();
    let root = deep_folder(&golden);
    let dataset = Arc::new(Dataset::open(root.path()).unwrap());
    let key = ViewKey { seed: 0, epoch: 0, image: 0, view: 0 };
    for (text, name) in [
        ("center(13x21)", "png_12_in_16"),
        ("range(0..4095) center(13x21)", "png_12_in_16_range"),
        ("range(percentile 1..99) center(13x21)", "png_12_in_16_percentile"),
    ] {
        let view: View = text.parse().unwrap();
        let mut expected = vec![0.0; view.value_count()];
        view.apply(&golden.image(name), key, &mut expected);
        for cache_mb in [0, 1] {
            let config = LoaderConfig {
                batch_size: 2,
                views: vec![view.clone(), view.clone()],
                seed: 1,
                threads: 2,
                prefetch: 1,
                max_bad_share: 0.0,
                cache_mb,
            };
            let mut loader = Loader::start(Arc::clone(&dataset), config, 0).unwrap();
            for _ in 0..2 {
                let batch = loader.next_batch().unwrap();
                for view in batch.views {
                    assert_eq!(view.pixels, [&expected[..], &expected].concat(), "{text}");
                }
            }
        }
        for_each_batch(&dataset, &[1], &view, 1, 1, &mut |batch| {
            assert_eq!(batch.pixels, expected, "{text}");
            ControlFlow::Continue(())
        })
        .unwrap();
    }
}

#[test]
fn a_range_is_a_part_of_the_view() {
    let parse = |text: &str| text.parse::<View>();
    for text in [
        "range(0..4095) crop(32, 0.2..1) flip normalize(none)",
        "range(-1000..400.5) center(8) normalize(none)",
        "range(percentile 0.5..99.5) center(8) normalize(none)",
    ] {
        let view = parse(text).unwrap();
        assert_eq!(view.to_string(), text);
        assert_eq!(parse(&view.to_string()).unwrap(), view);
    }
    assert_eq!(parse("center(8)").unwrap().range(), None);
    let range = parse("range( 0..1e4 ) center(8)").unwrap().range();
    assert_eq!(range, Some(ValueRange::Values([0.0, 10_000.0])));
    let form = "the form is `range(a..b) in the values of the file, or range(percentile a..b)`";
    let values = "a range of values such as 0..4095, or the word percentile";
    for (text, message) in [
        (
            "flip range(0..9) center(8)",
            "`range` at column 6 must be the first operation, for it says how files become 8 bits; \
             move it to the front"
                .to_string(),
        ),
        ("range(9..9) center(8)", format!("`9..9` at column 7 is not {values}; {form}")),
        ("range center(8)", format!("`range` at column 1 lacks {values}; {form}")),
        (
            "range(percentile 1..101) center(8)",
            format!(
                "`1..101` at column 18 is not a range of percentiles such as 1..99; {form}"
            ),
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn views_of_a_loader_share_their_range() {
    let golden = Golden::read();
    let root = deep_folder(&golden);
    let dataset = Arc::new(Dataset::open(root.path()).unwrap());
    let config = LoaderConfig {
        batch_size: 1,
        views: ["range(0..9) center(8)", "center(8)"].map(|text| text.parse().unwrap()).to_vec(),
        seed: 0,
        threads: 1,
        prefetch: 0,
        max_bad_share: 0.0,
        cache_mb: 0,
    };
    let error = Loader::start(dataset, config, 0).err().unwrap().to_string();
    assert_eq!(
        error,
        "the loader's `views` must be of one `range`, which each of them begins with"
    );
}
