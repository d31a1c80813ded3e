//! How good features are, told without labels: RankMe, LiDAR, alignment and uniformity.
//!
//! | measure | asks | good |
//! |---|---|---|
//! | [`rank_me`] | over how many dimensions the features spread | high, of the feature's width |
//! | [`lidar`] | how many dimensions tell one image from another rather than view from view | high |
//! | [`alignment`] | how far apart two views of an image lie | low, together with uniformity |
//! | [`uniformity`] | how evenly images spread over the sphere | low |
//!
//! None of them is an accuracy: they compare epochs of one run, or runs of one method with other
//! settings. A rank that falls for epochs on end is a collapse of dimensions. LiDAR is a ratio: of
//! features that are alike to rounding it counts the rounding, so read it beside RankMe.

mod spectrum;

pub use spectrum::singular_values;

use super::encode::{Encoded, Seen, encode};
use super::{EvalError, FrozenEncoder, check_finite};
use crate::batch::{pixels_to_tensor, to_host};
use crate::config::FeatureKind;
use crate::nn::{Mode, freeze, thaw};
use moco_data::{Dataset, View};
use rayon::prelude::*;
use spectrum::Cholesky;

/// Added to each share of a spectrum, as in RankMe's Eq. 2, so that a share of 0 has a logarithm.
const EPSILON: f64 = 1e-7;
/// What is added to the diagonal of LiDAR's scatter within images.
const DELTA: f64 = 1e-4;
/// Scale of uniformity's Gaussian, t.
const SHARPNESS: f64 = 2.0;
/// Views of each image.
const VIEWS: usize = 2;
/// Images per forward pass.
const BATCH: usize = 64;

/// All four measures of one sample of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// [`rank_me`], between 1 and `dim`.
    pub rank_me: f64,
    /// [`lidar`], between 1 and `dim`.
    pub lidar: f64,
    /// [`alignment`], from 0 (all views of an image alike) to 4.
    pub alignment: f64,
    /// [`uniformity`], from about -4 (even over a sphere of many dimensions) to 0 (all alike).
    pub uniformity: f64,
    /// Images that were measured.
    pub images: usize,
    /// Width of a feature.
    pub dim: usize,
}

impl Quality {
    /// Measures features of [`two_views`]: RankMe and uniformity of the first views.
    pub fn of(views: &[Vec<f32>; VIEWS], dim: usize) -> Quality {
        let [first, second] = views;
        Quality {
            rank_me: rank_me(first, dim),
            lidar: lidar(views, dim),
            alignment: alignment(first, second, dim),
            uniformity: uniformity(first, dim),
            images: first.len() / dim.max(1),
            dim,
        }
    }
}

/// Features of two draws of `view` from each of the images `indices`, as `[images, dim]` each and
/// not normalised, and their width. Images that cannot be read are left out. `progress` hears
/// (done, total). A collective call where several ranks share the work.
///
/// # Errors
/// [`EvalError`] when a server does not give the images, or a feature is infinite or no number.
pub fn two_views(
    frozen: &mut FrozenEncoder,
    (dataset, indices): (&Dataset, &[usize]),
    view: &View,
    kind: FeatureKind,
    threads: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<([Vec<f32>; VIEWS], usize), EvalError> {
    let dim = frozen.encoder.width(kind);
    let ([height, width], patches) = (view.size(), view.count());
    let FrozenEncoder { encoder, device, peers, .. } = frozen;
    freeze(encoder.as_mut());
    let seen = Seen { dataset, indices, view, draws: VIEWS, at_once: BATCH, threads };
    let encoded = encode(seen, *peers, progress, &mut |n, pixels| {
        let images = pixels_to_tensor(pixels, [n * VIEWS * patches, height, width], device);
        to_host(encoder.embed(images, kind, Mode::Eval))
    });
    thaw(encoder.as_mut());
    let Encoded { indices, values, .. } = encoded?;
    check_finite(dataset, &values, VIEWS * dim, &indices)?;
    let of = |view| {
        let rows = values.chunks_exact(dim).skip(view).step_by(VIEWS);
        rows.flatten().copied().collect::<Vec<f32>>()
    };
    Ok(([of(0), of(1)], dim))
}

/// RankMe: `exp(-Σ p_k log p_k)` with `p_k = σ_k / Σ σ + 1e-7` of the singular values σ of the
/// features, which are taken as they are, neither centred nor normalised (Garrido et al. 2023, arXiv
/// 2210.02885, Eq. 1 and 2). Between 1 and the smaller of rows and `dim`; 0 for features that are
/// all 0.
///
/// # Shapes
/// `[rows, dim]`, row-major.
pub fn rank_me(features: &[f32], dim: usize) -> f64 {
    effective_rank(&singular_values(features, dim))
}

/// LiDAR: the effective rank, as RankMe's but of eigenvalues, of `Σ_w^-1/2 Σ_b Σ_w^-1/2` (Thilak et
/// al. 2024, arXiv 2312.04000, Sec. 4). `Σ_b` is the scatter of the images' mean features, `Σ_w` that
/// of views around the mean of their image, both over `1 / count`, with 1e-4 added to the diagonal
/// of `Σ_w`.
///
/// The paper takes 1000 images and 50 views of each; with fewer views `Σ_w` is noisier and the
/// number lower, so compare only numbers of as many.
///
/// # Shapes
/// For each view `[images, dim]`, row-major.
pub fn lidar(views: &[impl AsRef<[f32]>], dim: usize) -> f64 {
    let images = views.first().map_or(0, |view| view.as_ref().len() / dim.max(1));
    if images == 0 {
        return 0.0;
    }
    let mut means = vec![0.0; images * dim];
    for view in views {
        for (mean, value) in means.iter_mut().zip(view.as_ref()) {
            *mean += f64::from(*value) / views.len() as f64;
        }
    }
    let deviations = views.iter().flat_map(|view| {
        view.as_ref().iter().zip(&means).map(|(value, mean)| f64::from(*value) - mean)
    });
    let within = spectrum::gram(&deviations.collect::<Vec<f64>>(), dim);
    let within = Cholesky::of(within, dim, (images * views.len()) as f64, DELTA);
    centre(&mut means, dim);
    // L^-1 M Mᵀ L^-T has the eigenvalues of Σ_w^-1/2 Σ_b Σ_w^-1/2 where L Lᵀ is Σ_w.
    within.solve_rows(&mut means);
    let singular = spectrum::of_rows(&means, dim);
    effective_rank(&singular.iter().map(|value| value * value).collect::<Vec<f64>>())
}

/// Mean squared distance of two views of an image on the unit sphere, `E ‖f(x) - f(y)‖²` (Wang &
/// Isola 2020, arXiv 2005.10242, Eq. 1 with α = 2).
///
/// # Shapes
/// `[images, dim]` each, row-major, not normalised.
pub fn alignment(one: &[f32], other: &[f32], dim: usize) -> f64 {
    let (one, other) = (on_sphere(one, dim), on_sphere(other, dim));
    let squares = one.iter().zip(&other).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f64>() / (one.len() / dim.max(1)).max(1) as f64
}

/// Logarithm of the mean Gaussian potential of all pairs of different images on the unit sphere,
/// `log E exp(-2 ‖f(x) - f(y)‖²)` (Wang & Isola 2020, Eq. 2 with t = 2). 0 for fewer than two.
///
/// # Shapes
/// `[images, dim]`, row-major, not normalised.
pub fn uniformity(features: &[f32], dim: usize) -> f64 {
    let rows = on_sphere(features, dim);
    let rows: Vec<&[f64]> = rows.chunks_exact(dim.max(1)).collect();
    let with_later = |i: usize| {
        let potential = |other: &&[f64]| {
            let squares = rows[i].iter().zip(*other).map(|(a, b)| (a - b).powi(2));
            (-SHARPNESS * squares.sum::<f64>()).exp()
        };
        rows[i + 1..].iter().map(potential).sum::<f64>()
    };
    // Collected in order, so that the sum does not depend on threads.
    let sums: Vec<f64> = (0..rows.len()).into_par_iter().map(with_later).collect();
    match rows.len() {
        0 | 1 => 0.0,
        count => (sums.iter().sum::<f64>() / (count * (count - 1) / 2) as f64).ln(),
    }
}

/// `exp` of the entropy of a spectrum's shares; 0 if there is nothing.
fn effective_rank(spectrum: &[f64]) -> f64 {
    let sum: f64 = spectrum.iter().sum();
    if sum <= 0.0 {
        return 0.0;
    }
    let terms = spectrum.iter().map(|value| {
        let share = value / sum + EPSILON;
        share * share.ln()
    });
    (-terms.sum::<f64>()).exp()
}

fn on_sphere(features: &[f32], dim: usize) -> Vec<f64> {
    let mut rows: Vec<f64> = features.iter().copied().map(f64::from).collect();
    for row in rows.chunks_exact_mut(dim.max(1)) {
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
        row.iter_mut().for_each(|value| *value /= length);
    }
    rows
}

/// Takes the mean row off every row.
fn centre(rows: &mut [f64], dim: usize) {
    let count = (rows.len() / dim) as f64;
    let mut mean = vec![0.0; dim];
    for row in rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count);
    }
    for row in rows.chunks_exact_mut(dim) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
    }
}
