//! Optimiser and schedule: as the method's paper or reference code has them.

use crate::config::{Draft, OptimDefaults, Scale};
use crate::methods::Spec;
use toml::Value;

/// LARS's trust coefficient, and solo-learn's.
const TRUST: [f64; 2] = [0.001, 0.02];

/// Completes `[optim]`.
pub fn fill(draft: &mut Draft, spec: &dyn Spec, scale: &Scale<'_>) {
    let published = spec.optim(scale);
    let optimizer = draft.fill_text("optim.optimizer", published.optimizer);
    rule(draft, &optimizer, &published);
    draft.fill("optim.lr", published.lr, None);
    draft.fill("optim.lr_batch", published.lr_batch, None);
    draft.fill("optim.lr_scaling", "linear", None);
    let data = if scale.many_images() { "ImageNet" } else { "CIFAR-10" };
    let why = format!("as published for {data}");
    let why = published.decay_follows_data.then_some(why);
    draft.fill("optim.weight_decay", published.weight_decay, why);
    draft.fill("optim.decay", published.decay, None);
    for (key, value) in
        [("optim.weight_decay_end", published.weight_decay_end), ("optim.clip", published.clip)]
    {
        if let Some(value) = value {
            draft.fill(key, value, None);
        }
    }
    schedule(draft, &published);
    draft.fill("optim.accumulate", 1, None);
    if let Some(exact) = published.accumulate_exact {
        draft.fill("optim.accumulate_exact", exact, None);
    }
}

/// What belongs to the optimiser's rule.
fn rule(draft: &mut Draft, optimizer: &str, published: &OptimDefaults) {
    if ["adam", "adamw"].contains(&optimizer) {
        draft.fill("optim.beta1", published.betas.0, None);
        draft.fill("optim.beta2", published.betas.1, None);
        draft.fill("optim.epsilon", 1e-8, None);
    } else {
        draft.fill("optim.momentum", 0.9, None);
    }
    if optimizer == "lars" {
        let flavor = draft.fill_text("optim.flavor", published.flavor);
        let trust = TRUST[usize::from(flavor == "solo-learn")];
        draft.fill("optim.trust", trust, None);
    }
}

fn schedule(draft: &mut Draft, published: &OptimDefaults) {
    let epochs = draft.count("train.epochs");
    let kind = draft.fill_text("optim.schedule.kind", published.schedule);
    match kind.as_str() {
        "step" => {
            // 120 and 160 of 200 epochs, in proportion.
            let mut drops = vec![(epochs * 3 / 5) as i64, (epochs * 4 / 5) as i64];
            drops.dedup();
            draft.fill("optim.schedule.milestones", drops, None);
            draft.fill("optim.schedule.gamma", 0.1, None);
        }
        "cosine" => {
            draft.fill("optim.schedule.end", Value::Float(published.schedule_end), None);
        }
        _ => {}
    }
    draft.fill("optim.granularity", published.granularity, None);
    let (share, most) = published.warmup;
    let warmup = (share * epochs as f64).min(most).floor();
    draft.fill("optim.warmup_epochs", warmup, None);
}
