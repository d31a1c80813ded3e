//! Optimiser and schedule: as each method's paper or reference code has them.

use super::{Draft, SMALL};
use crate::config::DataFacts;
use toml::Value;

/// A published setting of the optimiser.
struct Published {
    optimizer: &'static str,
    lr: f64,
    lr_batch: i64,
    weight_decay: f64,
    decay: &'static str,
    schedule: &'static str,
    /// Share of the run that warms up, and epochs at most.
    warmup: (f64, f64),
}

const SGD: Published = Published {
    optimizer: "sgd",
    lr: 0.03,
    lr_batch: 256,
    weight_decay: 1e-4,
    decay: "all",
    schedule: "cosine",
    warmup: (0.0, 0.0),
};
const LARS: Published = Published {
    optimizer: "lars",
    lr: 0.3,
    lr_batch: 256,
    weight_decay: 1e-6,
    decay: "matrices",
    schedule: "cosine",
    warmup: (0.1, 10.0),
};
const ADAMW: Published = Published {
    optimizer: "adamw",
    lr: 1.5e-4,
    lr_batch: 256,
    weight_decay: 0.05,
    decay: "matrices",
    schedule: "cosine",
    warmup: (0.1, 40.0),
};

/// The setting of each method's paper or code; `small` images follow the CIFAR-10 ones.
fn published(method: &str, small: bool, many: bool, vit: bool) -> Published {
    let weight_decay = if many { 1e-4 } else { 5e-4 };
    let lr_batch = if small { 128 } else { 256 };
    match (method, vit) {
        ("instdisc" | "invaspread", _) => {
            Published { schedule: "step", lr_batch, weight_decay, ..SGD }
        }
        ("cmc", _) => Published { schedule: "step", lr_batch: 128, ..SGD },
        ("cpc", _) => Published {
            optimizer: "adam",
            lr: 2e-4,
            lr_batch: 64,
            weight_decay: 1e-5,
            decay: "all",
            schedule: "constant",
            warmup: (0.0, 0.0),
        },
        ("mae", _) => ADAMW,
        ("dino", true) => Published { lr: 5e-4, weight_decay: 0.04, warmup: (0.1, 10.0), ..ADAMW },
        ("moco-v3", true) => Published { weight_decay: 0.1, decay: "all", ..ADAMW },
        ("moco-v3", false) => Published { lr: 0.6, ..LARS },
        ("byol", false) => Published { lr: 0.45, ..LARS },
        ("simclr" | "simclr-v2", false) => {
            Published { lr: if small { 0.5 } else { 0.3 }, weight_decay: 1e-4, ..LARS }
        }
        ("swav", false) => Published { lr: 0.6, decay: "all", warmup: (0.0, 0.0), ..LARS },
        ("dino", false) => Published { lr: 0.03, ..SGD },
        ("simsiam", false) => {
            Published { lr: if small { 0.03 } else { 0.05 }, weight_decay, ..SGD }
        }
        ("moco-v1", false) => Published { schedule: "step", weight_decay, ..SGD },
        (_, false) => Published { weight_decay, ..SGD },
        (_, true) => ADAMW,
    }
}

impl Draft {
    /// Completes `[optim]`.
    pub(super) fn optim(&mut self, facts: &DataFacts, method: &str, pixels: usize) {
        let vit = self.backbone().starts_with("vit");
        let many = facts.images >= 500_000;
        let published = published(method, pixels <= SMALL, many, vit);
        let optimizer = self.fill_text("optim.optimizer", published.optimizer);
        self.rule(&optimizer, method);
        self.fill("optim.lr", published.lr, None);
        self.fill("optim.lr_batch", published.lr_batch, None);
        self.fill("optim.lr_scaling", "linear", None);
        let why = format!("as published for {}", if many { "ImageNet" } else { "CIFAR-10" });
        let follows_data = published.optimizer == "sgd" && method != "cmc";
        self.fill("optim.weight_decay", published.weight_decay, follows_data.then_some(why));
        self.fill("optim.decay", published.decay, None);
        if method == "dino" && vit {
            self.fill("optim.weight_decay_end", 0.4, None);
            self.fill("optim.clip", 3.0, None);
        }
        self.schedule(method, &published);
        self.fill("optim.accumulate", 1, None);
        // BYOL's loss is a mean over images, so that parts differ in BatchNorm alone.
        if ["invaspread", "simclr", "simclr-v2", "moco-v3"].contains(&method) {
            self.fill("optim.accumulate_exact", true, None);
        }
    }

    /// What belongs to the optimiser's rule.
    fn rule(&mut self, optimizer: &str, method: &str) {
        match optimizer {
            "adam" | "adamw" => {
                let betas = match method {
                    "mae" => (0.9, 0.95),
                    "cpc" => (0.8, 0.999),
                    _ => (0.9, 0.999),
                };
                self.fill("optim.beta1", betas.0, None);
                self.fill("optim.beta2", betas.1, None);
                self.fill("optim.epsilon", 1e-8, None);
            }
            _ => self.fill("optim.momentum", 0.9, None),
        }
        if optimizer == "lars" {
            let flavor = match method {
                "simclr" | "simclr-v2" => "inside",
                "swav" => "larc",
                _ => "outside",
            };
            let flavor = self.fill_text("optim.flavor", flavor);
            self.fill("optim.trust", if flavor == "solo-learn" { 0.02 } else { 0.001 }, None);
        }
    }

    fn schedule(&mut self, method: &str, published: &Published) {
        let epochs = self.count("train.epochs");
        let kind = self.fill_text("optim.schedule.kind", published.schedule);
        match kind.as_str() {
            "step" => {
                // 120 and 160 of 200 epochs, in proportion.
                let mut drops = vec![(epochs * 3 / 5) as i64, (epochs * 4 / 5) as i64];
                drops.dedup();
                self.fill("optim.schedule.milestones", drops, None);
                self.fill("optim.schedule.gamma", 0.1, None);
            }
            "cosine" => {
                let end = match method {
                    "swav" => 6e-4,
                    "dino" => 1e-6,
                    _ => 0.0,
                };
                self.fill("optim.schedule.end", Value::Float(end), None);
            }
            _ => {}
        }
        let per_epoch =
            ["instdisc", "invaspread", "cmc", "moco-v1", "moco-v2", "simsiam"].contains(&method);
        self.fill("optim.granularity", if per_epoch { "epoch" } else { "step" }, None);
        let (share, most) = published.warmup;
        let warmup = (share * epochs as f64).min(most).floor();
        self.fill("optim.warmup_epochs", warmup, None);
    }
}
