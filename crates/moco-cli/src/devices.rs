//! `moco devices`: where this build can compute.

/// Prints the names that `--device` takes, the kernels that the CPU runs with, and what each GPU is.
pub fn run() -> anyhow::Result<()> {
    println!("cpu       {} kernels", moco::device::cpu_kernel_name()?);
    for (name, title) in moco::device::gpus() {
        println!("{name:<9} {title}");
    }
    Ok(())
}
