//! Rotation of the hue through Pillow's 8-bit HSV.

use super::color::change;
use super::lanes::{BLOCK, Block, level, level_of_f64};
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
#[inline(always)]
fn to_hsv([r, g, b]: &Block) -> Block {
    let [mut hue, mut saturation, mut value] = [[0; BLOCK]; 3];
    let [mut sector, mut up, mut down, mut range] = [[0u8; BLOCK]; 4];
    for i in 0..BLOCK {
        let (r, g, b) = (r[i], g[i], b[i]);
        let max = r.max(g).max(b);
        range[i] = max - r.min(g).min(b);
        value[i] = max;
        // The hue is `sector + up/range - down/range` sixths of a turn.
        let (red, green) = (r == max, g == max);
        sector[i] = if red {
            0
        } else if green {
            2
        } else {
            4
        };
        up[i] = max
            - if red {
                b
            } else if green {
                r
            } else {
                g
            };
        down[i] = max
            - if red {
                g
            } else if green {
                b
            } else {
                r
            };
    }
    for i in 0..BLOCK {
        // Grey has a range of 0, and hue and saturation 0: both differences are 0, whatever they
        // are divided by.
        let length = f32::from(range[i].max(1));
        let (up, down) = (f32::from(up[i]) / length, f32::from(down[i]) / length);
        let sixths = (f64::from(sector[i]) + f64::from(up) - f64::from(down)) as f32;
        let turns = f64::from(sixths) / 6.0 + 1.0;
        let fraction = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
        hue[i] = level_of_f64(f64::from(fraction) * 255.0);
    }
    for i in 0..BLOCK {
        let share = f32::from(range[i]) / f32::from(value[i].max(1));
        saturation[i] = level_of_f64(f64::from(share) * 255.0);
    }
    [hue, saturation, value]
}

/// What Pillow's `convert("RGB")` makes of HSV, in integers.
///
/// With hue, saturation and value in levels `h`, `s`, `v`, and `f = 6 h mod 255` the place in the
/// sixth of the circle, Pillow rounds `v (1 - s/255)`, `v (1 - s/255 f/255)` and
/// `v (1 - s/255 (1 - f/255))` to levels. These are fractions of odd denominators, so that none is
/// halfway between two levels and every exact way of rounding agrees.
#[inline(always)]
fn to_rgb([hue, saturation, value]: &Block) -> Block {
    let [mut low, mut mid, mut sector] = [[0u8; BLOCK]; 3];
    for i in 0..BLOCK {
        let (s, v) = (u32::from(saturation[i]), u32::from(value[i]));
        // Exact division of 16 bits by 255.
        low[i] = (((v * (255 - s) + 127) * 0x8081) >> 23) as u8;
        let sixths = 6 * u32::from(hue[i]);
        let sixth = (sixths * 0x8081) >> 23;
        sector[i] = sixth as u8;
        let place = sixths - 255 * sixth;
        let fall = if sixth % 2 == 1 { place } else { 255 - place };
        // Below 2^24, so that the quotient in single precision cannot reach the next whole number.
        let scaled = (v * (65025 - s * fall) + 32512) as i32;
        mid[i] = level(scaled as f32 / 65025.0);
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
