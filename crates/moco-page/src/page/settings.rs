//! What determined a run: settings, why they are so, program and machine, images that were left out.

use super::data::{Page, Run};
use super::images;
use super::text::escape;
use std::fmt::Write;

/// Images that are listed; the number is of all.
const BAD_FILES: usize = 200;

pub(super) fn section(out: &mut String, page: &Page) {
    for (number, run) in page.runs.iter().enumerate() {
        page.run_title(out, number);
        made_with(out, run);
        notes(out, run);
        table(out, run);
        bad_files(out, run);
    }
}

fn made_with(out: &mut String, run: &Run) {
    out.push_str("<dl class=made-with>");
    for (name, value) in &run.made_with {
        let _ = write!(out, "<dt>{}<dd>{}", escape(name), escape(value));
    }
    out.push_str("</dl>");
}

fn notes(out: &mut String, run: &Run) {
    if run.notes.is_empty() {
        return;
    }
    out.push_str("<h4>What was derived, and why</h4><ul class=notes>");
    for note in &run.notes {
        let _ = write!(out, "<li>{}", escape(note));
    }
    out.push_str("</ul>");
}

fn table(out: &mut String, run: &Run) {
    if run.settings.is_empty() {
        return;
    }
    let caption = format!("All settings of {}", escape(&run.name));
    let _ = write!(
        out,
        "<details><summary>{caption}</summary><div class=scroll tabindex=0><table class=settings>\
         <caption class=sr>{caption}</caption><thead><tr><th>setting<th>value<th>comes from<tbody>"
    );
    for setting in &run.settings {
        let [key, value, origin] =
            [&setting.key, &setting.value, &setting.origin].map(|t| escape(t));
        let _ =
            write!(out, "<tr><th scope=row><code>{key}</code><td><code>{value}</code><td>{origin}");
    }
    out.push_str("</table></div></details>");
}

fn bad_files(out: &mut String, run: &Run) {
    if run.bad_files.is_empty() {
        return;
    }
    let caption = format!("{} could not be read", images(run.bad_files.len()));
    let _ = write!(
        out,
        "<details><summary>{caption}</summary><div class=scroll tabindex=0><table>\
         <caption class=sr>{caption}</caption><thead><tr><th>image<th>why<tbody>"
    );
    for (name, reason) in run.bad_files.iter().take(BAD_FILES) {
        let _ = write!(out, "<tr><th scope=row>{}<td>{}", escape(name), escape(reason));
    }
    out.push_str("</table></div>");
    if run.bad_files.len() > BAD_FILES {
        out.push_str("<p class=hint>The others are in bad_files.csv.</p>");
    }
    out.push_str("</details>");
}
