//! The colour jitter of SimCLR and BYOL, whose arithmetic is TensorFlow's: in single precision, and
//! rounded to levels once, behind the last change.
//!
//! It differs from Pillow's in more than rounding: contrast is about the mean of each channel
//! instead of the mean grey, and saturation scales that of HSV instead of the distance from the
//! pixel's grey. Sources: google-research/simclr `data_util.py` and deepmind-research
//! `byol/utils/augmentations.py`, which clip to 0..=1 after each change.

use super::jitter::JitterParams;
use super::lanes::vectorized;
use crate::image::Image;

/// Applies the four changes of a jitter in their order.
pub(super) fn jitter(params: &JitterParams, image: &mut Image) {
    vectorized(
        #[inline(always)]
        || {
            let mut planes = split(&image.pixels);
            apply(params, &mut planes);
            join(&planes, &mut image.pixels);
        },
    );
}

/// Red, green and blue of all pixels, in 0..=1.
type Planes = [Vec<f32>; 3];

#[inline(always)]
fn split(pixels: &[u8]) -> Planes {
    let plane = |c: usize| pixels.iter().skip(c).step_by(3).map(|&p| f32::from(p) / 255.0);
    [0, 1, 2].map(|c| plane(c).collect())
}

#[inline(always)]
fn join(planes: &Planes, pixels: &mut [u8]) {
    for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        for c in 0..3 {
            pixel[c] = (planes[c][i] * 255.0 + 0.5) as u8;
        }
    }
}

#[inline(always)]
fn apply(params: &JitterParams, planes: &mut Planes) {
    for change in params.order {
        match change {
            0 if params.additive => each(planes, |sample| sample + params.brightness as f32),
            0 => each(planes, |sample| sample * params.brightness as f32),
            1 => stretch(planes, params.contrast as f32),
            2 => through_hsv(planes, 0.0, params.saturation as f32),
            _ => through_hsv(planes, params.hue as f32, 1.0),
        }
        each(planes, |sample| sample.clamp(0.0, 1.0));
    }
}

#[inline(always)]
fn each(planes: &mut Planes, change: impl Fn(f32) -> f32) {
    for plane in planes {
        for sample in plane {
            *sample = change(*sample);
        }
    }
}

/// Moves the samples away from the mean of their channel by `factor`.
#[inline(always)]
fn stretch(planes: &mut Planes, factor: f32) {
    for plane in planes {
        let sum: f64 = plane.iter().map(|&sample| f64::from(sample)).sum();
        let mean = (sum / plane.len().max(1) as f64) as f32;
        for sample in plane {
            *sample = factor * (*sample - mean) + mean;
        }
    }
}

/// Turns the hue by `turns` of the colour circle and scales the saturation by `factor`, up to 1.
#[inline(always)]
fn through_hsv([red, green, blue]: &mut Planes, turns: f32, factor: f32) {
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let [hue, saturation, value] = to_hsv([*r, *g, *b]);
        let saturation = (saturation * factor).clamp(0.0, 1.0);
        [*r, *g, *b] = to_rgb([hue + turns, saturation, value]);
    }
}

/// Hue in turns, saturation and value, in 0..=1.
#[inline(always)]
fn to_hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let value = r.max(g).max(b);
    let range = value - r.min(g).min(b);
    let per_sixth = if range > 0.0 { 1.0 / (6.0 * range) } else { 0.0 };
    let hue = if r == value {
        per_sixth * (g - b)
    } else if g == value {
        per_sixth * (b - r) + 2.0 / 6.0
    } else {
        per_sixth * (r - g) + 4.0 / 6.0
    };
    let saturation = if value > 0.0 { range / value } else { 0.0 };
    [if hue < 0.0 { hue + 1.0 } else { hue }, saturation, value]
}

/// The hue may be any number of turns.
#[inline(always)]
fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sixths = (hue - hue.floor()) * 6.0;
    let chroma = saturation * value;
    // Red, green and blue rise and fall along trapezoids that are a third of a turn apart.
    let channel = |distance: f32| (distance.abs() - 1.0).clamp(0.0, 1.0);
    let shares = [channel(sixths - 3.0), 1.0 - channel(sixths - 2.0), 1.0 - channel(sixths - 4.0)];
    shares.map(|share| value - chroma + chroma * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, SafeTensors};

    struct Golden(Vec<u8>);

    impl Golden {
        fn open(name: &str) -> Golden {
            let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/official/");
            Golden(std::fs::read(format!("{root}{name}.safetensors")).unwrap())
        }

        fn values(&self, name: &str) -> Vec<f64> {
            let file = SafeTensors::deserialize(&self.0).unwrap();
            let view = file.tensor(name).unwrap_or_else(|_| panic!("no tensor {name}"));
            let data = view.data();
            match view.dtype() {
                Dtype::F32 => {
                    data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
                }
                Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                Dtype::I64 => {
                    data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
                }
                other => panic!("{name} has type {other:?}"),
            }
        }

        fn planes(&self, name: &str) -> Planes {
            let values = self.values(name);
            let plane = |c: usize| values.iter().skip(c).step_by(3).map(|&v| v as f32).collect();
            [0, 1, 2].map(plane)
        }
    }

    /// Both sides compute in single precision, and a hue near grey is a quotient of small numbers.
    fn assert_close(found: &Planes, expected: &Planes, name: &str) {
        let pairs = found.iter().flatten().zip(expected.iter().flatten());
        let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-5, "{name}: off by {off:.1e}");
    }

    /// SimCLR v2 scales the brightness, v1 adds its factor less 1, each in random and in fixed order.
    #[test]
    fn simclr_jitter_is_the_published_one() {
        let golden = Golden::open("simclr_augment");
        for image in 0..3 {
            for draw in 0..3 {
                let name = |rest: &str| format!("{image}.jitter{draw}.{rest}");
                let factors = golden.values(&name("factors"));
                let order: Vec<usize> =
                    golden.values(&name("order")).into_iter().map(|v| v as usize).collect();
                for (version, additive) in [("simclrv2", false), ("simclrv1", true)] {
                    for (suffix, order) in [("", &order[..]), (".fixed_order", &[0, 1, 2, 3])] {
                        let brightness = factors[0] - if additive { 1.0 } else { 0.0 };
                        let params = JitterParams {
                            order: order.try_into().unwrap(),
                            brightness,
                            contrast: factors[1],
                            saturation: factors[2],
                            hue: factors[3],
                            additive,
                            tensorflow: true,
                        };
                        let mut planes = golden.planes(&format!("{image}.image"));
                        apply(&params, &mut planes);
                        let name = name(&format!("{version}{suffix}"));
                        assert_close(&planes, &golden.planes(&name), &name);
                    }
                }
            }
        }
    }

    /// BYOL's four changes, each of the image itself and not clipped.
    #[test]
    fn byol_changes_are_the_published_ones() {
        let golden = Golden::open("byol_augment");
        for image in 0..3 {
            let parameters = golden.values(&format!("{image}.parameters"));
            let [brightness, contrast, saturation, hue] = parameters[..] else { panic!() };
            let check = |name: &str, change: &dyn Fn(&mut Planes)| {
                let mut planes = golden.planes(&format!("{image}.image"));
                change(&mut planes);
                let name = format!("{image}.{name}");
                assert_close(&planes, &golden.planes(&name), &name);
            };
            check("brightness", &|planes| each(planes, |sample| sample + brightness as f32));
            check("contrast", &|planes| stretch(planes, contrast as f32));
            check("saturation", &|planes| through_hsv(planes, 0.0, saturation as f32));
            check("hue", &|planes| through_hsv(planes, hue as f32, 1.0));
        }
    }

    /// From levels to levels: the identity, and one rounding for all four changes.
    #[test]
    fn levels_are_rounded_once() {
        let pixels: Vec<u8> = (0..768u32).map(|i| (i * 89 % 256) as u8).collect();
        let image = Image::new(16, 16, pixels);
        let params = JitterParams {
            order: [3, 1, 0, 2],
            brightness: 1.0,
            contrast: 1.0,
            saturation: 1.0,
            hue: 0.0,
            additive: false,
            tensorflow: true,
        };
        let mut same = image.clone();
        params.apply(&mut same);
        assert_eq!(same, image);
        let mut turned = image.clone();
        for _ in 0..2 {
            JitterParams { hue: 0.5, ..params }.apply(&mut turned);
        }
        let off = turned.pixels.iter().zip(&image.pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(1), "half a turn twice is a whole one: {off:?}");
    }
}
