//! `moco devices`: where this build can compute, and what several ranks would talk by.

/// Prints the names that `--device` takes, the kernels that the CPU runs with, what each GPU is and which
/// engine computes on it, or how to get one, and which MPI there is.
pub fn run() -> anyhow::Result<()> {
    println!("cpu       {} kernels", moco::device::cpu_kernel_name()?);
    for (name, what) in moco::device::others() {
        println!("{name:<9} {what}, for trying what a GPU would do");
    }
    let gpus = moco::device::gpus();
    for (name, title) in &gpus {
        println!("{name:<9} {title}");
    }
    if !gpus.iter().any(|(name, _)| name.starts_with("cuda")) {
        println!("{:<9} {}", "cuda", moco::device::no_cuda());
    }
    match moco_peers::found() {
        Ok(version) => println!("{:<9} {version}", "mpi"),
        Err(_) => println!("{:<9} no library found; a run of several ranks needs one", "mpi"),
    }
    Ok(())
}
