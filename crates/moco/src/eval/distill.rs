//! Distillation: a student learns from what a fine-tuned network says of images without labels.
//!
//! Chen et al. 2020 (arXiv 2006.10029), Sec. 2.3: the third step of SimCLR v2, after pre-training and
//! fine-tuning. Teacher and student see the same augmented image, the teacher in evaluation mode.

use super::classifier::{
    Classifier, cross_entropy, next_batch, soft_cross_entropy, training_images,
};
use super::finetune::score;
use super::{Epochs, EvalError, HeadStart, Tuned, together};
use crate::batch::Batch;
use crate::config::{DecayScope, Granularity, LarsFlavor, RuleConfig};
use crate::nn::{Mode, freeze};
use crate::optim::Optimizer;
use crate::schedule::{Decay, RateSchedule};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use moco_data::{Dataset, Loader, View};
use std::sync::Arc;

/// The published batch.
const BATCH: usize = 4096;
/// Steps of an epoch that a batch in proportion to the images leaves.
const STEPS: usize = 64;
/// No batch is made smaller than this.
const LEAST_BATCH: usize = 32;

/// Settings of distillation; the defaults are the paper's (App. B and Sec. 3), which are those of its
/// pre-training.
#[derive(Clone, Debug)]
pub struct Distill {
    /// Augmentation of the images.
    pub view: View,
    /// Passes over the images without labels.
    pub epochs: usize,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Images per step, of each of the two kinds.
    pub batch_size: usize,
    /// What moves the weights.
    pub rule: RuleConfig,
    /// What weight decay, and LARS's adaptation, apply to; never the new layer.
    pub scope: DecayScope,
    /// Learning rate, for this batch size.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Temperature of both networks' scores: 0.1 in the paper for a student like its teacher, 1 for a
    /// smaller one.
    pub temperature: f64,
    /// Share of the teacher's loss, in (0, 1]; what is left is that of labelled images (Eq. 3).
    pub teacher_share: f64,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Threads that decode and augment.
    pub threads: usize,
    /// Epochs between two tests on the way; the last epoch is tested in any case. 0 tests it alone.
    pub test_epochs: usize,
}

impl Distill {
    /// The paper's settings: 400 epochs, 5 % of them warm-up, LARS at 0.1 times the root of a batch of
    /// 4096, or of a 64th of the images where there are few.
    pub fn published(view: View, images: usize, seed: u64, threads: usize) -> Self {
        let batch_size = (images / STEPS).clamp(LEAST_BATCH, BATCH).min(images.max(1));
        Self {
            view,
            epochs: 400,
            warmup_epochs: 20.0,
            batch_size,
            rule: RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Inside },
            scope: DecayScope::Matrices,
            lr: Self::published_rate(batch_size),
            weight_decay: 1e-4,
            temperature: 1.0,
            teacher_share: 1.0,
            seed,
            threads,
            test_epochs: 1,
        }
    }

    /// The paper's rate for a batch of this size.
    pub fn published_rate(batch_size: usize) -> f64 {
        0.1 * (batch_size as f64).sqrt()
    }

    fn rates(&self) -> RateSchedule {
        RateSchedule {
            peak: self.lr,
            warmup_epochs: self.warmup_epochs,
            start: 0.0,
            inclusive: false,
            epochs: self.epochs,
            decay: Decay::Cosine(0.0),
            granularity: Granularity::Step,
        }
    }
}

/// The images that a student learns from.
pub struct Lessons {
    /// Those that the teacher is asked about; labels are not looked at.
    pub unlabelled: Arc<Dataset>,
    /// Those with labels, in the numbers of the teacher's classes; needed where
    /// [`Distill::teacher_share`] is below 1.
    pub labelled: Option<Arc<Dataset>>,
}

/// Trains `student`, a network on the autodiff side of `device`, by what `teacher`, on `device`, says,
/// and scores it on `test`, whose images are seen through `test_view`. `progress` hears (steps done,
/// steps in all). A collective call of the ranks that share both networks, each of which computes its share
/// of every batch.
///
/// # Errors
/// [`EvalError`] when images cannot be read, batches do not split over the ranks, or the student diverges.
///
/// # Panics
/// If labelled images are needed and there are none, or batches do not split into the student's BatchNorm
/// groups.
pub fn distill(
    teacher: &mut Classifier,
    mut student: Classifier,
    lessons: &Lessons,
    (test, test_view): (&Dataset, &View),
    config: &Distill,
    device: &Device,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Tuned, EvalError> {
    let peers = student.peers;
    let loader = |images: &Arc<Dataset>, seed: u64| {
        let (batch, threads) = (config.batch_size, config.threads);
        training_images(images, &config.view, batch, seed, threads, peers)
    };
    freeze(teacher);
    student.start_head(HeadStart::PROBE, config.seed);
    let mut optimizer = Optimizer::of_rule(config.rule.clone(), config.scope, None, &mut student);
    optimizer.leave_out("head.");
    let mut unlabelled = loader(&lessons.unlabelled, config.seed)?;
    let mut labelled = match config.teacher_share < 1.0 {
        true => {
            let images = lessons.labelled.as_ref().expect("labelled images");
            Some((images, loader(images, config.seed.wrapping_add(1))?))
        }
        false => None,
    };
    let (rates, per_epoch) = (config.rates(), unlabelled.steps_per_epoch());
    let total = config.epochs * per_epoch;
    let mut epochs = Epochs::default();
    for step in 0..total {
        let batch = together(unlabelled.next_batch().map_err(EvalError::from), peers)?;
        let images = Batch::new(batch, device).views.remove(0);
        let taught = teacher.forward(images.clone(), Mode::Eval);
        let learnt = student.forward(images, Mode::Train);
        let mut loss = distillation(learnt, taught, config.temperature) * config.teacher_share;
        if let Some((images, loader)) = &mut labelled {
            let supervised = supervised(&mut student, images, loader, device)?;
            loss = loss + supervised * (1.0 - config.teacher_share);
        }
        let lr = rates.at(step, per_epoch);
        student.learn(&loss, &mut optimizer, config.weight_decay, |_| lr);
        progress(step + 1, total);
        let epoch = (step + 1) / per_epoch;
        let due = config.test_epochs > 0 && epoch.is_multiple_of(config.test_epochs);
        if (step + 1).is_multiple_of(per_epoch) && (due || epoch == config.epochs) {
            epochs.push(epoch, score(&mut student, test, test_view, config.threads, device)?);
        }
    }
    Ok(Tuned { epochs, net: student })
}

/// The loss of a batch of labelled images.
fn supervised(
    student: &mut Classifier,
    images: &Dataset,
    loader: &mut Loader,
    device: &Device,
) -> Result<Tensor<1>, EvalError> {
    let (batch, labels) = next_batch(loader, images, student.peers)?;
    let views = Batch::new(batch, device).views.remove(0);
    Ok(cross_entropy(student.forward(views, Mode::Train), &labels, 0.0))
}

/// `-τ² mean Σ_y P_T(y) log P_S(y)`, where `P` is the softmax of scores over `τ`: Eq. 2, with the mean
/// over the images and the factor `τ²` of the published code (`add_kd_loss` of its notebook on
/// distillation), by which gradients do not shrink as the temperature rises.
///
/// # Shapes
/// `[N, classes]`, the student's and the teacher's, to `[1]`; the teacher's are constants.
pub fn distillation(student: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> Tensor<1> {
    let targets = softmax(teacher / temperature, 1);
    soft_cross_entropy(student / temperature, targets) * (temperature * temperature)
}
