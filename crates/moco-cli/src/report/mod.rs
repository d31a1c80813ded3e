//! `moco report`: one page on how runs went and what their encoders make of the images.
//!
//! ```text
//! runs ─► opened ──────────────► curves, settings, bad files ─┐
//! images ─► gallery ─► study ──► map, neighbours, spectrum    ├─► moco_page
//!                ├───► looks, paint, views ─► pictures        │
//! checkpoint ─► state ─────────► queue, prototypes, centre ───┘
//! ```
//! What cannot be shown is said on the page, in one sentence; a page is worth having without it.

mod columns;
mod follow;
mod gallery;
mod looks;
mod opened;
mod paint;
mod settings;
mod state;
mod study;
mod views;

pub use follow::Follow;

use crate::args::ReportArgs;
use crate::data;
use crate::output::Output;
use crate::session::Machine;
use anyhow::Context;
use gallery::Images;
use moco::checkpoint::write_atomically;
use moco::files::Size;
use moco::plan::Plan;
use moco::run::RunDir;
use moco_data::Dataset;
use moco_page::page::{Page, Run};
use opened::Opened;
use state::State;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The page in a run's folder.
pub const NAME: &str = "report.html";
/// Images on the page that a run leaves: at least, at most, and one for so many that it has seen.
const FEWEST: usize = 256;
pub const MOST: usize = 2000;
const SEEN_FOR_ONE: usize = 20;

/// Writes the page that the command line asks for.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let asked = args.out.as_deref().map(Output::page).transpose()?;
    let runs: Vec<Opened> =
        args.runs.iter().map(|run| Opened::at(run)).collect::<anyhow::Result<_>>()?;
    let path = args.out.clone().unwrap_or_else(|| args.runs[0].join(NAME));
    let mut out = asked.map_or_else(|| Output::page(&path), Ok)?;
    if let Some(data) = &args.data {
        out = out.spares(data)?;
    }
    let machine = Machine::open(&args.machine)?;
    let images = match &args.data {
        Some(data) => Ok((Arc::new(data::open(data)?), data.clone())),
        None => of_run(&runs[0]),
    };
    let page = compose(&runs, images, args.images as usize, &machine, None);
    let text = page.html();
    out.write(|file| Ok(file.write_all(text.as_bytes())?))?;
    println!("wrote {}, {}", path.display(), Size(text.len() as u64));
    for run in &page.runs {
        for why in run.missing.iter().chain(run.study.as_ref().err()) {
            eprintln!("note: {}: {why}", run.name);
        }
    }
    Ok(())
}

/// The images that a run was trained on, or why they cannot be shown.
fn of_run(run: &Opened) -> Result<(Arc<Dataset>, PathBuf), String> {
    let path = &run.config.data.path;
    match data::open(path) {
        Ok(dataset) => Ok((Arc::new(dataset), path.clone())),
        Err(error) => Err(format!(
            "The images of the run cannot be shown ({error}): give the same ones with --data."
        )),
    }
}

/// Images to look at, and where they come from; or why there are none, in a sentence.
type Source = Result<(Arc<Dataset>, PathBuf), String>;

/// Gathers all that a page shows of `runs`, the images' part on at most `count` of them.
fn compose(
    runs: &[Opened],
    source: Source,
    count: usize,
    machine: &Machine,
    reload: Option<u32>,
) -> Page {
    let threads = machine.options.threads;
    let mut images = source.map(|(whole, path)| Images::new(whole, path, count, threads));
    let mut shown: Vec<Run> = Vec::new();
    for run in runs {
        let whole = images.as_ref().ok().map(|images| images.whole.clone());
        let mut state = State::of(run, whole.as_deref(), machine);
        let mut page = run.page(state.expectation.as_ref(), whole.as_deref());
        page.study = match &mut images {
            Ok(images) => study::of(run, images, &mut state, machine),
            Err(why) => Err(why.clone()),
        };
        page.missing.append(&mut state.missing);
        if let Ok(images) = &images {
            page.views = views::of(&run.config, images);
        }
        shown.push(page);
    }
    told_apart(&mut shown, runs);
    let titles: Vec<&str> = shown.iter().map(|run| run.name.as_str()).collect();
    Page {
        title: titles.join(", "),
        made: format!("A report of moco {}", env!("CARGO_PKG_VERSION")),
        reload,
        runs: shown,
        gallery: images.ok().and_then(Images::gallery),
    }
}

/// Runs in folders of one name are told apart by their paths.
fn told_apart(shown: &mut [Run], runs: &[Opened]) {
    let names: Vec<String> = shown.iter().map(|run| run.name.clone()).collect();
    for (i, run) in shown.iter_mut().enumerate() {
        if names.iter().filter(|name| **name == names[i]).count() > 1 {
            run.name = runs[i].dir.path().display().to_string();
        }
    }
}

/// Images on the page that a run of `config` on so many `images` leaves, for little of its time.
pub fn share_of(config: &Plan, images: usize) -> usize {
    let all = config.train.epochs * images;
    let steps = config.train.max_steps.map(|steps| steps * config.train.batch_size);
    (steps.map_or(all, |steps| steps.min(all)) / SEEN_FOR_ONE).clamp(FEWEST, MOST)
}

/// Writes the page of a run into its folder, of at most `count` of its images.
///
/// # Errors
/// The run cannot be read, or the page not be written.
pub fn leave(
    dir: &RunDir,
    images: &Arc<Dataset>,
    machine: &Machine,
    reload: Option<u32>,
    count: usize,
) -> anyhow::Result<PathBuf> {
    let run = Opened::at(dir.path())?;
    let path = run.config.data.path.clone();
    let page = compose(&[run], Ok((images.clone(), path)), count, machine, reload);
    put(&page, &dir.path().join(NAME))
}

/// Writes the page of several runs on the same images.
///
/// # Errors
/// As [`leave`].
pub fn leave_for_all(
    dirs: &[PathBuf],
    data: &Path,
    machine: &Machine,
    out: &Path,
) -> anyhow::Result<PathBuf> {
    let runs: Vec<Opened> =
        dirs.iter().map(|dir| Opened::at(dir)).collect::<anyhow::Result<_>>()?;
    let images = Arc::new(data::open_unsaid(data)?);
    let page = compose(&runs, Ok((images, data.to_owned())), MOST, machine, None);
    put(&page, out)
}

fn put(page: &Page, path: &Path) -> anyhow::Result<PathBuf> {
    write_atomically(path, page.html().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}
