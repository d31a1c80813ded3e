//! Arguments of `moco export`.

use super::EncoderArgs;
use clap::{Args, ValueEnum};
use moco::export::{Names, Part};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// What to write: a file that ends in .safetensors or .onnx, or a folder for --format timm or
    /// huggingface
    #[arg(long, value_name = "FILE|DIR")]
    pub out: PathBuf,
    /// Form of what is written [default: by the end of --out]
    #[arg(long, value_name = "FORM")]
    pub format: Option<Format>,
    /// How the tensors of a .safetensors file are named [default: moco]
    #[arg(long, value_name = "NAMES")]
    pub names: Option<Naming>,
    /// How much is written [default: encoder+head under our own names, else encoder]
    #[arg(long, value_name = "PART")]
    pub part: Option<PartName>,
    /// In an .onnx: take bytes, uint8 [N, 3, H, W] in red, green and blue, and normalise them in the
    /// graph; without it, the graph takes normalised floats
    #[arg(long)]
    pub preprocess: bool,
    /// In an .onnx: divide each feature by its length
    #[arg(long)]
    pub unit_length: bool,
    /// Write over the encoder or a checkpoint of a run, or into a folder that is not empty
    #[arg(long)]
    pub force: bool,
}

/// Form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Named tensors in one file
    Safetensors,
    /// A graph of operations, opset 17, with a free batch size
    Onnx,
    /// A folder for timm.create_model("local-dir:DIR", pretrained=True)
    Timm,
    /// A folder for AutoModel.from_pretrained("DIR")
    #[value(name = "huggingface")]
    HuggingFace,
}

/// Names of exported tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Naming {
    /// Names of ours, as in the run's encoder.safetensors
    Moco,
    /// Names of torchvision.models: ResNets and VisionTransformer
    Torchvision,
    /// Names of timm
    Timm,
    /// Names of ResNetModel and ViTModel in Hugging Face's transformers
    #[value(name = "huggingface")]
    HuggingFace,
    /// Names of detectron2's ResNets, by the rules of MoCo's own converter
    Detectron2,
    /// Names of facebookresearch/dino
    Dino,
    /// Names of facebookresearch/mae
    Mae,
}

impl From<Naming> for Names {
    fn from(naming: Naming) -> Names {
        match naming {
            Naming::Moco => Names::Moco,
            Naming::Torchvision => Names::Torchvision,
            Naming::Timm => Names::Timm,
            Naming::HuggingFace => Names::HuggingFace,
            Naming::Detectron2 => Names::Detectron2,
            Naming::Dino => Names::Dino,
            Naming::Mae => Names::Mae,
        }
    }
}

/// Part of what was trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PartName {
    /// The backbone
    Encoder,
    /// The backbone and the head that is used for training; an .onnx then gives the head's output
    #[value(name = "encoder+head")]
    EncoderAndHead,
    /// All that the newest checkpoint has of the method: momentum encoder, decoder, queue
    All,
}

impl From<PartName> for Part {
    fn from(part: PartName) -> Part {
        match part {
            PartName::Encoder => Part::Encoder,
            PartName::EncoderAndHead => Part::EncoderAndHead,
            PartName::All => Part::All,
        }
    }
}
