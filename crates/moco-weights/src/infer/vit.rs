//! Vision transformers.

use super::Mapped;
use crate::architecture::{
    FinalNorm, HeadsFrom, Interpolation, Mlp, PatchStem, Pool, Positions, Vit,
};
use crate::error::{Result, WeightsError};
use std::collections::BTreeMap;

/// What the tensors do not say.
pub(crate) struct Hints {
    /// Attention heads that the caller says.
    pub heads: Option<usize>,
    /// Attention heads that a configuration says.
    pub config_heads: Option<usize>,
    /// Heads by width that differ from the usual ones.
    pub attention: &'static [(usize, usize)],
    pub norm_eps: f64,
    /// Whether the feature is the mean over the patches' tokens, where something says it.
    pub mean: Option<bool>,
    pub interpolation: Interpolation,
    pub positions: Positions,
    /// Rows and columns of patches, where a configuration says them.
    pub grid: Option<[usize; 2]>,
}

const PLAIN: &str = "give weights of a transformer in the form of timm's VisionTransformer";

/// Attention heads of published models by width, timm's and torchvision's; others have 64 channels
/// each.
const HEADS: [(usize, usize); 3] = [(1152, 16), (1280, 16), (1408, 16)];

/// Most blocks, far above those of any model.
const MOST: usize = 4096;

/// Most channels of a token and pixels of a patch's side.
const WIDEST: usize = 1 << 20;

/// Tells a transformer from its tensors and checks that it is whole.
pub(crate) fn infer(mapped: &Mapped<'_>, hints: &Hints) -> Result<Vit> {
    refuse_kin(mapped)?;
    let (stem, width, patch, in_channels) = stem(mapped)?;
    let depth = mapped.count("blocks.");
    if depth == 0 || depth > MOST {
        return Err(mapped.incomplete(&["blocks.0.norm1.weight".into()]));
    }
    let class_token = mapped.shape("cls_token").is_some();
    let registers = match mapped.shape("reg_token") {
        Some(_) => mapped.needed::<3>("reg_token")?[1],
        None => 0,
    };
    let [_, rows, _] = mapped.needed("pos_embed")?;
    let (grid, prefix) = grid(mapped, rows, class_token, registers, hints.grid)?;
    let [fc1, _] = mapped.needed("blocks.0.mlp.fc1.weight")?;
    let [_, fc2] = mapped.needed("blocks.0.mlp.fc2.weight")?;
    let final_norm = match mapped.shape("fc_norm.weight") {
        Some(_) => FinalNorm::AfterPool,
        None => FinalNorm::BeforePool,
    };
    let mean = !class_token || hints.mean.unwrap_or(final_norm == FinalNorm::AfterPool);
    let (heads, heads_from) = heads(mapped, width, hints)?;
    let vit = Vit {
        width,
        depth,
        heads,
        heads_from,
        mlp_hidden: fc2,
        mlp: if fc1 == 2 * fc2 { Mlp::SwiGlu } else { Mlp::Gelu },
        patch,
        grid,
        in_channels,
        class_token,
        registers,
        positions: hints.positions,
        class_position: prefix > 0,
        layer_scale: mapped.shape("blocks.0.ls1.gamma").is_some(),
        qkv_bias: mapped.shape("blocks.0.attn.qkv.bias").is_some(),
        norm_eps: hints.norm_eps,
        pool: if mean { Pool::Mean } else { Pool::Class },
        final_norm,
        stem,
        interpolation: hints.interpolation,
    };
    mapped.check(&expected(&vit, rows))?;
    Ok(vit)
}

/// Refuses transformers that share timm's names and have parts that are not built.
fn refuse_kin(mapped: &Mapped<'_>) -> Result<()> {
    let parts = [
        ("blocks.0.attn.q_norm.weight", "normalises queries and keys"),
        ("norm_pre.weight", "normalises its tokens before the first block"),
        ("blocks.0.gamma_1", "scales its branches as BEiT does"),
        ("blocks.0.attn.relative_position_bias_table", "has relative positions"),
    ];
    match parts.iter().find(|(name, _)| mapped.shape(name).is_some()) {
        Some((_, problem)) => Err(mapped.unsupported(problem, PLAIN)),
        None if mapped.shape("pos_embed").is_none() => {
            Err(mapped.incomplete(&["pos_embed".to_owned()]))
        }
        None => Ok(()),
    }
}

/// The stem, the width of a token, height and width of a patch, and channels of the image.
fn stem(mapped: &Mapped<'_>) -> Result<(PatchStem, usize, [usize; 2], usize)> {
    if mapped.shape("patch_embed.proj.weight").is_some() {
        let [width, channels, height, across] = mapped.needed("patch_embed.proj.weight")?;
        if [width, height, across].iter().any(|size| !(1..=WIDEST).contains(size)) {
            return Err(mapped.unsupported("has patches of no sensible size", PLAIN));
        }
        return Ok((PatchStem::Linear, width, [height, across], channels));
    }
    let last = mapped.count("patch_embed.proj.").saturating_sub(1);
    let [_, channels, ..] = mapped.needed::<4>("patch_embed.proj.0.weight")?;
    let [width, _, side, _] = mapped.needed(&format!("patch_embed.proj.{last}.weight"))?;
    let halvings = last / 3;
    let sensible = (1..=10).contains(&halvings) && (1..=WIDEST).contains(&width);
    if side != 1 || !last.is_multiple_of(3) || !sensible {
        return Err(mapped.unsupported("has an unusual stem of convolutions", PLAIN));
    }
    Ok((PatchStem::Conv, width, [1 << halvings; 2], channels))
}

/// Rows and columns of patches, and how many rows of the table are in front of them.
fn grid(
    mapped: &Mapped<'_>,
    rows: usize,
    class_token: bool,
    registers: usize,
    known: Option<[usize; 2]>,
) -> Result<([usize; 2], usize)> {
    let class = usize::from(class_token);
    let fronts = [class, 0, class + registers];
    let fits = |front: usize, [h, w]: [usize; 2]| h.checked_mul(w) == rows.checked_sub(front);
    if let Some(grid) = known
        && let Some(&front) = fronts.iter().find(|&&front| fits(front, grid))
    {
        return Ok((grid, front));
    }
    for front in fronts {
        let side = rows.saturating_sub(front).isqrt();
        if side > 0 && fits(front, [side, side]) {
            return Ok(([side, side], front));
        }
    }
    let problem = format!("has positions for {rows} tokens, which are no square of patches");
    Err(mapped.unsupported(&problem, PLAIN))
}

fn heads(mapped: &Mapped<'_>, width: usize, hints: &Hints) -> Result<(usize, HeadsFrom)> {
    let table = || hints.attention.iter().chain(&HEADS).find(|(known, _)| *known == width);
    let usual = || width.is_multiple_of(64).then_some(width / 64);
    let found = match (hints.heads, hints.config_heads) {
        (Some(heads), _) => Some((heads, HeadsFrom::Caller)),
        (None, Some(heads)) => Some((heads, HeadsFrom::Config)),
        (None, None) => {
            let heads = table().map(|(_, heads)| *heads).or_else(usual);
            heads.map(|heads| (heads, HeadsFrom::Table))
        }
    };
    match found {
        Some((heads, _)) if heads == 0 || !width.is_multiple_of(heads) => {
            Err(WeightsError::HeadsDoNotDivide { heads, width })
        }
        Some(found) => Ok(found),
        None => Err(WeightsError::Heads {
            path: mapped.path.clone(),
            width,
            candidates: (1..=width.min(64)).filter(|heads| width.is_multiple_of(*heads)).collect(),
        }),
    }
}

/// The tensors of a transformer and their shapes; `rows` are those of the file's table of positions.
fn expected(vit: &Vit, rows: usize) -> BTreeMap<String, Vec<usize>> {
    let d = vit.width;
    let mut shapes = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| shapes.insert(name, shape.to_vec());
    if vit.class_token {
        add("cls_token".into(), &[1, 1, d]);
    }
    if vit.registers > 0 {
        add("reg_token".into(), &[1, vit.registers, d]);
    }
    add("pos_embed".into(), &[1, rows, d]);
    for (name, shape) in stem_tensors(vit) {
        add(format!("patch_embed.proj.{name}"), &shape);
    }
    let fc1 = if vit.mlp == Mlp::SwiGlu { 2 * vit.mlp_hidden } else { vit.mlp_hidden };
    for block in 0..vit.depth {
        let mut add = |name: &str, shape: &[usize]| add(format!("blocks.{block}.{name}"), shape);
        for norm in ["norm1", "norm2"] {
            add(&format!("{norm}.weight"), &[d]);
            add(&format!("{norm}.bias"), &[d]);
        }
        add("attn.qkv.weight", &[3 * d, d]);
        if vit.qkv_bias {
            add("attn.qkv.bias", &[3 * d]);
        }
        for (name, outputs, inputs) in
            [("attn.proj", d, d), ("mlp.fc1", fc1, d), ("mlp.fc2", d, vit.mlp_hidden)]
        {
            add(&format!("{name}.weight"), &[outputs, inputs]);
            add(&format!("{name}.bias"), &[outputs]);
        }
        if vit.layer_scale {
            add("ls1.gamma", &[d]);
            add("ls2.gamma", &[d]);
        }
    }
    let norm = if vit.final_norm == FinalNorm::AfterPool { "fc_norm" } else { "norm" };
    add(format!("{norm}.weight"), &[d]);
    add(format!("{norm}.bias"), &[d]);
    shapes
}

fn stem_tensors(vit: &Vit) -> Vec<(String, Vec<usize>)> {
    let d = vit.width;
    if vit.stem == PatchStem::Linear {
        let [h, w] = vit.patch;
        return vec![("weight".into(), vec![d, vit.in_channels, h, w]), ("bias".into(), vec![d])];
    }
    let halvings = vit.patch[0].ilog2() as usize;
    let mut tensors = Vec::new();
    let mut inputs = vit.in_channels;
    for i in 0..halvings {
        let outputs = d >> (halvings - 1 - i);
        tensors.push((format!("{}.weight", 3 * i), vec![outputs, inputs, 3, 3]));
        for norm in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{}.{norm}", 3 * i + 1), vec![outputs]));
        }
        inputs = outputs;
    }
    tensors.push((format!("{}.weight", 3 * halvings), vec![d, d, 1, 1]));
    tensors.push((format!("{}.bias", 3 * halvings), vec![d]));
    tensors
}
