//! What an encoder makes of the images: features, and all that follows from them.

use super::gallery::Images;
use super::opened::Opened;
use super::state::State;
use super::{looks, paint};
use crate::eval::encode;
use crate::session::{Machine, load_encoder};
use moco::config::FeatureKind;
use moco::eval::{Features, quality};
use moco_page::page::{Study, Vitals};
use moco_page::{Rows, cluster, near, spectrum, umap};

/// Rows up to which the map's trustworthiness is measured, which costs their square.
const MEASURED: usize = 2000;
/// Rows and columns up to which all singular values are computed; of more rows an even sample is
/// taken, which keeps the work to a second.
const LARGEST: usize = 1024;
/// Groups of images without classes, at most.
const GROUPS: usize = 12;
/// Groups of images with classes, at most.
const CLASSES: usize = 40;

/// The study of a run's encoder on the images, or why there is none, in a sentence.
pub fn of(
    run: &Opened,
    images: &mut Images,
    state: &mut State,
    machine: &Machine,
) -> Result<Study, String> {
    let why = |error: anyhow::Error| format!("Its encoder is not shown: {error:#}.");
    let (mut frozen, config) = load_encoder(run.dir.path(), &machine.device).map_err(why)?;
    let feature = FeatureKind::Backbone;
    let features =
        encode(&mut frozen, &images.sample, feature, images.threads, "images of the report")
            .map_err(why)?;
    match &images.rows {
        None => images.rows = Some(features.indices.clone()),
        Some(rows) if *rows == features.indices => {}
        Some(_) => {
            return Err("Its encoder is not shown: it can read other images than the first \
                        run's."
                .to_owned());
        }
    }
    state.see(&mut frozen, &config, images);
    let mut study = study(&features, run, state, images.sample.class_names().len());
    study.looks = looks::of(&mut frozen, images);
    study.paintings = paint::of(&config, state, images, machine);
    study.of = format!(
        "Of the {} feature of {} images, {} values each.",
        feature.name(),
        features.len(),
        features.dim
    );
    Ok(study)
}

fn study(features: &Features, run: &Opened, state: &State, classes: usize) -> Study {
    let rows = Rows::new(features.values.clone(), features.dim);
    let values = singular_values(&rows);
    let dead = spectrum::dead_dimensions(&rows);
    let unit = rows.unit();
    let seed = run.config.train.seed;
    let neighbours = near::nearest(&unit, umap::NEIGHBOURS - 1);
    let points = umap::umap(&unit, &neighbours, seed);
    let measured = (umap::NEIGHBOURS * 3..=MEASURED).contains(&unit.len());
    let groups = match classes {
        0 | 1 => ((unit.len() as f64 / 2.0).sqrt() as usize).clamp(1, GROUPS),
        classes => classes.min(CLASSES),
    };
    let vitals = Vitals {
        images: unit.len(),
        dim: features.dim,
        spectrum: values.clone(),
        dead,
        rank_me: run.last("rank_me"),
        lidar: run.last("lidar"),
        alignment: run.last("alignment"),
        uniformity: run.last("uniformity"),
        deviation: run.last("feature_std").zip(run.last("feature_std_healthy")),
        parts: state.parts(run),
    };
    Study {
        trust: measured.then(|| umap::trustworthiness(&unit, &points, umap::NEIGHBOURS)),
        points,
        clusters: cluster::k_means(&unit, groups, seed),
        neighbours,
        spectrum: values,
        checks: vitals.checks(),
        ..Study::default()
    }
}

/// Singular values of rows less their mean, the largest first.
fn singular_values(rows: &Rows) -> Vec<f64> {
    let sample = if rows.dim().min(rows.len()) > LARGEST { &rows.sample(LARGEST) } else { rows };
    let mean = sample.mean();
    let less_mean = |row: &[f32]| -> Vec<f32> {
        row.iter().zip(&mean).map(|(value, mean)| (f64::from(*value) - mean) as f32).collect()
    };
    let centred: Vec<f32> = sample.iter().flat_map(less_mean).collect();
    quality::singular_values(&centred, sample.dim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two directions around a mean that is far away: the mean is none of them.
    #[test]
    fn the_mean_is_no_direction() {
        let rows = [[103.0, 50.0, 9.0], [97.0, 50.0, 9.0], [100.0, 51.0, 9.0], [100.0, 49.0, 9.0]];
        let found = singular_values(&Rows::new(rows.concat(), 3));
        let expected = [18f64.sqrt(), 2f64.sqrt(), 0.0];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
