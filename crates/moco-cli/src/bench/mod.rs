//! `moco bench`: how fast the parts are on this machine.

mod data;
mod machine;
mod ranks;
mod step;
mod whole;
mod work;

use crate::args::{Bench, BenchArgs};

/// Times what was asked for.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.what {
        Bench::Step(args) => step::run(args),
        Bench::Run(args) => whole::run(args),
        Bench::Ranks(args) => ranks::run(args),
        Bench::Data(args) => data::run(args),
        Bench::Machine(args) => machine::run(args),
    }
}
