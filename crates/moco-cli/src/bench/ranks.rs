//! `moco bench ranks`: what a step of several ranks costs here, and what it would cost with more.
//!
//! Measured, by all ranks at once: a step of this rank's images without any exchange, the same as one
//! of the ranks, the sum of as many numbers as there are gradients, and that of few. Projected: steps
//! of as many images for each of more ranks, for the link at hand and for two common networks, by
//!
//! ```text
//! T = step alone + 2 ceil(log2 R) latency + 2 (R - 1) / R bytes / bandwidth
//! ```
//!
//! the cost of a ring or of halving and doubling, none of it hidden behind work.

use super::step::configure;
use super::work::{IMAGES, MethodStep, Work, random_views};
use crate::args::BenchStepArgs;
use crate::ranks::peers;
use crate::session::Machine;
use moco::config::FamilyConfig;
use moco::nn::count_params;
use moco::plan::Plan;
use moco::report::{duration, percent};
use moco::train::check_ranks;
use moco_peers::Peers;
use serde_json::{Value, json};
use std::time::Instant;

/// Steps and exchanges before the timed ones.
const WARM_UP: usize = 2;
/// Timed exchanges.
const EXCHANGES: usize = 5;
/// Numbers of a small exchange, such as the statistics of a BatchNorm layer.
const FEW: usize = 1024;
/// Ranks that are projected to.
const PROJECTED: [usize; 3] = [8, 64, 1000];
/// Name, latency in seconds, and bytes per second, of which nine tenths are reached.
const NETWORKS: [(&str, f64, f64); 2] =
    [("10 Gbit/s", 30e-6, 0.9 * 1.25e9), ("100 Gbit/s", 3e-6, 0.9 * 12.5e9)];

/// What was measured, in seconds.
struct Measured {
    alone: f64,
    together: f64,
    gradients: f64,
    few: f64,
    bytes: f64,
}

/// Measures and projects.
pub fn run(args: &BenchStepArgs) -> anyhow::Result<()> {
    let config = configure(args)?;
    let machine = Machine::open(&args.machine)?;
    check_ranks(&config, &machine.device, peers().size())?;
    let measured = measure(&config, &machine, usize::from(args.steps.max(1)))?;
    let images = config.train.batch_size / peers().size();
    if args.json {
        println!("{}", report(&measured, images, machine.options.threads));
        return Ok(());
    }
    print(&measured, images);
    Ok(())
}

fn measure(config: &Plan, machine: &Machine, steps: usize) -> anyhow::Result<Measured> {
    let peers = peers();
    // The global batch of a rank alone is its share of that of all.
    let own = config.changed(|own| {
        own.train.batch_size /= peers.size();
        // Groups of a rank alone: as many as it has among the others.
        if let FamilyConfig::ResNet(resnet) = &mut own.model.family {
            resnet.bn_groups = (resnet.bn_groups / peers.size()).max(1);
        }
    })?;
    let mut method = config.method(IMAGES, &machine.device);
    let parameters = count_params(method.student());
    drop(method);
    let step = |config: &Plan, peers: Peers| {
        let batch = random_views(&own, &machine.device)?;
        let mut work = MethodStep::new(config, batch, &machine.device, peers);
        median(WARM_UP + steps, || work.once())
    };
    let alone = step(&own, Peers::SOLO)?;
    peers.barrier("the measurement");
    let together = step(config, peers)?;
    let exchange = |numbers: usize| {
        let mut values = vec![0.0f32; numbers];
        median(WARM_UP + EXCHANGES, || {
            peers.sum_f32(&mut values, "trial");
            Ok(())
        })
    };
    let (gradients, few) = (exchange(parameters)?, exchange(FEW)?);
    Ok(Measured { alone, together, gradients, few, bytes: 4.0 * parameters as f64 })
}

/// The median time of `count` calls, without those that warm up.
fn median(count: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        work()?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let mut timed = seconds.split_off(WARM_UP);
    timed.sort_by(f64::total_cmp);
    Ok(timed[timed.len() / 2])
}

impl Measured {
    /// Latency and bandwidth of the link at hand, by the model, from both exchanges.
    fn link(&self, ranks: usize) -> (f64, f64) {
        let latency = self.few / rounds(ranks);
        let travels = 2.0 * (ranks - 1) as f64 / ranks as f64 * self.bytes;
        (latency, travels / (self.gradients - self.few).max(1e-9))
    }

    /// Seconds of the gradients' exchange among `ranks`.
    fn exchange(&self, ranks: usize, (latency, bandwidth): (f64, f64)) -> f64 {
        let travels = 2.0 * (ranks - 1) as f64 / ranks as f64 * self.bytes;
        rounds(ranks) * latency + travels / bandwidth
    }

    /// What is projected: link, ranks, seconds of the exchange, share of the time that is work.
    fn projections(&self, ranks: usize) -> Vec<(String, usize, f64, f64)> {
        let mut links: Vec<(String, (f64, f64))> = Vec::new();
        if ranks > 1 {
            links.push(("as here".to_owned(), self.link(ranks)));
        }
        links.extend(NETWORKS.map(|(name, latency, rate)| (name.to_owned(), (latency, rate))));
        let of = |(name, link): &(String, (f64, f64))| {
            PROJECTED.map(|ranks| {
                let exchange = self.exchange(ranks, *link);
                (name.clone(), ranks, exchange, self.alone / (self.alone + exchange))
            })
        };
        links.iter().flat_map(of).collect()
    }

    /// The step that the model expects of the ranks at hand.
    fn predicted(&self) -> f64 {
        self.alone + self.gradients
    }
}

fn rounds(ranks: usize) -> f64 {
    2.0 * (ranks as f64).log2().ceil().max(1.0)
}

fn report(measured: &Measured, images: usize, threads: usize) -> Value {
    let ranks = peers().size();
    let projected: Vec<Value> = measured
        .projections(ranks)
        .into_iter()
        .map(|(link, ranks, exchange, efficiency)| {
            json!({
                "link": link,
                "ranks": ranks,
                "seconds_exchange": exchange,
                "efficiency": efficiency,
            })
        })
        .collect();
    json!({
        "ranks": ranks,
        "images_per_rank": images,
        "threads": threads,
        "seconds_step_alone": measured.alone,
        "seconds_step_together": measured.together,
        "seconds_step_predicted": measured.predicted(),
        "seconds_gradients": measured.gradients,
        "seconds_small_exchange": measured.few,
        "gradient_bytes": measured.bytes,
        "projected": projected,
    })
}

fn print(measured: &Measured, images: usize) {
    let ranks = peers().size();
    println!("{images} images on each of {ranks} ranks, {}", peers().about());
    println!("step without exchanges    {}", duration(measured.alone));
    if ranks > 1 {
        println!(
            "step of {ranks} ranks           {}, predicted {}",
            duration(measured.together),
            duration(measured.predicted())
        );
        println!(
            "gradients, {:.1} MB        {}; {FEW} numbers {}",
            measured.bytes / 1e6,
            duration(measured.gradients),
            duration(measured.few)
        );
    }
    println!("projected, as many images for each rank, gradients exchanged after the step:");
    for (link, ranks, exchange, efficiency) in measured.projections(ranks) {
        println!(
            "  {link:<11} {ranks:>5} ranks   exchange {:<9} efficiency {}",
            duration(exchange),
            percent(efficiency, 1)
        );
    }
}
