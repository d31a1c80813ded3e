//! Every operation against Pillow and torchvision on the same parameters. `golden/augment.py`
//! writes the vectors. With `--nocapture`, each case prints its difference.

#![expect(clippy::print_stdout)]

use moco_data::augment::{
    Convolver, CropBox, Distortion, DistortionParams, Filter, JitterParams, Patches, Resampler,
    Resize, add_brightness, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation,
    center_crop, cut, flip, gaussian_blur, grayscale, solarize, translate,
};
use moco_data::{Dataset, DecodeOptions, Image, View, ViewKey};
use safetensors::SafeTensors;
use std::fs;
use std::path::Path;

/// The vectors' file, in memory.
struct Golden(Vec<u8>);

impl Golden {
    fn read() -> Golden {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/augment");
        Golden(fs::read(root.join("vectors.safetensors")).unwrap())
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    fn image(&self, name: &str) -> Image {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap();
        let &[height, width, 3] = tensor.shape() else { panic!("`{name}` is no RGB image") };
        Image::new(width, height, tensor.data().to_vec())
    }

    /// Parameters of the cases of an operation, in order.
    fn cases(&self, operation: &str) -> Vec<Vec<f64>> {
        let tensors = self.tensors();
        let params = |i| tensors.tensor(&format!("{operation}.{i}.params")).ok();
        let numbers =
            |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect();
        (0..).map_while(params).map(|tensor| numbers(tensor.data())).collect()
    }

    /// Runs `apply` on the image `source` for each case, and returns the largest difference in
    /// levels and the share of samples that differ.
    fn compare(&self, operation: &str, apply: impl FnMut(&Image, &[f64]) -> Image) -> (u8, f64) {
        self.compare_on("source", operation, apply)
    }

    /// As [`compare`](Self::compare), on another image.
    fn compare_on(
        &self,
        source: &str,
        operation: &str,
        mut apply: impl FnMut(&Image, &[f64]) -> Image,
    ) -> (u8, f64) {
        let source = self.image(source);
        let (mut largest, mut different, mut samples) = (0, 0, 0);
        for (i, params) in self.cases(operation).iter().enumerate() {
            let expected = self.image(&format!("{operation}.{i}.out"));
            let (worst, count) = difference(&apply(&source, params), &expected);
            println!("{operation} {params:?}: {worst} levels, {count} samples");
            largest = largest.max(worst);
            different += count;
            samples += expected.pixels.len();
        }
        assert!(samples > 0, "no vectors of `{operation}`");
        (largest, different as f64 / samples as f64)
    }

    fn assert_equal(&self, operation: &str, apply: impl Fn(&mut Image, &[f64])) {
        let (largest, _) = self.compare(operation, |source, params| {
            let mut image = source.clone();
            apply(&mut image, params);
            image
        });
        assert_eq!(largest, 0, "`{operation}` differs from Pillow");
    }
}

/// Largest difference in levels and the number of samples that differ.
fn difference(a: &Image, b: &Image) -> (u8, usize) {
    assert_eq!((a.width, a.height), (b.width, b.height), "sizes");
    let each = a.pixels.iter().zip(&b.pixels).map(|(&a, &b)| a.abs_diff(b));
    (each.clone().max().unwrap(), each.filter(|&d| d > 0).count())
}

fn kernel(code: f64) -> Filter {
    if code == 0.0 { Filter::Bilinear } else { Filter::Bicubic }
}

/// Weights have 16 bits here and 22 in Pillow, so a sample near the middle between two levels may
/// round the other way.
#[test]
fn resampling_is_within_one_level() {
    let golden = Golden::read();
    let mut resampler = Resampler::default();
    let crop = golden.compare("crop", |source, params| {
        let [top, left, height, width, h, w, filter] = params[..] else { panic!("{params:?}") };
        let [top, left, height, width] = [top, left, height, width].map(|x| x as usize);
        let mut out = Image::default();
        let crop = CropBox { top, left, height, width };
        resampler.resample(source, crop, [h as usize, w as usize], kernel(filter), &mut out);
        out
    });
    let resize = golden.compare("resize", |source, params| {
        let [turned, side, filter] = params[..] else { panic!("{params:?}") };
        let image = if turned == 1.0 { turn_left(source) } else { source.clone() };
        let size = Resize::ShortSide(side as usize).size_of([image.height, image.width]);
        let mut out = Image::default();
        resampler.resample(&image, CropBox::whole(&image), size, kernel(filter), &mut out);
        out
    });
    for (largest, share) in [crop, resize] {
        assert!(largest <= 1 && share < 0.01, "{largest} levels, {share} of the samples");
    }
}

/// A quarter turn counter-clockwise.
fn turn_left(image: &Image) -> Image {
    let (width, height) = (image.height, image.width);
    let pixel = |i: usize| {
        let (y, x) = (i / width, i % width);
        let from = (x * image.width + image.width - 1 - y) * 3;
        image.pixels[from..from + 3].to_vec()
    };
    Image::new(width, height, (0..width * height).flat_map(pixel).collect())
}

#[test]
fn center_crop_is_exact() {
    let (largest, _) = Golden::read().compare("center", |source, params| {
        let mut out = Image::default();
        center_crop(source, [params[0] as usize, params[1] as usize], &mut out);
        out
    });
    assert_eq!(largest, 0);
}

#[test]
fn color_changes_are_exact() {
    let golden = Golden::read();
    golden.assert_equal("brightness", |image, params| adjust_brightness(image, params[0]));
    golden.assert_equal("contrast", |image, params| adjust_contrast(image, params[0]));
    golden.assert_equal("saturation", |image, params| adjust_saturation(image, params[0]));
    golden.assert_equal("hue", |image, params| adjust_hue(image, params[0]));
    golden.assert_equal("gray", |image, _| grayscale(image));
    golden.assert_equal("jitter", |image, params| {
        let order = std::array::from_fn(|i| params[i] as usize);
        let [brightness, contrast, saturation, hue] = params[4..] else { panic!("{params:?}") };
        JitterParams {
            order,
            brightness,
            contrast,
            saturation,
            hue,
            additive: false,
            tensorflow: false,
        }
        .apply(image);
    });
}

#[test]
fn flip_solarize_and_blur_are_exact() {
    let golden = Golden::read();
    golden.assert_equal("flip", |image, _| flip(image));
    golden.assert_equal("solarize", |image, params| solarize(image, params[0] as u8));
    golden.assert_equal("blur", |image, params| gaussian_blur(image, params[0], &mut Vec::new()));
}

#[test]
fn additive_brightness_is_exact() {
    Golden::read().assert_equal("add", |image, params| add_brightness(image, params[0]));
}

/// Single precision here, double there: a sample near the middle between two levels may round the
/// other way. Its chance is the error of some 1e-5 levels.
#[test]
fn convolution_is_within_one_level() {
    let mut convolver = Convolver::default();
    let (largest, share) = Golden::read().compare("gaussian", |source, params| {
        let mut image = source.clone();
        convolver.blur(&mut image, params[0], params[1] as usize);
        image
    });
    assert!(largest <= 1 && share < 0.001, "{largest} levels, {share} of the samples");
}

/// Pillow computes the places and the cubic in double precision too, and in the same order, so
/// that there is nothing to round differently; its three more digits of sine and cosine do not show.
#[test]
fn distortions_of_randaugment_are_exact() {
    let golden = Golden::read();
    for kind in Distortion::ALL {
        let name = format!("rand.{kind:?}");
        let (largest, _) = golden.compare_on("rand.source", &name, |source, params| {
            let [magnitude, negative, red, green, blue] = params[..] else { panic!("{params:?}") };
            let distortion = DistortionParams { kind, magnitude, negative: negative == 1.0 };
            let mut image = source.clone();
            let fill = [red, green, blue].map(|level| level as u8);
            distortion.apply(&mut image, fill, &mut Image::default());
            image
        });
        assert_eq!(largest, 0, "{kind:?} differs from timm");
    }
}

#[test]
fn translations_and_patches_are_exact() {
    let golden = Golden::read();
    let (largest, _) = golden.compare("translate", |source, params| {
        let mut out = Image::default();
        translate(source, params[0] as isize, params[1] as isize, &mut out);
        out
    });
    assert_eq!(largest, 0);
    let (largest, _) = golden.compare("patches", |source, params| {
        let [height, width, rows, columns] = [0, 1, 2, 3].map(|i| params[i] as usize);
        let patches = Patches { size: [height, width], stride: [rows, columns] };
        let grid = patches.grid([source.height, source.width]);
        let (mut pixels, mut patch) = (Vec::new(), Image::default());
        for window in patches.windows(grid[1]).take(grid[0] * grid[1]) {
            cut(source, window, &mut patch);
            pixels.extend_from_slice(&patch.pixels);
        }
        Image::new(width, pixels.len() / width / 3, pixels)
    });
    assert_eq!(largest, 0);
}

/// scikit-image works in double precision, and its matrix has six digits; the steepest part of the
/// cube root makes 500 * 3 times the single-precision error of 6e-8 of X, Y and Z.
#[test]
fn color_spaces_match_skimage() {
    let golden = Golden::read();
    let colors = golden.image("space.source");
    let key = ViewKey { seed: 0, epoch: 0, image: 0, view: 0 };
    for space in ["lab", "ycbcr"] {
        let tensors = golden.tensors();
        let expected = tensors.tensor(&format!("space.{space}")).unwrap();
        let view: View =
            format!("center({}x{}) {space}", colors.height, colors.width).parse().unwrap();
        let mut out = vec![0.0; colors.pixels.len()];
        view.apply(&colors, key, &mut out);
        let expected = expected.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
        let error = |(a, b): (&f32, f32)| f64::from((a - b).abs());
        let worst = out.iter().zip(expected).map(error).fold(0.0, f64::max);
        println!("{space}: {worst}");
        assert!(worst < 2e-4, "{space} is off by {worst}");
    }
}

#[test]
fn normalization_is_exact() {
    let golden = Golden::read();
    let source = golden.image("source");
    for (i, params) in golden.cases("normalize").iter().enumerate() {
        let tensors = golden.tensors();
        let expected = tensors.tensor(&format!("normalize.{i}.out")).unwrap();
        let &[height, width, 3] = expected.shape() else { panic!("no RGB image") };
        let [mr, mg, mb, sr, sg, sb] = params[..] else { panic!("{params:?}") };
        // The top left corner, without resampling.
        let corner = (0..height).flat_map(|y| &source.pixels[y * 120..][..width * 3]);
        let image = Image::new(width, height, corner.copied().collect());
        let text =
            format!("center({height}x{width}) normalize(mean={mr},{mg},{mb} std={sr},{sg},{sb})");
        let view: View = text.parse().unwrap();
        let mut out = vec![0.0; height * width * 3];
        view.apply(&image, ViewKey { seed: 0, epoch: 0, image: 0, view: 0 }, &mut out);
        let bytes: Vec<u8> = out.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(bytes, expected.data(), "{text}");
    }
}

/// Hue, saturation and grey on all 2^24 colours, compared by a checksum.
#[test]
fn every_color_is_exact() {
    let golden = Golden::read();
    let every = Image::new(
        4096,
        4096,
        (0..1u32 << 24)
            .flat_map(|i| {
                let [r, g, b, _] = i.to_le_bytes();
                [r, g, b]
            })
            .collect(),
    );
    let check = |operation: &str, apply: &dyn Fn(&mut Image, &[f64])| {
        for (i, params) in golden.cases(operation).iter().enumerate() {
            let mut image = every.clone();
            apply(&mut image, params);
            let tensors = golden.tensors();
            let expected = tensors.tensor(&format!("{operation}.{i}.out")).unwrap();
            assert_eq!(expected.data(), checksum(&image).to_le_bytes(), "{operation} {params:?}");
        }
    };
    check("all.hue", &|image, params| adjust_hue(image, params[0]));
    check("all.saturation", &|image, params| adjust_saturation(image, params[0]));
    check("all.gray", &|image, _| grayscale(image));
}

/// Position-dependent sum modulo 2^64 over the pixels as 24-bit numbers.
fn checksum(image: &Image) -> u64 {
    image.pixels.as_chunks::<3>().0.iter().zip(0u64..).fold(0u64, |sum, (&[r, g, b], i)| {
        let word = u64::from(u32::from_le_bytes([r, g, b, 0]));
        sum.wrapping_add(word.wrapping_mul(2 * i + 1))
    })
}

/// Exact but for JPEG, which defines colours only up to the rounding of its transform and of the
/// interpolation of its chroma; Pillow's decoder and zune-jpeg round differently. libjpeg-turbo,
/// which is given CMYK, is Pillow's decoder.
#[test]
fn decoding_matches_pillow() {
    let golden = Golden::read();
    let tensors = golden.tensors();
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for tensor in tensors.names() {
        let Some(name) = tensor.strip_prefix("decode.").and_then(|n| n.strip_suffix(".file"))
        else {
            continue;
        };
        // The extension is wrong for most: the bytes decide.
        let path = folder.path().join(format!("{name}.png"));
        fs::write(path, tensors.tensor(tensor).unwrap().data()).unwrap();
        names.push(name);
    }
    assert_eq!(names.len(), 40);
    let dataset = Dataset::open(folder.path()).unwrap();
    for i in 0..dataset.len() {
        let name = dataset.name(i).strip_suffix(".png").unwrap();
        let expected = golden.image(&format!("decode.{name}.rgb"));
        let (worst, count) = difference(&dataset.load(i).unwrap(), &expected);
        println!("{name}: {worst} levels, {count} samples");
        let allowed = match name {
            "jpeg_cmyk" => 0,
            _ if name.starts_with("jpeg") && !cfg!(feature = "turbojpeg") => 3,
            _ => 0,
        };
        assert!(worst <= allowed, "{name}: {worst} levels");
    }
}

/// Without orientation, a photo that lies on its side stays as it is stored.
#[test]
fn orientation_can_be_left_alone() {
    let golden = Golden::read();
    let file = |name: &str| {
        golden.tensors().tensor(&format!("decode.{name}.file")).unwrap().data().to_vec()
    };
    let stored = DecodeOptions { orient: false, ..DecodeOptions::default() };
    let upright = Image::decode(&file("jpeg444"), &DecodeOptions::default()).unwrap();
    for name in ["png_turned6", "webp_turned6", "tiff_turned6", "jpeg_turned6"] {
        let turned = Image::decode(&file(name), &DecodeOptions::default()).unwrap();
        let flat = Image::decode(&file(name), &stored).unwrap();
        assert_eq!((flat.width, flat.height), (upright.width, upright.height), "{name}");
        assert_eq!((turned.width, turned.height), (upright.height, upright.width), "{name}");
    }
}
