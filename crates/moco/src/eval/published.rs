//! How papers fine-tune a pre-trained network.

use super::{FineTune, HeadStart, Mixing, Readout, Refit};
use crate::config::{DecayScope, LarsFlavor, RuleConfig};
use moco_data::View;

/// What AdamW is everywhere here.
pub(super) const ADAMW: RuleConfig = RuleConfig::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/// Width of ViT-B.
const BASE: usize = 768;
/// Width of ViT-L.
const LARGE: usize = 1024;

/// A published way of fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// MAE's code, by the width of the transformer: ViT-B up to 768, ViT-L up to 1024, ViT-H
    /// (github.com/facebookresearch/mae, FINETUNE.md; arXiv 2111.06377, App. A.1, Table 9).
    Mae,
    /// SimCLR's code for a share of the labels (github.com/google-research/simclr, README): LARS at
    /// 0.005 times the root of the batch, neither warm-up nor weight decay, a layer of zeros.
    SimClr,
    /// BYOL's (arXiv 2006.07733, App. C.1): SGD with Nesterov's momentum, without weight decay or
    /// smoothing. The paper picks rate and epochs by validation; here they are one of its choices each,
    /// 0.05 and 50.
    Byol,
    /// DeiT's code (github.com/facebookresearch/deit, main.py), by which MoCo v3's transformers were
    /// fine-tuned, for 150 epochs.
    Deit,
}

impl Published {
    /// The settings on images augmented by `view`, where `images` are a step at most. `width` is the
    /// transformer's; a network of another kind counts as ViT-B. What is changed about the network is not
    /// among them, see [`Published::drop_path`] and [`Refit`].
    pub fn settings(self, view: View, images: usize, width: usize) -> FineTune {
        let batch = 1024.min(images);
        let refit = Refit { readout: Readout::Own, drop_path: 0.0 };
        let usual = FineTune::new(refit, view, 100, batch, 0, 1);
        let per = |lr: f64, quoted: f64| lr * batch as f64 / quoted;
        let mixing = Mixing { mixup: 0.8, cutmix: 1.0 };
        match self {
            Published::Mae => FineTune {
                lr: per(if width <= BASE { 5e-4 } else { 1e-3 }, 256.0),
                layer_decay: if width <= BASE { 0.65 } else { 0.75 },
                epochs: if width <= BASE { 100 } else { 50 },
                warmup_epochs: 5.0,
                lr_end: 1e-6,
                head: HeadStart::Normal(2e-5),
                mixing,
                ..usual
            },
            Published::Deit => FineTune {
                lr: per(5e-4, 512.0),
                layer_decay: 1.0,
                epochs: 150,
                warmup_epochs: 5.0,
                lr_end: 1e-5,
                head: HeadStart::Normal(0.02),
                mixing,
                ..usual
            },
            Published::SimClr => FineTune {
                rule: RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Inside },
                scope: DecayScope::Matrices,
                lr: 0.005 * (batch as f64).sqrt(),
                epochs: 60,
                head_adapted: false,
                head: HeadStart::ZERO,
                ..plain(usual)
            },
            Published::Byol => FineTune {
                rule: RuleConfig::Nesterov { momentum: 0.9 },
                scope: DecayScope::All,
                lr: 0.05,
                epochs: 50,
                head: HeadStart::FanIn,
                ..plain(usual)
            },
        }
    }

    /// The chance of dropping a branch in a transformer's last block, by its width.
    pub fn drop_path(self, width: usize) -> f64 {
        match self {
            Published::Mae if width > LARGE => 0.3,
            Published::Mae if width > BASE => 0.2,
            Published::Mae | Published::Deit => 0.1,
            Published::SimClr | Published::Byol => 0.0,
        }
    }

    /// Whether the paper augments by RandAugment and random erasing besides crop and flip.
    pub fn augments_strongly(self) -> bool {
        matches!(self, Published::Mae | Published::Deit)
    }
}

/// Without anything that keeps a network from learning by heart, and all layers at one rate.
fn plain(usual: FineTune) -> FineTune {
    FineTune { warmup_epochs: 0.0, layer_decay: 1.0, weight_decay: 0.0, smoothing: 0.0, ..usual }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(published: Published, images: usize, width: usize) -> FineTune {
        let view = "crop(224) normalize(imagenet)".parse().expect("a view");
        published.settings(view, images, width)
    }

    /// Rates at the published batch, layer decay, drop-path, epochs: FINETUNE.md of MAE's code, main.py of
    /// DeiT's, the command of SimCLR's README.
    #[test]
    fn presets_are_the_published_ones() {
        for (published, width, lr, layer_decay, drop_path, epochs) in [
            (Published::Mae, 768, 2e-3, 0.65, 0.1, 100),
            (Published::Mae, 1024, 4e-3, 0.75, 0.2, 50),
            (Published::Mae, 1280, 4e-3, 0.75, 0.3, 50),
            (Published::Deit, 768, 1e-3, 1.0, 0.1, 150),
            (Published::SimClr, 768, 0.16, 1.0, 0.0, 60),
            (Published::Byol, 768, 0.05, 1.0, 0.0, 50),
        ] {
            let tune = settings(published, usize::MAX, width);
            let dropped = published.drop_path(width);
            assert!((tune.lr / lr - 1.0).abs() < 1e-12, "{published:?}: {}", tune.lr);
            assert_eq!((tune.layer_decay, dropped, tune.epochs), (layer_decay, drop_path, epochs));
            assert_eq!(tune.batch_size, 1024);
            let strong = published.augments_strongly();
            assert_eq!(
                (tune.weight_decay, tune.smoothing),
                if strong { (0.05, 0.1) } else { (0.0, 0.0) }
            );
            assert_eq!(tune.mixing == Mixing::default(), !strong, "{published:?}");
            assert_eq!(tune.warmup_epochs, if strong { 5.0 } else { 0.0 });
        }
        // 0.005 times the root of 256.
        assert!((settings(Published::SimClr, 256, 768).lr - 0.08).abs() < 1e-12);
        assert!((settings(Published::Mae, 256, 768).lr - 5e-4).abs() < 1e-12);
    }
}
