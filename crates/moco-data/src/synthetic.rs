//! The data set of the demo: drawn shapes whose class is their form alone.
//!
//! An image is a pattern of one shape, each copy with a size, a rotation and a brightness of its
//! own. Nothing but the form tells the class, so raw pixels say little about it. Nor does anything
//! else tell one image from another in every crop: all images have all hues. What the views of an
//! image share is what a class shares, and an encoder trained on views learns it in minutes.

use crate::image::Image;
use crate::random::Random;
use crate::sheet::save_png;
use std::f64::consts::{PI, TAU};
use std::fs;
use std::io;
use std::path::Path;

/// Names of the classes, sorted, so that labels stay the same when a written folder is opened.
pub const SHAPE_CLASSES: [&str; 8] =
    ["checker", "crescent", "cross", "disc", "ring", "star", "stripes", "triangle"];

/// Whether a point of the unit disc belongs to the upright shape, in the order of the classes.
const SHAPES: [fn(f64, f64) -> bool; 8] =
    [checker, crescent, cross, disc, ring, star, stripes, triangle];

/// Keeps these streams apart from those of the views of the same seed.
const STREAM: u64 = u64::from_le_bytes(*b"shapes\0\0");

/// Draws `count` images of `size` x `size` pixels, as (name, label, image). They come class after
/// class, as many of each, up to one, and in the order of [`Dataset::open`] on the written folder.
/// The outcome is a function of the arguments alone.
///
/// [`Dataset::open`]: crate::Dataset::open
pub fn shapes(count: usize, size: usize, seed: u64) -> Vec<(String, Option<u32>, Image)> {
    let draw = |i: usize| {
        let class = i * SHAPE_CLASSES.len() / count;
        let mut random = Random::from_words([seed, i as u64, 0, STREAM]);
        let image = Scene::draw(&mut random, class).render(&mut random, size);
        (format!("{}/{i:05}.png", SHAPE_CLASSES[class]), Some(class as u32), image)
    };
    (0..count).map(draw).collect()
}

/// Writes images as PNG files below a folder, under their names.
///
/// # Errors
/// If a folder or file cannot be written.
pub fn write_folder(images: &[(String, Option<u32>, Image)], dir: &Path) -> io::Result<()> {
    for (name, _, image) in images {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        save_png(image, &path)?;
    }
    Ok(())
}

/// R, G, B in 0..=1.
type Color = [f64; 3];

/// What an image shows; coordinates run from 0 to 1 across it, x to the right and y down.
struct Scene {
    ground: Paint,
    scratch: Scratch,
    figures: Vec<Figure>,
}

/// A colour that runs once or twice through all hues across the image, so that no image has a
/// colour of its own.
struct Paint {
    /// Turns of the colour circle per unit of length, along x and y.
    slope: [f64; 2],
    phase: f64,
    brightness: f64,
    saturation: f64,
}

/// A dark straight line across the ground.
struct Scratch {
    normal: [f64; 2],
    /// Distance of the line from the image's middle.
    offset: f64,
    half_width: f64,
}

/// One copy of the shape.
struct Figure {
    contains: fn(f64, f64) -> bool,
    center: [f64; 2],
    radius: f64,
    /// Cosine and sine of the rotation.
    turn: [f64; 2],
    paint: Paint,
}

impl Scene {
    fn draw(random: &mut Random, class: usize) -> Scene {
        let ground = Paint::draw(random, 0.5, 0.25);
        let scratch = Scratch {
            normal: unit_vector(random),
            offset: random.uniform(-0.5, 0.5),
            half_width: random.uniform(0.01, 0.03),
        };
        let figures = lattice(random)
            .into_iter()
            .map(|center| Figure {
                contains: SHAPES[class],
                center,
                radius: random.uniform(0.18, 0.24),
                turn: unit_vector(random),
                paint: {
                    let brightness = if random.chance(0.5) { 0.95 } else { 0.2 };
                    Paint::draw(random, brightness, 0.5)
                },
            })
            .collect();
        Scene { ground, scratch, figures }
    }

    fn render(&self, random: &mut Random, size: usize) -> Image {
        let mut pixels = Vec::with_capacity(size * size * 3);
        for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
            for channel in self.pixel(x, y, size) {
                // Near Gaussian, of a standard deviation of 6 levels.
                let noise: f64 = (0..4).map(|_| random.unit() - 0.5).sum::<f64>() * 0.04;
                pixels.push(((channel + noise) * 255.0).round() as u8);
            }
        }
        Image::new(size, size, pixels)
    }

    /// Mean colour over a grid of 3 x 3 points within the pixel, which smooths the edges.
    fn pixel(&self, x: usize, y: usize, size: usize) -> Color {
        let mut sum = [0.0; 3];
        for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
            let at = |pixel: usize, third: usize| (pixel * 3 + third) as f64 + 0.5;
            let color = self.color([at(x, j), at(y, i)].map(|c| c / (3 * size) as f64));
            sum = std::array::from_fn(|c| sum[c] + color[c] / 9.0);
        }
        sum
    }

    fn color(&self, point: [f64; 2]) -> Color {
        if let Some(figure) = self.figures.iter().find(|figure| figure.covers(point)) {
            return figure.paint.color(point);
        }
        let shade = if self.scratch.covers(point) { 0.8 } else { 1.0 };
        self.ground.color(point).map(|channel| channel * shade)
    }
}

impl Paint {
    fn draw(random: &mut Random, brightness: f64, saturation: f64) -> Paint {
        let turns = random.uniform(1.0, 2.0);
        let slope = unit_vector(random).map(|direction| direction * turns);
        Paint { slope, phase: random.unit(), brightness, saturation }
    }

    fn color(&self, point: [f64; 2]) -> Color {
        let hue = dot(self.slope, point) + self.phase;
        [0.0, 1.0, 2.0].map(|third| {
            // Falls and rises once per turn, the channels a third of a turn apart.
            let wave = (2.0 * (hue - third / 3.0).rem_euclid(1.0) - 1.0).abs();
            self.brightness * (1.0 - self.saturation * wave)
        })
    }
}

impl Scratch {
    fn covers(&self, [x, y]: [f64; 2]) -> bool {
        (dot([x - 0.5, y - 0.5], self.normal) - self.offset).abs() < self.half_width
    }
}

impl Figure {
    fn covers(&self, point: [f64; 2]) -> bool {
        let [x, y] = [0, 1].map(|axis| (point[axis] - self.center[axis]) / self.radius);
        let [cos, sin] = self.turn;
        x * x + y * y < 1.0 && (self.contains)(cos * x + sin * y, cos * y - sin * x)
    }
}

/// The points in and near the image of a square lattice of random place and rotation, each moved
/// a little.
fn lattice(random: &mut Random) -> Vec<[f64; 2]> {
    const SPACING: f64 = 0.46;
    let origin = [random.unit(), random.unit()];
    let [cos, sin] = unit_vector(random);
    let mut points = Vec::new();
    for (i, j) in (-4..=4).flat_map(|i| (-4..=4).map(move |j| (i, j))) {
        let [u, v] = [i, j].map(|step| f64::from(step) * SPACING);
        let point = [origin[0] + cos * u - sin * v, origin[1] + sin * u + cos * v];
        let point = point.map(|c| c + random.uniform(-0.04, 0.04));
        if point.iter().all(|c| (-0.2..1.2).contains(c)) {
            points.push(point);
        }
    }
    points
}

fn checker(x: f64, y: f64) -> bool {
    let cell = |coordinate: f64| ((coordinate + 0.7) / 0.467) as usize;
    square_radius(x, y) < 0.7 && cell(x) % 2 == cell(y) % 2
}

fn crescent(x: f64, y: f64) -> bool {
    x.hypot(y) < 0.9 && (x - 0.45).hypot(y) > 0.7
}

fn cross(x: f64, y: f64) -> bool {
    x.abs().min(y.abs()) < 0.26 && square_radius(x, y) < 0.92
}

fn disc(x: f64, y: f64) -> bool {
    x.hypot(y) < 0.8
}

fn ring(x: f64, y: f64) -> bool {
    (0.55..0.9).contains(&x.hypot(y))
}

fn star(x: f64, y: f64) -> bool {
    const NOTCH: f64 = 0.35;
    // Half a point of the star spans a tenth of the circle; its edge is straight from the tip, at
    // radius 1, to the notch.
    let half = PI / 5.0;
    let from_tip = half - (y.atan2(x).rem_euclid(TAU / 5.0) - half).abs();
    let edge = NOTCH * half.sin() / (from_tip.sin() + NOTCH * (half - from_tip).sin());
    x.hypot(y) < edge
}

fn stripes(x: f64, y: f64) -> bool {
    square_radius(x, y) < 0.7 && (((x + 0.7) / 0.28) as usize).is_multiple_of(2)
}

fn triangle(x: f64, y: f64) -> bool {
    y > -0.45 && y + 3f64.sqrt() * x.abs() < 0.95
}

fn square_radius(x: f64, y: f64) -> f64 {
    x.abs().max(y.abs())
}

fn unit_vector(random: &mut Random) -> [f64; 2] {
    let angle = random.uniform(0.0, TAU);
    [angle.cos(), angle.sin()]
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}
