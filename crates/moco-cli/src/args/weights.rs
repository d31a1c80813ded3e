//! Which encoder a command works with.

// Help texts: brackets stand for what may be left out, and are no links.
#![allow(rustdoc::broken_intra_doc_links)]

use super::MachineArgs;
use clap::Args;
use moco_data::View;
use std::path::PathBuf;

/// The encoder of a run, or weights from elsewhere.
#[derive(Debug, Args)]
pub struct EncoderArgs {
    /// Folder of the run whose encoder is used
    #[arg(long, value_name = "DIR", required_unless_present = "encoder")]
    pub run: Option<PathBuf>,
    /// Weights in place of a run's: a file, a folder, an https:// address or hf://org/name
    #[arg(long, value_name = "SOURCE", conflicts_with = "run")]
    pub encoder: Option<String>,
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// How a file of weights is understood.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadingArgs {
    /// Layout of the weights, where it is not told right; an unknown name lists them all
    #[arg(long = "as", value_name = "LAYOUT")]
    pub layout: Option<String>,
    /// Which of the file's networks, e.g. teacher or student
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Attention heads of a transformer, where the file does not tell them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub heads: Option<u16>,
    /// Padding of a 3x3 first layer, which no file tells: 2 in solo-learn, 1 in others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub stem_padding: Option<u16>,
    /// What is done to an image before it is encoded [default: what is usual for such weights]
    #[arg(long, value_name = "VIEW")]
    pub eval_view: Option<View>,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Weights: a .safetensors, .pth, .pt, .ckpt or .bin, a folder that holds them, an https://
    /// address, or hf://org/name[@revision][/file]
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Folder for the encoder, which --run then takes; new or empty
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    pub out: Option<PathBuf>,
    /// Compare with features of the weights' own code: a .safetensors with `input` [N, 3, H, W] and
    /// `pooled`, `cls`, `patch_mean` or `tokens`; exit code 1 if they differ beyond rounding
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}
