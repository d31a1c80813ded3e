//! `moco`: self-supervised pretraining of image encoders, from a folder of images to a measured
//! encoder.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 bad input, 2 the run
//! failed, 141 the reader of the output has left.

// The one crate that talks to a person.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

mod args;
mod bench;
mod check;
mod compare;
mod console;
mod data;
mod demo;
mod devices;
mod doctor;
mod embed;
mod eval;
mod export;
mod failure;
mod memory;
mod methods;
mod pretrain;
mod score;
mod session;
mod stop;
mod summary;
mod views;

use args::{Cli, Command};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: moco_kernels::Allocator = moco_kernels::Allocator;

fn main() -> ExitCode {
    end_quietly_on_closed_pipes();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return report_usage(&message),
    };
    let done = match cli.command {
        Command::Pretrain(args) => pretrain::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Views(args) => views::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Methods => {
            methods::run();
            Ok(())
        }
        Command::Compare(args) => compare::run(&args),
        Command::Devices => devices::run(),
        Command::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

/// Ends the program without a word when the reader of its output has left, with the exit code that a
/// shell gives for SIGPIPE. The signal itself stays ignored, as Rust has it: it would end a run whose
/// server closes a connection.
fn end_quietly_on_closed_pipes() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to std") && message.contains("Broken pipe") {
            std::process::exit(141);
        }
        report(panic);
    }));
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
