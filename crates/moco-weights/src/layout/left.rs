//! What is left of a file, and why.

use super::keys::Keys;
use super::rule::Rule;
use crate::read::Checkpoint;
use crate::report::Left;
use std::collections::{BTreeMap, BTreeSet};

/// Beginnings of clean names, and what they are.
const KNOWN: [(&str, &str); 33] = [
    ("optimizer", "the optimiser's state"),
    ("lr_scheduler", "the schedule's state"),
    ("scaler", "the state of mixed precision"),
    ("fp16_scaler", "the state of mixed precision"),
    ("amp", "the state of mixed precision"),
    ("loops", "the trainer's state"),
    ("callbacks", "the trainer's state"),
    ("queue", "the queue of keys"),
    ("contrast", "the memory banks"),
    ("lemniscate", "the memory bank"),
    ("memory_bank", "the memory bank"),
    ("criterion", "the loss's state"),
    ("dino_loss", "the loss's state"),
    ("ibot_", "heads of the pre-training"),
    ("dino_head", "heads of the pre-training"),
    ("decoder", "the decoder, which only pre-training needs"),
    ("mask_token", "the token of masked patches, which only pre-training needs"),
    ("embeddings.mask_token", "the token of masked patches, which only pre-training needs"),
    ("pooler", "the pooler on the class token, which features do without"),
    ("projection_head", "a head that does not fit ours"),
    ("projector", "a head that does not fit ours"),
    ("head", "the head"),
    ("fc", "the classifier"),
    ("linear", "the classifier"),
    ("classifier", "the classifier"),
    ("online_predictor", "the predictor"),
    ("predictor", "the predictor"),
    ("prediction_head", "the predictor"),
    ("prototypes", "prototypes"),
    ("heads.", "the classifier"),
    ("momentum_", "the momentum copies"),
    ("target_", "the momentum copies"),
    ("ema", "the momentum copies"),
];

/// Groups the tensors that nothing took, and what the file held beside tensors.
pub(crate) fn left(
    rule: &Rule,
    checkpoint: &Checkpoint,
    keys: &Keys<'_>,
    prefix: &str,
    taken: &BTreeSet<&str>,
) -> Vec<Left> {
    let mut groups: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut add = |what: String, name: &str| {
        let group = groups.entry(what).or_insert((0, name.to_owned()));
        group.0 += 1;
    };
    for (clean, (name, _)) in keys.tensors.iter().filter(|(_, (name, _))| !taken.contains(name)) {
        add(reason(rule, clean, prefix), name);
    }
    for name in &keys.doubles {
        add("second copies of tensors of the same name".into(), name);
    }
    for skipped in &checkpoint.skipped {
        add(skipped.what.clone(), &skipped.name);
    }
    groups.into_iter().map(|(what, (count, example))| Left { what, count, example }).collect()
}

fn reason(rule: &Rule, clean: &str, prefix: &str) -> String {
    if clean.ends_with("num_batches_tracked") {
        return "counters of batches".into();
    }
    let within = clean.strip_prefix(prefix).unwrap_or(clean);
    let other = rule.parts.iter().find(|part| {
        let mut at = part.prefixes.iter().chain(part.second);
        at.any(|at| !at.is_empty() && *at != prefix && clean.starts_with(at))
    });
    if let Some(other) = other.filter(|part| !part.name.is_empty() && !prefix.is_empty()) {
        return format!("the other network ({})", other.name);
    }
    let known =
        KNOWN.iter().find(|(start, _)| within.starts_with(start) || clean.starts_with(start));
    known.map_or("no known use", |(_, what)| what).into()
}
