//! The map: what the script draws, and the groups in words for who cannot see it.

use super::data::{Column, Gallery, Page, Study};
use super::text::{count, escape, packed};
use super::{images, pictures};
use serde_json::{Value, json};
use std::fmt::Write;

/// Places along a side of the map.
const GRID: f32 = 65_535.0;
/// Neighbours of each image that the script may show.
const SHOWN: usize = 8;
/// Images of a group that are shown.
const EXAMPLES: usize = 6;
/// A cosine of 1 in the packed similarities.
const ONE: f32 = 30_000.0;

/// What the script draws; nothing without images.
pub(super) fn points(page: &Page) -> Value {
    let Some(gallery) = &page.gallery else { return Value::Null };
    let runs: Vec<Value> = page.studies().map(|(run, study)| study_points(run, study)).collect();
    let columns: Vec<Value> = gallery.class.iter().chain(&gallery.columns).map(column).collect();
    let sprite = &gallery.sprite;
    json!({
        "names": gallery.names,
        "columns": columns,
        "tile": sprite.tile,
        "across": sprite.columns,
        "runs": runs,
    })
}

fn study_points(run: usize, study: &Study) -> Value {
    let places = placed(&study.points);
    let near = study.neighbours.k.min(SHOWN);
    let of_all = || (0..study.neighbours.len()).flat_map(|row| study.neighbours.of(row).take(near));
    json!({
        "run": run,
        "points": packed(places.into_iter().flatten()),
        "clusters": study.clusters,
        "k": near,
        "near": packed(of_all().map(|(row, _)| row as u16)),
        "like": packed(of_all().map(|(_, cosine)| (cosine.clamp(0.0, 1.0) * ONE) as u16)),
    })
}

/// Points turned so that they are widest across: a map has no north, and boards are wide.
fn turned(points: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let count = points.len().max(1) as f32;
    let mean = [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f32>() / count);
    let product = |a: usize, b: usize| {
        points.iter().map(|point| (point[a] - mean[a]) * (point[b] - mean[b])).sum::<f32>()
    };
    let angle = 0.5 * (2.0 * product(0, 1)).atan2(product(0, 0) - product(1, 1));
    let (sine, cosine) = angle.sin_cos();
    let turn = |&[x, y]: &[f32; 2]| [cosine * x + sine * y, cosine * y - sine * x];
    points.iter().map(turn).collect()
}

/// Points on the grid, both axes by one scale, y downwards.
fn placed(points: &[[f32; 2]]) -> Vec<[u16; 2]> {
    let points = turned(points);
    let ends = |axis: usize| {
        let values = points.iter().map(|point| point[axis]);
        values.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)))
    };
    let [(left, right), (bottom, top)] = [ends(0), ends(1)];
    let side = (right - left).max(top - bottom).max(1e-6);
    let at = |value: f32, low: f32, extent: f32| {
        let share = (value - low + (side - extent) / 2.0) / side;
        (share.clamp(0.0, 1.0) * GRID) as u16
    };
    let place = |point: &[f32; 2]| {
        [at(point[0], left, right - left), u16::MAX - at(point[1], bottom, top - bottom)]
    };
    points.iter().map(place).collect()
}

/// Different numbers from which on a column is coloured by a scale.
const MANY: usize = 12;

/// A column of names, or of numbers if all its values are and there are many.
fn column(column: &Column) -> Value {
    let of: Vec<i64> = column.of.iter().map(|value| value.map_or(-1, i64::from)).collect();
    let number = |text: &String| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let numbers: Option<Vec<f64>> = column.values.iter().map(number).collect();
    let numbers = numbers.filter(|numbers| numbers.len() > MANY);
    json!({ "name": column.name, "values": column.values, "of": of, "numbers": numbers })
}

/// The section: where the script draws, and the groups.
pub(super) fn section(out: &mut String, page: &Page) {
    for run in &page.runs {
        if let Err(why) = &run.study {
            let whose = if page.runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
            let _ = write!(out, "<p class=empty>{}{}</p>", escape(&whose), escape(why));
        }
    }
    let (Some(gallery), Some(_)) = (&page.gallery, page.studies().next()) else { return };
    frame(out, page, gallery);
    for (number, study) in page.studies() {
        page.run_title(out, number);
        groups(out, gallery, study);
    }
}

/// Canvas, controls and lists; the script fills them.
fn frame(out: &mut String, page: &Page, gallery: &Gallery) {
    let shown = images(gallery.names.len());
    let sample = match gallery.of > gallery.names.len() {
        true => format!(", an even sample of {}", gallery.of),
        false => String::new(),
    };
    let trust = page.studies().find_map(|(_, study)| study.trust);
    let trust = trust.map_or_else(String::new, |trust| {
        format!(
            " Its trustworthiness is {trust:.3}: of 1 if whoever are neighbours on it are so among \
             the features, about 0.5 if the map were drawn by chance."
        )
    });
    let _ =
        write!(out, "<p class=hint>{shown}{sample} from {}.{trust}</p>", escape(&gallery.source));
    out.push_str(include_str!("map.html"));
}

/// The groups with a few examples: the map in words.
fn groups(out: &mut String, gallery: &Gallery, study: &Study) {
    let groups = study.clusters.iter().max().map_or(0, |last| last + 1);
    let class = gallery.class.as_ref();
    let title = format!("{} by k-means on the features", count(groups, "group"));
    let _ = write!(
        out,
        "<details open><summary>{title}</summary><div class=scroll tabindex=0><table \
         class=groups><caption class=sr>{title}</caption><thead><tr><th>group<th>images"
    );
    if let Some(class) = class {
        let _ = write!(out, "<th>most frequent {}", escape(&class.name));
    }
    out.push_str("<th>examples<tbody>");
    for group in 0..groups {
        let members: Vec<usize> =
            (0..study.clusters.len()).filter(|i| study.clusters[*i] == group).collect();
        let _ = write!(
            out,
            "<tr><th scope=row><span class=\"dot g{group}\"></span>{}<td>{}",
            group + 1,
            members.len()
        );
        if let Some(class) = class {
            let _ = write!(out, "<td>{}", escape(&most_frequent(class, &members)));
        }
        out.push_str("<td class=tiles>");
        for i in 0..members.len().min(EXAMPLES) {
            let member = members[i * members.len() / members.len().min(EXAMPLES)];
            pictures::tile(out, gallery, member, "");
        }
    }
    out.push_str("</table></div></details>");
}

/// `disc (93 %)`.
fn most_frequent(column: &Column, members: &[usize]) -> String {
    let mut counts = vec![0usize; column.values.len()];
    members.iter().filter_map(|i| column.of[*i]).for_each(|value| counts[value as usize] += 1);
    let most = (0..counts.len()).max_by_key(|value| (counts[*value], usize::MAX - value));
    let Some(most) = most.filter(|value| counts[*value] > 0) else { return "none".to_owned() };
    let share = 100.0 * counts[most] as f64 / members.len() as f64;
    format!("{} ({share:.0} %)", column.values[most])
}
