//! A watch for collapse: outputs that no longer depend on the image.

use crate::events::StepReport;
use crate::methods::Expectation;

/// Steps in a row that must look collapsed before anyone is told.
const PATIENCE: usize = 50;
/// Share of the healthy standard deviation below which features count as collapsed. MoCo's first
/// epochs may go as low as a half.
const NARROW: f64 = 0.1;
/// Distance from the collapsed loss that counts as being there, as a share of it or of the loss at
/// chance, whichever is larger: a collapsed loss may be 0.
const NEAR: f64 = 1e-3;

/// Sees every step and speaks once.
#[derive(Debug, Default)]
pub struct CollapseWatch {
    narrow: usize,
    stuck: usize,
    told: bool,
}

impl CollapseWatch {
    /// Looks at a step; a sentence that names what is seen and the likely cause, the first time a
    /// collapse has lasted.
    pub fn see(&mut self, report: &StepReport, expected: &Expectation) -> Option<String> {
        let healthy = 1.0 / (expected.dim as f64).sqrt();
        let std = report.metrics.iter().find(|(name, _)| *name == "feature_std").map(|(_, v)| *v);
        let collapsed = expected.collapse.is_some_and(|collapse| {
            let width = NEAR * collapse.abs().max(expected.chance.abs());
            let near = |loss: f64| (loss - collapse).abs() < width;
            // Where a run starts at the collapsed loss, being there says nothing at first.
            let begins = near(expected.chance) && report.epoch == 0;
            near(report.loss) && !begins
        });
        self.narrow = count(self.narrow, std.is_some_and(|std| std < NARROW * healthy));
        self.stuck = count(self.stuck, collapsed);
        if self.told || self.narrow.max(self.stuck) < PATIENCE {
            return None;
        }
        self.told = true;
        let seen = match std {
            Some(std) if self.narrow >= PATIENCE => format!(
                "the features of all images are nearly the same (standard deviation {std:.4}, \
                 healthy {healthy:.4})"
            ),
            _ => format!(
                "the loss stays at {:.3}, which is that of an output that does not depend on the \
                 image",
                report.loss
            ),
        };
        Some(format!("the network has collapsed, {seen}: {}", expected.mend))
    }
}

fn count(so_far: usize, again: bool) -> usize {
    if again { so_far + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expectation {
        Expectation {
            chance: 8.0,
            collapse: Some(8.5),
            mend: "lower the rate",
            dim: 100,
            advice: String::new(),
            parts_differ: None,
        }
    }

    fn report(loss: f64, std: f64) -> StepReport {
        let metrics = vec![("feature_std", std)];
        StepReport { step: 1, epoch: 0, loss, lr: 0.1, metrics, seconds: 1.0, data_wait: 0.0 }
    }

    fn first_warning(loss: f64, std: f64) -> Option<(usize, String)> {
        let mut watch = CollapseWatch::default();
        let report = report(loss, std);
        let told: Vec<_> = (0..200)
            .filter_map(|step| watch.see(&report, &expected()).map(|text| (step, text)))
            .collect();
        assert!(told.len() <= 1, "told once: {told:?}");
        told.into_iter().next()
    }

    #[test]
    fn tells_once_when_a_collapse_lasts() {
        assert_eq!(first_warning(7.0, 0.08), None);
        let (step, text) = first_warning(7.0, 0.005).unwrap();
        assert_eq!(step, PATIENCE - 1);
        assert!(text.contains("standard deviation 0.0050, healthy 0.1000"), "{text}");
        assert!(text.ends_with(": lower the rate"), "{text}");
        let (_, text) = first_warning(8.501, 0.08).unwrap();
        assert!(text.contains("the loss stays at 8.501"), "{text}");
    }

    /// SwAV, DINO and CPC: the loss of an untrained network is that of a collapsed one.
    #[test]
    fn a_loss_that_runs_start_with_counts_after_the_first_epoch() {
        let expected = Expectation { collapse: Some(8.001), ..expected() };
        let mut watch = CollapseWatch::default();
        for _ in 0..3 * PATIENCE {
            assert_eq!(watch.see(&report(8.001, 0.08), &expected), None);
        }
        let second = StepReport { epoch: 1, ..report(8.001, 0.08) };
        let told: Vec<_> = (0..PATIENCE).map(|_| watch.see(&second, &expected)).collect();
        assert!(told[..PATIENCE - 1].iter().all(Option::is_none), "{told:?}");
        assert!(told[PATIENCE - 1].as_ref().unwrap().contains("the loss stays at 8.001"));
    }

    /// BYOL.
    #[test]
    fn a_collapsed_loss_may_be_0() {
        let expected = Expectation { chance: 4.0, collapse: Some(0.0), ..expected() };
        let mut watch = CollapseWatch::default();
        let told = |watch: &mut CollapseWatch, loss| {
            (0..PATIENCE).find_map(|_| watch.see(&report(loss, 0.08), &expected))
        };
        assert_eq!(told(&mut watch, 0.01), None);
        assert!(told(&mut watch, 0.001).unwrap().contains("the loss stays at 0.001"));
    }

    #[test]
    fn one_healthy_step_starts_the_count_anew() {
        let mut watch = CollapseWatch::default();
        for step in 0..200 {
            let std = if step % 40 == 0 { 0.1 } else { 0.0 };
            let report = report(7.0, std);
            assert_eq!(watch.see(&report, &expected()), None);
        }
    }
}
