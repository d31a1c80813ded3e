//! Drawn parameters against the closed forms of torchvision's distributions.
//!
//! Each check has a false-alarm rate of 10^-6 over seeds; the seed is fixed, so that a check that
//! passes goes on passing.

use moco_data::augment::{ASPECT, ColorJitter, CropBox, Distortion, RandAugment, RandomErasing};
use moco_data::{Image, Random, View, ViewKey};

const DRAWS: usize = 20_000;

/// Two-sided quantile of the standard normal distribution at 10^-6.
const Z: f64 = 4.892;

fn random(stream: u64) -> Random {
    Random::from_words([7, 0, 0, stream])
}

/// Kolmogorov-Smirnov test of values that should be uniform in 0..1. The limit is the quantile
/// `sqrt(-ln(alpha / 2) / 2)` of the distance times `sqrt(n)`, plus `grain`, the largest step of
/// the distribution function where values are discrete.
fn assert_uniform(name: &str, mut values: Vec<f64>, grain: f64) {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = |(i, &value): (usize, &f64)| {
        (value - i as f64 / n).abs().max(((i + 1) as f64 / n - value).abs())
    };
    let distance = values.iter().enumerate().map(distance).fold(0.0, f64::max);
    let limit = (-(0.5e-6f64).ln() / 2.0).sqrt() / n.sqrt() + grain;
    assert!(distance < limit, "{name}: distance {distance} from uniform, limit {limit}");
}

/// Binomial test in the normal approximation.
fn assert_share(name: &str, hits: usize, n: usize, p: f64) {
    let z = (hits as f64 - n as f64 * p) / (n as f64 * p * (1.0 - p)).sqrt();
    assert!(z.abs() < Z, "{name}: {hits} of {n} at a probability of {p}, z = {z}");
}

/// Areas up to 0.7 fit at every aspect ratio, so that no draw is rejected: the area is uniform,
/// so is the logarithm of the aspect ratio, so are the places, and all are independent.
#[test]
fn crops_that_always_fit_are_uniform() {
    let (side, mut random) = (10_000, random(1));
    let draw = |_| CropBox::draw(&mut random, side, side, [0.2, 0.7], ASPECT);
    let boxes: Vec<CropBox> = (0..DRAWS).map(draw).collect();
    let area = |b: &CropBox| (b.height * b.width) as f64 / (side * side) as f64;
    let aspect = |b: &CropBox| (b.width as f64 / b.height as f64).ln();
    let place = |start: usize, length: usize| start as f64 / (side - length + 1) as f64;
    let columns: [(&str, Vec<f64>); 4] = [
        ("area", boxes.iter().map(|b| (area(b) - 0.2) / 0.5).collect()),
        ("aspect", boxes.iter().map(|b| 0.5 + aspect(b) / (2.0 * (4f64 / 3.0).ln())).collect()),
        ("top", boxes.iter().map(|b| place(b.top, b.height)).collect()),
        ("left", boxes.iter().map(|b| place(b.left, b.width)).collect()),
    ];
    assert_uniform_and_uncorrelated(&columns);
}

/// Of boxes with sides of whole pixels, which shift areas and ratios by up to 1 part in 2,000 of
/// their range.
fn assert_uniform_and_uncorrelated(columns: &[(&str, Vec<f64>)]) {
    for (i, (name, values)) in columns.iter().enumerate() {
        assert_uniform(name, values.clone(), 1e-3);
        for (other, others) in &columns[..i] {
            let z = correlation(values, others) * (values.len() as f64).sqrt();
            assert!(z.abs() < Z, "{name} and {other} are correlated, z = {z}");
        }
    }
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let moment = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>()
    };
    moment(a, mean_a, b, mean_b)
        / (moment(a, mean_a, a, mean_a) * moment(b, mean_b, b, mean_b)).sqrt()
}

/// On a square, a draw of area `a` and log-ratio `r`, uniform in `-L..L` with `L = ln 4/3`, fits
/// if `|r| <= -ln a`: always up to `a = 3/4`, with probability `-ln a / L` above. Redrawing what
/// does not fit leaves areas below 3/4 with the share computed here.
#[test]
fn crops_that_do_not_fit_are_drawn_again() {
    let mut random = random(2);
    let boxes = (0..DRAWS).map(|_| CropBox::draw(&mut random, 4000, 4000, [0.08, 1.0], ASPECT));
    let small = boxes.filter(|b| b.height * b.width <= 12_000_000).count();
    let below = 0.75 - 0.08;
    // The integral of -ln a from 3/4 to 1.
    let above = (0.25 + 0.75 * 0.75f64.ln()) / (4f64 / 3.0).ln();
    assert_share("areas below 3/4", small, DRAWS, below / (below + above));
}

/// The ratio is uniform in its logarithm between any two bounds.
#[test]
fn aspects_are_uniform_between_their_bounds() {
    let mut random = random(9);
    let boxes =
        (0..DRAWS).map(|_| CropBox::draw(&mut random, 20_000, 20_000, [0.1, 0.2], [0.5, 3.0]));
    let ratio = |b: CropBox| (b.width as f64 / b.height as f64 / 0.5).ln() / 6f64.ln();
    assert_uniform("aspect", boxes.map(ratio).collect(), 1e-3);
}

/// No box of 8 % fits into a strip: after ten tries, the central part of the nearest ratio.
#[test]
fn strips_fall_back_to_their_middle() {
    let mut random = random(3);
    let flat = CropBox::draw(&mut random, 30, 3000, [0.08, 1.0], ASPECT);
    assert_eq!(flat, CropBox { top: 0, left: 1480, height: 30, width: 40 });
    let tall = CropBox::draw(&mut random, 3000, 30, [0.08, 1.0], ASPECT);
    assert_eq!(tall, CropBox { top: 1480, left: 0, height: 40, width: 30 });
}

#[test]
fn jitter_is_uniform_in_amounts_and_order() {
    let jitter = ColorJitter {
        brightness: 0.4,
        contrast: 1.5,
        saturation: 0.8,
        hue: 0.1,
        additive: false,
        fixed_order: false,
        tensorflow: false,
    };
    let mut random = random(4);
    let draws: Vec<_> = (0..DRAWS).map(|_| jitter.draw(&mut random)).collect();
    let scaled = |low: f64, high: f64, values: &dyn Fn(usize) -> f64| {
        (0..DRAWS).map(|i| (values(i) - low) / (high - low)).collect::<Vec<_>>()
    };
    assert_uniform("brightness", scaled(0.6, 1.4, &|i| draws[i].brightness), 0.0);
    // A factor is never negative: the range is cut at 0.
    assert_uniform("contrast", scaled(0.0, 2.5, &|i| draws[i].contrast), 0.0);
    assert_uniform("saturation", scaled(0.2, 1.8, &|i| draws[i].saturation), 0.0);
    assert_uniform("hue", scaled(-0.1, 0.1, &|i| draws[i].hue), 0.0);

    let mut counts = std::collections::BTreeMap::new();
    for draw in &draws {
        *counts.entry(draw.order).or_insert(0.0) += 1.0;
    }
    assert_eq!(counts.len(), 24, "orders that occur");
    let expected = DRAWS as f64 / 24.0;
    let chi2: f64 = counts.values().map(|count: &f64| (count - expected).powi(2) / expected).sum();
    // The quantile of chi-squared with 23 degrees of freedom at 10^-6.
    assert!(chi2 < 70.55, "orders are not equally frequent, chi-squared {chi2}");
}

#[test]
fn additive_brightness_is_uniform_and_a_fixed_order_is_fixed() {
    let jitter = ColorJitter {
        brightness: 0.4,
        contrast: 0.0,
        saturation: 0.0,
        hue: 0.0,
        additive: true,
        fixed_order: true,
        tensorflow: false,
    };
    let mut random = random(8);
    let draws: Vec<_> = (0..DRAWS).map(|_| jitter.draw(&mut random)).collect();
    assert!(draws.iter().all(|draw| draw.order == [0, 1, 2, 3] && draw.additive));
    let scaled = draws.iter().map(|draw| (draw.brightness + 0.4) / 0.8).collect();
    assert_uniform("brightness", scaled, 0.0);
}

/// All places of a window, and all moves, are equally frequent.
#[test]
fn windows_and_moves_are_uniform() {
    // Each pixel is its own place.
    let image = Image::new(9, 7, (0..63).flat_map(|i| [i, i, i]).collect());
    let corner = |text: &str| {
        let view: View = text.parse().unwrap();
        let key = |image| ViewKey { seed: 6, epoch: 0, image, view: 0 };
        let mut counts = std::collections::BTreeMap::new();
        for i in 0..DRAWS as u64 {
            *counts.entry(view.apply_image(&image, key(i)).pixels[0]).or_insert(0) += 1;
        }
        counts
    };
    for (text, places) in [("cut(4x5)", 20), ("center(7x9) translate(1)", 4)] {
        let counts = corner(text);
        assert_eq!(counts.len(), places, "{text}");
        let each = 1.0 / places as f64;
        for (place, count) in counts {
            // A move by one pixel either way mirrors at the corner: row 1 or 0 is seen there,
            // row 1 twice as often.
            let weight = match (text, place) {
                ("cut(4x5)", _) => each,
                (_, 0) => 1.0 / 9.0,
                (_, 10) => 4.0 / 9.0,
                _ => 2.0 / 9.0,
            };
            assert_share(&format!("{text} at {place}"), count, DRAWS, weight);
        }
    }
}

/// Each of the two distortions is there half of the time, is of each of the 15 kinds equally often,
/// and has a normal magnitude, of which what exceeds 10 is 10.
#[test]
fn distortions_are_drawn_as_in_timm() {
    let mut random = random(10);
    let augment = RandAugment { magnitude: 9.0, std: 0.5 };
    let draws: Vec<_> = (0..DRAWS).map(|_| augment.draw(&mut random)).collect();
    let share = |name: &str, hit: &dyn Fn(&[bool; 2]) -> bool, p: f64| {
        let there = draws.iter().map(|draw| draw.map(|distortion| distortion.is_some()));
        assert_share(name, there.filter(hit).count(), DRAWS, p);
    };
    share("first", &|there| there[0], 0.5);
    share("second", &|there| there[1], 0.5);
    share("both", &|there| there[0] && there[1], 0.25);

    let drawn: Vec<_> = draws.into_iter().flatten().flatten().collect();
    let count = |hit: &dyn Fn(f64) -> bool| drawn.iter().filter(|d| hit(d.magnitude)).count();
    assert_eq!(count(&|m| !(0.0..=10.0).contains(&m)), 0);
    // The distribution function of the standard normal at -1, 0, 1 and 2.
    for (limit, p) in [(8.5, 0.158_655), (9.0, 0.5), (9.5, 0.841_345), (10.0, 0.977_250)] {
        assert_share(&format!("below {limit}"), count(&|m| m < limit), drawn.len(), p);
    }
    let negative = drawn.iter().filter(|distortion| distortion.negative).count();
    assert_share("negative", negative, drawn.len(), 0.5);

    let expected = drawn.len() as f64 / 15.0;
    let chi2: f64 = Distortion::ALL
        .map(|kind| drawn.iter().filter(|distortion| distortion.kind == kind).count())
        .map(|count| (count as f64 - expected).powi(2) / expected)
        .iter()
        .sum();
    // The quantile of chi-squared with 14 degrees of freedom at 10^-6.
    assert!(chi2 < 54.64, "kinds are not equally frequent, chi-squared {chi2}");
}

/// A magnitude without deviation is what it is, at both ends.
#[test]
fn a_magnitude_can_be_fixed() {
    for magnitude in [0.0, 10.0] {
        let draw = RandAugment { magnitude, std: 0.0 }.draw(&mut random(11));
        assert!(draw.iter().flatten().all(|distortion| distortion.magnitude == magnitude));
    }
}

/// On a square, as above with `L = ln 1/0.3`: every erased rectangle of an area up to 0.3 fits, and
/// so they are uniform.
#[test]
fn erased_rectangles_that_always_fit_are_uniform() {
    let (side, mut random) = (10_000, random(12));
    let erasing = RandomErasing { p: 1.0 };
    let draws = (0..DRAWS).map(|_| erasing.draw(&mut random, [side, side]).unwrap());
    let area = |b: &CropBox| (b.height * b.width) as f64 / (side * side) as f64;
    let small: Vec<CropBox> = draws.filter(|b| area(b) <= 0.3).collect();
    let spread = -0.3f64.ln();
    let antiderivative = |a: f64| a - a * a.ln();
    let above = (antiderivative(1.0 / 3.0) - antiderivative(0.3)) / spread;
    assert_share("areas up to 0.3", small.len(), DRAWS, 0.28 / (0.28 + above));
    let aspect = |b: &CropBox| (b.width as f64 / b.height as f64).ln();
    let place = |start: usize, length: usize| start as f64 / (side - length + 1) as f64;
    assert_uniform_and_uncorrelated(&[
        ("area", small.iter().map(|b| (area(b) - 0.02) / 0.28).collect()),
        ("aspect", small.iter().map(|b| 0.5 + aspect(b) / (2.0 * spread)).collect()),
        ("top", small.iter().map(|b| place(b.top, b.height)).collect()),
        ("left", small.iter().map(|b| place(b.left, b.width)).collect()),
    ]);
}

/// A rectangle is smaller than the image along both sides, or there is none.
#[test]
fn no_whole_side_is_erased() {
    let mut random = random(13);
    let erasing = RandomErasing { p: 1.0 };
    for size in [[1, 1], [1, 40], [3, 3], [3, 9]] {
        for _ in 0..200 {
            let draw = erasing.draw(&mut random, size);
            assert!(draw.is_none_or(|b| b.height < size[0] && b.width < size[1]), "{size:?}");
        }
    }
}

/// Of two independent standard normal numbers, `1 - exp(-(x^2 + y^2) / 2)` and the angle of (x, y)
/// are uniform: taken across the channels of a pixel, and from a pixel to the next.
#[test]
fn what_is_erased_is_standard_normal_noise() {
    let black = Image::filled(60, 50, [0; 3]);
    let view: View = "center(50x60) normalize(imagenet) erase(p=0.25)".parse().unwrap();
    let mut before = vec![0.0; view.value_count()];
    let plain: View = "center(50x60) normalize(imagenet)".parse().unwrap();
    plain.apply(&black, ViewKey { seed: 0, epoch: 0, image: 0, view: 0 }, &mut before);
    let (mut after, mut noise, mut erased) = (before.clone(), Vec::new(), 0);
    for image in 0..400 {
        view.apply(&black, ViewKey { seed: 8, epoch: 0, image, view: 0 }, &mut after);
        let values = after.iter().zip(&before).filter(|(a, b)| a != b);
        let count = noise.len();
        noise.extend(values.map(|(&value, _)| f64::from(value)));
        erased += usize::from(noise.len() > count);
    }
    assert_share("erased", erased, 400, 0.25);
    for shift in 0..2 {
        let pairs = noise[shift..].as_chunks::<2>().0;
        let radius = |[x, y]: &[f64; 2]| 1.0 - (-(x * x + y * y) / 2.0).exp();
        let angle = |[x, y]: &[f64; 2]| 0.5 + y.atan2(*x) / std::f64::consts::TAU;
        assert_uniform("radius", pairs.iter().map(radius).collect(), 0.0);
        assert_uniform("angle", pairs.iter().map(angle).collect(), 0.0);
    }
}

#[test]
fn operations_happen_with_their_probability() {
    // Left red, right blue: the first pixel tells what happened.
    let image = Image::new(2, 1, vec![200, 0, 0, 0, 0, 200]);
    let share = |text: &str, happened: &dyn Fn(&[u8]) -> bool| {
        let view: View = text.parse().unwrap();
        let key = |image| ViewKey { seed: 5, epoch: 0, image, view: 0 };
        let hit = |&i: &u64| happened(&view.apply_image(&image, key(i)).pixels[..3]);
        (0..DRAWS as u64).filter(hit).count()
    };
    let flipped = |pixel: &[u8]| pixel == [0, 0, 200];
    assert_share("flip", share("center(1x2) flip", &flipped), DRAWS, 0.5);
    assert_share("flip p=0.1", share("center(1x2) flip(p=0.1)", &flipped), DRAWS, 0.1);
    let gray = |pixel: &[u8]| pixel == [60, 60, 60];
    assert_share("gray p=0.2", share("center(1x2) gray(p=0.2)", &gray), DRAWS, 0.2);
    assert_eq!(share("center(1x2) gray(p=0)", &gray), 0);
    assert_eq!(share("center(1x2) gray", &gray), DRAWS);
    // Each channel is kept a third of the time, and the others are grey without a mean.
    for (kept, pixel) in [[200, 128, 128], [128, 0, 128], [128, 128, 0]].into_iter().enumerate() {
        let found = share("center(1x2) drop", &|first| first == pixel);
        assert_share(&format!("drop but channel {kept}"), found, DRAWS, 1.0 / 3.0);
    }
    let untouched = |pixel: &[u8]| pixel == [200, 0, 0];
    assert_share("drop p=0.4", share("center(1x2) drop(p=0.4)", &untouched), DRAWS, 0.6);
    let inverted = |pixel: &[u8]| pixel == [55, 0, 0];
    assert_share("solarize", share("center(1x2) solarize(128; p=0.7)", &inverted), DRAWS, 0.7);
}

#[test]
fn integers_and_permutations_are_uniform() {
    let mut random = random(6);
    let mut counts = [0usize; 7];
    for _ in 0..DRAWS {
        counts[random.below(7)] += 1;
    }
    for (i, &count) in counts.iter().enumerate() {
        assert_share(&format!("integer {i}"), count, DRAWS, 1.0 / 7.0);
    }
    let place_of_first = |epoch: u64| {
        let order = moco_data::epoch_order(1, epoch, 64);
        order.iter().position(|&image| image == 0).unwrap() as f64 / 64.0
    };
    assert_uniform("place", (0..4000).map(place_of_first).collect(), 1.0 / 64.0);
}
