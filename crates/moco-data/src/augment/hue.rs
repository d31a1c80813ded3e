//! Rotation of the hue through Pillow's 8-bit HSV.

use super::color::change;
use super::lanes::{BLOCK, Block, level_of_share, whole};
use crate::image::Image;

/// Turns the hue by `turns` of the colour circle, in -0.5..=0.5.
///
/// As torchvision on Pillow images: to HSV of 8 bits each, the hue shifted by `255 turns` rounded
/// towards zero and wrapped at 256, and back.
pub fn adjust_hue(image: &mut Image, turns: f64) {
    change(
        image,
        #[inline(always)]
        |block| turn(block, turns),
    );
}

/// [`adjust_hue`] of a block.
#[inline(always)]
pub(super) fn turn(block: &mut Block, turns: f64) {
    let shift = (turns * 255.0) as i32 as u8;
    let [mut hue, saturation, value] = to_hsv(block);
    for hue in &mut hue {
        *hue = hue.wrapping_add(shift);
    }
    *block = to_rgb(&[hue, saturation, value]);
}

/// Pillow's `convert("HSV")`, with its roundings to single precision: where the exact result is a
/// whole level, they decide which level the truncation gives.
///
/// Two things differ from Pillow and show nowhere in RGB: a grey pixel, whose hue has no meaning,
/// gets some hue instead of 0; and Pillow's steps in double precision are taken in single
/// precision, which gives the same levels (`every_hue_and_saturation_is_as_in_double_precision`).
#[inline(always)]
fn to_hsv([r, g, b]: &Block) -> Block {
    let [mut hue, mut saturation, mut value] = [[0; BLOCK]; 3];
    let (mut range, mut edge, mut past) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
    for i in 0..BLOCK {
        let (r, g, b) = (r[i], g[i], b[i]);
        let max = r.max(g).max(b);
        value[i] = max;
        range[i] = max - r.min(g).min(b);
        // The hue is `sector + (max - up)/range - (max - down)/range` sixths of a turn, and one of
        // the two is the smallest channel, whose fraction is 1.
        let (sector, up, down) = if r == max {
            (0, b, g)
        } else if g == max {
            (2, r, b)
        } else {
            (4, g, r)
        };
        let rises = up <= down;
        edge[i] = if rises { sector + 1 } else { sector - 1 };
        let between = i16::from(max - if rises { down } else { up });
        past[i] = if rises { -between } else { between };
    }
    for i in 0..BLOCK {
        hue[i] = hue_level(edge[i], past[i], range[i]);
    }
    for i in 0..BLOCK {
        saturation[i] = saturation_level(range[i], value[i]);
    }
    [hue, saturation, value]
}

/// The level of a hue of `edge + past/range` sixths of a turn.
#[inline(always)]
fn hue_level(edge: i16, past: i16, range: u8) -> u8 {
    let sixths = f32::from(edge) + f32::from(past) / f32::from(range.max(1));
    let turns = sixths / 6.0;
    level_of_share(if sixths < 0.0 { turns + 1.0 } else { turns })
}

#[inline(always)]
fn saturation_level(range: u8, value: u8) -> u8 {
    level_of_share(f32::from(range) / f32::from(value.max(1)))
}

/// What Pillow's `convert("RGB")` makes of HSV, in whole numbers.
///
/// With hue, saturation and value in levels `h`, `s`, `v`, and `f = 6 h mod 255` the place in the
/// sixth of the circle, Pillow rounds `v (1 - s/255)`, `v (1 - s/255 f/255)` and
/// `v (1 - s/255 (1 - f/255))` to levels. These are fractions of odd denominators, so that none is
/// halfway between two levels and every exact way of rounding agrees.
#[inline(always)]
fn to_rgb([hue, saturation, value]: &Block) -> Block {
    let [mut low, mut mid, mut sector] = [[0u8; BLOCK]; 3];
    let mut share = [0u16; BLOCK];
    for i in 0..BLOCK {
        let (s, v) = (u16::from(saturation[i]), u16::from(value[i]));
        low[i] = ((v * (255 - s) + 127) / 255) as u8;
        let sixths = 6 * u16::from(hue[i]);
        let sixth = sixths / 255;
        sector[i] = sixth as u8;
        let place = sixths - 255 * sixth;
        share[i] = 65025 - s * if sixth % 2 == 1 { place } else { 255 - place };
    }
    for i in 0..BLOCK {
        // Below 2^24, so that the quotient in single precision cannot reach the next whole number.
        let scaled = f32::from(value[i]) * f32::from(share[i]) + 32512.0;
        mid[i] = whole(scaled / 65025.0);
    }
    let mut rgb = [[0; BLOCK]; 3];
    for i in 0..BLOCK {
        let (v, p, w) = (value[i], low[i], mid[i]);
        rgb[0][i] = match sector[i] {
            1 | 4 => w,
            2 | 3 => p,
            _ => v,
        };
        rgb[1][i] = match sector[i] {
            1 | 2 => v,
            4 | 5 => p,
            _ => w,
        };
        rgb[2][i] = match sector[i] {
            3 | 4 => v,
            2 | 5 => w,
            _ => p,
        };
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Pillow has it: the sum and the product in double precision, the results in single.
    #[test]
    fn every_hue_and_saturation_is_as_in_double_precision() {
        let level = |share: f32| (f64::from(share) * 255.0) as u8;
        for range in 1..=255u8 {
            for between in 0..=range {
                let share = f32::from(between) / f32::from(range);
                assert_eq!(saturation_level(between, range), level(share), "{between}/{range}");
                for (edge, sign) in [(-1, 1), (1, 1), (3, 1), (1, -1), (3, -1), (5, -1)] {
                    let sixths = (f64::from(edge) + f64::from(sign) * f64::from(share)) as f32;
                    let turns = (f64::from(sixths) / 6.0 + 1.0) % 1.0;
                    let found = hue_level(edge, sign * i16::from(between), range);
                    assert_eq!(found, level(turns as f32), "{edge} {sign} {between}/{range}");
                }
            }
        }
    }
}
