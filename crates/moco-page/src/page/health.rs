//! Health: figures that need no labels, each with what is healthy and what to change when it is not.

use super::data::{Check, Page, Verdict};
use super::text::{escape, number};
use crate::spectrum::directions;
use serde_json::{Value, json};
use std::fmt::Write;

/// What is known of an encoder's features, and of the method's state beside them.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// Images whose features these are.
    pub images: usize,
    /// Width of a feature.
    pub dim: usize,
    /// Singular values of the features less their mean, the largest first.
    pub spectrum: Vec<f64>,
    /// Dimensions that are the same for all images.
    pub dead: usize,
    /// RankMe, where it was measured.
    pub rank_me: Option<f64>,
    /// LiDAR, where it was measured.
    pub lidar: Option<f64>,
    /// Mean squared distance of two views of an image.
    pub alignment: Option<f64>,
    /// Logarithm of the mean Gaussian potential.
    pub uniformity: Option<f64>,
    /// Deviation of the normalised embeddings, and where it is healthy.
    pub deviation: Option<(f64, f64)>,
    /// What the method carries.
    pub parts: Vec<Part>,
}

/// State of a method that can be in good or bad health.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// A queue of keys of earlier images.
    Queue {
        /// Keys in it.
        keys: usize,
        /// Keys that are still the random ones of the start.
        random: usize,
        /// Steps since the oldest key was written.
        age: f64,
        /// Share of itself that the key encoder keeps at each step.
        momentum: f64,
    },
    /// Keys of a query's own image among the negatives, on average.
    OwnKeys {
        /// How many.
        count: f64,
        /// Whether they are left out of the loss.
        masked: bool,
        /// Negatives in all.
        of: usize,
    },
    /// Prototypes, or a teacher's outputs, that images are assigned to.
    Prototypes {
        /// How many there are.
        count: usize,
        /// How many are the nearest of some image.
        used: usize,
        /// Images that were assigned.
        images: usize,
        /// Perplexity of the assignment: the number of prototypes, used evenly, that it is worth.
        perplexity: f64,
    },
    /// The running mean of a teacher's outputs.
    Centre {
        /// Its standard deviation over the outputs.
        deviation: f64,
        /// Standard deviation over images of the outputs themselves.
        outputs: f64,
    },
}

impl Vitals {
    /// The figures with their verdicts.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.directions(), self.dead_dimensions()];
        checks.extend(self.rank_me.map(|rank| self.rank(rank)));
        checks.extend(self.lidar.map(lidar));
        checks.extend(self.uniformity.map(uniformity));
        checks.extend(self.alignment.map(alignment));
        checks.extend(self.deviation.map(|(found, healthy)| deviation(found, healthy)));
        checks.extend(self.parts.iter().map(Part::check));
        checks
    }

    /// Singular values that there can be.
    fn most(&self) -> usize {
        self.dim.min(self.images.saturating_sub(1)).max(1)
    }

    fn directions(&self) -> Check {
        let held = directions(&self.spectrum, 0.9);
        let share = held as f64 / self.most() as f64;
        Check {
            name: "Directions with 90 % of the variance".to_owned(),
            value: format!("{held} of {}", self.most()),
            verdict: grade(held <= 2 && self.most() > 8, share < 0.02),
            meaning:
                "A healthy spectrum falls slowly; a cliff means that the features have collapsed \
                      onto a few directions."
                    .to_owned(),
            mend: "Take a wider or deeper projection head, a smaller learning rate, or stronger \
                   augmentation, so that one easy cue does not suffice."
                .to_owned(),
        }
    }

    fn dead_dimensions(&self) -> Check {
        let share = self.dead as f64 / self.dim.max(1) as f64;
        Check {
            name: "Dead dimensions".to_owned(),
            value: format!("{} of {}", self.dead, self.dim),
            verdict: grade(share > 0.25, share > 0.05),
            meaning: "Dimensions that are the same for all images; a few behind a ReLU are usual, \
                      many are room that was lost."
                .to_owned(),
            mend: "Lower optim.lr or lengthen optim.warmup_epochs: units die in the first large \
                   steps and do not come back."
                .to_owned(),
        }
    }

    fn rank(&self, rank: f64) -> Check {
        let share = rank / self.most() as f64;
        Check {
            name: "RankMe".to_owned(),
            value: format!("{} of {}", number(rank), self.most()),
            verdict: grade(rank < 2.0 && self.most() > 8, share < 0.05),
            meaning: "Effective number of directions of the features as they are; it should rise or \
                      hold while the loss falls. Among runs of one method the higher is usually the \
                      better."
                .to_owned(),
            mend: "If it falls over several epochs, lower optim.lr, or take larger batches or a \
                   longer queue."
                .to_owned(),
        }
    }
}

fn grade(ill: bool, watch: bool) -> Verdict {
    match (ill, watch) {
        (true, _) => Verdict::Ill,
        (false, true) => Verdict::Watch,
        (false, false) => Verdict::Healthy,
    }
}

fn lidar(value: f64) -> Check {
    Check {
        name: "LiDAR".to_owned(),
        value: number(value),
        verdict: Verdict::Compare,
        meaning:
            "Effective number of directions that tell images apart rather than views of one; to \
                  be compared between runs and epochs measured on as many images."
                .to_owned(),
        mend: String::new(),
    }
}

fn uniformity(value: f64) -> Check {
    Check {
        name: "Uniformity".to_owned(),
        value: number(value),
        verdict: grade(value > -0.3, value > -1.0),
        meaning:
            "From 0, where all images are at one point, to about -4, where they fill the sphere \
                  evenly."
                .to_owned(),
        mend: "Lower method.temperature, or take more negatives: a longer queue or larger batches."
            .to_owned(),
    }
}

fn alignment(value: f64) -> Check {
    Check {
        name: "Alignment".to_owned(),
        value: number(value),
        verdict: grade(false, value > 1.0),
        meaning: "Mean squared distance of two views of an image, from 0 to 4, where 2 is that of \
                  strangers; low is good as long as uniformity is low too."
            .to_owned(),
        mend: "Train longer, or weaken the augmentation if views of an image share too little."
            .to_owned(),
    }
}

fn deviation(found: f64, healthy: f64) -> Check {
    let share = found / healthy.max(1e-12);
    Check {
        name: "Deviation of the embeddings".to_owned(),
        value: format!("{} of {}", number(found), number(healthy)),
        verdict: grade(share < 0.1, share < 0.4),
        meaning:
            "Near 1 / sqrt(width) the embeddings fill the sphere; at 0 all images have become \
                  one."
                .to_owned(),
        mend: "Lower optim.lr; methods without negatives need their predictor, their momentum or \
               their centring as published."
            .to_owned(),
    }
}

impl Part {
    fn check(&self) -> Check {
        match *self {
            Part::Queue { keys, random, age, momentum } => queue(keys, random, age, momentum),
            Part::OwnKeys { count, masked, of } => own_keys(count, masked, of),
            Part::Prototypes { count, used, images, perplexity } => {
                prototypes(count, used, images, perplexity)
            }
            Part::Centre { deviation, outputs } => centre(deviation, outputs),
        }
    }
}

fn queue(keys: usize, random: usize, age: f64, momentum: f64) -> Check {
    let moved = 1.0 - momentum.powf(age);
    let random_share = random as f64 / keys.max(1) as f64;
    let still = match random {
        0 => String::new(),
        _ => format!(", {random} still the random ones of the start"),
    };
    Check {
        name: "Age of the queue".to_owned(),
        value: format!(
            "{keys} keys{still}; the oldest is {} steps old, in which the key encoder took over \
             {:.0} % of the query encoder",
            number(age),
            100.0 * moved
        ),
        verdict: grade(moved > 0.9, moved > 0.6 || random_share > 0.1),
        meaning:
            "Keys are comparable as long as the encoder that made them has not become another; \
                  below a half is healthy, and MoCo's own ImageNet runs have 23 %."
                .to_owned(),
        mend: "Shorten method.queue, or raise method.momentum towards 1.".to_owned(),
    }
}

fn own_keys(count: f64, masked: bool, of: usize) -> Check {
    let share = count / of.max(1) as f64;
    let fate = if masked { "left out of the loss" } else { "counted as negatives" };
    Check {
        name: "Own keys in the queue".to_owned(),
        value: format!("{} of {of} for each query, {fate}", number(count)),
        verdict: grade(false, !masked && share > 0.002),
        meaning:
            "A query is pushed away from keys of its own image; one in a thousand does no harm, \
                  many do."
                .to_owned(),
        mend:
            "Shorten method.queue below the number of images, or set method.mask_own_keys = true."
                .to_owned(),
    }
}

fn prototypes(count: usize, used: usize, images: usize, perplexity: f64) -> Check {
    let most = count.min(images).max(1) as f64;
    Check {
        name: "Use of the prototypes".to_owned(),
        value: format!(
            "{used} of {count} are the nearest of some of {images} images, worth {} used evenly",
            number(perplexity)
        ),
        verdict: grade(perplexity < 2.0, perplexity < 0.1 * most.min(50.0)),
        meaning: "Images should spread over many prototypes; if one or two take all of them, the \
                  network has collapsed."
            .to_owned(),
        mend: "SwAV: lower method.epsilon, or start the queue later. DINO: keep method.center on, and \
               lower method.teacher_temperature."
            .to_owned(),
    }
}

fn centre(deviation: f64, outputs: f64) -> Check {
    let share = deviation / outputs.max(1e-12);
    Check {
        name: "The centre".to_owned(),
        value: format!(
            "deviates by {} over the outputs, which deviate by {} over the images",
            number(deviation),
            number(outputs)
        ),
        verdict: grade(outputs < 1e-4, share > 5.0),
        meaning: "The centre takes out what the teacher says of every image; what it says of each \
                  must not be small beside that."
            .to_owned(),
        mend: "Lower optim.lr, or raise method.center_momentum.".to_owned(),
    }
}

/// The spectra as the script draws them, each less its scale.
pub(super) fn spectra(page: &Page) -> Value {
    let of = |(run, study): (usize, &super::Study)| {
        let largest = study.spectrum.first().copied().unwrap_or(0.0).max(1e-300);
        // What is below is rounding of 32-bit features.
        let values = study.spectrum.iter().map(|value| value / largest).filter(|v| *v > 1e-7);
        let values: Vec<f64> = values.map(|v| format!("{v:.4e}").parse().unwrap_or(v)).collect();
        json!({ "run": run, "y": values })
    };
    Value::Array(page.studies().map(of).collect())
}

/// The section.
pub(super) fn section(out: &mut String, page: &Page) {
    out.push_str(
        "<figure class=spectrum><div id=spectrum></div><figcaption>Singular values of the features, \
         of each run as a share of its largest, on a scale of powers of ten.</figcaption></figure>",
    );
    for (number, study) in page.studies() {
        page.run_title(out, number);
        let _ = write!(out, "<p class=hint>{}</p><div class=checks>", escape(&study.of));
        study.checks.iter().for_each(|check| card(out, check));
        out.push_str("</div>");
    }
}

fn card(out: &mut String, check: &Check) {
    let (class, sign) = match check.verdict {
        Verdict::Healthy => ("healthy", "✓ healthy"),
        Verdict::Watch => ("watch", "! to be watched"),
        Verdict::Ill => ("ill", "✗ ill"),
        Verdict::Compare => ("compare", "to compare"),
    };
    let [name, value, meaning] =
        [&check.name, &check.value, &check.meaning].map(|text| escape(text));
    let _ = write!(
        out,
        "<div class=\"check {class}\"><h4>{name}<span class=verdict>{sign}</span></h4>\
         <p class=value>{value}</p><p>{meaning}"
    );
    if matches!(check.verdict, Verdict::Watch | Verdict::Ill) && !check.mend.is_empty() {
        let _ = write!(out, " <b>{}</b>", escape(&check.mend));
    }
    out.push_str("</p></div>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(vitals: &Vitals, name: &str) -> Verdict {
        let checks = vitals.checks();
        checks.iter().find(|check| check.name.starts_with(name)).unwrap().verdict
    }

    #[test]
    fn a_collapse_is_called_ill_and_a_wide_spectrum_healthy() {
        let wide = Vitals {
            images: 1000,
            dim: 64,
            spectrum: (1..=64).map(|i| 1.0 / f64::from(i).sqrt()).collect(),
            rank_me: Some(40.0),
            uniformity: Some(-3.0),
            deviation: Some((0.12, 0.125)),
            ..Vitals::default()
        };
        for name in ["Directions", "Dead", "RankMe", "Uniformity", "Deviation"] {
            assert_eq!(verdict(&wide, name), Verdict::Healthy, "{name}");
        }
        let collapsed = Vitals {
            spectrum: (0..64).map(|i| 0.1f64.powi(i)).collect(),
            dead: 60,
            rank_me: Some(1.2),
            uniformity: Some(-0.01),
            deviation: Some((0.001, 0.125)),
            ..wide
        };
        for name in ["Directions", "Dead", "RankMe", "Uniformity", "Deviation"] {
            assert_eq!(verdict(&collapsed, name), Verdict::Ill, "{name}");
        }
    }

    /// MoCo v1 on ImageNet: 65536 keys, batches of 256, a momentum of 0.999.
    #[test]
    fn the_published_queue_is_healthy_and_one_of_a_fast_encoder_is_not() {
        let queue = |momentum| Part::Queue { keys: 65536, random: 0, age: 256.0, momentum }.check();
        assert_eq!(queue(0.999).verdict, Verdict::Healthy);
        assert!(queue(0.999).value.contains("23 %"), "{}", queue(0.999).value);
        assert_eq!(queue(0.9).verdict, Verdict::Ill);
    }

    #[test]
    fn of_few_images_nothing_ill_is_said() {
        let vitals = Vitals { images: 1, dim: 64, spectrum: vec![0.0], ..Vitals::default() };
        assert_eq!(verdict(&vitals, "Directions"), Verdict::Healthy);
    }
}
