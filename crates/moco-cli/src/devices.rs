//! `moco devices`: where this build can compute.

/// Prints the names that `--device` takes.
pub fn run() -> anyhow::Result<()> {
    for name in moco::device::names() {
        let indexed = if name == "cpu" { "" } else { ":0" };
        println!("{name}{indexed}");
    }
    Ok(())
}
