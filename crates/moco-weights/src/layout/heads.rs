//! Heads of a file under our names.

use super::keys::Keys;
use super::rule::{At, Head, Rule, Style};
use crate::read::Tensor;
use crate::weights::Section;
use std::collections::BTreeMap;

/// One of our names of a head's tensors, with the tensor and its name in the file.
pub(crate) type Found<'a> = BTreeMap<Section, BTreeMap<String, (&'a str, &'a Tensor)>>;

/// The heads of the network that begins at `prefix`, the layout's part of that number.
pub(crate) fn heads<'a>(rule: &Rule, keys: &Keys<'a>, prefix: &str, part: usize) -> Found<'a> {
    let mut found = Found::new();
    for head in rule.heads {
        let at = match head.at {
            At::Within(within) => format!("{prefix}{within}"),
            At::Beside(places) => match places.get(part) {
                Some(place) => (*place).to_owned(),
                None => continue,
            },
        };
        let tensors = named(head, keys, &at);
        if !tensors.is_empty() {
            found.insert(head.section, tensors);
        }
    }
    found
}

fn named<'a>(head: &Head, keys: &Keys<'a>, at: &str) -> BTreeMap<String, (&'a str, &'a Tensor)> {
    let tensors: Vec<_> =
        keys.under(at).filter(|(name, ..)| !name.ends_with("num_batches_tracked")).collect();
    if head.style == Style::Sequential {
        return sequential(&tensors).unwrap_or_default();
    }
    if head.style == Style::Dino {
        return dino(&tensors);
    }
    let named = tensors.iter().filter_map(|&(name, file, tensor)| {
        let ours = match head.style {
            Style::Decoder if name == "mask_token" => "mask_token",
            Style::Decoder => name.strip_prefix("decoder_")?,
            Style::Bare if name == "weight" => "weight",
            Style::Bare => return None,
            _ => name,
        };
        Some((ours.to_owned(), (file, tensor)))
    });
    named.collect()
}

type Tensors<'s, 'a> = [(&'s str, &'a str, &'a Tensor)];

/// Linear layers and norms of a `Sequential`, which also numbers what has no tensors: the k-th linear
/// layer is our layer k, and a norm belongs to the linear layer in front of it. A lone layer has no
/// number. `None` for anything else.
fn sequential<'a>(tensors: &Tensors<'_, 'a>) -> Option<BTreeMap<String, (&'a str, &'a Tensor)>> {
    let mut layers: BTreeMap<usize, Vec<(&str, &'a str, &'a Tensor)>> = BTreeMap::new();
    for &(name, file, tensor) in tensors {
        let (number, rest) = match name {
            "weight" | "bias" => (0, name),
            _ => {
                let (number, rest) = name.split_once('.')?;
                (number.parse().ok()?, rest)
            }
        };
        layers.entry(number).or_default().push((rest, file, tensor));
    }
    let mut ours = BTreeMap::new();
    let mut linear = 0;
    for layer in layers.values() {
        let is_linear =
            layer.iter().any(|(name, _, tensor)| *name == "weight" && tensor.shape.len() == 2);
        linear += usize::from(is_linear);
        let number = linear.checked_sub(1)?;
        for &(name, file, tensor) in layer {
            let norm = if is_linear { "" } else { "norm." };
            let known = matches!(name, "weight" | "bias" | "running_mean" | "running_var");
            if !known || ours.insert(format!("{number}.{norm}{name}"), (file, tensor)).is_some() {
                return None;
            }
        }
    }
    Some(ours)
}

/// DINO's head: the layers of `mlp`, and the last one with its lengths apart from its directions,
/// whose names changed with torch 2.
fn dino<'a>(tensors: &Tensors<'_, 'a>) -> BTreeMap<String, (&'a str, &'a Tensor)> {
    let inside: Vec<_> = tensors
        .iter()
        .filter_map(|&(name, file, tensor)| Some((name.strip_prefix("mlp.")?, file, tensor)))
        .collect();
    let mut ours = BTreeMap::new();
    for (name, found) in sequential(&inside).unwrap_or_default() {
        let (number, rest) = name.split_once('.').unwrap_or((&name, ""));
        let name = match rest.strip_prefix("norm.") {
            Some(rest) => format!("norms.{number}.{rest}"),
            None => format!("layers.{number}.{rest}"),
        };
        ours.insert(name, found);
    }
    for &(name, file, tensor) in tensors {
        let name = match name {
            "last_layer.weight_g" | "last_layer.parametrizations.weight.original0" => "weight_g",
            "last_layer.weight_v" | "last_layer.parametrizations.weight.original1" => "weight_v",
            _ => continue,
        };
        ours.insert(format!("last_layer.{name}"), (file, tensor));
    }
    ours
}
