//! Who is like whom: queries with their neighbours, pairs that are nearly one, images that are alone.

use super::data::{Gallery, Page, Study};
use super::pictures::tile;
use super::text::{count, escape};
use crate::near::{alike, loneliest};
use std::cmp::Reverse;
use std::fmt::Write;

/// Queries of each kind.
const QUERIES: usize = 8;
/// Neighbours of a query.
const NEIGHBOURS: usize = 8;
/// Pairs, and lonely images.
const EXTREMES: usize = 24;
/// From this similarity on two images may be one.
const ALIKE: f32 = 0.98;
/// From this similarity of an average pair of neighbours on, features tell little apart.
const ALL_ALIKE: f32 = 0.995;
/// From so many alike pairs for each image on, most are no duplicates.
const MANY: f64 = 0.5;

/// Random and worst queries with their neighbours.
pub(super) fn queries(out: &mut String, page: &Page) {
    let Some(gallery) = &page.gallery else { return };
    for (number, study) in page.studies() {
        page.run_title(out, number);
        if study.neighbours.is_empty() {
            out.push_str("<p class=empty>There are too few images to compare.</p>");
            continue;
        }
        let all = study.neighbours.len();
        let shown = QUERIES.min(all);
        // The middle of each stretch, so that no class folder's first image stands for it.
        let even: Vec<usize> = (0..shown).map(|i| (2 * i + 1) * all / (2 * shown)).collect();
        block(out, gallery, study, "A sample of queries", &even);
        let (title, worst) = worst(gallery, study);
        block(out, gallery, study, title, &worst);
        agreement(out, gallery, study);
    }
}

/// The queries whose neighbours fit them least.
fn worst(gallery: &Gallery, study: &Study) -> (&'static str, Vec<usize>) {
    let near = &study.neighbours;
    let mut rows: Vec<usize> = (0..near.len()).collect();
    let title = match gallery.class.as_ref() {
        Some(class) => {
            let foreign = |row: &usize| {
                let own = class.of[*row];
                let others = near.of(*row).take(NEIGHBOURS);
                others.filter(|(other, _)| class.of[*other] != own).count()
            };
            rows.retain(|row| class.of[*row].is_some());
            // Of equally wrong ones those that are surest.
            rows.sort_by(|a, b| {
                let sure = |row: &usize| near.of(*row).next().map_or(0.0, |(_, cosine)| cosine);
                let wrong = Reverse(foreign(a)).cmp(&Reverse(foreign(b)));
                wrong.then(sure(b).total_cmp(&sure(a))).then(a.cmp(b))
            });
            "The worst queries: most neighbours of other classes"
        }
        None => {
            let first = |row: &usize| near.of(*row).next().map_or(0.0, |(_, cosine)| cosine);
            rows.sort_by(|a, b| first(a).total_cmp(&first(b)).then(a.cmp(b)));
            "The worst queries: the nearest image is furthest away"
        }
    };
    rows.truncate(QUERIES);
    (title, rows)
}

fn block(out: &mut String, gallery: &Gallery, study: &Study, title: &str, rows: &[usize]) {
    let _ = write!(out, "<h4>{title}</h4><div class=queries>");
    for &row in rows {
        out.push_str("<div class=query><div class=asked>");
        tile(out, gallery, row, "");
        let _ = write!(out, "<span class=name>{}</span></div><ol>", short(&gallery.names[row]));
        for (other, cosine) in study.neighbours.of(row).take(NEIGHBOURS) {
            let (class, mark) = agrees(gallery, row, other);
            let _ = write!(out, "<li class={class}>");
            tile(out, gallery, other, "");
            let _ = write!(out, "<span>{cosine:.2}{mark}</span>");
        }
        out.push_str("</ol></div>");
    }
    out.push_str("</div>");
}

/// Whether two images have one class: a style, and a mark in words for who sees no colours.
fn agrees(gallery: &Gallery, row: usize, other: usize) -> (&'static str, &'static str) {
    let classes = gallery.class.as_ref().map(|class| [class.of[row], class.of[other]]);
    match classes {
        Some([Some(one), Some(other)]) if one == other => {
            ("same", " <span aria-label=\"same class\">✓</span>")
        }
        Some([Some(_), Some(_)]) => ("other", " <span aria-label=\"other class\">✗</span>"),
        _ => ("plain", ""),
    }
}

/// The last part of a name, which tells most.
fn short(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let text: String = match last.chars().count() {
        0..=22 => last.to_owned(),
        _ => last.chars().take(20).chain(['…']).collect(),
    };
    format!("<span title=\"{}\">{}</span>", escape(name), escape(&text))
}

/// How often neighbours have one class, class by class.
fn agreement(out: &mut String, gallery: &Gallery, study: &Study) {
    let Some(class) = gallery.class.as_ref() else { return };
    let mut counts = vec![[0usize; 2]; class.values.len()];
    for row in 0..study.neighbours.len() {
        let Some(own) = class.of[row] else { continue };
        for (other, _) in study.neighbours.of(row).take(NEIGHBOURS) {
            counts[own as usize][1] += 1;
            counts[own as usize][0] += usize::from(class.of[other] == Some(own));
        }
    }
    let mut shares: Vec<(f64, &str)> = counts
        .iter()
        .zip(&class.values)
        .filter(|(count, _)| count[1] > 0)
        .map(|(count, name)| (count[0] as f64 / count[1] as f64, name.as_str()))
        .collect();
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    let title = format!("Neighbours of the same {}, worst first", escape(&class.name));
    let _ = write!(
        out,
        "<details><summary>{title}</summary><table><caption class=sr>{title}</caption><thead><tr>\
         <th>{}<th>share<th><tbody>",
        escape(&class.name)
    );
    for (share, name) in shares {
        let percent = 100.0 * share;
        let _ = write!(
            out,
            "<tr><th scope=row>{}<td>{percent:.0} %<td><meter value={share:.3} \
             aria-hidden=true></meter>",
            escape(name)
        );
    }
    out.push_str("</table></details>");
}

/// Pairs and lonely images.
pub(super) fn extremes(out: &mut String, page: &Page) {
    let Some(gallery) = &page.gallery else { return };
    for (number, study) in page.studies() {
        page.run_title(out, number);
        if study.neighbours.is_empty() {
            out.push_str("<p class=empty>There are too few images to compare.</p>");
            continue;
        }
        pairs(out, gallery, study);
        lonely(out, gallery, study);
    }
}

fn pairs(out: &mut String, gallery: &Gallery, study: &Study) {
    let near = &study.neighbours;
    let mut found = alike(near, ALIKE);
    let alike_ones = found.len();
    let mut title = format!("{} with a cosine of {ALIKE} or more", count(alike_ones, "pair"));
    if alike_ones == 0 {
        found = alike(near, f32::NEG_INFINITY);
        title = format!("No pair has a cosine of {ALIKE}; the nearest are");
    }
    let _ = write!(out, "<h4>{title}</h4>");
    let firsts = (0..near.len()).filter_map(|row| near.of(row).next());
    let mean = firsts.map(|(_, cosine)| cosine).sum::<f32>() / near.len() as f32;
    if mean > ALL_ALIKE {
        let _ = write!(
            out,
            "<p class=hint>The nearest image of an average image has a cosine of {mean:.4}, so this \
             encoder finds all images alike, and pairs say little.</p>"
        );
    } else if alike_ones as f64 >= MANY * near.len() as f64 {
        out.push_str(
            "<p class=hint>There are so many that most will be images of one kind rather than one \
             image twice: this encoder tells such images little apart.</p>",
        );
    }
    out.push_str("<ul class=pairs>");
    for pair in found.iter().take(EXTREMES) {
        out.push_str("<li>");
        tile(out, gallery, pair.first, "");
        tile(out, gallery, pair.second, "");
        let across = agrees(gallery, pair.first, pair.second).0 == "other";
        let across = if across { "<br><b>two classes</b>" } else { "" };
        let (one, other) = (short(&gallery.names[pair.first]), short(&gallery.names[pair.second]));
        let _ = write!(
            out,
            "<span class=name>{:.3}{across}<br>{one}<br>{other}</span>",
            pair.similarity
        );
    }
    out.push_str("</ul>");
    if alike_ones > EXTREMES {
        let _ = write!(
            out,
            "<p class=hint>And {} more, down to {ALIKE}.</p>",
            count(alike_ones - EXTREMES, "pair")
        );
    }
}

fn lonely(out: &mut String, gallery: &Gallery, study: &Study) {
    out.push_str(
        "<h4>Least like any other</h4><p class=hint>Below each, the mean cosine of its nearest \
         neighbours.</p><ul class=pairs>",
    );
    for (row, mean) in loneliest(&study.neighbours).into_iter().take(EXTREMES / 2) {
        out.push_str("<li>");
        tile(out, gallery, row, "");
        let _ = write!(out, "<span class=name>{mean:.3}<br>{}</span>", short(&gallery.names[row]));
    }
    out.push_str("</ul>");
}
