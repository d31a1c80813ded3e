//! Views: their text, and how the operations are put together.

use crate::support::image;
use moco_data::augment::{
    CropBox, Filter, Normalize, Resampler, Resize, adjust_brightness, flip, grayscale,
};
use moco_data::{Image, View, ViewKey};

const KEY: ViewKey = ViewKey { seed: 3, epoch: 1, image: 4, view: 0 };

fn view(text: &str) -> View {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn canonical_text_comes_back() {
    for text in [
        "crop(32, 0.08..1) flip jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) normalize(cifar10)",
        "crop(224x192, 0.2..1, bicubic) gray flip(p=0.3) normalize(imagenet)",
        "crop(224, 0.2..1) blur(0.1..2; p=0.5) solarize(128; p=0.2) normalize(none)",
        "resize(256) center(224) normalize(mean=0.5,0.25,0.125 std=0.2,0.3,0.4)",
        "resize(256, bicubic) center(224x200) jitter(0.8,0.8,0.8,0.2) normalize(imagenet)",
        "resize(40x50) solarize(0) blur(0..0.1) normalize(none)",
        "crop(32, 0.08..1, bicubic, aspect=0.5..2) blur(0.1..2; taps=23; p=0.1) normalize(none)",
        "cut(32) translate(4; p=0.8) blur(0.1..2; taps=height/10) normalize(cifar10-pixels)",
        "crop(8, 0.1..1) jitter(0.4,0.4,0.2,0.1; brightness=add; p=0.8) normalize(half)",
        "crop(8, 0.1..1) jitter(0.4,0.4,0.2,0.1; brightness=add; order=fixed) normalize(mnist)",
        "crop(8, 0.1..1) jitter(0.4,0.4,0.2,0.1; brightness=add; colors=tensorflow; p=0.8) normalize(half)",
        "resize(300x300) cut(256) flip gray patches(64, stride=32) cut(60) center(64) flip \
         normalize(none)",
        "center(20x30) patches(8x9, stride=4x5) normalize(cifar100)",
        "crop(8, 0.2..1) flip lab normalize(lab)",
        "crop(8, 0.2..1) flip ycbcr normalize(ycbcr)",
        "crop(8, 0.2..1) lab normalize(mean=50,0,0 std=25,30,30)",
        "crop(224, 0.08..1, bicubic) flip randaugment(9, 0.5) normalize(imagenet) erase(p=0.25)",
        "crop(8, 0.2..1) randaugment(0, 10; p=0.5) normalize(none) erase",
    ] {
        assert_eq!(view(text).to_string(), text);
        assert_eq!(view(&view(text).to_string()), view(text));
    }
}

#[test]
fn short_and_loose_forms_mean_the_canonical_one() {
    for (loose, canonical) in [
        ("crop(32)", "crop(32, 0.08..1) normalize(none)"),
        ("crop(64x64,0.50..1.0)\n  flip(p=0.5)", "crop(64, 0.5..1) flip normalize(none)"),
        ("center( 8 ) gray()", "center(8) gray normalize(none)"),
        ("center(8) jitter(1 1 1 0.5 p=1)", "center(8) jitter(1,1,1,0.5) normalize(none)"),
        ("crop(8, aspect=3/4..4/3)", "crop(8, 0.08..1) normalize(none)"),
        ("crop(8, aspect=1/2..2)", "crop(8, 0.08..1, aspect=0.5..2) normalize(none)"),
        ("center(8) lab", "center(8) lab normalize(none)"),
        ("center(8) lab erase(p=1)", "center(8) lab normalize(none) erase"),
        ("center(8)normalize(mean=0,0,0;std=1,1,2)", "center(8) normalize(mean=0,0,0 std=1,1,2)"),
    ] {
        assert_eq!(view(loose).to_string(), canonical);
    }
}

#[test]
fn size_is_that_of_the_last_operation_that_sets_it() {
    assert_eq!(view("crop(32x48)").size(), [32, 48]);
    assert_eq!(view("resize(256) center(224) flip").size(), [224, 224]);
    assert_eq!(view("crop(32) resize(12x10)").size(), [12, 10]);
}

#[test]
fn errors_name_the_place_and_the_mend() {
    for (text, message) in [
        ("", "the view leaves the size of its output open; add `crop(S)` or `center(S)`"),
        (
            "crop(32) resize(64)",
            "the view leaves the size of its output open; add `crop(S)` or `center(S)`",
        ),
        ("crop(32) flop", "`flop` at column 10 is no operation; did you mean `flip`?"),
        ("Crop(32)", "`Crop` at column 1 is no operation; did you mean `crop`?"),
        (
            "grayscale",
            "`grayscale` at column 1 is no operation; there are range, crop, cut, flip, jitter, gray, drop, blur, solarize, translate, randaugment, resize, center, patches, lab, ycbcr, normalize, erase",
        ),
        (
            "crop",
            "`crop` at column 1 lacks a size such as 224 or 224x192, of 1 to 4096 pixels a side; the form is `crop(S or HxW, [a..b], [bicubic], [aspect=3/4..4/3])`",
        ),
        (
            "crop(0)",
            "`0` at column 6 is not a size such as 224 or 224x192, of 1 to 4096 pixels a side; the form is `crop(S or HxW, [a..b], [bicubic], [aspect=3/4..4/3])`",
        ),
        (
            "crop(32, 1..0.1)",
            "`1..0.1` at column 10 is not a range of areas such as 0.08..1; the form is `crop(S or HxW, [a..b], [bicubic], [aspect=3/4..4/3])`",
        ),
        (
            "crop(32, 0.1..1, cubic)",
            "`cubic` at column 18 is not the word bicubic; the form is `crop(S or HxW, [a..b], [bicubic], [aspect=3/4..4/3])`",
        ),
        (
            "crop(32, p=1)",
            "`p` at column 10 has no meaning there; the form is `crop(S or HxW, [a..b], [bicubic], [aspect=3/4..4/3])`",
        ),
        (
            "crop(32) flip(0.5)",
            "`0.5` at column 15 has no meaning there; the form is `flip([p=0.5])`",
        ),
        (
            "crop(32) gray(p=2)",
            "`2` at column 17 is not a probability in 0..1; the form is `gray([p=1])`",
        ),
        (
            "crop(32) gray(p=)",
            "`gray` at column 10 lacks a probability in 0..1; the form is `gray([p=1])`",
        ),
        (
            "crop(32) jitter(1,1,1)",
            "`jitter` at column 10 lacks a hue shift in 0..0.5; the form is `jitter(brightness, contrast, saturation, hue, [brightness=add], [order=fixed], [colors=tensorflow], [p=1])`",
        ),
        (
            "crop(32) jitter(1,1,1,NaN)",
            "`NaN` at column 23 is not a hue shift in 0..0.5; the form is `jitter(brightness, contrast, saturation, hue, [brightness=add], [order=fixed], [colors=tensorflow], [p=1])`",
        ),
        (
            "crop(32) solarize(256)",
            "`256` at column 19 is not a level in 0..255; the form is `solarize(threshold, [p=1])`",
        ),
        ("crop(32", "column 8 needs an argument or a closing parenthesis"),
        ("crop(32))", "column 9 needs an operation"),
        (
            "crop(32) normalize(none) flip",
            "`normalize` at column 10 must be the last operation, but for one `erase` behind it; move it to the end",
        ),
        (
            "crop(32) normalize(none) erase erase",
            "`normalize` at column 10 must be the last operation, but for one `erase` behind it; move it to the end",
        ),
        (
            "crop(32) erase normalize(none)",
            "`erase` at column 10 must be the last operation; move it to the end",
        ),
        (
            "crop(32) normalize(none) erase(0.25)",
            "`0.25` at column 32 has no meaning there; the form is `erase([p=1])`",
        ),
        (
            "crop(32) randaugment(9)",
            "`randaugment` at column 10 lacks a standard deviation in 0..10; the form is `randaugment(magnitude, deviation, [p=1])`",
        ),
        (
            "crop(32) randaugment(11, 0.5)",
            "`11` at column 22 is not a magnitude in 0..10; the form is `randaugment(magnitude, deviation, [p=1])`",
        ),
        (
            "crop(32) normalize(mean=1,1,1 std=1,1,0)",
            "`0` at column 39 is not three standard deviations above 0, as in std=0.2,0.2,0.2; the form is `normalize(imagenet, cifar10, cifar10-pixels, cifar100, mnist, fashion-mnist, half, lab, ycbcr or none, or mean=r,g,b std=r,g,b)`",
        ),
        (
            "crop(32) normalize",
            "`normalize` at column 10 lacks three means, as in mean=0.5,0.5,0.5; the form is `normalize(imagenet, cifar10, cifar10-pixels, cifar100, mnist, fashion-mnist, half, lab, ycbcr or none, or mean=r,g,b std=r,g,b)`",
        ),
        (
            "crop(32) lab flip",
            "`lab` at column 10 must be the last operation but `normalize` and `erase`; the others work on RGB",
        ),
        (
            "crop(32) ycbcr normalize(lab)",
            "`normalize` at column 16 has statistics of lab, but the pixels are ycbcr; use `normalize(ycbcr)`, or `mean=` and `std=` of your own",
        ),
        (
            "crop(32) lab normalize(imagenet)",
            "`normalize` at column 14 has statistics of rgb, but the pixels are lab; use `normalize(lab)`, or `mean=` and `std=` of your own",
        ),
        (
            "crop(32) normalize(lab)",
            "`normalize` at column 10 has statistics of lab, but the pixels are rgb; use another name, or `mean=` and `std=` of your own",
        ),
        (
            "crop(32) patches(33, stride=1)",
            "`patches` at column 10 are larger than the image of 32x32 pixels that they are cut from; make them smaller, or the image larger",
        ),
        (
            "resize(32) patches(8, stride=4)",
            "the view leaves the size of its output open; add `crop(S)` or `center(S)`",
        ),
        (
            "crop(32) patches(8)",
            "`patches` at column 10 lacks a stride; the form is `patches(S or HxW, stride=S or HxW)`",
        ),
        (
            "crop(32) patches(8, stride=4) patches(2, stride=1)",
            "`patches` at column 31 is the second one; a view is cut into patches once",
        ),
        (
            "crop(32) blur(0..1; taps=4)",
            "`4` at column 26 is not an odd number up to 999, or height/10; the form is `blur(a..b, [taps=N or height/10], [p=1])`",
        ),
        (
            "crop(32) größe",
            "`größe` at column 10 is no operation; there are range, crop, cut, flip, jitter, gray, drop, blur, solarize, translate, randaugment, resize, center, patches, lab, ycbcr, normalize, erase",
        ),
    ] {
        assert_eq!(text.parse::<View>().unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn a_number_repeats_a_view() {
    let both = View::repeated("crop(224, 0.14..1) flip").unwrap();
    assert_eq!(both, [view("crop(224, 0.14..1) flip")]);
    let six = View::repeated(" 6x crop(96, 0.05..0.14) flip").unwrap();
    assert_eq!(six, vec![view("crop(96, 0.05..0.14) flip"); 6]);
    for (text, message) in [
        ("0x crop(8)", "column 1 needs a number of repetitions in 1..64, as in `6x crop(96)`"),
        (" 65x crop(8)", "column 2 needs a number of repetitions in 1..64, as in `6x crop(96)`"),
        ("6x crop(8) flop", "`flop` at column 12 is no operation; did you mean `flip`?"),
        ("6 crop(8)", "`6` at column 1 is no operation; there are NAMES"),
    ] {
        let message = message.replace("NAMES", "range, crop, cut, flip, jitter, gray, drop, blur, solarize, translate, randaugment, resize, center, patches, lab, ycbcr, normalize, erase");
        assert_eq!(View::repeated(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn no_text_panics() {
    let mut random = KEY.random();
    let pieces = [
        "crop",
        "normalize",
        "patches",
        "lab",
        "randaugment",
        "erase",
        "2x",
        "(",
        ")",
        "=",
        ",",
        ";",
        " ",
        "..",
        "32",
        "0.5",
        "p",
        "x",
        "é",
    ];
    for _ in 0..20_000 {
        let text: String =
            (0..1 + random.below(12)).map(|_| pieces[random.below(pieces.len())]).collect();
        let _ = View::repeated(&text);
        if let Ok(parsed) = text.parse::<View>() {
            assert_eq!(view(&parsed.to_string()), parsed, "{text}");
        }
    }
}

#[test]
fn operations_apply_in_the_order_written() {
    let source = image(20, 16, 1);
    let mut expected = source.clone();
    flip(&mut expected);
    grayscale(&mut expected);
    assert_eq!(view("center(16x20) flip(p=1) gray").apply_image(&source, KEY), expected);

    let dark = view("center(16x20) solarize(200) gray").apply_image(&source, KEY);
    assert_ne!(view("center(16x20) gray solarize(200)").apply_image(&source, KEY), dark);
}

#[test]
fn a_resize_and_a_center_crop_make_the_evaluation_view() {
    let source = image(50, 40, 2);
    let mut resized = Image::default();
    let size = Resize::ShortSide(32).size_of([source.height, source.width]);
    assert_eq!(size, [32, 40]);
    let whole = CropBox::whole(&source);
    Resampler::default().resample(&source, whole, size, Filter::Bilinear, &mut resized);
    let expected = view("center(28)").apply_image(&resized, KEY);
    assert_eq!(view("resize(32) center(28)").apply_image(&source, KEY), expected);
}

#[test]
fn patches_overlap_and_draw_their_own_random_numbers() {
    let source = image(24, 20, 4);
    let plain = view("center(20x24) patches(8, stride=4)");
    assert_eq!(
        (plain.count(), plain.size(), plain.value_count()),
        (4 * 5, [8, 8], 4 * 5 * 8 * 8 * 3)
    );
    let mut values = vec![0.0; plain.value_count()];
    plain.apply(&source, KEY, &mut values);
    for (i, patch) in values.chunks_exact(8 * 8 * 3).enumerate() {
        for (j, &value) in patch.iter().enumerate() {
            let (y, x, c) = (i / 5 * 4 + j / 24, i % 5 * 4 + j / 3 % 8, j % 3);
            assert_eq!(value, f32::from(source.pixels[(y * 24 + x) * 3 + c]) / 255.0);
        }
    }
    // The patches of a row of 5 do not all flip alike, and neither are all of them grey.
    let sheet = view("center(20x24) patches(8, stride=4) flip").apply_image(&source, KEY);
    let unflipped = plain.apply_image(&source, KEY);
    assert_eq!((sheet.width, sheet.height), (5 * 8, 4 * 8));
    let same = |i: usize| {
        let at = i / 5 * 8 * 40 * 3 + i % 5 * 8 * 3;
        sheet.pixels[at..at + 24] == unflipped.pixels[at..at + 24]
    };
    let kept = (0..20).filter(|&i| same(i)).count();
    assert!((2..=18).contains(&kept), "{kept} of 20 patches are not flipped");
}

/// CPC's first version: a random 60x60 part of each 64x64 patch, with black around it.
#[test]
fn a_cut_of_a_patch_can_be_padded_back() {
    let white = Image::filled(300, 300, [255; 3]);
    let cpc = view("cut(256) patches(64, stride=32) cut(60) center(64)");
    assert_eq!(cpc.count(), 49);
    let mut values = vec![0.0; cpc.value_count()];
    cpc.apply(&white, KEY, &mut values);
    let patch = &values[48 * 64 * 64 * 3..];
    assert_eq!(patch.iter().sum::<f32>(), 60.0 * 60.0 * 3.0);
    assert_eq!(patch[..2 * 64 * 3], [0.0; 2 * 64 * 3]);
}

/// A cut of an image that is too small is black where there are no pixels.
#[test]
fn a_cut_always_has_its_size() {
    let small = Image::filled(4, 20, [9; 3]);
    let out = view("cut(8)").apply_image(&small, KEY);
    assert_eq!(out.pixels.iter().filter(|&&sample| sample == 9).count(), 8 * 4 * 3);
    assert_eq!((out.width, out.height), (8, 8));
}

#[test]
fn a_strip_does_not_take_gigabytes() {
    let strip = Image::filled(65_535, 1, [1, 2, 3]);
    assert_eq!(Resize::ShortSide(256).size_of([strip.height, strip.width]), [256, 64 * 256]);
    let out = view("resize(256) center(224)").apply_image(&strip, KEY);
    assert_eq!(out, Image::filled(224, 224, [1, 2, 3]));
}

#[test]
fn views_are_functions_of_their_key() {
    let text = "crop(24, 0.2..1) jitter(0.4,0.4,0.4,0.1; p=0.8) gray(p=0.2) blur(0.1..2; p=0.5) \
         randaugment(9, 0.5) flip erase";
    let (view, source) = (view(text), image(60, 45, 3));
    let first = view.apply_image(&source, KEY);
    assert_eq!(view.apply_image(&source, KEY), first);
    for other in [
        ViewKey { seed: 9, ..KEY },
        ViewKey { epoch: 9, ..KEY },
        ViewKey { image: 9, ..KEY },
        ViewKey { view: 9, ..KEY },
    ] {
        assert_ne!(view.apply_image(&source, other), first, "{other:?}");
    }
}

/// The stream behind a key is part of what a seed means: a change would change every run.
#[test]
fn the_stream_of_a_key_is_fixed() {
    let mut random = ViewKey { seed: 1, epoch: 2, image: 3, view: 4 }.random();
    let draws = [(); 4].map(|()| random.below(1_000_000));
    assert_eq!(draws, [303_164, 460_494, 783_437, 384_814]);
    assert_eq!(moco_data::epoch_order(1, 2, 10), [0, 2, 3, 8, 9, 5, 4, 1, 7, 6]);
}

#[test]
fn pixels_are_normalised_channel_by_channel() {
    let source = Image::filled(2, 2, [255, 0, 51]);
    let mut out = [0.0; 12];
    view("center(2) normalize(mean=0.5,0.25,0.1 std=0.25,0.5,0.1)").apply(&source, KEY, &mut out);
    assert_eq!(out, [2.0, -0.5, 1.0].repeat(4)[..]);
    view("center(2)").apply(&source, KEY, &mut out);
    assert_eq!(out, [1.0, 0.0, 0.2].repeat(4)[..]);
    assert_eq!(
        view("center(2) normalize(cifar10)").normalize().statistics(),
        ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
    );
    assert_eq!(Normalize::ImageNet.statistics(), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]));
}

#[test]
fn a_factor_beyond_one_saturates() {
    let mut bright = Image::filled(1, 1, [200, 100, 0]);
    adjust_brightness(&mut bright, 2.0);
    assert_eq!(bright.pixels, [255, 200, 0]);
}

/// On a grey image, the only colour comes in from outside.
#[test]
fn distortions_fill_in_the_mean_of_the_data() {
    let source = Image::filled(12, 10, [77; 3]);
    for (end, fill) in [
        ("normalize(imagenet)", [124, 116, 104]),
        ("normalize(mean=0.2,0.4,2 std=1,1,1)", [51, 102, 255]),
        ("normalize(none)", [128; 3]),
        ("lab normalize(lab)", [128; 3]),
    ] {
        let view = view(&format!("center(10x12) randaugment(9, 0.5) {end}"));
        let images = (0..100).map(|epoch| view.apply_image(&source, ViewKey { epoch, ..KEY }));
        let colors: Vec<[u8; 3]> =
            images.flat_map(|image| image.pixels.as_chunks().0.to_vec()).collect();
        assert!(colors.contains(&fill), "{end}: no pixel is {fill:?}");
        let is_grey = |[r, g, b]: &[u8; 3]| r == g && g == b;
        assert_eq!(colors.iter().all(is_grey), is_grey(&fill), "{end}");
    }
}

/// What is looked at is erased where the numbers are, in each patch on its own.
#[test]
fn a_rectangle_of_each_patch_is_erased() {
    let source = Image::filled(40, 20, [255, 0, 255]);
    let text = "center(20x40) patches(20, stride=20) flip normalize(half)";
    let (plain, erased) = (view(text), view(&format!("{text} erase")));
    let values = |view: &View| {
        let mut out = vec![0.0; view.value_count()];
        view.apply(&source, KEY, &mut out);
        out
    };
    let (before, after) = (values(&plain), values(&erased));
    let sheet = erased.apply_image(&source, KEY);
    let mut counts = [0, 0];
    for (i, (a, b)) in before.as_chunks::<3>().0.iter().zip(after.as_chunks::<3>().0).enumerate() {
        let (patch, y, x) = (i / 400, i / 20 % 20, i % 20);
        let shown = &sheet.pixels[3 * (y * 40 + patch * 20 + x)..][..3];
        assert_eq!(shown, if a == b { [255, 0, 255] } else { [128; 3] }, "patch {patch}, {y}, {x}");
        counts[patch] += usize::from(a != b);
    }
    assert!(counts.iter().all(|count| (8..=140).contains(count)), "{counts:?} of 400 pixels");
    assert_ne!(counts[0], counts[1]);
}
