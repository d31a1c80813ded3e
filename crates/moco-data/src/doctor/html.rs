//! A report as one page that needs nothing else: style and thumbnails are within.

use super::report::{Groups, Kind, Report};
use super::text::{facts, pixels};
use crate::page::{escape, thumbnail};
use crate::source::Dataset;
use std::fmt::{self, Write};

/// Longer side of a thumbnail, in pixels.
const THUMBNAIL: usize = 96;
/// Findings of each kind, and groups, that are shown; the numbers are of all.
const SHOWN: usize = 60;
/// Images of a group that are shown.
const SHOWN_OF_GROUP: usize = 8;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #ccc}\
table{border-collapse:collapse}td,th{padding:.15rem 1rem .15rem 0;text-align:left}\
.n{text-align:right;font-variant-numeric:tabular-nums}.fault{color:#a11}\
.bar{background:#69c;height:.8rem}figure{display:inline-block;margin:.3rem;width:110px;\
vertical-align:top;font-size:.72rem;overflow-wrap:anywhere}figure img{display:block;max-width:96px}\
.group{border-left:3px solid #9ac;margin:.4rem 0;padding-left:.4rem}";

/// A page of a report on `dataset`, which must be the one that was examined: the thumbnails are
/// read from it. `title` names it.
pub fn html(report: &Report, dataset: &Dataset, title: &str) -> String {
    let mut page = Page { out: String::new(), dataset };
    // Writing to a string cannot fail.
    let _ = page.write(report, title);
    page.out
}

struct Page<'a> {
    out: String,
    dataset: &'a Dataset,
}

impl Page<'_> {
    fn write(&mut self, report: &Report, title: &str) -> fmt::Result {
        let title = escape(title);
        write!(
            self.out,
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\
             <title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1>\n"
        )?;
        self.facts(report)?;
        self.counts(report)?;
        self.findings(report)?;
        self.groups("Duplicates", "equal bytes", &report.duplicates)?;
        self.groups("Near-duplicates", "they look alike", &report.near_duplicates)?;
        self.classes(report)?;
        self.out.write_str("</html>\n")
    }

    fn facts(&mut self, report: &Report) -> fmt::Result {
        self.out.write_str("<table>")?;
        for (name, value) in facts(report) {
            write!(self.out, "<tr><th>{}<td>{}", capitalised(name), escape(&value))?;
        }
        self.out.write_str("</table>\n")?;
        if report.sizes.is_empty() {
            return Ok(());
        }
        self.out.write_str("<h2>Shorter side, in pixels</h2>\n<table>")?;
        let most = report.sizes.iter().map(|bin| bin.images).max().unwrap_or(1).max(1);
        for bin in &report.sizes {
            let width = (bin.images * 300).div_ceil(most);
            write!(
                self.out,
                "<tr><td class=n>{}<td class=n>{}<td><div class=bar style=\"width:{width}px\"></div>",
                pixels(bin),
                bin.images
            )?;
        }
        self.out.write_str("</table>\n")
    }

    fn counts(&mut self, report: &Report) -> fmt::Result {
        self.out.write_str("<h2>Findings</h2>\n<table>")?;
        for kind in Kind::ALL {
            let class = if kind.is_fault() && report.count(kind) > 0 { " class=fault" } else { "" };
            let (title, count) = (kind.title(), report.count(kind));
            write!(self.out, "<tr{class}><td>{title}<td class=n>{count}")?;
        }
        self.out.write_str("</table>\n")?;
        if !report.skipped.is_empty() {
            let all = report.skipped.len();
            write!(self.out, "<h2>Left out when listing ({all})</h2>\n<table>")?;
            for left in report.skipped.iter().take(SHOWN) {
                let (name, reason) = (escape(&left.name), escape(&left.reason));
                write!(self.out, "<tr><td>{name}<td>{reason}")?;
            }
            self.out.write_str("</table>\n")?;
            self.more(all, SHOWN)?;
        }
        Ok(())
    }

    fn findings(&mut self, report: &Report) -> fmt::Result {
        for kind in Kind::ALL.into_iter().filter(|&kind| report.count(kind) > 0) {
            writeln!(self.out, "<h2>{} ({})</h2>", capitalised(kind.title()), report.count(kind))?;
            let of_kind = report.findings.iter().filter(|finding| finding.kind == kind);
            if kind.is_fault() {
                self.out.write_str("<table>")?;
                for finding in of_kind.take(SHOWN) {
                    let (name, detail) = (escape(&finding.name), escape(&finding.detail));
                    write!(self.out, "<tr><td>{name}<td>{detail}")?;
                }
                self.out.write_str("</table>\n")?;
            } else {
                for finding in of_kind.take(SHOWN) {
                    self.figure(finding.index, &finding.name, &finding.detail)?;
                }
            }
            self.more(report.count(kind), SHOWN)?;
        }
        Ok(())
    }

    fn groups(&mut self, title: &str, why: &str, groups: &Groups) -> fmt::Result {
        if groups.groups == 0 {
            return Ok(());
        }
        write!(
            self.out,
            "<h2>{title}</h2>\n<p>{} groups ({why}), {} images too many, {} groups across classes.</p>\n",
            groups.groups, groups.surplus, groups.across_classes
        )?;
        for group in groups.listed.iter().take(SHOWN) {
            self.out.write_str("<div class=group>")?;
            for member in group.iter().take(SHOWN_OF_GROUP) {
                self.figure(member.index, &member.name, "")?;
            }
            self.more(group.len(), SHOWN_OF_GROUP)?;
            self.out.write_str("</div>\n")?;
        }
        self.more(groups.groups, SHOWN)
    }

    /// Says how many of `all` come after the `shown` first.
    fn more(&mut self, all: usize, shown: usize) -> fmt::Result {
        if all > shown { writeln!(self.out, "<p>and {} more</p>", all - shown) } else { Ok(()) }
    }

    fn classes(&mut self, report: &Report) -> fmt::Result {
        if report.classes.is_empty() {
            return Ok(());
        }
        write!(self.out, "<h2>Classes ({})</h2>\n<table>", report.classes.len())?;
        for class in &report.classes {
            write!(self.out, "<tr><td>{}<td class=n>{}", escape(&class.name), class.images)?;
        }
        self.out.write_str("</table>\n")
    }

    fn figure(&mut self, index: usize, name: &str, detail: &str) -> fmt::Result {
        self.out.write_str("<figure>")?;
        let image = self.dataset.load(index).ok();
        if let Some(address) = image.and_then(|image| thumbnail(&image, THUMBNAIL)) {
            write!(self.out, "<img alt=\"\" src=\"{address}\">")?;
        }
        let gap = if detail.is_empty() { "" } else { "<br>" };
        writeln!(self.out, "{}{gap}{}</figure>", escape(name), escape(detail))
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
