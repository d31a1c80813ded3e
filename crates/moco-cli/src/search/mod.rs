//! `moco search`: the images of a collection that are most like given ones.

mod page;

use crate::args::SearchArgs;
use crate::data;
use crate::ranks::peers;
use crate::tables::{Format, Results, similarity};
use crate::vectors::{Collection, Workshop};
use anyhow::{Context, bail, ensure};
use moco::features::{Neighbour, nearest};
use moco_data::{Dataset, Image, PictureFormat};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FORMATS: [(&str, Format); 4] =
    [("html", Format::Html), ("htm", Format::Html), ("csv", Format::Csv), ("json", Format::Json)];

/// What was found for the queries.
struct Found {
    queries: Collection,
    collection: Collection,
    /// The nearest of each query that can be read.
    nearest: Vec<Vec<Neighbour>>,
}

/// Encodes, searches, prints, and writes a page or table.
pub fn run(args: &SearchArgs) -> anyhow::Result<()> {
    let out = args.out.as_deref().map(|out| results(out, args)).transpose()?;
    let mut workshop = Workshop::open(&args.vectors)?;
    let queries = workshop.of(Arc::new(queries(&args.query)?))?;
    let collection = workshop.collection(&args.data)?;
    if !peers().speaks() {
        return Ok(());
    }
    let (dim, top) = (collection.vectors.dim, args.top as usize);
    let nearest = nearest(&queries.vectors.values, &collection.vectors.values, dim, top);
    let found = Found { queries, collection, nearest };
    match &out {
        Some(out) if out.format == Format::Html => out.write_text(&page::page(&found))?,
        Some(out) => out.write_rows(&["query", "rank", "image", "similarity"], &found.rows())?,
        None => found.print(),
    }
    Ok(())
}

fn results(out: &Path, args: &SearchArgs) -> anyhow::Result<Results> {
    args.query
        .iter()
        .chain([&args.data])
        .try_fold(Results::at(out, &FORMATS)?, |out, input| out.sparing(input))
}

/// The images of all queries: files as they are, and all images of whatever else is named.
fn queries(paths: &[PathBuf]) -> anyhow::Result<Dataset> {
    let mut images = Vec::new();
    for path in paths {
        let shown = path.display().to_string();
        match Image::open(path) {
            Ok(image) => {
                images.push((shown, None, image));
                continue;
            }
            Err(error) if PictureFormat::of(path).is_some() => bail!("--query {shown}: {error}"),
            Err(_) => (),
        }
        let set = data::open_unsaid(path)?;
        for i in 0..set.len() {
            let name = set.name(i);
            let image = set.load(i).with_context(|| format!("--query {shown}: {name}"))?;
            images.push((name.to_owned(), None, image));
        }
    }
    ensure!(!images.is_empty(), "no image to search for: give --query an image");
    Ok(Dataset::from_images(images, Vec::new()))
}

impl Found {
    fn rows(&self) -> Vec<Vec<Value>> {
        let of_query = |(query, nearest): (usize, &Vec<Neighbour>)| {
            let row = move |(rank, neighbour): (usize, &Neighbour)| {
                vec![
                    self.queries.name(query).into(),
                    (rank + 1).into(),
                    self.collection.name(neighbour.row as usize).into(),
                    similarity(neighbour.similarity),
                ]
            };
            nearest.iter().enumerate().map(row).collect::<Vec<_>>()
        };
        self.nearest.iter().enumerate().flat_map(of_query).collect()
    }

    fn print(&self) {
        for (query, nearest) in self.nearest.iter().enumerate() {
            println!("{}", self.queries.name(query));
            for (rank, neighbour) in nearest.iter().enumerate() {
                let name = self.collection.name(neighbour.row as usize);
                println!("{:>5}  {:.4}  {name}", rank + 1, neighbour.similarity);
            }
        }
    }
}
