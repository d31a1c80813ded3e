//! `moco split-check`: test images that training images give away.

use crate::args::SplitCheckArgs;
use crate::ranks::peers;
use crate::tables::{Format, Results, similarity};
use crate::vectors::{Collection, Workshop};
use moco::features::nearest;
use moco::report::percent;
use std::collections::HashMap;

const FORMATS: [(&str, Format); 2] = [("csv", Format::Csv), ("json", Format::Json)];
/// Leaks that are printed; a file holds all.
const SHOWN: usize = 20;

/// A test image, and the training image that it equals or is near to.
struct Leak {
    test: usize,
    train: usize,
    equal: bool,
    similarity: f32,
}

/// Compares, prints the number of leaks and the nearest ones, and writes all.
pub fn run(args: &SplitCheckArgs) -> anyhow::Result<()> {
    let out = args
        .out
        .as_deref()
        .map(|out| Results::at(out, &FORMATS)?.sparing(&args.train)?.sparing(&args.test));
    let out = out.transpose()?;
    let mut workshop = Workshop::open(&args.vectors)?;
    let (train, test) = (workshop.collection(&args.train)?, workshop.collection(&args.test)?);
    if !peers().speaks() {
        return Ok(());
    }
    let leaks = find(&train, &test, args.near);
    print(&train, &test, &leaks);
    let Some(out) = out else { return Ok(()) };
    let row = |leak: &Leak| {
        let kind = if leak.equal { "equal" } else { "near" };
        let (test, train) = (test.name(leak.test), train.name(leak.train));
        vec![test.into(), train.into(), kind.into(), similarity(leak.similarity)]
    };
    out.write_rows(
        &["test", "train", "kind", "similarity"],
        &leaks.iter().map(row).collect::<Vec<_>>(),
    )
}

/// Leaked test images: those of equal bytes first, then the nearest first.
fn find(train: &Collection, test: &Collection, threshold: f32) -> Vec<Leak> {
    let mut by_digest = HashMap::new();
    for (row, content) in train.vectors.contents.iter().enumerate() {
        by_digest.entry(content.digest).or_insert(row);
    }
    let nearest = nearest(&test.vectors.values, &train.vectors.values, train.vectors.dim, 1);
    let leak = |(row, nearest): (usize, Vec<moco::features::Neighbour>)| {
        let digest = test.vectors.contents[row].digest;
        if let Some(&same) = by_digest.get(&digest) {
            return Some(Leak { test: row, train: same, equal: true, similarity: 1.0 });
        }
        let nearest =
            nearest.first().filter(|one| threshold < 1.0 && one.similarity >= threshold)?;
        let (train, similarity) = (nearest.row as usize, nearest.similarity);
        Some(Leak { test: row, train, equal: false, similarity })
    };
    let mut leaks: Vec<Leak> = nearest.into_iter().enumerate().filter_map(leak).collect();
    leaks.sort_by(|a, b| {
        b.equal.cmp(&a.equal).then(b.similarity.total_cmp(&a.similarity)).then(a.test.cmp(&b.test))
    });
    leaks
}

fn print(train: &Collection, test: &Collection, leaks: &[Leak]) {
    let equal = leaks.iter().filter(|leak| leak.equal).count();
    let all = test.vectors.indices.len();
    println!(
        "{} of {all} test images leak ({}): {equal} equal training images byte for byte, {} are near \
         one",
        leaks.len(),
        percent(leaks.len() as f64 / all.max(1) as f64, 2),
        leaks.len() - equal
    );
    for leak in leaks.iter().take(SHOWN) {
        let kind = if leak.equal { "equal " } else { "near  " };
        let (test, train) = (test.name(leak.test), train.name(leak.train));
        println!("  {kind} {:.4}  {test}  in training as  {train}", leak.similarity);
    }
    if let Some(more) = leaks.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        println!("and {more} more; --out writes all");
    }
}
