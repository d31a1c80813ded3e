//! Results of a search as one page that needs nothing else.

use super::Found;
use crate::vectors::Collection;
use moco_data::page::{escape, thumbnail};
use std::fmt::Write;

/// Longer side of a thumbnail, in pixels.
const THUMBNAIL: usize = 128;

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;\
max-width:75rem;padding:0 1rem}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
ol,ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.8rem}\
figure{margin:0;width:132px;font-size:.75rem;overflow-wrap:anywhere}\
img{display:block;max-width:128px;margin-bottom:.2rem}.query img{outline:3px solid #47a}\
.n{font-variant-numeric:tabular-nums;font-weight:600}";

/// Queries and what is like them, with thumbnails.
pub(super) fn page(found: &Found) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\
         <title>Search</title><style>{STYLE}</style>\n<h1>Images most like {} of {}</h1>\n",
        counted(found.nearest.len(), "query", "queries"),
        counted(found.collection.vectors.indices.len(), "image", "images"),
    );
    for (query, nearest) in found.nearest.iter().enumerate() {
        let name = escape(found.queries.name(query));
        let _ = writeln!(out, "<section><h2>{name}</h2>\n<ul class=query><li>");
        figure(&mut out, &found.queries, query, "the query");
        let _ = writeln!(out, "</ul>\n<ol>");
        for neighbour in nearest {
            let similarity = format!("{:.4}", neighbour.similarity);
            let _ = write!(out, "<li>");
            figure(&mut out, &found.collection, neighbour.row as usize, &similarity);
        }
        let _ = writeln!(out, "</ol></section>");
    }
    out + "</html>\n"
}

fn figure(out: &mut String, of: &Collection, row: usize, caption: &str) {
    let name = escape(of.name(row));
    let image = of.images.load(of.vectors.indices[row]).ok();
    let image = image.and_then(|image| thumbnail(&image, THUMBNAIL));
    let _ = write!(out, "<figure>");
    if let Some(address) = image {
        let _ = write!(out, "<img alt=\"{name}\" src=\"{address}\">");
    }
    let _ =
        writeln!(out, "<figcaption><span class=n>{caption}</span><br>{name}</figcaption></figure>");
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
