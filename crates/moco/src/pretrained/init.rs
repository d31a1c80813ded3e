//! First weights of a run from a file.

use super::{ImportError, channels, convert, fill};
use crate::methods::Method;
use crate::models::vit::{Interpolation, resize_positions};
use crate::models::{Architecture, NetworkSpec};
use crate::nn::{Leaf, TensorLeaf, for_each_leaf};
use burn::tensor::{Device, Tensor, TensorData};
use moco_weights::{self as weights, Section, Values, Weights};
use std::collections::BTreeMap;
use std::fmt;

/// Which parts of a run start from the file, and which from the seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Parts with the file's values, and their tensors: `query.backbone`, `key.backbone`, ...
    pub from_file: BTreeMap<String, usize>,
    /// Parts that are drawn from the seed, or begin empty.
    pub from_seed: BTreeMap<String, usize>,
    /// What else there is to say, each a whole sentence without a stop.
    pub notes: Vec<String>,
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |parts: &BTreeMap<String, usize>| match parts.is_empty() {
            true => "nothing".to_owned(),
            false => parts.keys().cloned().collect::<Vec<_>>().join(", "),
        };
        write!(f, "from the file: {}; ", list(&self.from_file))?;
        write!(f, "from the seed: {}", list(&self.from_seed))?;
        self.notes.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

/// Gives the networks of `method`, drawn but not yet trained, the file's weights: its backbones, a
/// momentum encoder's as well as the trained one's, and the heads, predictors, prototypes and decoders
/// whose every tensor the file has in the same shape. Learnt positions of another grid are
/// interpolated as the file's own code does, and a first layer for other channels is adapted as timm
/// does.
///
/// # Errors
/// [`ImportError::Mismatch`] when the backbone is another one than the run's; then the method may have
/// some of the weights.
pub fn start_from(
    weights: &Weights,
    method: &mut dyn Method,
    network: &NetworkSpec,
    device: &Device,
) -> Result<Started, ImportError> {
    let start = Start { weights, network, device, notes: Vec::new() };
    let start = start.with_notes();
    let mut started = Started { notes: start.notes.clone(), ..Started::default() };
    let heads = start.fitting_heads(method);
    let mut problem = None;
    for_each_leaf(method, |name, leaf| {
        let (Leaf::Param(tensor) | Leaf::Buffer(tensor)) = leaf else { return };
        let Some(place) = Place::of(name) else {
            *started.from_seed.entry(first_part(name)).or_default() += 1;
            return;
        };
        let taken = match place.section {
            None => start.set_backbone(tensor, place.tensor).map_err(|reason| {
                problem.get_or_insert(reason);
            }),
            Some(section) => match heads.get(place.part).and_then(|ok| ok.then_some(section)) {
                Some(section) => {
                    let values = weights.heads.get(&section).and_then(|all| all.get(place.tensor));
                    fill::set(tensor, place.tensor, values, device).map(|()| true).map_err(|_| ())
                }
                None => Ok(false),
            },
        };
        let parts = match taken {
            Ok(true) => &mut started.from_file,
            _ => &mut started.from_seed,
        };
        *parts.entry(place.part.to_owned()).or_default() += 1;
    });
    match problem {
        Some(reason) => Err(ImportError::Mismatch {
            file: weights.report.file.display().to_string(),
            network: "the run's backbone".to_owned(),
            reason: format!(
                "{reason}; leave --backbone and the recipe's [model] out, so that the network is the \
                 file's ({})",
                weights.report.network
            ),
        }),
        None => Ok(started),
    }
}

/// Where a tensor of a method belongs.
struct Place<'a> {
    /// The part of the method, such as `query.backbone`.
    part: &'a str,
    /// The head's kind; `None` for a backbone.
    section: Option<Section>,
    /// Name within the part.
    tensor: &'a str,
}

impl<'a> Place<'a> {
    /// By the name in the method; `None` for queues, banks, centres and the like.
    fn of(name: &'a str) -> Option<Self> {
        const PARTS: [(&str, Option<Section>); 7] = [
            ("backbone", None),
            ("network.encoder", None),
            ("network.decoder", Some(Section::Decoder)),
            ("head.chroma", Some(Section::SecondHead)),
            ("head", Some(Section::Head)),
            ("predictor", Some(Section::Predictor)),
            ("prototypes", Some(Section::Prototypes)),
        ];
        PARTS.into_iter().find_map(|(part, section)| {
            let end = end_of(name, part)?;
            let tensor = name[end..].strip_prefix('.')?;
            // CMC's first head has a name of its own.
            let tensor = match section {
                Some(Section::Head) => tensor.strip_prefix("luma.").unwrap_or(tensor),
                _ => tensor,
            };
            Some(Place { part: &name[..end], section, tensor })
        })
    }
}

/// Where `part`, whole words between dots, ends in `name`.
fn end_of(name: &str, part: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = name[from..].find(part) {
        let (start, end) = (from + at, from + at + part.len());
        let begins = start == 0 || name.as_bytes()[start - 1] == b'.';
        if begins && name[end..].starts_with('.') {
            return Some(end);
        }
        from = end;
    }
    None
}

fn first_part(name: &str) -> String {
    name.split('.').next().unwrap_or(name).to_owned()
}

struct Start<'a> {
    weights: &'a Weights,
    network: &'a NetworkSpec,
    device: &'a Device,
    notes: Vec<String>,
}

impl Start<'_> {
    /// Says what differs without being an error.
    fn with_notes(mut self) -> Self {
        if let (weights::Architecture::Vit(file), Some(run)) =
            (&self.weights.architecture, self.network.vit())
        {
            let (from, to) = (file.grid, run.grid());
            if from != to {
                self.notes.push(format!(
                    "positions of {}x{} patches are interpolated to {}x{}",
                    from[0], from[1], to[0], to[1]
                ));
            }
            if file.norm_eps != run.norm_epsilon {
                self.notes.push(format!(
                    "the file's LayerNorms add {:e}, the run's {:e}; \
                     --set model.norm_epsilon={:e} keeps the file's",
                    file.norm_eps, run.norm_epsilon, file.norm_eps
                ));
            }
        }
        if let (weights::Architecture::ResNet(file), Architecture::ResNet(_)) =
            (&self.weights.architecture, &self.network.architecture)
            && let weights::ResNetStem::Cifar { padding: padding @ 2.. } = file.stem
        {
            self.notes.push(format!(
                "the file's first layer has a padding of {padding} and the run's of 1"
            ));
        }
        self
    }

    /// The parts of `method` with a head whose every tensor the file has in its shape.
    fn fitting_heads(&self, method: &mut dyn Method) -> BTreeMap<String, bool> {
        let mut fitting = BTreeMap::new();
        for_each_leaf(method, |name, leaf| {
            let (Leaf::Param(tensor) | Leaf::Buffer(tensor)) = leaf else { return };
            let Some(Place { part, section: Some(section), tensor: inner }) = Place::of(name)
            else {
                return;
            };
            let present = self.weights.heads.get(&section).and_then(|all| all.get(inner));
            let fits = present.is_some_and(|values| values.shape == tensor.shape());
            *fitting.entry(part.to_owned()).or_insert(true) &= fits;
        });
        fitting
    }

    /// Whether the tensor has the file's values now; an error if it should and cannot.
    fn set_backbone(&self, tensor: &mut dyn TensorLeaf, name: &str) -> Result<bool, String> {
        // Fixed positions are the same for all.
        if name == "pos_embed" {
            return self.set_positions(tensor);
        }
        let values = self.values(name).ok_or_else(|| format!("`{name}` is missing"))?;
        // Only a first layer may be for another number of channels.
        let (found, wanted) = (values.shape.get(1), tensor.shape().get(1).copied().unwrap_or(0));
        let adapted = (convert::is_first_layer(name) && found != Some(&wanted))
            .then(|| channels::adapted(values, wanted));
        fill::set(tensor, name, Some(adapted.as_ref().unwrap_or(values)), self.device)?;
        Ok(true)
    }

    /// The file's tensor for a name of the run's backbone. Each of CMC's two takes the one of a file
    /// that has one, and a final LayerNorm has another name where it comes after pooling.
    fn values(&self, name: &str) -> Option<&Values> {
        let all = &self.weights.backbone;
        let side = name.strip_prefix("luma.").or_else(|| name.strip_prefix("chroma."));
        let norm = match name.strip_prefix("fc_norm.") {
            Some(part) => Some(format!("norm.{part}")),
            None => name.strip_prefix("norm.").map(|part| format!("fc_norm.{part}")),
        };
        let found = all.get(name).or_else(|| all.get(side?));
        found.or_else(|| all.get(&norm?))
    }

    fn set_positions(&self, tensor: &mut dyn TensorLeaf) -> Result<bool, String> {
        let (weights::Architecture::Vit(file), Some(run)) =
            (&self.weights.architecture, self.network.vit())
        else {
            return Err("the run's backbone is a transformer and the file's is not".to_owned());
        };
        if run.positions != crate::models::vit::Positions::Learned {
            return Ok(false);
        }
        let values = self.weights.backbone.get("pos_embed").ok_or("`pos_embed` is missing")?;
        let adapted = positions(values, file, run.grid(), run.class_position, self.device)?;
        fill::set(tensor, "pos_embed", Some(&adapted), self.device).map(|()| true)
    }
}

/// A file's table of positions for another grid, with the class token's row or without it.
fn positions(
    values: &Values,
    file: &weights::Vit,
    to: [usize; 2],
    class_row: bool,
    device: &Device,
) -> Result<Values, String> {
    if class_row != file.class_position {
        return Err("`pos_embed` has a row for the class token in one of the two alone".to_owned());
    }
    let rule = match file.interpolation {
        weights::Interpolation::Bicubic => Interpolation { nudge: 0.0, antialias: false },
        weights::Interpolation::BicubicNudged { nudge } => {
            Interpolation { nudge, antialias: false }
        }
        weights::Interpolation::BicubicAntialias => Interpolation { nudge: 0.0, antialias: true },
    };
    if to == file.grid {
        return Ok(values.clone());
    }
    let (first, width) = (usize::from(class_row), file.width);
    let shape = [1, values.data.len() / width, width];
    let table = Tensor::<3>::from_data(TensorData::new(values.data.clone(), shape), device);
    let patches = table.clone().narrow(1, first, shape[1] - first);
    let mut parts = vec![resize_positions(patches, file.grid, to, rule)];
    if class_row {
        parts.insert(0, table.narrow(1, 0, 1));
    }
    let resized = Tensor::cat(parts, 1);
    let shape = resized.dims().to_vec();
    Ok(Values { shape, data: crate::batch::to_host(resized) })
}
