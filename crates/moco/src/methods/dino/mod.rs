//! DINO: Caron, Touvron, Misra, Jégou, Mairal, Bojanowski & Joulin 2021, "Emerging Properties in
//! Self-Supervised Vision Transformers" (arXiv 2104.14294).
//!
//! A student that sees all crops matches what a teacher, its moving average, says of the large
//! ones. Two operations on the teacher's output keep it from collapsing: centring, so that no
//! output wins everywhere, and sharpening, so that not all are equal.
//!
//! As in the reference code: the teacher's temperature moves once per epoch, the centre after the
//! loss, the teacher after the optimiser's step.

mod spec;

pub use spec::{DinoConfig, DinoSpec};

use super::{Expectation, Method, Metric, Step, StepOutput, Treatment};
use crate::batch::Batch;
use crate::loss::cross_entropy_of_views;
use crate::models::{DinoEncoder, Encode, NetworkSpec};
use crate::nn::{Mode, Module, copy_tensors};
use crate::parts::{Center, ema};
use crate::schedule::cosine;
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Tensor, s};

/// Large crops, which the teacher sees; they come first.
const GLOBAL: usize = 2;

/// State of DINO.
pub struct Dino {
    student: DinoEncoder,
    teacher: DinoEncoder,
    center: Center,
    config: DinoConfig,
    /// The teacher's logits of the current step, part by part.
    fresh: Vec<Tensor<2>>,
}

crate::module!(Dino { student, teacher, center });

impl Dino {
    /// Student and teacher start equal; everything is a function of the network's seed.
    pub fn new(config: &DinoConfig, network: &NetworkSpec, device: &Device) -> Self {
        let mut student = DinoEncoder::new(&config.head(), network, &device.clone().autodiff());
        // On the plain device no gradient can reach the teacher.
        let mut teacher =
            DinoEncoder::new(&config.head(), &network.clone().without_drop_path(), device);
        copy_tensors(&mut student, &mut teacher);
        let center = Center::new(config.outputs, device);
        Self { student, teacher, center, config: config.clone(), fresh: Vec::new() }
    }

    /// Bottleneck and logits of the teacher, with the statistics of the batch.
    ///
    /// # Shapes
    /// As [`DinoEncoder::forward_views`].
    pub fn forward_teacher(&mut self, views: &[Tensor<4>]) -> [Tensor<2>; 2] {
        self.teacher.forward_views(views, Mode::Train)
    }

    /// The loss, and what the teacher says, `[2 N, K]`, centred and sharpened. Keeps `t` for the
    /// centre's update.
    ///
    /// # Shapes
    /// Logits, view after view: `s` is the student's of all V views, `[V N, K]`, `t` the teacher's
    /// of the large crops, `[2 N, K]`.
    pub fn loss_with(
        &mut self,
        s: Tensor<2>,
        t: Tensor<2>,
        epoch: usize,
    ) -> (Tensor<1>, Tensor<2>) {
        let log_p_s = log_softmax(s / self.config.student_temperature, 1); // log of Eq. 1
        let centred = if self.config.center { t.clone() - self.center.row() } else { t.clone() };
        let p_t = softmax(centred / self.teacher_temperature(epoch), 1);
        self.fresh.push(t);
        // Eq. 3: every pair of a teacher's view and another view of the student.
        let loss = cross_entropy_of_views(&p_t.clone().chunk(GLOBAL, 0), log_p_s);
        (loss, p_t)
    }

    /// The teacher's temperature: a line over its first epochs, then constant.
    fn teacher_temperature(&self, epoch: usize) -> f64 {
        let DinoConfig { teacher_temperature_start: start, teacher_temperature: end, .. } =
            self.config;
        let warmup = self.config.teacher_temperature_epochs;
        if epoch >= warmup {
            return end;
        }
        start + (end - start) * epoch as f64 / (warmup - 1).max(1) as f64
    }
}

impl Method for Dino {
    fn loss(&mut self, batch: &Batch, step: &Step) -> StepOutput {
        let [z, s] = self.student.forward_views(&batch.views, Mode::Train); // [V N, K]
        let [_, t] = self.forward_teacher(&batch.views[..GLOBAL]); // [2 N, K]
        let (loss, p_t) = self.loss_with(s, t, step.epoch());

        let feature_std = Metric::std(z.slice(s![0..batch.indices.len(), ..]));
        let entropy = (p_t.clone() * (p_t + 1e-20).log()).sum_dim(1).mean().neg();
        StepOutput {
            loss,
            metrics: vec![("feature_std", feature_std), ("teacher_entropy", Metric::Mean(entropy))],
        }
    }

    fn student(&mut self) -> &mut dyn Module {
        &mut self.student
    }

    fn treatment(&self, step: &Step) -> Treatment {
        let rests = step.epoch() < self.config.freeze_last_layer_epochs;
        Treatment { frozen: if rests { &["head.last_layer"] } else { &[] }, ..Treatment::default() }
    }

    fn after_update(&mut self, step: &Step) {
        // Eq. 4, over both large crops of the whole batch.
        let logits = Tensor::cat(std::mem::take(&mut self.fresh), 0);
        self.center.update(logits, self.config.center_momentum);
        let m = cosine(self.config.momentum, 1.0, step.progress());
        ema::update(&mut self.teacher, &mut self.student, m);
    }

    /// The teacher, which is the better of the two throughout training (Sec. 5.2).
    fn encoder(&mut self) -> &mut dyn Encode {
        &mut self.teacher
    }

    fn expectation(&self) -> Expectation {
        let chance = (self.config.outputs as f64).ln();
        Expectation {
            chance,
            collapse: Some(chance),
            mend: "lower method.teacher_temperature, or optim.lr, and keep method.center on",
            dim: self.config.bottleneck,
            advice: format!(
                "The loss starts at {chance:.2}, the logarithm of the number of outputs, and a run \
                 that stays there learns nothing; teacher_entropy should fall, but not to 0."
            ),
            parts_differ: None,
        }
    }
}
