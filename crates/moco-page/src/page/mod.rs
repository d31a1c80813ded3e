//! The page: one HTML file that needs nothing else, opens from disk, and asks nothing of a network.
//!
//! Style, script and pictures are within; a policy in its head forbids every other source. What is
//! text is there without the script too; charts and the map are drawn by it.

mod curves;
mod data;
mod health;
mod map;
mod near;
mod pictures;
mod settings;
mod text;

pub use data::{
    Check, Column, Curves, Gallery, Line, Looks, Page, Painting, Picture, Run, Setting, Sprite,
    Strip, Study, Verdict, Views,
};
pub use health::{Part, Vitals};

use serde_json::json;
use std::fmt::Write;
use text::{count, escape};

const STYLE: &str = include_str!("style.css");
const SCRIPT: [&str; 4] = [
    include_str!("base.js"),
    include_str!("charts.js"),
    include_str!("map.js"),
    include_str!("start.js"),
];
/// uPlot 1.6.32, which draws the charts; its licence stands in the page.
const UPLOT: &str = include_str!("../../vendor/uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("../../vendor/uplot/uPlot.min.css");
const UPLOT_LICENCE: &str = include_str!("../../vendor/uplot/LICENSE");

/// A part of the page: its anchor, its title, what it is for, and what writes it.
struct Section {
    anchor: &'static str,
    title: &'static str,
    lead: &'static str,
    write: fn(&mut String, &Page),
    /// Whether there is anything to show.
    shown: fn(&Page) -> bool,
}

const SECTIONS: [Section; 9] = [
    Section {
        anchor: "curves",
        title: "Curves",
        lead: "How training went, step by step.",
        write: |out, page| curves::section(out, &page.runs),
        shown: |_| true,
    },
    Section {
        anchor: "map",
        title: "Map of the images",
        lead: "Every point is an image; images that the encoder takes for similar lie together. \
               Distances between far groups mean little.",
        write: map::section,
        shown: |_| true,
    },
    Section {
        anchor: "neighbours",
        title: "Neighbours",
        lead: "Images, and those that the encoder finds most like them, with the cosine of their \
               features. What it mixes up is what it does not see.",
        write: near::queries,
        shown: |page| page.studies().next().is_some(),
    },
    Section {
        anchor: "extremes",
        title: "Duplicates and outliers",
        lead: "The most similar pairs, which may be one image twice, and the images that are least \
               like any other, which may not belong here.",
        write: near::extremes,
        shown: |page| page.studies().next().is_some(),
    },
    Section {
        anchor: "looks",
        title: "What the network looks at",
        lead: "",
        write: pictures::looks,
        shown: |page| page.studies().any(|(_, study)| !study.looks.meaning.is_empty()),
    },
    Section {
        anchor: "paintings",
        title: "What it paints",
        lead: "Each triplet is the image with its hidden patches grey, the same with what the \
               decoder paints there, and the image as it is.",
        write: pictures::paintings,
        shown: |page| page.studies().any(|(_, study)| !study.paintings.is_empty()),
    },
    Section {
        anchor: "views",
        title: "What training shows",
        lead: "Images as evaluation sees them, then as training shows them, drawn anew each time. \
               What they share is what the network can learn; what is gone from them it cannot.",
        write: pictures::views,
        shown: |page| page.runs.iter().any(|run| !run.views.is_empty()),
    },
    Section {
        anchor: "health",
        title: "Health",
        lead: "What the features are like, without labels.",
        write: health::section,
        shown: |page| page.studies().next().is_some(),
    },
    Section {
        anchor: "settings",
        title: "Settings",
        lead: "All that determines the run, so that it can be made again.",
        write: settings::section,
        shown: |_| true,
    },
];

impl Page {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let mut out = String::new();
        let title = escape(&self.title);
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\
             <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data: \
             blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
             <meta name=viewport content=\"width=device-width, initial-scale=1\">\
             <meta name=color-scheme content=\"light dark\">\
             <title>{title}</title>\n<style>{UPLOT_STYLE}{STYLE}</style>\n"
        );
        if let Some(gallery) = &self.gallery {
            pictures::sprite_style(&mut out, &gallery.sprite);
        }
        out.push_str("</head>\n<body>\n<a class=skip href=\"#main\">Skip to the content</a>\n");
        self.header(&mut out);
        out.push_str("<main id=main>\n");
        for section in SECTIONS.iter().filter(|section| (section.shown)(self)) {
            let Section { anchor, title, lead, write, .. } = section;
            let _ = write!(out, "<section id={anchor} aria-labelledby={anchor}-title>");
            let _ = write!(out, "<h2 id={anchor}-title>{title}</h2>");
            if !lead.is_empty() {
                let _ = write!(out, "<p class=lead>{lead}</p>");
            }
            write(&mut out, self);
            out.push_str("</section>\n");
        }
        out.push_str("</main>\n");
        footer(&mut out);
        self.scripts(&mut out);
        out.push_str("</body></html>\n");
        out
    }

    /// The runs whose encoders are shown, with their places among the runs.
    fn studies(&self) -> impl Iterator<Item = (usize, &Study)> {
        let runs = self.runs.iter().enumerate();
        runs.filter_map(|(number, run)| Some((number, run.study.as_ref().ok()?)))
    }

    /// The name of a run before what belongs to it, where there are several.
    fn run_title(&self, out: &mut String, number: usize) {
        if self.runs.len() > 1 {
            let name = escape(&self.runs[number].name);
            let _ = write!(out, "<h3><span class=\"key k{number}\"></span>{name}</h3>");
        }
    }

    fn header(&self, out: &mut String) {
        let (title, made) = (escape(&self.title), escape(&self.made));
        let _ = write!(
            out,
            "<header><div class=top><h1>{title}</h1><button id=theme class=quiet type=button \
             aria-label=\"Light or dark\">◐</button></div><p class=made>{made}"
        );
        if self.reload.is_some() {
            out.push_str(" · <span class=live>training goes on, this page follows</span>");
        }
        out.push_str("</p>");
        for run in &self.runs {
            self.facts(out, run);
        }
        out.push_str("</header>\n<nav aria-label=Sections>");
        for Section { anchor, title, .. } in SECTIONS.iter().filter(|part| (part.shown)(self)) {
            let _ = write!(out, "<a href=\"#{anchor}\">{title}</a>");
        }
        out.push_str("</nav>\n");
    }

    fn facts(&self, out: &mut String, run: &Run) {
        if self.runs.len() > 1 {
            let _ = write!(out, "<h2 class=small>{}</h2>", escape(&run.name));
        }
        out.push_str("<dl class=facts>");
        for (name, value) in &run.facts {
            let _ = write!(out, "<div><dt>{}<dd>{}</div>", escape(name), escape(value));
        }
        out.push_str("</dl>");
        let warnings = run.warnings.iter().map(|warning| ("Warning.", warning));
        let missing = run.missing.iter().map(|missing| ("Not shown.", missing));
        for (what, text) in warnings.chain(missing) {
            let _ = write!(out, "<p class=warning role=note><b>{what}</b> {}</p>", escape(text));
        }
    }

    fn scripts(&self, out: &mut String) {
        let runs: Vec<&str> = self.runs.iter().map(|run| run.name.as_str()).collect();
        let data = json!({
            "reload": self.reload,
            "runs": runs,
            "curves": curves::charts(&self.runs),
            "map": map::points(self),
            "spectra": health::spectra(self),
        });
        let _ =
            writeln!(out, "<script type=application/json id=data>{}</script>", text::json(&data));
        // Without its first line, a comment that is no part of the notice.
        let uplot = UPLOT.split_once("*/").map_or(UPLOT, |(_, code)| code);
        let licence = UPLOT_LICENCE.trim();
        let _ = writeln!(out, "<script>/*! uPlot 1.6.32\n{licence}\n*/{uplot}</script>");
        let _ = writeln!(out, "<script>\"use strict\";(()=>{{{}}})()</script>", SCRIPT.concat());
    }
}

fn footer(out: &mut String) {
    let licence = escape(UPLOT_LICENCE.trim()).replace('\u{fffd}', "<br>");
    let _ = writeln!(
        out,
        "<footer><p>This page is one file and asks nothing of a network.</p><details><summary>Charts \
         are drawn by uPlot</summary><p>{licence}</p></details></footer>"
    );
}

/// What a reader is told where a picture of several images stands.
fn images(number: usize) -> String {
    count(number, "image")
}
