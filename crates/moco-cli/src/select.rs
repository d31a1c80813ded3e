//! `moco select`: which images to label next.

use crate::args::{SelectArgs, SelectRule};
use crate::ranks::peers;
use crate::tables::{Format, Results, similarity};
use crate::vectors::Workshop;
use moco::features::{Rule, choose};

const FORMATS: [(&str, Format); 2] = [("txt", Format::Txt), ("csv", Format::Csv)];

/// Chooses, and prints or writes the images in the order in which to label them.
pub fn run(args: &SelectArgs) -> anyhow::Result<()> {
    let out = args.out.as_deref().map(|out| Results::at(out, &FORMATS)?.sparing(&args.data));
    let out = out.transpose()?;
    let collection = Workshop::open(&args.vectors)?.collection(&args.data)?;
    if !peers().speaks() {
        return Ok(());
    }
    let vectors = &collection.vectors;
    let (count, available) = (args.count as usize, vectors.indices.len());
    if count > available {
        eprintln!("note: there are {available} images, fewer than --count {count}: all are chosen");
    }
    let chosen = choose(&vectors.values, vectors.dim, count, args.by.into(), args.seed);
    match out {
        None => chosen.iter().for_each(|(row, _)| println!("{}", collection.name(*row))),
        Some(out) if out.format == Format::Txt => {
            out.write_text(&collection.list(chosen.into_iter().map(|(row, _)| row))?)?;
        }
        Some(out) => {
            let why = match args.by {
                SelectRule::KCentre => "distance",
                _ => "similarity_of_neighbours",
            };
            let row =
                |&(row, value): &(usize, f32)| vec![collection.name(row).into(), similarity(value)];
            out.write_rows(&["path", why], &chosen.iter().map(row).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

impl From<SelectRule> for Rule {
    fn from(rule: SelectRule) -> Rule {
        match rule {
            SelectRule::KCentre => Rule::KCentre,
            SelectRule::Typical => Rule::Typical,
            SelectRule::Unusual => Rule::Unusual,
            SelectRule::Cluster => Rule::Cluster,
        }
    }
}
