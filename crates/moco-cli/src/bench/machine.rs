//! `moco bench machine`: the yardsticks that every other time is measured against.

use crate::args::BenchMachineArgs;
use crate::session::Machine;
use moco::device::{cpu_kernel_name, cpu_kernels};
use moco_kernels::Isa;
use moco_kernels::machine::{copy_bandwidth, fma_peak};
use serde_json::json;

/// Measurements, of which the best counts: a neighbour can only slow one down.
const ROUNDS: usize = 5;

/// Measures peak and bandwidth with the threads that were asked for.
pub fn run(args: &BenchMachineArgs) -> anyhow::Result<()> {
    let machine = Machine::open(&args.machine)?;
    let isa = cpu_kernels().unwrap_or_else(Isa::best);
    let best = |measure: &dyn Fn() -> f64| (0..ROUNDS).map(|_| measure()).fold(0.0, f64::max);
    let (peak, bandwidth) = (best(&|| fma_peak(isa)), best(&copy_bandwidth));
    let threads = machine.options.threads;
    if args.json {
        let report = json!({
            "fma_gflop_per_second": peak,
            "copy_gb_per_second": bandwidth,
            "threads": threads,
            "kernels": cpu_kernel_name()?,
        });
        println!("{report}");
        return Ok(());
    }
    println!("{threads} threads, {} instructions", isa.name());
    println!("multiply-adds  {peak:>8.1} GFLOP/s from registers (each counts as two operations)");
    println!("copying        {bandwidth:>8.1} GB/s between large buffers (read plus written)");
    Ok(())
}
