//! Pictures: tiles of the sprite, strips of what the network looks at, triplets, sheets of views.

use super::data::{Gallery, Page, Picture, Sprite};
use super::text::{data_uri, escape};
use std::fmt::Write;

/// The picture of all tiles, once for the whole page.
pub(super) fn sprite_style(out: &mut String, sprite: &Sprite) {
    if sprite.picture.bytes.is_empty() {
        return;
    }
    let (columns, picture) = (sprite.columns, &sprite.picture);
    let rows = picture.height / sprite.tile.max(1);
    let _ = writeln!(
        out,
        "<style>.t{{background-image:url({});background-size:{}% {}%}}</style>",
        data_uri(picture),
        columns * 100,
        rows * 100
    );
}

/// The small picture of an image.
pub(super) fn tile(out: &mut String, gallery: &Gallery, image: usize, class: &str) {
    let sprite = &gallery.sprite;
    let columns = sprite.columns.max(1);
    let rows = sprite.picture.height / sprite.tile.max(1);
    // A background that is k times as large stands at i of k with a position of i / (k - 1).
    let place = |at: usize, of: usize| 100.0 * at as f64 / (of.max(2) - 1) as f64;
    let _ = write!(
        out,
        "<span class=\"t {class}\" role=img aria-label=\"{}\" \
         style=\"background-position:{:.3}% {:.3}%\"></span>",
        escape(&spoken(gallery, image)),
        place(image % columns, columns),
        place(image / columns, rows)
    );
}

/// The name of an image, with its class.
fn spoken(gallery: &Gallery, image: usize) -> String {
    let class = gallery.class.as_ref().and_then(|class| {
        let value = class.of.get(image).copied().flatten()?;
        Some(format!(", {} {}", class.name, class.values[value as usize]))
    });
    gallery.names[image].clone() + &class.unwrap_or_default()
}

/// A picture of its own.
fn figure(out: &mut String, picture: &Picture, alt: &str, caption: &str) {
    let Picture { width, height, .. } = picture;
    let _ = write!(
        out,
        "<figure><div class=scroll tabindex=0><img width={width} height={height} \
         alt=\"{}\" src=\"{}\"></div><figcaption>{}</figcaption></figure>",
        escape(alt),
        data_uri(picture),
        escape(caption)
    );
}

/// Where the networks look.
pub(super) fn looks(out: &mut String, page: &Page) {
    let Some(gallery) = &page.gallery else { return };
    for (number, study) in page.studies() {
        page.run_title(out, number);
        let looks = &study.looks;
        let _ = write!(out, "<p class=lead>{}</p><div class=strips>", escape(&looks.meaning));
        for strip in &looks.strips {
            let name = &gallery.names[strip.image];
            let alt =
                format!("{}; panels: {}", spoken(gallery, strip.image), strip.panels.join(", "));
            figure(out, &strip.picture, &alt, &format!("{name} — {}", strip.panels.join(", ")));
        }
        out.push_str("</div>");
    }
}

/// What masked autoencoders paint.
pub(super) fn paintings(out: &mut String, page: &Page) {
    let Some(gallery) = &page.gallery else { return };
    for (number, study) in page.studies().filter(|(_, study)| !study.paintings.is_empty()) {
        page.run_title(out, number);
        out.push_str("<div class=strips>");
        for painting in &study.paintings {
            let alt = format!("{}: masked, painted, as it is", spoken(gallery, painting.image));
            figure(out, &painting.picture, &alt, &gallery.names[painting.image]);
        }
        out.push_str("</div>");
    }
}

/// Sheets of views.
pub(super) fn views(out: &mut String, page: &Page) {
    for (number, run) in page.runs.iter().enumerate().filter(|(_, run)| !run.views.is_empty()) {
        page.run_title(out, number);
        for views in &run.views {
            let _ = write!(out, "<h4>{}</h4>", escape(&views.caption));
            if !views.recipe.is_empty() {
                let _ = write!(out, "<p><code>{}</code></p>", escape(&views.recipe));
            }
            figure(out, &views.picture, &views.caption, "");
        }
    }
}
