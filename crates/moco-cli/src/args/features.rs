//! What the commands on features are asked for.

use super::{EncoderArgs, Feature, MachineArgs};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How images become features, for every command on them.
#[derive(Debug, Args)]
pub struct VectorArgs {
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// Which output of the encoder is compared
    #[arg(long, value_name = "NAME", default_value = "backbone")]
    pub feature: Feature,
    /// Encode all images, and keep no features for the next time
    #[arg(long)]
    pub no_cache: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub vectors: VectorArgs,
    /// Images to search: a folder, .tar, list or any other data set
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// Images to find the like of: files, or a folder of them
    #[arg(long, value_name = "IMAGE", num_args = 1.., required = true)]
    pub query: Vec<PathBuf>,
    /// Results for each query
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// File to write: .html (a page with thumbnails), .csv or .json
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DedupArgs {
    #[command(flatten)]
    pub vectors: VectorArgs,
    /// Images to look through
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// Cosine of features from which on two images count as near-duplicates; 1 leaves equal bytes
    #[arg(long, value_name = "COSINE", default_value_t = 0.98, value_parser = cosine)]
    pub near: f32,
    /// File to write: .txt (images that may go, one a line), .csv or .json (with those that stay)
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SelectArgs {
    #[command(flatten)]
    pub vectors: VectorArgs,
    /// Images to choose from
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// How many images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// What makes an image worth a label
    #[arg(long, value_name = "RULE", default_value = "k-centre")]
    pub by: SelectRule,
    /// Seed of the clusters' beginnings
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// File to write: .txt (a list that --data reads) or .csv
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Rules of `moco select`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SelectRule {
    /// Every image is near a chosen one: always the farthest from those chosen so far
    #[value(alias = "k-center")]
    KCentre,
    /// Images with the nearest neighbours: the usual ones
    Typical,
    /// Images with the farthest neighbours: odd ones and errors
    Unusual,
    /// As many clusters as images, and the most typical image of each
    Cluster,
}

#[derive(Debug, Args)]
pub struct SplitCheckArgs {
    /// Training images
    #[arg(value_name = "TRAIN")]
    pub train: PathBuf,
    /// Test images
    #[arg(value_name = "TEST")]
    pub test: PathBuf,
    #[command(flatten)]
    pub vectors: VectorArgs,
    /// Cosine of features from which on a test image counts as leaked; 1 leaves equal bytes
    #[arg(long, value_name = "COSINE", default_value_t = 0.98, value_parser = cosine)]
    pub near: f32,
    /// File to write: .csv or .json, with a training image for each leaked test image
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

fn cosine(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("must be above 0 and at most 1".to_owned()),
    }
}
