//! `moco compare`: several methods on the same images, trained and measured one after the other.
//!
//! Each method is a run of `moco pretrain` in a process of its own, so that its memory can be
//! told from that of the others; several ranks, which cannot start others, run it themselves. The
//! table is written anew after each, and a comparison that was stopped, or that is given further
//! methods, goes on where it was: what is trained is not trained again, and what is measured is not
//! measured again.

mod measure;
mod table;

use crate::args::{self, Cli, CompareArgs, RecipeKind};
use crate::pretrain;
use crate::ranks::peers;
use crate::report;
use crate::session::Machine;
use crate::stop::ENDS_WITH_PARENT;
use anyhow::{Context, bail};
use clap::Parser;
use measure::Judge;
use moco::config::Recipe;
use moco::methods;
use moco::report::Summary;
use moco::run::RunDir;
use std::env;
use std::ffi::OsString;
use std::process::Command;
use table::{Row, Table};

/// Trains, measures, and prints the table.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let methods = methods(args)?;
    let first = peers().speaks();
    // Held until the end, so that no other comparison writes there.
    let folder = first.then(|| RunDir::create_shared(&args.out)).transpose()?;
    if let Some(note) = folder.as_ref().and_then(RunDir::lock_note) {
        eprintln!("{note}");
    }
    let machine = Machine::open(&args.machine)?;
    let judge = Judge::open(args, machine)?;
    let mut table = Table::open(args.out.clone(), judge.images());
    table.baseline("raw pixels", judge.pixels()?);
    table.chance(judge.classes());
    for (number, method) in methods.iter().enumerate() {
        eprintln!("\n{method}, {} of {}", number + 1, methods.len());
        let run = RunDir::at(&args.out.join(method));
        let summary = trained(args, method, &run)?;
        let measured = if first { Some(judge.measured(&run)?) } else { None };
        let known = measured.and_then(|measured| table.row(method, measured).cloned());
        // What rank 0 has in its folder decides for all.
        let accuracies = match peers().any(known.is_some(), "what is measured already") {
            true => None,
            false => Some(judge.measure(&run)?),
        };
        let (Some(summary), Some(measured)) = (summary, measured) else { continue };
        let row = match (known, accuracies) {
            (Some(row), _) => Some(Row { summary, ..row }),
            (None, found) => found.map(|found| Row::of(method, found, summary, measured)),
        };
        row.map_or(Ok(()), |row| table.add(row))?;
    }
    println!("{}", table.text());
    println!("written to {}", args.out.join(table::MARKDOWN).display());
    if !args.no_report && first {
        leave_page(args, &methods, judge.machine());
    }
    Ok(())
}

/// Writes the page of all runs; that it cannot be written is no failure of the comparison.
fn leave_page(args: &CompareArgs, methods: &[String], machine: &Machine) {
    let runs: Vec<_> = methods.iter().map(|method| args.out.join(method)).collect();
    match report::leave_for_all(&runs, &args.data, machine, &args.out.join(report::NAME)) {
        Ok(path) => println!("report: {}", path.display()),
        Err(error) => eprintln!("warning: there is no report: {error:#}"),
    }
}

/// The methods asked for, all of them without a list.
fn methods(args: &CompareArgs) -> anyhow::Result<Vec<String>> {
    let all = methods::names().into_iter().map(str::to_owned).collect();
    let wanted = if args.methods.is_empty() { all } else { args.methods.clone() };
    for method in &wanted {
        moco::plan::set_value(&mut toml::Table::new(), &format!("method.name={method}"))?;
    }
    Ok(wanted)
}

/// Trains a method to the end, unless that was done before. Rank 0 has the summary.
fn trained(args: &CompareArgs, method: &str, run: &RunDir) -> anyhow::Result<Option<Summary>> {
    let unread = |error| {
        eprintln!("warning: cannot read {}: {error}", Summary::path(run).display());
        None
    };
    let read = || {
        let summary = Summary::read(run).unwrap_or_else(unread);
        summary.filter(|summary| summary.finished && peers().speaks())
    };
    let before = read();
    if peers().any(before.is_some(), "what is trained already") {
        eprintln!("already trained in {}", run.path().display());
        return Ok(before);
    }
    let words = arguments(args, method, run)?;
    let ended = if peers().alone() { as_process(words)? } else { as_ranks(words)? };
    match read() {
        summary if ended && (summary.is_some() || !peers().speaks()) => Ok(summary),
        _ => bail!(
            "{method} did not end: mend what it says above and give the same command again, or \
             leave it out of --methods"
        ),
    }
}

/// Runs this program again; whether it came to its end.
fn as_process(words: Vec<OsString>) -> anyhow::Result<bool> {
    let program = env::current_exe().context("cannot find this program to start it again")?;
    let status = Command::new(program)
        .args(words)
        .stdout(std::process::Stdio::null())
        .env(ENDS_WITH_PARENT, "1")
        .status()
        .context("cannot start a run")?;
    Ok(status.success())
}

/// Trains as the ranks that there are; whether it came to its end.
fn as_ranks(words: Vec<OsString>) -> anyhow::Result<bool> {
    let words = [OsString::from("moco")].into_iter().chain(words);
    let args::Command::Pretrain(args) = Cli::try_parse_from(words)?.command else {
        bail!("no run was begun");
    };
    Ok(!pretrain::trained(&args)?.1.stopped)
}

/// The command line of one method's run.
fn arguments(args: &CompareArgs, method: &str, run: &RunDir) -> anyhow::Result<Vec<OsString>> {
    // All runs are on one page at the end.
    let mut words: Vec<OsString> = vec!["pretrain".into(), "--no-report".into()];
    let mut say = |name: &str, value: OsString| words.extend([name.into(), value]);
    if peers().any(run.config().exists(), "runs that were begun") {
        say("--resume", run.path().into());
    } else {
        say("--out", run.path().into());
        say("--data", args.data.clone().into());
        match recipe(args.recipes, method)? {
            Some(recipe) => say("--recipe", recipe.into()),
            None => say("--method", method.into()),
        }
        if let Some(epochs) = args.epochs {
            say("--epochs", epochs.to_string().into());
        }
        for set in &args.set {
            say("--set", set.into());
        }
        // Measured once, at the end.
        say("--set", "monitor.knn_epochs=0".into());
    }
    say("--device", args.machine.device.clone().into());
    if let Some(threads) = args.machine.threads {
        say("--threads", threads.to_string().into());
    }
    Ok(words)
}

fn recipe(kind: RecipeKind, method: &str) -> anyhow::Result<Option<&'static str>> {
    let suffix = match kind {
        RecipeKind::Derived => return Ok(None),
        RecipeKind::Small => "small",
        RecipeKind::Cifar10 => "cifar10",
        RecipeKind::Imagenet => "imagenet",
    };
    Ok(Some(Recipe::named(&format!("{method}-{suffix}"))?.name))
}
