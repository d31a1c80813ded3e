//! `moco dedup`: images that say the same twice. It tells; it never deletes.

use crate::args::DedupArgs;
use crate::console::Stage;
use crate::ranks::peers;
use crate::tables::{Format, Results, similarity};
use crate::vectors::{Collection, Workshop};
use moco::features::duplicates::{Duplicate, equal, near};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

const FORMATS: [(&str, Format); 3] =
    [("txt", Format::Txt), ("csv", Format::Csv), ("json", Format::Json)];
/// Groups that are printed, and images of each; files hold all.
const SHOWN: usize = 20;
const SHOWN_OF_GROUP: usize = 5;

/// Finds duplicates, prints the largest groups, and writes what may go.
pub fn run(args: &DedupArgs) -> anyhow::Result<()> {
    let out = args.out.as_deref().map(|out| Results::at(out, &FORMATS)?.sparing(&args.data));
    let out = out.transpose()?;
    let mut workshop = Workshop::open(&args.vectors)?;
    let collection = workshop.collection(&args.data)?;
    if !peers().speaks() {
        return Ok(());
    }
    let (exact, alike) = find(&collection, args.near);
    print(&collection, &exact, &alike);
    let Some(out) = out else { return Ok(()) };
    let all = exact.iter().map(|d| (d, "equal")).chain(alike.iter().map(|d| (d, "near")));
    if out.format == Format::Txt {
        return out.write_text(&collection.list(all.map(|(duplicate, _)| duplicate.row))?);
    }
    let row = |(duplicate, kind): (&Duplicate, &str)| {
        let (gone, kept) = (collection.name(duplicate.row), collection.name(duplicate.kept));
        vec![gone.into(), kept.into(), kind.into(), similarity(duplicate.similarity)]
    };
    let rows: Vec<_> = all.map(row).collect();
    out.write_rows(&["remove", "keep", "kind", "similarity"], &rows)
}

/// Images of equal bytes, and of those that are left the near ones.
fn find(collection: &Collection, threshold: f32) -> (Vec<Duplicate>, Vec<Duplicate>) {
    let vectors = &collection.vectors;
    let order = best_first(collection);
    let digests: Vec<u128> = vectors.contents.iter().map(|content| content.digest).collect();
    let exact = equal(&digests, &order);
    if threshold >= 1.0 {
        return (exact, Vec::new());
    }
    let gone: HashSet<usize> = exact.iter().map(|duplicate| duplicate.row).collect();
    let left: Vec<usize> = order.into_iter().filter(|row| !gone.contains(row)).collect();
    let mut stage = Stage::new("comparing");
    let mut told = |done, total| stage.advance("comparing", done, total);
    let alike = near(&vectors.values, vectors.dim, &left, threshold, &mut told);
    (standing(exact, &alike), alike)
}

/// Equal images of one that goes itself, as a near-duplicate, have who stands for it.
fn standing(exact: Vec<Duplicate>, alike: &[Duplicate]) -> Vec<Duplicate> {
    let gone: HashMap<usize, &Duplicate> = alike.iter().map(|d| (d.row, d)).collect();
    let stands = |one: Duplicate| match gone.get(&one.kept) {
        Some(&&Duplicate { kept, similarity, .. }) => Duplicate { kept, similarity, ..one },
        None => one,
    };
    exact.into_iter().map(stands).collect()
}

/// The image that stays comes first: that of most pixels, then of most bytes, then the first by its
/// place in the data set.
fn best_first(collection: &Collection) -> Vec<usize> {
    let contents = &collection.vectors.contents;
    let mut order: Vec<usize> = (0..contents.len()).collect();
    order.sort_by_key(|&row| (Reverse((contents[row].pixels, contents[row].bytes)), row));
    order
}

fn print(collection: &Collection, exact: &[Duplicate], alike: &[Duplicate]) {
    let mut groups: BTreeMap<usize, Vec<&Duplicate>> = BTreeMap::new();
    for duplicate in exact.iter().chain(alike) {
        groups.entry(duplicate.kept).or_default().push(duplicate);
    }
    println!(
        "{} images: {} have equal bytes, and {} more are near-duplicates, of an image that stays",
        collection.vectors.indices.len(),
        exact.len(),
        alike.len()
    );
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(kept, group)| (Reverse(group.len()), *kept));
    for (kept, group) in groups.iter().take(SHOWN) {
        println!("keep {}", collection.name(*kept));
        for duplicate in group.iter().take(SHOWN_OF_GROUP) {
            println!("  {:.4}  {}", duplicate.similarity, collection.name(duplicate.row));
        }
        if let Some(more) = group.len().checked_sub(SHOWN_OF_GROUP).filter(|more| *more > 0) {
            println!("  and {more} more");
        }
    }
    if let Some(more) = groups.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        println!("and {more} more groups; --out writes all");
    }
}
