//! `moco`: self-supervised pretraining of image encoders, from a folder of images to a measured
//! encoder.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 bad input, 2 the run
//! failed, 130 and 143 a second Ctrl-C or `kill`, 141 the reader of the output has left.

#![forbid(unsafe_code)]

#[macro_use]
mod terminal;

mod args;
mod bench;
mod check;
mod compare;
mod completions;
mod console;
mod dashboard;
mod data;
mod dedup;
mod demo;
mod devices;
mod doctor;
mod embed;
mod eval;
mod events;
mod export;
mod failure;
mod import;
mod measure;
mod memory;
mod methods;
mod output;
mod pretrain;
mod ranks;
mod report;
mod score;
mod search;
mod select;
mod session;
mod split_check;
mod stop;
mod tables;
#[cfg(feature = "remote")]
mod track;
mod vectors;
mod views;
mod watch;
mod weights;

use args::{Cli, Command};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: moco_kernels::Allocator = moco_kernels::Allocator;

fn main() -> ExitCode {
    failure::guarded(program)
}

fn program() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return report_usage(&message),
    };
    let done = ranks::join(&cli.command).and_then(|()| run(cli.command));
    match done {
        Ok(()) => {
            terminal::flush();
            ranks::finish();
            ExitCode::SUCCESS
        }
        Err(error) => failure::report(&error),
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Pretrain(args) => pretrain::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Dedup(args) => dedup::run(&args),
        Command::Select(args) => select::run(&args),
        Command::SplitCheck(args) => split_check::run(&args),
        Command::Views(args) => views::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Methods => {
            methods::run();
            Ok(())
        }
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Completions(args) => {
            completions::completions(&args);
            Ok(())
        }
        Command::Man(args) => completions::man(&args),
        Command::Devices => devices::run(),
        Command::Bench(args) => bench::run(&args),
    }
}

/// Help and version are results; anything else about the command line is bad input.
fn report_usage(message: &clap::Error) -> ExitCode {
    // That the text cannot be written is no reason to fail.
    match message.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = Cli::command().print_help();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = message.print();
            ExitCode::SUCCESS
        }
        _ => {
            let _ = message.print();
            ExitCode::from(failure::BAD_INPUT)
        }
    }
}
