//! `moco devices`: where this build can compute.

/// Prints the names that `--device` takes, and the kernels that the CPU runs with.
pub fn run() -> anyhow::Result<()> {
    for name in moco::device::names() {
        match name {
            "cpu" => println!("cpu       {} kernels", moco::device::cpu_kernel_name()?),
            gpu => println!("{gpu}:0"),
        }
    }
    Ok(())
}
