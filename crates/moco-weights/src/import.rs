//! From a file's tensors to ours.

use crate::architecture::{
    Architecture, HeadsFrom, Interpolation, Mlp, Positions, ResNet, ResNetStem, Vit,
};
use crate::error::{Result, WeightsError};
use crate::infer::{self, Hints, Mapped, Stages};
use crate::layout::{self, Keys, LayoutName, Naming, Part, Rule};
use crate::own::Own;
use crate::read::{self, Checkpoint};
use crate::report::Report;
use crate::tensor::{Named, Values};
use crate::weights::{Input, Options, Weights};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads the weights at a path: a file, an index of shards, or a folder.
///
/// # Errors
/// [`WeightsError`], for a file that cannot be read, is of no known layout, or is not whole.
pub fn open(path: &Path, options: &Options) -> Result<Weights> {
    import(&read::open(path)?, options)
}

/// Understands what was read.
///
/// # Errors
/// See [`open`].
pub fn import(checkpoint: &Checkpoint, options: &Options) -> Result<Weights> {
    let keys = Keys::of(checkpoint);
    let own = Own::of(checkpoint);
    let rule = match options.layout.or(own.layout) {
        Some(layout) => layout::rule(layout),
        None => layout::detect(checkpoint, &keys)?,
    };
    let found = find(rule, checkpoint, &keys, options)?;
    let mut notes = Vec::new();
    let (architecture, sources) = network(rule, checkpoint, &keys, &own, &found, options)?;
    let backbone = backbone(&architecture, &sources)?;
    let heads = layout::heads(rule, &keys, found.prefix, found.number);
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (_, mapped) in &sources {
        taken.extend(mapped.tensors.values().flat_map(|s| s.pieces.iter().map(|(name, _)| *name)));
    }
    let of_backbone = taken.len();
    taken.extend(heads.values().flat_map(|head| head.values().map(|(name, _)| *name)));
    if own.layout.is_none() {
        describe(rule, checkpoint, options, &architecture, &mut notes);
    }
    let report = Report {
        file: checkpoint.path.clone(),
        format: checkpoint.format.clone(),
        layout: titled(rule, &own, &found, options),
        network: in_words(&architecture),
        taken: of_backbone,
        heads: taken.len() - of_backbone,
        left: layout::left(rule, checkpoint, &keys, found.prefix, &taken),
        notes,
    };
    let mut read_heads = BTreeMap::new();
    for (section, head) in heads {
        let mut named = Named::new();
        for (ours, (name, tensor)) in head {
            named.insert(ours, tensor.read(name)?);
        }
        read_heads.insert(section, named);
    }
    Ok(Weights {
        layout: rule.layout,
        part: found.part.name.to_owned(),
        input: own.input.unwrap_or_else(|| input(rule, checkpoint, &architecture)),
        view: own.view.clone(),
        architecture,
        backbone,
        heads: read_heads,
        licence: match own.layout {
            Some(_) => own.licence,
            None => rule.licence.map(str::to_owned),
        },
        report,
    })
}

/// The network that is taken of a file's.
struct Found {
    part: &'static Part,
    /// Its number among the layout's.
    number: usize,
    naming: Naming,
    prefix: &'static str,
}

fn find(
    rule: &'static Rule,
    checkpoint: &Checkpoint,
    keys: &Keys<'_>,
    options: &Options,
) -> Result<Found> {
    let mut found = Vec::new();
    for (number, part) in rule.parts.iter().enumerate() {
        if let Some((naming, prefix)) = rule.find(keys, part) {
            found.push(Found { part, number, naming, prefix });
        }
    }
    if let Some(wanted) = &options.part {
        let names: Vec<&str> =
            found.iter().map(|f| f.part.name).filter(|n| !n.is_empty()).collect();
        let parts = if names.is_empty() { "one only".to_owned() } else { names.join(", ") };
        let chosen = found.into_iter().find(|found| found.part.name == wanted);
        let (path, part) = (checkpoint.path.clone(), wanted.clone());
        return chosen.ok_or(WeightsError::NoPart { path, part, parts });
    }
    found.into_iter().next().ok_or_else(|| incomplete(rule, checkpoint, keys))
}

/// The error of a file without the backbone of its layout.
fn incomplete(rule: &Rule, checkpoint: &Checkpoint, keys: &Keys<'_>) -> WeightsError {
    let at = rule.parts[0].prefixes[0];
    let stems = rule.namings[0].stems().iter().map(|name| format!("{at}{name}"));
    let missing: Vec<String> =
        stems.filter(|name| !keys.has(name)).map(|name| format!("`{name}`")).collect();
    WeightsError::Incomplete {
        path: checkpoint.path.clone(),
        layout: rule.layout.to_string(),
        missing: missing.join(", "),
        nearest: format!("the nearest layouts are {}", layout::nearest(keys)),
    }
}

type Sources<'a> = Vec<(&'static str, Mapped<'a>)>;

/// The architecture, and where its tensors are, by the beginning of our names.
fn network<'a>(
    rule: &Rule,
    checkpoint: &Checkpoint,
    keys: &Keys<'a>,
    own: &Own,
    found: &Found,
    options: &Options,
) -> Result<(Architecture, Sources<'a>)> {
    let map = |prefix: &str| {
        Mapped::of(&checkpoint.path, rule.layout.title(), keys, prefix, found.naming)
    };
    let first = map(found.prefix)?;
    let is_ours = rule.layout == LayoutName::Ours || own.layout.is_some();
    let stages = if is_ours { Stages::Any } else { Stages::Four };
    let padding = options.stem_padding.or(own.stem_padding).unwrap_or(rule.cifar_padding);
    let resnet = |mapped: &Mapped<'_>| infer::resnet(mapped, padding, stages);
    if !found.part.second.is_empty() {
        let position = found.part.prefixes.iter().position(|prefix| *prefix == found.prefix);
        let second = map(found.part.second[position.unwrap_or(0)])?;
        let (luma, chroma) = (resnet(&first)?, resnet(&second)?);
        let sources = vec![("luma.", first), ("chroma.", second)];
        return Ok((Architecture::Pair { luma, chroma }, sources));
    }
    let architecture = match found.naming {
        Naming::Timm | Naming::TorchvisionVit | Naming::HuggingFace => {
            let hints = hints(rule, checkpoint, keys, own, &first, options);
            Architecture::Vit(infer::vit(&first, &hints)?)
        }
        _ => Architecture::ResNet(resnet(&first)?),
    };
    Ok((architecture, vec![("", first)]))
}

/// What a transformer's tensors do not say, from the file's texts, from beside the file, the caller and
/// the layout.
fn hints(
    rule: &Rule,
    checkpoint: &Checkpoint,
    keys: &Keys<'_>,
    own: &Own,
    mapped: &Mapped<'_>,
    options: &Options,
) -> Hints {
    let config = checkpoint.config.as_ref();
    let number = |name: &str| config.and_then(|config| config.get(name)).and_then(Value::as_u64);
    let own = own.vit.as_ref();
    // timm's configuration has what differs from the named model in `model_args`.
    let timm = |name: &str| {
        let args = config.and_then(|config| config.get("model_args"));
        args.and_then(|args| args.get(name)).or(config.and_then(|config| config.get(name)))
    };
    let heads = number("num_attention_heads").or(timm("num_heads").and_then(Value::as_u64));
    let heads = heads.and_then(|heads| usize::try_from(heads).ok());
    let heads = own.map(|own| own.heads).or(heads);
    let eps = config.and_then(|config| config.get("layer_norm_eps")).and_then(Value::as_f64);
    let eps = own.map(|own| own.norm_epsilon).or(eps);
    let pooled = timm("global_pool").and_then(Value::as_str).and_then(|pool| match pool {
        "avg" => Some(true),
        "token" => Some(false),
        _ => None,
    });
    let positions = mapped.tensors.get("pos_embed").map(|_| mapped.file_name("pos_embed"));
    let clean = positions.and_then(|file| {
        keys.tensors.iter().find(|(_, (name, _))| *name == file).map(|(clean, _)| clean)
    });
    let fixed = clean.and_then(|clean| layout::positions_of(keys, clean));
    let registers = mapped.shape("reg_token").is_some();
    let grid = match (number("image_size"), number("patch_size")) {
        (Some(image), Some(patch)) if patch > 0 => {
            usize::try_from(image / patch).ok().map(|side| [side, side])
        }
        _ => None,
    };
    let usual = match rule.layout {
        LayoutName::DinoV2 if registers => Interpolation::BicubicAntialias,
        _ => rule.interpolation,
    };
    Hints {
        heads: options.heads,
        config_heads: heads,
        attention: rule.attention,
        norm_eps: eps.unwrap_or(rule.norm_eps),
        mean: own.map(|own| own.is_mean()).or(pooled),
        interpolation: own.map_or(usual, |own| own.interpolation()),
        positions: fixed.unwrap_or(Positions::Learned),
        grid: own.and_then(|own| own.grid()).or(grid),
    }
}

/// Reads the backbone.
fn backbone(architecture: &Architecture, sources: &Sources<'_>) -> Result<Named> {
    let mut named = Named::new();
    for (start, mapped) in sources {
        for (name, source) in &mapped.tensors {
            named.insert(format!("{start}{name}"), source.read()?);
        }
    }
    if let Architecture::Vit(vit) = architecture {
        fold_registers(vit, &mut named);
    }
    Ok(named)
}

/// timm may give its register tokens positions too. They are added here, as they would be in every
/// forward pass, so that the table has the class token's row and the patches' alone.
fn fold_registers(vit: &Vit, named: &mut Named) {
    let patches = vit.grid[0] * vit.grid[1];
    let class = usize::from(vit.class_token);
    let Some(positions) = named.get("pos_embed") else { return };
    let &[_, rows, width] = positions.shape.as_slice() else { return };
    if vit.registers == 0 || rows != patches + class + vit.registers {
        return;
    }
    let registers = positions.data[class * width..(class + vit.registers) * width].to_vec();
    let mut rest = positions.data[..class * width].to_vec();
    rest.extend_from_slice(&positions.data[(class + vit.registers) * width..]);
    let shape = vec![1, patches + class, width];
    named.insert("pos_embed".into(), Values { shape, data: rest });
    if let Some(tokens) = named.get_mut("reg_token") {
        tokens.data.iter_mut().zip(registers).for_each(|(token, position)| *token += position);
    }
}

/// What the network takes for an image: as a configuration beside the file says, or the layout.
fn input(rule: &Rule, checkpoint: &Checkpoint, architecture: &Architecture) -> Input {
    let triple = |value: Option<&Value>| -> Option<[f32; 3]> {
        let values = value?.as_array()?.iter().map(|v| v.as_f64().map(|v| v as f32));
        values.collect::<Option<Vec<f32>>>()?.try_into().ok()
    };
    let processor = checkpoint.preprocessor.as_ref();
    let timm = checkpoint.config.as_ref().and_then(|config| config.get("pretrained_cfg"));
    for (config, mean, std) in [(processor, "image_mean", "image_std"), (timm, "mean", "std")] {
        let get = |name: &str| triple(config.and_then(|config| config.get(name)));
        if let (Some(mean), Some(std)) = (get(mean), get(std)) {
            return Input::Rgb { mean, std };
        }
    }
    let small = |net: &ResNet| matches!(net.stem, ResNetStem::Cifar { .. });
    match architecture {
        Architecture::ResNet(net) if small(net) => rule.small_input,
        _ => rule.input,
    }
}

fn titled(rule: &Rule, own: &Own, found: &Found, options: &Options) -> String {
    let part = match found.part.name {
        "" => String::new(),
        name => format!(", its {name}"),
    };
    let how = match (options.layout, own.layout) {
        (Some(_), _) => "as told",
        (None, Some(_)) => "as the file says",
        (None, None) => "told from its keys",
    };
    format!("{}{part} ({how})", rule.layout.title())
}

/// A network in words.
fn in_words(architecture: &Architecture) -> String {
    let resnet = |net: &ResNet| {
        let stem = match net.stem {
            ResNetStem::Imagenet => "7x7 stem".to_owned(),
            ResNetStem::Deep => "stem of three convolutions".to_owned(),
            ResNetStem::Cifar { padding: 1 } => "3x3 stem".to_owned(),
            ResNetStem::Cifar { padding } => format!("3x3 stem with a padding of {padding}"),
        };
        let kernels = if net.selective { " with selective kernels" } else { "" };
        format!(
            "{}{kernels} of width {}, {stem} of {} channels, {} channels in, {} features out",
            net.name(),
            net.width,
            net.stem_width,
            net.in_channels,
            net.features()
        )
    };
    match architecture {
        Architecture::ResNet(net) => resnet(net),
        Architecture::Pair { luma, chroma } => {
            format!("a pair: {} and {}", resnet(luma), resnet(chroma))
        }
        Architecture::Vit(vit) => {
            let [height, width] = vit.image();
            let extras = [
                (vit.registers > 0, format!(", {} registers", vit.registers)),
                (vit.layer_scale, ", LayerScale".to_owned()),
                (vit.mlp == Mlp::SwiGlu, ", SwiGLU".to_owned()),
            ];
            let extras: String =
                extras.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect();
            format!(
                "vision transformer of width {}, {} blocks, {} heads, patches of {}x{}, made for \
                 {height}x{width} pixels{extras}",
                vit.width, vit.depth, vit.heads, vit.patch[0], vit.patch[1]
            )
        }
    }
}

/// What a user should know beside.
fn describe(
    rule: &Rule,
    checkpoint: &Checkpoint,
    options: &Options,
    architecture: &Architecture,
    notes: &mut Vec<String>,
) {
    if let Architecture::Vit(vit) = architecture {
        if vit.heads_from == HeadsFrom::Table {
            notes.push(format!(
                "{} attention heads are those of published models of this width; a file does not \
                 say them",
                vit.heads
            ));
        }
        if checkpoint.config.is_none() && rule.layout == LayoutName::HfVit {
            notes.push(
                "without a config.json, LayerNorm's epsilon is 1e-12 and the image's mean and \
                 deviation are 0.5, the defaults of transformers"
                    .into(),
            );
        }
    }
    if rule.layout == LayoutName::Solo
        && let Architecture::ResNet(ResNet { stem: ResNetStem::Cifar { padding }, .. }) =
            architecture
    {
        notes.push(format!(
            "the stem has a padding of {padding}: solo-learn's own networks for CIFAR have 2, others \
             1, and no tensor says it, so pass --stem-padding if it is another"
        ));
    }
    if rule.layout == LayoutName::Dino && options.layout.is_none() && alone(checkpoint) {
        notes.push(
            "DINO's backbone alone is told from timm's transformers by having no head; name \
             timm-vit if it is one, which interpolates positions in another way"
                .into(),
        );
    }
    let small = |net: &ResNet| matches!(net.stem, ResNetStem::Cifar { .. });
    if matches!(architecture, Architecture::ResNet(net) if small(net))
        && rule.small_input != rule.input
    {
        notes.push("the image's mean and deviation are taken to be those of CIFAR-10".into());
    }
}

fn alone(checkpoint: &Checkpoint) -> bool {
    !checkpoint.tensors.keys().any(|name| name.contains("backbone."))
}
