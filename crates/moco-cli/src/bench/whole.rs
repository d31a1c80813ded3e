//! `moco bench run`: how much of the speed of its steps a whole run keeps.

use crate::args::BenchRunArgs;
use crate::failure::RunFailed;
use crate::session::Session;
use moco::device::cpu_kernel_name;
use moco::plan::Plan;
use moco::report::{duration, percent};
use moco::train::{TimedStep, TrainError};
use serde_json::json;

/// Times that both sides are measured, in turn, so that a machine that gets slower slows both down.
const ROUNDS: usize = 3;
/// Steps at the beginning of each side's turn that do not count: images that were made ready while
/// nothing was learnt, and first touches of memory.
const WARM_UP: usize = 3;

/// Times steps in the middle of a run, and the same steps on a batch that lies ready.
pub fn run(args: &BenchRunArgs) -> anyhow::Result<()> {
    let session = Session::prepare(&args.run)?;
    let mut trainer = session.trainer()?;
    let (mut in_run, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        in_run.push(turn(args, |count| trainer.time_steps(count))?);
        alone.push(turn(args, |count| trainer.time_steps_alone(count))?);
    }
    let measured = Measured::of(&in_run.concat(), &alone.concat());
    if args.json {
        println!("{}", measured.json(&session.config, session.machine.options.threads)?);
    } else {
        measured.print(&session.config);
    }
    Ok(())
}

/// One side's turn, without its first steps.
fn turn(
    args: &BenchRunArgs,
    time: impl FnOnce(usize) -> Result<Vec<TimedStep>, TrainError>,
) -> anyhow::Result<Vec<TimedStep>> {
    let steps = time(WARM_UP + usize::from(args.steps)).map_err(RunFailed::from)?;
    Ok(steps[WARM_UP.min(steps.len().saturating_sub(1))..].to_vec())
}

/// Seconds of a step, by their median.
struct Measured {
    in_run: f64,
    alone: f64,
    /// What a step of the run waits for its images, in the mean.
    waited: f64,
    steps: usize,
}

impl Measured {
    fn of(in_run: &[TimedStep], alone: &[TimedStep]) -> Self {
        let median = |steps: &[TimedStep]| {
            let mut seconds: Vec<f64> = steps.iter().map(|step| step.seconds).collect();
            seconds.sort_by(f64::total_cmp);
            seconds[seconds.len() / 2]
        };
        let waited = in_run.iter().map(|step| step.data_wait).sum::<f64>() / in_run.len() as f64;
        Measured { in_run: median(in_run), alone: median(alone), waited, steps: in_run.len() }
    }

    /// What of the step's speed the run keeps.
    fn share(&self) -> f64 {
        self.alone / self.in_run
    }

    fn print(&self, config: &Plan) {
        let rate = |seconds: f64| config.train.batch_size as f64 / seconds;
        println!(
            "in a run        {:>9} per step, {:.0} images/s; waits {} for images",
            duration(self.in_run),
            rate(self.in_run),
            percent(self.waited / self.in_run, 0)
        );
        println!(
            "the step alone  {:>9} per step, {:.0} images/s",
            duration(self.alone),
            rate(self.alone)
        );
        println!("the run keeps   {} of the step's speed", percent(self.share(), 1));
    }

    fn json(&self, config: &Plan, threads: usize) -> anyhow::Result<serde_json::Value> {
        Ok(json!({
            "seconds_in_run": self.in_run,
            "seconds_alone": self.alone,
            "share": self.share(),
            "data_wait_seconds": self.waited,
            "images_per_second": config.train.batch_size as f64 / self.in_run,
            "steps": self.steps,
            "method": config.method.name(),
            "backbone": config.model.backbone,
            "batch_size": config.train.batch_size,
            "threads": threads,
            "kernels": cpu_kernel_name()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_medians() {
        let steps = |seconds: &[f64]| -> Vec<TimedStep> {
            seconds
                .iter()
                .map(|&seconds| TimedStep { seconds, data_wait: seconds / 10.0 })
                .collect()
        };
        let measured = Measured::of(&steps(&[9.0, 2.0, 1.0]), &steps(&[1.0, 1.0, 1.5]));
        assert_eq!((measured.in_run, measured.alone, measured.share()), (2.0, 1.0, 0.5));
        assert!((measured.waited - 0.4).abs() < 1e-12);
    }
}
