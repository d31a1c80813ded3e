//! Faults injected into the program: each call by which it changes a file is spoilt in turn, and
//! afterwards everything must be as if nothing had happened.
//!
//! A small library in C, [inject.c](inject.c), stands between the program and the system's. It numbers the
//! calls that change files below a folder, and at one of them kills the program, fills the disk,
//! lets the call fail, or writes half. After the fault the program is called again without one, as
//! the documentation says: `--resume`, or the same command. Then the checks:
//!
//! - the program ended with 0, 1 or 2 (or by the kill), in time, with one sentence if it failed and
//!   no panic; success means that everything is there;
//! - encoder, newest checkpoint, configuration and metrics (but for times) are bit for bit those of
//!   an uninterrupted run, and no temporary file is left;
//! - a file that `embed`, `export`, `report`, `search`, `doctor` or their like writes is whole or absent,
//!   never torn; what a page lacks, because it could not be read, is said.
//!
//! A sample runs with all other tests. The whole, with tables of counts:
//!
//! ```sh
//! MOCO_FAULTS=all cargo test --release -p moco-cli --test faults -- --nocapture
//! ```
//!
//! `MOCO_FAULTS=300` tries as many of each command; `MOCO_FAULTS=torn@17`, with a test's name, tries
//! one and keeps its folder. Nothing is tried
//! where there is no C compiler `cc`, and on other systems than Linux.
//!
//! What it does not do: a power cut, which loses what was written and not synced (a kill loses
//! nothing that was written), and calls that bypass the C library.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)]

mod injector;
mod output;
mod run_folder;
mod scenario;
mod tally;

use injector::{Fault, Kind, Outcome, Watch, library, moco};
use moco_data::synthetic::{shapes, write_folder};
use output::Output;
use run_folder::{RunFolder, has_checkpoint};
use scenario::{Scenario, copy_folder, said_well, try_all};
use std::fs;
use std::path::{Path, PathBuf};
use tally::Way;
use tempfile::TempDir;

const VIEWS: &str = "data.views=[\"crop(24, 0.2..1) flip normalize(cifar10)\", \
                     \"crop(24, 0.2..1) flip normalize(cifar10)\"]";

/// Three steps in each of two epochs, saved after every second step and after each epoch.
const SETTINGS: [&str; 9] = [
    "model.width=4",
    "model.bn_groups=2",
    "method.queue=16",
    "method.dim=8",
    "train.checkpoint_steps=2",
    "train.keep_checkpoints=2",
    "train.log_steps=1",
    VIEWS,
    "data.eval_view=\"resize(24) center(24) normalize(cifar10)\"",
];

/// Images, and runs on them without a fault.
struct Place {
    _temporary: TempDir,
    data: PathBuf,
    finished: PathBuf,
    expected: RunFolder,
}

impl Place {
    /// `None` where faults cannot be injected.
    fn new() -> Option<Place> {
        if library().is_none() {
            println!("skipped: there is no C compiler `cc`");
            return None;
        }
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().canonicalize().unwrap();
        let (data, finished) = (path.join("images"), path.join("finished"));
        write_folder(&shapes(24, 24, 0), &data).unwrap();
        // Listed as an image that cannot be read.
        fs::create_dir(data.join("star/folder.png")).unwrap();
        done(&pretrain(&data, &finished));
        let expected = RunFolder::read(&finished).unwrap();
        Some(Place { _temporary: temporary, data, finished, expected })
    }

    /// Puts a run into `folder` that was killed in its second epoch: it has saved step 3 and
    /// trained on.
    fn killed(&self, folder: &Path) {
        let line = pretrain(&self.data, &folder.join("run"));
        let watch = |fault| Some(Watch { root: folder, reads: false, fault });
        let calls = moco(&line, watch(None)).calls;
        let number = 1 + calls.iter().position(|call| call.path.contains("step-00000004")).unwrap();
        fs::remove_dir_all(folder.join("run")).unwrap();
        moco(&line, watch(Some(Fault { kind: Kind::Kill, number })));
        assert!(has_checkpoint(&folder.join("run")) && !folder.join("run/summary.json").exists());
    }

    /// Resumes the run in `root`, or starts it again if it had saved nothing, and compares what it
    /// left with the uninterrupted run.
    fn put_right(&self, root: &Path, outcome: &Outcome) -> Result<Way, String> {
        let run = root.join("run");
        let compare = || RunFolder::read(&run)?.compare(&self.expected, &outcome.stderr);
        if outcome.code() == Some(0) {
            compare().map_err(|reason| format!("success is reported, but {reason}"))?;
        }
        let resumed = moco(&resume(&run), None);
        let way = match resumed.code() {
            Some(0) => Way::WentOn,
            _ if has_checkpoint(&run) || resumed.status.is_none() => {
                return Err(format!("cannot be resumed: {}", failure(&resumed)));
            }
            _ => {
                said_well(&resumed).map_err(|reason| format!("the resume {reason}"))?;
                let started = moco(&pretrain(&self.data, &run), None);
                if started.code() != Some(0) {
                    let (resumed, started) = (failure(&resumed), failure(&started));
                    return Err(format!("neither goes on ({resumed}) nor starts ({started})"));
                }
                Way::StartedAgain
            }
        };
        compare().map_err(|reason| format!("afterwards {reason}"))?;
        Ok(if outcome.code() == Some(0) { Way::None } else { way })
    }
}

fn failure(outcome: &Outcome) -> &str {
    if outcome.status.is_some() { outcome.error() } else { "hangs" }
}

fn words(line: &str, paths: &[(&str, &Path)]) -> Vec<String> {
    let path = |word: &str| paths.iter().find(|(name, _)| *name == word).map(|(_, path)| *path);
    let word = |word: &str| path(word).map_or(word.to_owned(), |path| path.display().to_string());
    line.split_whitespace().map(word).collect()
}

fn pretrain(data: &Path, run: &Path) -> Vec<String> {
    let line = "pretrain --recipe moco-v1-small --data DATA --out RUN --epochs 2 --batch-size 8 \
                --threads 1";
    let mut words = words(line, &[("DATA", data), ("RUN", run)]);
    words.extend(SETTINGS.iter().flat_map(|setting| ["--set".to_owned(), setting.to_string()]));
    words
}

fn resume(run: &Path) -> Vec<String> {
    words("pretrain --resume RUN --threads 1", &[("RUN", run)])
}

fn done(arguments: &[String]) {
    let outcome = moco(arguments, None);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.stderr);
}

/// Fails if any fault came out wrong.
#[track_caller]
fn none(failed: usize) {
    assert_eq!(failed, 0, "see the tables above; MOCO_FAULTS=KIND@NUMBER tries one fault");
}

#[test]
fn pretraining() {
    let Some(place) = Place::new() else { return };
    none(try_all(&Scenario {
        name: "pretrain",
        reads: false,
        prepare: &|_| (),
        command: &|root| pretrain(&place.data, &root.join("run")),
        check: &|root, outcome| place.put_right(root, outcome),
    }));
}

#[test]
fn resuming() {
    let Some(place) = Place::new() else { return };
    let killed = tempfile::tempdir().unwrap();
    let killed = killed.path().canonicalize().unwrap();
    place.killed(&killed);
    let resuming = |name, reads| {
        try_all(&Scenario {
            name,
            reads,
            prepare: &|root| copy_folder(&killed, root),
            command: &|root| resume(&root.join("run")),
            check: &|root, outcome| place.put_right(root, outcome),
        })
    };
    none(resuming("resume", false) + resuming("resume, reads", true));
}

#[test]
fn embedding() {
    let Some(place) = Place::new() else { return };
    let embed = |root: &Path, run: &Path, name: &str| {
        let paths = [("RUN", run), ("DATA", &place.data), ("OUT", &root.join(name))];
        words("embed --run RUN --data DATA --threads 1 --out OUT", &paths)
    };
    let formats = [("f.csv", &["f.csv"][..]), ("f.npy", &["f.npy", "f.paths.csv"])];
    let formats = formats.into_iter().chain([("f.parquet", &["f.parquet"][..])]);
    let failed: usize = formats
        .map(|(name, names)| {
            let command = |root: &Path| embed(root, &place.finished, name);
            Output::new(&command, names).try_all("embed")
        })
        .sum();
    // The run itself may be hard to read.
    let command = |root: &Path| embed(root, &root.join("run"), "f.csv");
    let prepare = |root: &Path| copy_folder(&place.finished, &root.join("run"));
    let reads = Output::new(&command, &["f.csv"]).try_reads("embed, reads", &prepare);
    none(failed + reads);
}

#[test]
fn exporting() {
    let Some(place) = Place::new() else { return };
    let try_names = |names: &str| {
        let line = format!("export --run RUN --out OUT --names {names}");
        let command = |root: &Path| {
            words(&line, &[("RUN", &place.finished), ("OUT", &root.join("e.safetensors"))])
        };
        Output::new(&command, &["e.safetensors"]).try_all("export")
    };
    none(try_names("moco") + try_names("torchvision"));
}

/// Features are computed anew each time.
#[test]
fn commands_on_features() {
    let Some(place) = Place::new() else { return };
    let image = place.data.join("star/00016.png");
    let try_line = |line: &str, command, name| {
        let line = format!("{line} --run RUN --threads 1 --no-cache --out OUT");
        let paths = [("RUN", &*place.finished), ("DATA", &*place.data), ("IMAGE", &*image)];
        let line = |root: &Path| words(&line, &[&paths[..], &[("OUT", &root.join(name))]].concat());
        Output::new(&line, &[name]).try_all(command)
    };
    let searched = try_line("search --data DATA --query IMAGE --top 3", "search", "found.html");
    let thinned = try_line("dedup --data DATA", "dedup", "twice.csv");
    let selected = try_line("select --data DATA --count 5", "select", "chosen.txt");
    let split = try_line("split-check DATA DATA", "split-check", "leaked.json");
    none(searched + thinned + selected + split);
}

#[test]
fn reports() {
    let Some(place) = Place::new() else { return };
    let report = |root: &Path, run: &Path| {
        words("report RUN --threads 1 --out OUT", &[("RUN", run), ("OUT", &root.join("page.html"))])
    };
    let command = |root: &Path| report(root, &place.finished);
    let written = Output::new(&command, &["page.html"]).try_all("report");
    let command = |root: &Path| report(root, &root.join("run"));
    let prepare = |root: &Path| copy_folder(&place.finished, &root.join("run"));
    let page = Output { may_lack: true, ..Output::new(&command, &["page.html"]) };
    none(written + page.try_reads("report, reads", &prepare));
}

#[test]
fn pages_and_sheets() {
    let Some(place) = Place::new() else { return };
    let image = place.data.join("star/00016.png");
    let try_line = |line, name| {
        let paths = [("DATA", &*place.data), ("IMAGE", &*image)];
        let command = |root: &Path| words(line, &[paths[0], paths[1], ("OUT", &root.join(name))]);
        Output::new(&command, &[name]).try_all(line)
    };
    let page = try_line("doctor DATA --threads 1 --out OUT", "page.html");
    none(page + try_line("views IMAGE --recipe moco-v1-small --out OUT", "sheet.png"));
}
