//! An encoder as a graph of ONNX operations.
//!
//! The schema is small and stable, and no maintained crate writes it: [`proto`] is the encoding,
//! [`graph`] the messages, [`layers`] the operations on named weights, and one file each has the
//! networks. These are built from the description of a network and its tensors; they know nothing of
//! the modules that train.

mod graph;
mod head;
mod layers;
mod proto;
mod resnet;
mod vit;

pub(super) use vit::{resized_positions, split_positions};

use super::{ExportError, Part, Source, card, part};
use crate::checkpoint::{NamedTensor, check_finite, host_tensors, write_atomically};
use crate::config::{FeatureKind, NormKind};
use crate::export::Names;
use crate::layout::Layout;
use crate::methods::Sees;
use crate::models::Architecture;
use crate::plan::Plan;
use graph::{Kind, Size, Value};
use layers::Layers;
use moco_data::{ColorSpace, View};
use resnet::ResNetGraph;
use std::path::Path;
use vit::VitGraph;

/// The largest message of protocol buffers.
const LARGEST: usize = i32::MAX as usize;

/// What a graph does besides encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// The feature: the backbone's, or with [`Part::EncoderAndHead`] the head's.
    pub part: Part,
    /// Whether the graph takes bytes, `uint8`, and normalises them itself; otherwise it takes what the
    /// evaluation view gives, `float32`.
    pub preprocess: bool,
    /// Whether the features are divided by their length.
    pub unit_length: bool,
}

impl OnnxOptions {
    /// Whether there is such a graph of what the run `config` trained for images as `view` makes them.
    ///
    /// # Errors
    /// [`ExportError::Unsupported`], with what to do instead.
    pub fn check(&self, config: Option<&Plan>, view: &View) -> Result<(), ExportError> {
        let headless = match config.map(|config| config.spec().profile().head) {
            None => Some("this encoder has"),
            Some(false) => Some("the method trains"),
            Some(true) => None,
        };
        match self.part {
            Part::All => Err(ExportError::unsupported(
                "an .onnx file holds one graph, from images to features",
                "pass --part encoder or --part encoder+head, or write a .safetensors",
            )),
            Part::EncoderAndHead if headless.is_some() => Err(ExportError::unsupported(
                format!("{} no head that images go through", headless.unwrap_or_default()),
                "pass --part encoder",
            )),
            _ if self.preprocess && view.space() != ColorSpace::Rgb => {
                Err(ExportError::unsupported(
                    "the evaluation view ends in another colour space than RGB, which no operation of \
                 ONNX converts to",
                    "leave --preprocess out and give the graph what the view gives",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Writes an encoder as an ONNX graph of opset 17. Its input is called `images` and is
/// `[N, 3, H, W]` for the size of the evaluation view, `[N, patches, 3, H, W]` for CPC; its output is
/// `features`, `[N, F]`. N is free.
///
/// # Errors
/// [`ExportError`]: those of [`OnnxOptions::check`], a file that cannot be written or would be too
/// large, and weights that are no numbers.
pub fn save_onnx(
    source: &mut Source<'_>,
    path: &Path,
    options: OnnxOptions,
) -> Result<(), ExportError> {
    options.check(source.run, source.view)?;
    if matches!(&source.architecture, Architecture::ResNet(net) if net.norm == NormKind::Map) {
        return Err(ExportError::unsupported(
            "no operation of opset 17 normalises whole maps as model.norm = \"map\" does",
            "write a .safetensors",
        ));
    }
    let mut tensors = host_tensors(source.encoder.backbone());
    if options.part == Part::EncoderAndHead {
        let all = part::of_encoder(source.encoder, Names::Moco, options.part)?;
        tensors.extend(all.into_iter().filter(|(name, ..)| name.starts_with("head.")));
    }
    check_finite(path, &tensors)?;
    let file = file(source, tensors, options);
    if file.len() > LARGEST {
        return Err(ExportError::TooLarge { path: path.into(), bytes: file.len() });
    }
    Ok(write_atomically(path, &file)?)
}

fn file(source: &Source<'_>, tensors: Vec<NamedTensor>, options: OnnxOptions) -> Vec<u8> {
    let layers = &mut Layers::new(tensors);
    let images = input(source, layers, options.preprocess);
    let sees = source.run.map_or(Sees::Whole, |config| config.spec().profile().sees);
    let features = match sees {
        Sees::Patches => patches_features(source, layers, &images),
        Sees::Split => split_features(source, layers, &images, options.part),
        Sees::Whole => {
            let features = backbone(source, layers, &images, "");
            let layout = source.run.and_then(|config| config.settings().layout());
            match (options.part, layout) {
                (Part::Encoder, _) => features,
                (_, Some(Layout::Dino { .. })) => head::dino(layers, &features),
                _ => head::perceptron(layers, &features, "head"),
            }
        }
    };
    let features = match options.unit_length {
        true => layers.unit_length(&features, "unit_length"),
        false => features,
    };
    let width = source.encoder.width(match options.part {
        Part::Encoder => FeatureKind::Backbone,
        _ => FeatureKind::Head,
    });
    let graph = &mut layers.graph;
    graph.output(&features, "features", &[Size::Any("batch"), Size::Fixed(width)]);
    let mut texts = source.texts();
    card::add_format(&mut texts, Names::Moco, options.part);
    texts.insert("moco.input".to_owned(), described_input(options.preprocess).to_owned());
    std::mem::take(graph).into_file(&texts)
}

fn described_input(preprocess: bool) -> &'static str {
    match preprocess {
        true => "uint8, red, green, blue in 0..=255, resized and cut as moco.view says",
        false => "float32, resized, cut and normalised as moco.view says",
    }
}

/// The input, and what normalises it: `(level / 255 - mean) / std` in single precision, as the data
/// loader does it.
fn input(source: &Source<'_>, layers: &mut Layers, preprocess: bool) -> Value {
    let [height, width] = source.view.size();
    let mut sizes = vec![Size::Any("batch")];
    if source.view.grid().is_some() {
        sizes.push(Size::Fixed(source.view.count()));
    }
    sizes.extend([3, height, width].map(Size::Fixed));
    let kind = if preprocess { Kind::Byte } else { Kind::Float };
    let graph = &mut layers.graph;
    let images = graph.input("images", kind, &sizes);
    if !preprocess {
        return images;
    }
    let (mean, std) = source.view.normalize().statistics();
    let levels = graph.floats("preprocess.levels", &[], &[255.0]);
    let mean = graph.floats("preprocess.mean", &[3, 1, 1], &mean);
    let std = graph.floats("preprocess.std", &[3, 1, 1], &std);
    let to = [("to", graph::Setting::Int(Kind::Float as i64))];
    let floats = graph.node("Cast", "preprocess.floats", &[&images], &to);
    let samples = graph.node("Div", "preprocess.samples", &[&floats, &levels], &[]);
    let centred = graph.node("Sub", "preprocess.centred", &[&samples, &mean], &[]);
    graph.node("Div", "preprocess.normalised", &[&centred, &std], &[])
}

/// `[N, C, H, W]` to `[N, F]`, with the weights whose names begin with `prefix`.
fn backbone(source: &Source<'_>, layers: &mut Layers, x: &Value, prefix: &str) -> Value {
    match &source.architecture {
        Architecture::ResNet(shape) => ResNetGraph { prefix, shape }.build(layers, x),
        Architecture::Vit(config) => {
            VitGraph { config, image: source.view.size() }.build(layers, x)
        }
    }
}

/// CPC: every patch alone, then the mean over the patches of an image.
fn patches_features(source: &Source<'_>, layers: &mut Layers, images: &Value) -> Value {
    let [height, width] = source.view.size();
    let apart = [-1, 3, height as i64, width as i64];
    let patches = layers.reshape(images, "patches.apart", &apart);
    let features = backbone(source, layers, &patches, "");
    let count = source.view.count() as i64;
    let dim = source.encoder.width(FeatureKind::Backbone) as i64;
    let together = layers.reshape(&features, "patches.together", &[-1, count, dim]);
    layers.token_mean(&together, "patches.mean")
}

/// CMC: luminance and colour each through its own network, the features side by side.
fn split_features(source: &Source<'_>, layers: &mut Layers, images: &Value, part: Part) -> Value {
    let sides = [("luma", [0, 1]), ("chroma", [1, 3])].map(|(side, channels)| {
        let x = layers.slice(images, &format!("{side}.channels"), 1, channels);
        let features = backbone(source, layers, &x, &format!("{side}."));
        match part {
            Part::Encoder => features,
            _ => head::perceptron(layers, &features, &format!("head.{side}")),
        }
    });
    layers.concat(&[&sides[0], &sides[1]], "both", 1)
}
