//! Events in words, one sentence or line each: for the log and for the console.

use crate::events::{EpochReport, Event, Quality, Start, StepReport};

/// Tells a run's events in words; remembers the frame, so that later lines can say "of how many".
#[derive(Clone, Debug, Default)]
pub struct Story {
    start: Option<Start>,
}

impl Story {
    /// The event in words; nothing for progress within a stage.
    pub fn tell(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Start(start) => {
                self.start = Some(start.clone());
                Some(told_start(start))
            }
            Event::Step(report) => Some(self.told_step(report)),
            Event::Epoch(report) => Some(self.told_epoch(report)),
            Event::Progress { .. } => None,
            Event::Saved(path) => Some(format!("saved {}", path.display())),
            Event::BadFile { name, reason } => Some(format!("left out {name}: {reason}")),
            Event::Note(note) => Some(note.clone()),
            Event::Warning(warning) => Some(format!("warning: {warning}")),
        }
    }

    fn told_step(&self, report: &StepReport) -> String {
        let batch = self.start.as_ref().map_or(0, |start| start.batch_size);
        let of = self.start.as_ref().map_or_else(String::new, |s| format!("/{}", s.total_steps));
        let mut line = format!("step {}{of}  loss {:.4}", report.step, report.loss);
        for (name, value) in &report.metrics {
            line += &format!("  {name} {value:.3}");
        }
        line += &format!("  lr {:.4}", report.lr);
        if batch > 0 && report.seconds > 0.0 {
            line += &format!("  {:.0} images/s", batch as f64 / report.seconds);
            line += &format!("  data wait {}", percent(report.data_wait / report.seconds, 0));
        }
        line
    }

    fn told_epoch(&self, report: &EpochReport) -> String {
        let epochs = self.start.as_ref().map(|s| s.total_steps.div_ceil(s.steps_per_epoch.max(1)));
        let of = epochs.map_or_else(String::new, |epochs| format!("/{epochs}"));
        let mut line = format!("epoch {}{of}  loss {:.4}", report.epoch, report.loss);
        if let Some(knn) = report.knn {
            let protocol = report.knn_protocol.as_deref().unwrap_or("protocol not stated");
            line += &format!("  kNN {} ({protocol})", percent(knn, 2));
        }
        if let Some(probe) = report.probe {
            line += &format!("  linear probe {}", percent(probe, 2));
        }
        if let Some(quality) = &report.quality {
            let Quality { rank_me, lidar, alignment, uniformity, dim, .. } = quality;
            line += &format!(
                "  RankMe {rank_me:.1} and LiDAR {lidar:.1} of {dim}  alignment {alignment:.3}  \
                 uniformity {uniformity:.3}"
            );
        }
        if let Some((std, healthy)) = report.feature_std {
            line += &format!("  feature std {std:.4} (healthy: {healthy:.4}, collapsed: 0)");
        }
        line += &format!(
            "  lr {:.4}  {:.0} images/s  data wait {}  {}",
            report.lr,
            report.images_per_second,
            percent(report.data_wait_share, 0),
            duration(report.seconds)
        );
        line
    }
}

fn told_start(start: &Start) -> String {
    let mut line = format!(
        "{}: {} images, batches of {}, {} steps per epoch, {} steps in all, {:.2} M parameters, \
         chance loss {:.2}",
        start.method,
        start.images,
        start.batch_size,
        start.steps_per_epoch,
        start.total_steps,
        start.parameters as f64 / 1e6,
        start.chance_loss
    );
    if start.first_step > 0 {
        line += &format!("; going on after step {}", start.first_step);
    }
    line
}

/// A share as a percentage.
pub fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", 100.0 * share)
}

/// Seconds as a person would say them: `72 ms`, `8.2 s`, `3 min 20 s`, `2 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.9995 => format!("{:.0} ms", 1000.0 * seconds),
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}
