//! The ranks of this run: who joins, what each may say, how they end.
//!
//! Started by hand, a process is alone. Started by `mpirun` or its kin as one of several, it opens
//! the launcher's MPI and joins the others. Rank 0 alone prints and writes; what another has to say
//! of an error is told with its number.

use crate::args::{Bench, Command, Probe};
use crate::terminal;
use anyhow::{Context, bail};
use moco::plan::Plan;
use moco::report::duration;
use moco::train::agree_among_ranks;
use moco_data::Dataset;
use moco_peers::{Launcher, Mpi, Peers, launched};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long ranks wait for each other, in seconds.
const TIMEOUT: &str = "MOCO_PEERS_TIMEOUT";
/// How long ranks wait for each other unless the variable says otherwise.
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// How long other ranks leave it to rank 0 to tell of what all have met.
const FIRST_WORD: Duration = Duration::from_secs(2);

static PEERS: OnceLock<Peers> = OnceLock::new();

/// The ranks of this run.
pub fn peers() -> Peers {
    PEERS.get().copied().unwrap_or(Peers::SOLO)
}

/// Joins the other ranks, if a launcher has started several.
pub fn join(command: &Command) -> anyhow::Result<()> {
    let Some(launch) = launched().filter(|launch| launch.ranks != Some(1)) else { return Ok(()) };
    let verbose = matches!(command, Command::Pretrain(args) if args.verbose_ranks);
    terminal::speak_as(launch.rank.unwrap_or(0), verbose);
    let peers = Mpi::open(patience()?)?;
    terminal::speak_as(peers.rank(), verbose);
    let _ = PEERS.set(peers);
    if let Some(what) = one_process(command) {
        let ranks = peers.size();
        bail!("{what} runs as one process, not as {ranks} ranks: start it without {}", name());
    }
    Ok(())
}

/// What of a command is for one process only.
fn one_process(command: &Command) -> Option<&'static str> {
    match command {
        Command::Pretrain(_) | Command::Compare(_) | Command::Check(_) | Command::Devices => None,
        Command::Embed(_) | Command::Search(_) | Command::Dedup(_) | Command::Select(_) => None,
        Command::SplitCheck(_) => None,
        Command::Bench(args) if matches!(args.what, Bench::Ranks(_)) => None,
        Command::Eval(args) => match args.probe {
            Probe::Knn(ref args) if args.bank => Some("eval knn --bank"),
            Probe::Knn(_) | Probe::Linear(_) | Probe::Finetune(_) | Probe::Distill(_) => None,
        },
        _ => Some("this command"),
    }
}

fn name() -> &'static str {
    launched().map_or("a launcher", |launch| Launcher::name(launch.launcher))
}

fn patience() -> anyhow::Result<Duration> {
    let Ok(text) = std::env::var(TIMEOUT) else { return Ok(TEN_MINUTES) };
    let seconds = text.parse::<u64>().ok().filter(|seconds| *seconds > 0);
    let seconds = seconds.with_context(|| format!("{TIMEOUT}={text} is no number of seconds"))?;
    Ok(Duration::from_secs(seconds))
}

/// The last call of a program that has done its work.
pub fn finish() {
    if let Some(peers) = PEERS.get() {
        peers.finish();
    }
}

/// Before an error is told: rank 0 goes first, since most errors are met by all ranks alike, and ends
/// the others by [`end_all`].
pub fn let_first_speak() {
    let rank = PEERS.get().map(|peers| peers.rank()).or_else(|| launched()?.rank);
    if rank.is_some_and(|rank| rank > 0) {
        thread::sleep(FIRST_WORD);
    }
}

/// After an error was told: ends all ranks with its code.
pub fn end_all(code: u8) {
    if let Some(peers) = PEERS.get().filter(|peers| !peers.alone()) {
        peers.abort(i32::from(code));
    }
}

/// Finds that all ranks are the same program, which is about to do the same with the same images. A
/// collective call.
pub fn agree(images: &[(&str, &Dataset)], rest: (&str, String)) -> anyhow::Result<()> {
    let mut facts = vec![
        ("version of moco", env!("CARGO_PKG_VERSION").to_owned()),
        ("instruction set", moco::device::cpu_kernel_name()?.to_owned()),
    ];
    for (what, images) in images {
        facts.push(("number of images", images.len().to_string()));
        facts.push((what, format!("{:016x}", images.fingerprint())));
    }
    facts.push(rest);
    Ok(agree_among_ranks(&facts, peers())?)
}

/// Threads for this rank: the cores that it may use, divided by the ranks that may use the same.
pub fn threads() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let peers = peers();
    if peers.alone() {
        return cores;
    }
    let own = format!("{}|{}", peers.hosts()[peers.rank()], allowed_cores());
    let all = peers.gather_each(own.as_bytes(), "cores of the ranks");
    let sharing = all.iter().filter(|other| **other == own.as_bytes()).count();
    (cores / sharing.max(1)).max(1)
}

/// The cores that this process may run on, as the system writes them.
fn allowed_cores() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or_default().trim().to_owned()
}

/// Whether the launcher has bound each rank to a single core of several.
fn bound_to_one_core() -> bool {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let there = info.lines().filter(|line| line.starts_with("processor")).count();
    thread::available_parallelism().is_ok_and(|cores| cores.get() == 1) && there > 1
}

/// What there is to say about the ranks of a run that begins, of `parameters` trained numbers. A
/// collective call: the exchange of as many is timed.
pub fn plan(config: &Plan, parameters: usize, threads: usize) -> Vec<String> {
    let peers = peers();
    if peers.alone() {
        return Vec::new();
    }
    let mut machines: BTreeMap<String, usize> = BTreeMap::new();
    peers.hosts().into_iter().for_each(|host| *machines.entry(host).or_default() += 1);
    let machines: Vec<String> = machines.iter().map(|(host, n)| format!("{n} on {host}")).collect();
    let batch = config.train.batch_size;
    let mut notes = vec![
        format!(
            "{} ranks by {}: {}; {} of the {batch} images of each batch for each, threads: \
             {threads}",
            peers.size(),
            peers.about(),
            machines.join(", "),
            batch / peers.size()
        ),
        format!(
            "{:.1} MB of gradients travel per step, {} as measured now",
            4.0 * parameters as f64 / 1e6,
            duration(exchange(parameters))
        ),
    ];
    if bound_to_one_core() {
        notes.push(
            "each rank is bound to one core: Open MPI leaves all cores to the ranks with \
             `mpirun --bind-to none`"
                .to_owned(),
        );
    }
    notes
}

/// Seconds that the sum of as many numbers over the ranks takes.
fn exchange(numbers: usize) -> f64 {
    let mut values = vec![0.0f32; numbers];
    peers().sum_f32(&mut values, "trial");
    let begin = Instant::now();
    peers().sum_f32(&mut values, "trial");
    begin.elapsed().as_secs_f64()
}
