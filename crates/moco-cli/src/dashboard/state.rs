//! What the dashboard shows, gathered from events.

use moco::report::{Story, duration, percent};
use moco::train::{EpochReport, Event, Start, StepReport};
use std::collections::VecDeque;
use std::time::Instant;

/// Messages that are kept.
const MESSAGES: usize = 100;
/// Points of a curve at most; twice as many are thinned out to every second one.
const POINTS: usize = 4096;
/// Steps that count as recent.
const RECENT: f64 = 200.0;
/// Weight of the latest step in running means.
const SMOOTHING: f64 = 0.1;

/// A curve over steps.
#[derive(Default)]
pub struct Curve {
    points: Vec<(f64, f64)>,
    /// Every so many values become a point.
    every: usize,
    waiting: usize,
}

impl Curve {
    fn push(&mut self, step: usize, value: f64) {
        self.waiting += 1;
        if self.waiting < self.every || !value.is_finite() {
            return;
        }
        self.waiting = 0;
        self.points.push((step as f64, value));
        if self.points.len() >= 2 * POINTS {
            let mut number = 0;
            self.points.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.every = 2 * self.every.max(1);
        }
    }

    /// The points from `first` on.
    pub fn since(&self, first: f64) -> &[(f64, f64)] {
        let at = self.points.partition_point(|(step, _)| *step < first);
        &self.points[at..]
    }
}

/// Everything on the screen.
#[derive(Default)]
pub struct State {
    story: Story,
    pub start: Option<Start>,
    pub step: usize,
    pub loss: Curve,
    pub knn: Curve,
    pub rank: Curve,
    pub messages: VecDeque<String>,
    pub last_epoch: Option<EpochReport>,
    pub last_step: Option<StepReport>,
    /// Running means of a step's seconds, and of those spent waiting for images.
    speed: Option<(f64, f64)>,
    /// A stage other than training: its name, and how far it is.
    pub stage: Option<(&'static str, usize, usize)>,
    pub recent: bool,
    pub paused: bool,
    began: Option<(Instant, usize)>,
}

impl State {
    /// Takes in an event.
    pub fn see(&mut self, event: &Event) {
        if let Event::Progress { stage, done, total } = event {
            self.stage = Some((stage, *done, *total));
            return;
        }
        self.stage = None;
        let line = self.story.tell(event);
        match event {
            Event::Start(start) => {
                self.step = start.first_step;
                self.began = Some((Instant::now(), start.first_step));
                self.start = Some(start.clone());
            }
            Event::Step(report) => self.step(report),
            Event::Epoch(report) => {
                report.knn.into_iter().for_each(|knn| self.knn.push(report.step, 100.0 * knn));
                if let Some(quality) = &report.quality {
                    self.rank.push(report.step, quality.rank_me);
                }
                self.last_epoch = Some(report.clone());
            }
            _ => {}
        }
        if !matches!(event, Event::Step(_)) {
            line.into_iter().for_each(|line| self.say(&line));
        }
    }

    fn step(&mut self, report: &StepReport) {
        self.step = report.step;
        self.loss.push(report.step, report.loss);
        let mean = |old: f64, new: f64| old + SMOOTHING * (new - old);
        let now = (report.seconds.max(1e-9), report.data_wait);
        let (seconds, waited) = self.speed.unwrap_or(now);
        self.speed = Some((mean(seconds, now.0), mean(waited, now.1)));
        self.last_step = Some(report.clone());
    }

    /// Adds a message.
    pub fn say(&mut self, text: &str) {
        self.messages.extend(text.lines().map(str::to_owned).filter(|line| !line.is_empty()));
        let surplus = self.messages.len().saturating_sub(MESSAGES);
        self.messages.drain(..surplus);
    }

    /// First step that is drawn.
    pub fn first_shown(&self) -> f64 {
        if self.recent { (self.step as f64 - RECENT).max(0.0) } else { 0.0 }
    }

    /// Share of the steps that are done, 0..=1.
    pub fn share(&self) -> f64 {
        let total = self.start.as_ref().map_or(0, |start| start.total_steps);
        if total == 0 { 0.0 } else { (self.step as f64 / total as f64).clamp(0.0, 1.0) }
    }

    /// Steps, speed and time left, in a line.
    pub fn progress(&self) -> String {
        let Some(start) = &self.start else { return "preparing".to_owned() };
        let mut line = format!("step {} of {}", self.step, start.total_steps);
        if let Some((seconds, waited)) = self.speed {
            line += &format!(
                "  {:.0} images/s  data wait {}",
                start.batch_size as f64 / seconds,
                percent(waited / seconds, 0)
            );
        }
        if let Some((began, first)) = self.began.filter(|(_, first)| self.step > *first) {
            let left = start.total_steps.saturating_sub(self.step) as f64;
            let per_step = began.elapsed().as_secs_f64() / (self.step - first) as f64;
            line += &format!("  {} left", duration(left * per_step));
        }
        line
    }

    /// What says whether the run is well, a line each.
    pub fn health(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let (Some(step), Some(start)) = (&self.last_step, &self.start) {
            lines.push(format!("loss {:.4} (chance {:.2})", step.loss, start.chance_loss));
            lines.push(format!("learning rate {:.5}", step.lr));
            let metrics = step.metrics.iter().map(|(name, value)| format!("{name} {value:.4}"));
            lines.extend(metrics);
        }
        let Some(epoch) = &self.last_epoch else { return lines };
        if let Some((std, healthy)) = epoch.feature_std {
            lines.push(format!("feature deviation {std:.4} (healthy {healthy:.4})"));
        }
        lines.extend(epoch.knn.map(|knn| format!("kNN {}", percent(knn, 2))));
        lines.extend(epoch.probe.map(|probe| format!("linear probe {}", percent(probe, 2))));
        if let Some(quality) = &epoch.quality {
            lines.push(format!(
                "RankMe {:.1}, LiDAR {:.1} of {}",
                quality.rank_me, quality.lidar, quality.dim
            ));
            lines.push(format!(
                "alignment {:.3}, uniformity {:.3}",
                quality.alignment, quality.uniformity
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_and_stays_in_order() {
        let mut curve = Curve::default();
        (1..=50_000).for_each(|step| curve.push(step, step as f64));
        let points = curve.since(0.0);
        assert!(points.len() <= 2 * POINTS && points.len() >= POINTS / 2, "{}", points.len());
        assert!(points.is_sorted_by(|a, b| a.0 < b.0) && points.last().unwrap().0 > 49_000.0);
        assert!(curve.since(49_000.0).iter().all(|(step, _)| *step >= 49_000.0));
    }
}
