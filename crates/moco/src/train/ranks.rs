//! A run of several ranks: what must divide, and what they tell each other at each step.
//!
//! Everything that a configuration says is global: batch size, rates, BatchNorm groups, queue and
//! banks mean the same for any number of ranks, and so does a checkpoint.

use super::TrainError;
use crate::batch::to_host;
use crate::nn::{Leaf, Module, for_each_leaf};
use crate::plan::Plan;
use burn::backend::DispatchDevice;
use burn::tensor::Device;
use moco_data::{BadFile, Loader};
use moco_peers::Peers;

/// Refuses what several ranks cannot compute as one would.
///
/// # Errors
/// [`TrainError::Ranks`], one sentence with the numbers that would do.
pub fn check(config: &Plan, device: &Device, ranks: usize) -> Result<(), TrainError> {
    if ranks == 1 {
        return Ok(());
    }
    let (batch, parts) = (config.train.batch_size, config.optim.accumulate);
    check_device(device, ranks)?;
    let groups = config.model.bn_groups();
    let refuse = |why: String| Err(TrainError::Ranks(why));
    let unit = ranks * parts;
    if !batch.is_multiple_of(unit) {
        let (below, above) = (batch / unit * unit, batch.next_multiple_of(unit));
        let in_parts = if parts > 1 { format!(" in {parts} parts") } else { String::new() };
        let sizes = if below > 0 { format!("{below} or {above}") } else { above.to_string() };
        return refuse(format!(
            "train.batch_size = {batch} is the batch of all ranks together and does not split over \
             {ranks} of them{in_parts}: set it to {sizes}"
        ));
    }
    if !config.has_batch_norm() {
        return Ok(());
    }
    if !groups.is_multiple_of(ranks) && !ranks.is_multiple_of(groups) {
        let fit = (1..=2 * ranks.max(groups)).filter(|g| {
            (g.is_multiple_of(ranks) || ranks.is_multiple_of(*g))
                && (batch / parts).is_multiple_of(*g)
        });
        let fit: Vec<String> = fit.map(|g| g.to_string()).collect();
        return refuse(format!(
            "model.bn_groups = {groups} BatchNorm groups do not lie evenly on {ranks} ranks: set it to \
             one of {}",
            fit.join(", ")
        ));
    }
    Ok(())
}

/// Refuses a device that several ranks cannot compute on.
///
/// # Errors
/// [`TrainError::Ranks`].
pub fn check_device(device: &Device, ranks: usize) -> Result<(), TrainError> {
    let plain = device.clone().without_autodiff();
    if ranks == 1 || matches!(plain.as_dispatch(), DispatchDevice::Flex(_)) {
        return Ok(());
    }
    let why = format!("{ranks} ranks compute on CPUs only: leave --device out");
    Err(TrainError::Ranks(why))
}

/// The mean of a number over the ranks.
pub(super) fn mean(value: f64, peers: Peers, what: &'static str) -> f64 {
    let mut sum = [value];
    peers.sum_f64(&mut sum, what);
    sum[0] / peers.size() as f64
}

/// How the ranks stand before a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// All have their share of the batch.
    Ready,
    /// One was asked to stop.
    Stop,
    /// The first rank that failed, and what it says.
    Failed(usize, String),
}

/// What all ranks make of how each stands: `None` for one that was asked to stop, an error for one
/// that cannot go on; and how long each was `busy` with its last step, in seconds.
pub(super) fn status<T, E: std::fmt::Display>(
    own: &Result<Option<T>, E>,
    busy: f64,
    peers: Peers,
) -> (Status, Vec<f64>) {
    let code = match own {
        Ok(Some(_)) => 0.0,
        Ok(None) => 1.0,
        Err(_) => 2.0,
    };
    let all = peers.gather_rows(&[code, busy], 2, "status of the ranks");
    let (codes, busy): (Vec<f64>, Vec<f64>) = all.chunks_exact(2).map(|of| (of[0], of[1])).unzip();
    (agreed(own, &codes, peers), busy)
}

fn agreed<T, E: std::fmt::Display>(
    own: &Result<Option<T>, E>,
    codes: &[f64],
    peers: Peers,
) -> Status {
    if let Some(rank) = codes.iter().position(|code| *code == 2.0) {
        let text = own.as_ref().err().map(E::to_string).unwrap_or_default();
        let all = peers.gather_each(text.as_bytes(), "errors of the ranks");
        return Status::Failed(rank, String::from_utf8_lossy(&all[rank]).into_owned());
    }
    if codes.contains(&1.0) { Status::Stop } else { Status::Ready }
}

/// Adds the seconds of a step to the sums of its epoch, unless no step was done yet.
pub(super) fn add_busy((sums, told): &mut (Vec<f64>, usize), busy: &[f64], done: bool) {
    if done {
        sums.resize(busy.len(), 0.0);
        sums.iter_mut().zip(busy).for_each(|(sum, seconds)| *sum += seconds);
        *told += 1;
    }
}

/// How the ranks have shared the work of a step: the slowest, its seconds, and the mean of all,
/// exchanges left out. A rank that is always the slowest holds all others up.
pub(super) fn load(busy: &[f64]) -> [(&'static str, f64); 3] {
    let slowest = (0..busy.len()).max_by(|a, b| busy[*a].total_cmp(&busy[*b])).unwrap_or(0);
    [
        ("slowest_rank", slowest as f64),
        ("slowest_rank_seconds", busy.get(slowest).copied().unwrap_or(0.0)),
        ("mean_rank_seconds", busy.iter().sum::<f64>() / busy.len().max(1) as f64),
    ]
}

/// Tells all ranks of the images that any of them could not read, of which `known` were told before.
pub(super) fn share_bad_files(loader: &mut Loader, known: &mut usize, peers: Peers) {
    if peers.alone() || !peers.any(loader.bad_file_count() > *known, "bad files") {
        return;
    }
    let own: Vec<(usize, String, String)> =
        loader.bad_files().into_iter().map(|f| (f.index, f.name, f.reason)).collect();
    let text = serde_json::to_vec(&own).expect("numbers and strings");
    for other in peers.gather_each(&text, "bad files") {
        let files: Vec<(usize, String, String)> =
            serde_json::from_slice(&other).expect("as another rank wrote it");
        loader.note_bad(files.into_iter().map(|(index, name, reason)| BadFile {
            index,
            name,
            reason,
        }));
    }
    *known = loader.bad_file_count();
}

/// Finds that all ranks have the same: pairs of what it is and how it reads on this rank.
///
/// # Errors
/// [`TrainError::Ranks`] with the first rank that differs from rank 0, and in what.
pub fn agree(facts: &[(&str, String)], peers: Peers) -> Result<(), TrainError> {
    if peers.alone() {
        return Ok(());
    }
    let own: Vec<&String> = facts.iter().map(|(_, value)| value).collect();
    let text = serde_json::to_vec(&own).expect("strings");
    let all: Vec<Vec<String>> = peers
        .gather_each(&text, "facts of the ranks")
        .iter()
        .map(|text| serde_json::from_slice(text).unwrap_or_default())
        .collect();
    for (rank, theirs) in all.iter().enumerate().skip(1) {
        for (i, (what, _)) in facts.iter().enumerate() {
            let [first, other] =
                [&all[0], theirs].map(|values| values.get(i).map_or("", String::as_str));
            if first != other {
                let hosts = peers.hosts();
                return Err(TrainError::Ranks(format!(
                    "rank {rank} on {} has another {what} than rank 0 on {} ({other} instead of \
                     {first}): all ranks of a run must have the same",
                    hosts[rank], hosts[0]
                )));
            }
        }
    }
    Ok(())
}

/// A checksum of everything that `module` would save.
pub fn checksum(module: &mut dyn Module) -> u32 {
    let mut sum = 0;
    for_each_leaf(module, |name, leaf| {
        sum = crc32c::crc32c_append(sum, name.as_bytes());
        match leaf {
            Leaf::Param(tensor) | Leaf::Buffer(tensor) => {
                for value in to_host(tensor.flat()) {
                    sum = crc32c::crc32c_append(sum, &value.to_le_bytes());
                }
            }
            Leaf::Counter(count) => sum = crc32c::crc32c_append(sum, &count.to_le_bytes()),
        }
    });
    sum
}
