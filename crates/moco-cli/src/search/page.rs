//! Results of a search as one page that needs nothing else.

use super::Found;
use crate::vectors::Collection;
use moco_data::page::{escape, thumbnail};
use std::fmt::Write;

/// Longer side of a thumbnail, in pixels.
const THUMBNAIL: usize = 128;

const STYLE: &str = "\
:root{color-scheme:light dark;--soft:#5d6670;--line:#dfe3e8;--accent:#2563c9}\
@media(prefers-color-scheme:dark){:root{--soft:#9aa4ae;--line:#31373d;--accent:#7db0ff}\
body{background:#14171a;color:#e6e8ea}}\
body{font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;margin:0 auto;\
max-width:76rem;padding:0 1.25rem 3rem}\
h1{font-size:1.5rem;margin:1.4rem 0 .2rem}h2{font-size:1.05rem;margin:0 0 .7rem;overflow-wrap:anywhere}\
.lead{color:var(--soft);margin:0 0 1.6rem}\
section{border-top:1px solid var(--line);padding:1.2rem 0}\
.row{display:grid;grid-template-columns:9rem minmax(0,1fr);gap:1.2rem}\
ol,ul{list-style:none;padding:0;margin:0}\
ol{display:grid;grid-template-columns:repeat(auto-fill,minmax(6.6rem,1fr));gap:1rem .8rem}\
figure{margin:0;font-size:.75rem;line-height:1.35;overflow-wrap:anywhere;color:var(--soft)}\
img{display:block;width:100%;aspect-ratio:1;object-fit:contain;border-radius:.4rem;margin-bottom:.25rem}\
.query img{box-shadow:0 0 0 3px var(--accent)}\
.n{font-variant-numeric:tabular-nums;font-weight:600;font-size:.85rem;color:CanvasText}\
@media(max-width:40rem){body{padding:0 .9rem 2rem}.row{grid-template-columns:1fr}.query{width:9rem}\
ol{grid-template-columns:repeat(auto-fill,minmax(5.2rem,1fr))}}";

/// Queries and what is like them, with thumbnails.
pub(super) fn page(found: &Found) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\
         <title>Images most like these</title><style>{STYLE}</style>\n<h1>Images most like these</h1>\n\
         <p class=lead>{}, each compared with {} by the cosine of their features, the nearest first.\
         </p>\n<main>",
        counted(found.nearest.len(), "query", "queries"),
        counted(found.collection.vectors.indices.len(), "image", "images"),
    );
    for (query, nearest) in found.nearest.iter().enumerate() {
        let name = escape(found.queries.name(query));
        let _ = writeln!(out, "<section><h2>{name}</h2>\n<div class=row><ul class=query><li>");
        figure(&mut out, &found.queries, query, "the query");
        let _ = writeln!(out, "</ul>\n<ol>");
        for neighbour in nearest {
            let similarity = format!("{:.4}", neighbour.similarity);
            let _ = write!(out, "<li>");
            figure(&mut out, &found.collection, neighbour.row as usize, &similarity);
        }
        let _ = writeln!(out, "</ol></div></section>");
    }
    out + "</main></html>\n"
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
