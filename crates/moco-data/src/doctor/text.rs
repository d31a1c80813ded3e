//! A report as a table for a terminal.

use super::report::{Bin, Groups, Kind, Range, Report};
use crate::source::counted;
use std::fmt::Write;

/// Findings of each kind that are named.
const NAMED: usize = 3;
/// Characters of the longest bar.
const BAR: usize = 30;

impl Report {
    /// The report as lines of text: what it is like, then what is wrong with it.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_facts(&mut out);
        let _ = self.write_findings(&mut out);
        out
    }

    fn write_facts(&self, out: &mut String) -> std::fmt::Result {
        for (name, value) in facts(self) {
            row(out, name, &one_line(&value))?;
        }
        if let (Some(least), Some(most)) = (
            self.classes.iter().min_by_key(|class| class.images),
            self.classes.iter().max_by_key(|class| class.images),
        ) {
            let text = format!(
                "{}, from {} images ({}) to {} ({})",
                self.classes.len(),
                least.images,
                one_line(&least.name),
                most.images,
                one_line(&most.name)
            );
            row(out, "classes", &text)?;
        }
        if self.sizes.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nshorter side")?;
        let most = self.sizes.iter().map(|bin| bin.images).max().unwrap_or(1).max(1);
        for bin in &self.sizes {
            let bar = "#".repeat((bin.images * BAR).div_ceil(most));
            writeln!(out, "  {:<14}{:>9}  {bar}", pixels(bin), bin.images)?;
        }
        Ok(())
    }

    fn write_findings(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out)?;
        let (twins, alike) = (&self.duplicates, &self.near_duplicates);
        let unread = self.holdings.unread();
        let left_out = self.skipped.len() + unread.len();
        if self.counts.is_empty() && twins.groups + alike.groups + left_out == 0 {
            return writeln!(out, "nothing to complain about");
        }
        for kind in unread {
            let count = self.holdings.passed_over.get(kind).copied().unwrap_or_default();
            row(out, "not read", &counted(count, kind))?;
        }
        for kind in Kind::ALL.into_iter().filter(|&kind| self.count(kind) > 0) {
            row(out, kind.title(), &self.count(kind).to_string())?;
            for finding in self.findings.iter().filter(|f| f.kind == kind).take(NAMED) {
                let gap = if finding.detail.is_empty() { "" } else { ": " };
                writeln!(out, "    {}{gap}{}", one_line(&finding.name), one_line(&finding.detail))?;
            }
        }
        if !self.skipped.is_empty() {
            row(out, "left out", &self.skipped.len().to_string())?;
            for left in self.skipped.iter().take(NAMED) {
                writeln!(out, "    {}: {}", one_line(&left.name), one_line(&left.reason))?;
            }
        }
        write_groups(out, "duplicates", twins)?;
        write_groups(out, "near-duplicates", alike)
    }
}

/// What the data set is like, as names and values: only what there is to say.
pub(super) fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let source = &report.holdings;
    let formats = report.formats.iter().map(|(format, count)| format!("{count} {format}"));
    let mut facts = vec![("source", source.chosen.clone()), ("passed over", source.counts())];
    facts.extend(source.notes.iter().map(|note| ("note", note.clone())));
    facts.push(("images", format!("{} ({} readable)", report.images, report.readable)));
    facts.push(("size on disk", format!("{:.1} MB", report.bytes as f64 / 1e6)));
    facts.push(("formats", formats.collect::<Vec<_>>().join(", ")));
    if report.readable > 0 {
        let range = |r: &Range| format!("{} to {}, median {}", r.min, r.max, r.median);
        let three = |values: [f64; 3]| values.map(|value| format!("{value:.4}")).join(", ");
        facts.push(("widths", range(&report.widths)));
        facts.push(("heights", range(&report.heights)));
        facts.push(("mean", format!("{} (red, green, blue; 0 to 1)", three(report.mean))));
        facts.push(("deviation", three(report.std)));
    }
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

fn write_groups(out: &mut String, title: &str, groups: &Groups) -> std::fmt::Result {
    if groups.groups == 0 {
        return Ok(());
    }
    let mut text = format!("{} groups, {} images too many", groups.groups, groups.surplus);
    if groups.across_classes > 0 {
        text += &format!(", {} groups across classes", groups.across_classes);
    }
    row(out, title, &text)?;
    for group in groups.listed.iter().take(NAMED) {
        let names: Vec<_> = group.iter().take(NAMED).map(|member| one_line(&member.name)).collect();
        let more = if group.len() > NAMED { ", ..." } else { "" };
        writeln!(out, "    {}{more}", names.join(", "))?;
    }
    Ok(())
}

fn row(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(out, "{name:<26}{value}")
}

/// A bin in words.
pub(super) fn pixels(bin: &Bin) -> String {
    match bin.below {
        Some(below) => format!("{}-{}", bin.from, below - 1),
        None => format!("{} and more", bin.from),
    }
}

/// Without the control characters by which a name could play tricks on a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
