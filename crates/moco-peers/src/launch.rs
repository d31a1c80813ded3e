//! Who started this process, as the environment says.

use std::env;

/// What starts the ranks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpiexec` of MPICH and its kin (Intel MPI, MVAPICH2), which speak PMI.
    Pmi,
    /// `srun` of Slurm.
    Slurm,
    /// Any other that speaks PMIx.
    Pmix,
}

impl Launcher {
    /// Its name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Launcher::OpenMpi => "Open MPI's mpirun",
            Launcher::Pmi => "MPICH's mpiexec",
            Launcher::Slurm => "Slurm's srun",
            Launcher::Pmix => "a PMIx launcher",
        }
    }
}

/// A process that was started as one of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// By whom.
    pub launcher: Launcher,
    /// How many ranks there are, where the environment tells.
    pub ranks: Option<usize>,
    /// The own number, where the environment tells.
    pub rank: Option<usize>,
    /// Ranks that share this machine, where the environment tells.
    pub local_ranks: Option<usize>,
}

/// Names of the variables for a launcher: ranks, own number, ranks on this machine.
const TABLE: [(Launcher, [&str; 3]); 3] = [
    (
        Launcher::OpenMpi,
        ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"],
    ),
    (Launcher::Pmi, ["PMI_SIZE", "PMI_RANK", "MPI_LOCALNRANKS"]),
    // Not SLURM_NTASKS, which a batch script has too, outside any srun.
    (Launcher::Slurm, ["SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_TASKS_PER_NODE"]),
];

/// What the environment says of who started this process; `None` if nobody did.
pub fn launched() -> Option<Launch> {
    launched_in(|name| env::var(name).ok())
}

fn launched_in(variable: impl Fn(&str) -> Option<String>) -> Option<Launch> {
    let number = |name: &str| {
        // Slurm writes `4(x2)` for four on each of two machines.
        let text = variable(name)?;
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<usize>().ok()
    };
    for (launcher, [size, rank, local]) in TABLE {
        if let Some(ranks) = number(size) {
            let (rank, local_ranks) = (number(rank), number(local));
            return Some(Launch { launcher, ranks: Some(ranks), rank, local_ranks });
        }
    }
    let rank = number("PMIX_RANK")?;
    Some(Launch { launcher: Launcher::Pmix, ranks: None, rank: Some(rank), local_ranks: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Option<Launch> {
        launched_in(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn launchers_are_told_by_their_variables() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("SLURM_NTASKS", "4")]), None, "a batch script, outside srun");
        let open = of(&[
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
            ("PMIX_RANK", "3"),
        ]);
        let expected = Launch {
            launcher: Launcher::OpenMpi,
            ranks: Some(4),
            rank: Some(3),
            local_ranks: Some(2),
        };
        assert_eq!(open, Some(expected));
        let slurm = of(&[("SLURM_STEP_NUM_TASKS", "8"), ("SLURM_STEP_TASKS_PER_NODE", "4(x2)")]);
        assert_eq!(slurm.map(|l| (l.ranks, l.local_ranks)), Some((Some(8), Some(4))));
        let pmix = of(&[("PMIX_RANK", "1")]).map(|l| (l.launcher, l.ranks));
        assert_eq!(pmix, Some((Launcher::Pmix, None)));
    }
}
