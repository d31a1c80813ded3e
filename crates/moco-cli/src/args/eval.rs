//! What `moco eval` is asked for.

use super::{EncoderArgs, MachineArgs, positive};
use clap::{Args, Subcommand, ValueEnum};
use moco_data::View;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    pub probe: Probe,
}

#[derive(Debug, Subcommand)]
pub enum Probe {
    /// Classify each test image by its nearest training images
    Knn(KnnArgs),
    /// Classify by a linear layer trained on the frozen features
    Linear(LinearArgs),
    /// Train the whole network further with labels, all of them or a few
    Finetune(Box<FinetuneArgs>),
    /// Train a network on images without labels, by what a fine-tuned network says of them: the last
    /// step of SimCLR v2
    Distill(Box<DistillArgs>),
}

/// What every evaluation needs.
#[derive(Debug, Args)]
pub struct LabelledArgs {
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// Labelled training images: a folder or .tar with one folder per class
    #[arg(long, value_name = "PATH")]
    pub train: PathBuf,
    /// Labelled test images, with the same classes
    #[arg(long, value_name = "PATH")]
    pub test: PathBuf,
    /// Print one JSON object instead of words
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct KnnArgs {
    #[command(flatten)]
    pub labelled: LabelledArgs,
    /// Neighbours [default: the run's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub k: Option<u32>,
    /// Temperature of the neighbours' weights [default: the run's own]
    #[arg(long, value_name = "T", value_parser = positive)]
    pub temperature: Option<f64>,
    /// Which output is compared [default: the run's own]
    #[arg(long, value_name = "NAME")]
    pub feature: Option<Feature>,
    /// Compare with what the run remembered of its training images, from its newest checkpoint, instead
    /// of encoding them: InstDisc's own evaluation, which the head's output is compared in; --train then
    /// names the run's images
    #[arg(long, requires = "run", conflicts_with = "feature")]
    pub bank: bool,
}

#[derive(Debug, Args)]
pub struct LinearArgs {
    #[command(flatten)]
    pub labelled: LabelledArgs,
    /// How the layer is trained
    #[arg(long, value_name = "NAME", default_value = "logistic")]
    pub solver: Solver,
    /// Which output of the encoder the layer sees [default: for logistic the backbone, for sgd what
    /// the method's paper probes]
    #[arg(long, value_name = "NAME")]
    pub feature: Option<Feature>,
    #[command(flatten)]
    pub sgd: SgdArgs,
}

/// The protocol of `--solver sgd`, where it is to differ from the method's paper.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of --solver sgd, by default as the method's paper has them")]
pub struct SgdArgs {
    /// What moves the layer
    #[arg(long, value_name = "NAME")]
    pub optimizer: Option<ProbeRule>,
    /// Highest learning rate, as it is; the paper's may be quoted for 256 images
    #[arg(long, value_name = "LR", value_parser = positive)]
    pub lr: Option<f64>,
    /// How the learning rate falls
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<Schedule>,
    /// Epochs after which the learning rate drops, such as 30,40,50 [default: the paper's, in
    /// proportion, or 60 % and 80 % of the epochs]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = positive)]
    pub drops: Vec<f64>,
    /// What each drop multiplies the learning rate by [default: the paper's, or 0.1]
    #[arg(long, value_name = "FACTOR", value_parser = share)]
    pub drop_factor: Option<f64>,
    /// Epochs over which the learning rate rises [default: the paper's share of the epochs]
    #[arg(long, value_name = "N", value_parser = not_negative, allow_negative_numbers = true)]
    pub warmup_epochs: Option<f64>,
    /// Weight decay
    #[arg(long, value_name = "W", value_parser = not_negative, allow_negative_numbers = true)]
    pub weight_decay: Option<f64>,
    /// Passes over the training images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Images per step, at most all; they are in memory at once [default: the paper's, or a 64th of the
    /// images where its rate follows the batch; the rate is then that of the published batch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,
    /// Normalise features over the batch before the layer, as MAE's probe does
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub normalize: Option<bool>,
    /// Seed of order, augmentation and first weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct FinetuneArgs {
    #[command(flatten)]
    pub labelled: LabelledArgs,
    /// Share of the labels that is used, of each class: 0.01 and 0.1 are customary
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    pub labels: f64,
    /// File that names the training images to use, one a line, such as SimCLR's 1percent.txt; a name is
    /// a path's end, with or without what stands before its last /
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    pub labels_list: Option<PathBuf>,
    /// A paper's settings, which the other options then change [default: AdamW as in MAE, gentler, at the
    /// values named below]
    #[arg(long, value_name = "NAME")]
    pub preset: Option<Preset>,
    /// Passes over the training images [default: 50, or the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Images per step [default: 256, or the preset's 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,
    /// What moves the weights [default: adamw, or the preset's]
    #[arg(long, value_name = "NAME")]
    pub optimizer: Option<TuneRule>,
    /// Learning rate of the new layer [default: 0.0005 per 256 images, or the preset's]
    #[arg(long, value_name = "LR", value_parser = positive)]
    pub lr: Option<f64>,
    /// Epochs over which the learning rate rises [default: 5 % of all, or the preset's share]
    #[arg(long, value_name = "N", value_parser = not_negative, allow_negative_numbers = true)]
    pub warmup_epochs: Option<f64>,
    /// Factor on the learning rate from each layer to the one below it [default: 0.65, or the preset's]
    #[arg(long, value_name = "FACTOR", value_parser = share)]
    pub layer_decay: Option<f64>,
    /// Weight decay, of matrices with adamw and lars [default: 0.05, or the preset's]
    #[arg(long, value_name = "W", value_parser = not_negative, allow_negative_numbers = true)]
    pub weight_decay: Option<f64>,
    /// Share of each target that all classes share [default: 0.1, or the preset's]
    #[arg(long, value_name = "SHARE", value_parser = below_one, allow_negative_numbers = true)]
    pub smoothing: Option<f64>,
    /// Epochs between two tests on the way, for the best epoch; 0 tests the last alone [default: as often
    /// as keeps the images tested no more than those trained on]
    #[arg(long, value_name = "N")]
    pub test_epochs: Option<u32>,
    /// Augmentation of training images, in the words of `moco views` [default: a random crop and a flip]
    #[arg(long, value_name = "VIEW")]
    pub view: Option<View>,
    /// What the new layer sees [default: mean for mae, projector for simclr-v2, own for others]
    #[arg(long, value_name = "NAME")]
    pub pool: Option<Pool>,
    /// Chance of leaving out a residual branch of a transformer's last block, in proportion before
    /// it [default: 0.1 for mae, 0 for others, or the preset's]
    #[arg(long, value_name = "P", value_parser = below_one, allow_negative_numbers = true)]
    pub drop_path: Option<f64>,
    /// Blend images in pairs: the parameter of mixup's Beta distribution, 0.8 in MAE's recipe; 0 is off
    /// [default: 0, or the preset's]
    #[arg(long, value_name = "A", value_parser = mixing, allow_negative_numbers = true)]
    pub mixup: Option<f64>,
    /// Paste boxes of one image into another: CutMix's parameter, 1 in MAE's recipe; with --mixup, a
    /// coin decides between them at each step [default: 0, or the preset's]
    #[arg(long, value_name = "A", value_parser = mixing, allow_negative_numbers = true)]
    pub cutmix: Option<f64>,
    /// Seed of order, augmentation, mixing, first weights and the choice of labels
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// File for the tuned network, which `moco eval distill --teacher` takes [default: none is written]
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DistillArgs {
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// The fine-tuned network, as `moco eval finetune --out` wrote it
    #[arg(long, value_name = "FILE.safetensors")]
    pub teacher: PathBuf,
    /// Images that the teacher is asked about; their labels, if they have any, are not looked at
    #[arg(long, value_name = "PATH")]
    pub train: PathBuf,
    /// Labelled test images, with the teacher's classes
    #[arg(long, value_name = "PATH")]
    pub test: PathBuf,
    /// Labelled images to learn from as well, with the teacher's classes; see --teacher-share
    #[arg(long, value_name = "PATH", requires = "teacher_share")]
    pub labelled: Option<PathBuf>,
    /// Share of the teacher's loss beside that of --labelled, above 0 and below 1: alpha in the paper's
    /// Eq. 3 [default: 1, without labels]
    #[arg(long, value_name = "SHARE", value_parser = between, requires = "labelled")]
    pub teacher_share: Option<f64>,
    /// Draw the student's weights anew, by its run's seed, instead of starting from the encoder's
    #[arg(long)]
    pub fresh: bool,
    /// Temperature of both networks' scores; the paper has 0.1 for a student like its teacher and 1 for
    /// a smaller one
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = positive)]
    pub temperature: f64,
    /// Passes over the images
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Images per step [default: the paper's 4096, or a 64th of the images where they are few]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,
    /// What moves the weights
    #[arg(long, value_name = "NAME", default_value = "lars")]
    pub optimizer: TuneRule,
    /// Learning rate [default: the paper's 0.1 times the root of the batch with lars, else 0.001]
    #[arg(long, value_name = "LR", value_parser = positive)]
    pub lr: Option<f64>,
    /// Epochs over which the learning rate rises [default: 5 % of all]
    #[arg(long, value_name = "N", value_parser = not_negative, allow_negative_numbers = true)]
    pub warmup_epochs: Option<f64>,
    /// Weight decay, of matrices with adamw and lars
    #[arg(long, value_name = "W", default_value_t = 1e-4, value_parser = not_negative, allow_negative_numbers = true)]
    pub weight_decay: f64,
    /// Epochs between two tests on the way, for the best epoch; 0 tests the last alone [default: as often
    /// as keeps the images tested no more than those trained on]
    #[arg(long, value_name = "N")]
    pub test_epochs: Option<u32>,
    /// Augmentation of the images, in the words of `moco views` [default: a random crop and a flip]
    #[arg(long, value_name = "VIEW")]
    pub view: Option<View>,
    /// Seed of order, augmentation and the new layer
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// File for the student [default: none is written]
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: Option<PathBuf>,
    /// Print one JSON object instead of words
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// An output of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Feature {
    /// The pooled output of the backbone
    Backbone,
    /// The output of the projection head
    Head,
    /// The class tokens of a transformer's last four blocks, side by side
    LastBlocks,
    /// A transformer's class token and the mean of its patch tokens, side by side
    ClassAndPatches,
}

/// What moves the layer of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeRule {
    /// SGD with a momentum of 0.9
    Sgd,
    /// SGD with Nesterov's momentum
    Nesterov,
    /// Layer-wise rates as MAE has them: not for the bias
    Lars,
    /// Layer-wise rates as in apex, which SimSiam uses
    Larc,
}

/// A paper's way of fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// MAE's, by the size of the transformer: AdamW, layer decay, strong augmentation, mixed images
    Mae,
    /// SimCLR's for few labels: LARS at 0.005 times the root of the batch, a new layer of zeros
    Simclr,
    /// BYOL's: SGD with Nesterov's momentum, without weight decay
    Byol,
    /// DeiT's, by which MoCo v3's transformers are fine-tuned
    Deit,
}

/// What moves the weights in fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TuneRule {
    /// AdamW at its usual betas
    Adamw,
    /// SGD with a momentum of 0.9
    Sgd,
    /// SGD with Nesterov's momentum
    Nesterov,
    /// Layer-wise rates as SimCLR has them
    Lars,
}

/// How a learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// In steps, see --drops
    Drops,
    /// Along a cosine to 0
    Cosine,
}

/// What the new layer of fine-tuning sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pool {
    /// The backbone's feature, as it was pre-trained
    Own,
    /// The mean of a transformer's patch tokens, through a new LayerNorm
    Mean,
    /// The first layer of the projection head, which is trained too
    Projector,
}

/// How a linear layer is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Solver {
    /// Logistic regression on the features of the images as they are; takes seconds
    Logistic,
    /// The protocol of the method's paper: many epochs of augmented images
    Sgd,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("must be above 0 and at most 1".to_owned()),
    }
}

fn between(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("must be above 0 and below 1".to_owned()),
    }
}

/// Far above 100 a Beta distribution is 1/2 and nothing else; its draws overflow in the end.
fn mixing(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("must be a number from 0, which turns it off, to 100".to_owned()),
    }
}

/// A chance that leaves something.
fn below_one(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        _ => Err("must be at least 0 and below 1".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err("must be a number of at least 0".to_owned()),
    }
}
