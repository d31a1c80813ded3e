//! `moco devices`: where this build can compute, and what several ranks would talk by.

/// Prints the names that `--device` takes, the kernels that the CPU runs with, what each GPU is, and
/// which MPI there is.
pub fn run() -> anyhow::Result<()> {
    println!("cpu       {} kernels", moco::device::cpu_kernel_name()?);
    for (name, title) in moco::device::gpus() {
        println!("{name:<9} {title}");
    }
    match moco_peers::found() {
        Ok(version) => println!("{:<9} {version}", "mpi"),
        Err(_) => println!("{:<9} no library found; a run of several ranks needs one", "mpi"),
    }
    Ok(())
}
