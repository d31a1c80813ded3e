//! The command line as typed. Nothing is resolved here.

mod eval;
mod export;
mod features;
mod watch;
mod weights;

pub use eval::{
    DistillArgs, EvalArgs, Feature, FinetuneArgs, KnnArgs, LabelledArgs, LinearArgs, Pool, Preset,
    Probe, ProbeRule, Schedule, SgdArgs, Solver, TuneRule,
};
pub use export::{ExportArgs, Format};
pub use features::{DedupArgs, SearchArgs, SelectArgs, SelectRule, SplitCheckArgs, VectorArgs};
pub use watch::{EventFormat, WatchArgs};
pub use weights::{EncoderArgs, ImportArgs, ReadingArgs};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Learn an image encoder from unlabelled images: MoCo and its family.
#[derive(Debug, Parser)]
#[command(name = "moco", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "New here? `moco demo` shows the whole way in under 3 minutes.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an encoder on a folder or .tar of images, or go on with a run
    Pretrain(PretrainArgs),
    /// Print what `pretrain` would do: every setting, steps, rates, memory, time; trains nothing
    Check(RunArgs),
    /// Take weights of other programs: tell what they are, write them as an encoder that every other
    /// command takes, and check it
    Import(ImportArgs),
    /// Measure a trained encoder on labelled images
    Eval(EvalArgs),
    /// Write the feature vector of every image to a .npy, .csv or .parquet file
    Embed(EmbedArgs),
    /// Write the encoder for other programs: weights, a timm or Hugging Face folder, ONNX
    Export(ExportArgs),
    /// Find the images that are most like given ones
    Search(SearchArgs),
    /// Find equal and nearly equal images, and list those that may go; deletes nothing
    Dedup(DedupArgs),
    /// Choose the images to label next
    Select(SelectArgs),
    /// Find test images that are among the training images, equal or nearly so
    SplitCheck(SplitCheckArgs),
    /// Draw what the augmentation does to an image
    Views(ViewsArgs),
    /// Examine a data set: unreadable, odd and duplicate images, classes, sizes, mean and deviation
    Doctor(DoctorArgs),
    /// Pretrain and evaluate on a small generated data set, in under 3 minutes
    Demo(DemoArgs),
    /// List the methods: idea, paper, what each carries, what batch it wants
    Methods,
    /// Train several methods on the same images and measure them side by side
    Compare(CompareArgs),
    /// Write a page on one or more runs: curves, a map of the images, neighbours, health, settings
    Report(ReportArgs),
    /// List the devices of this build, and the kernels that the CPU runs with
    Devices,
    /// Print completions for a shell: source <(moco completions bash)
    Completions(CompletionsArgs),
    /// Write manual pages, one for each command
    Man(ManArgs),
    /// Time training steps, encoders and the data pipeline on this machine
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub what: Bench,
}

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Steps on random images: a method's whole step, supervised training, or encoding alone
    Step(BenchStepArgs),
    /// Steps of a run as pretrain makes it, on its own images, and the same steps on a batch that lies
    /// ready: what reading and augmenting cost beside training
    Run(BenchRunArgs),
    /// The way from files to augmented views: listing, decoding, each operation, the whole
    Data(BenchDataArgs),
    /// Under mpirun: a method's step as one of several ranks, its exchanges, and what it would take
    /// with 8, 64 and 1000 ranks; the batch size is that of all ranks
    Ranks(BenchStepArgs),
    /// What the CPU can do at best: multiply-adds from registers, and copying
    Machine(BenchMachineArgs),
}

#[derive(Debug, Args)]
pub struct BenchMachineArgs {
    /// Print one JSON object for programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct BenchRunArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Timed steps of each of three turns of both sides
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..))]
    pub steps: u16,
    /// Print one JSON object for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct BenchDataArgs {
    /// Images, as for pretrain
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// Recipe whose views are measured [default: what pretrain would use for such images]
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub recipe: Option<String>,
    /// Time for each stage, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = positive)]
    pub seconds: f64,
    /// Print one JSON object for programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct BenchStepArgs {
    /// What is done in a step
    #[arg(long, value_name = "KIND", default_value = "method")]
    pub work: WorkKind,
    /// Network, e.g. resnet18, resnet50, vit-small; an unknown name lists them all
    #[arg(long, value_name = "NAME", default_value = "resnet18")]
    pub backbone: String,
    /// Height and width of the images
    #[arg(long, value_name = "PIXELS", default_value = "32")]
    pub size: u16,
    /// Images per step
    #[arg(long, value_name = "N", default_value = "64")]
    pub batch_size: u32,
    /// First layers: cifar or imagenet; by default what suits the size
    #[arg(long, value_name = "NAME")]
    pub stem: Option<String>,
    /// Learning method; `moco methods` lists them
    #[arg(long, value_name = "NAME", default_value = "moco-v1")]
    pub method: String,
    /// What large products are computed in: auto, f32, tf32, bf16 or f16
    #[arg(long, value_name = "NAME")]
    pub precision: Option<String>,
    /// Timed steps
    #[arg(long, value_name = "N", default_value = "10")]
    pub steps: u16,
    /// Any setting by its name in config.toml, e.g. --set model.width=16; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON object for programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// What `moco bench step` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkKind {
    /// The method's whole step: forward passes, loss, backward, optimiser, key encoder, queue
    Method,
    /// Supervised: backbone and a linear layer of 1000 classes, forward, backward, optimiser
    Train,
    /// The backbone alone, as embed and eval run it
    Forward,
}

const GLOSSARY: &str = "\
Words:
  view         an image after random cropping, flipping and colour changes
  query, key   two views of one image, encoded by the network that learns (query encoder) and by
               its slowly moving average (key encoder)
  queue        keys of earlier images; a query must tell its own key from all of them
  momentum     how slowly the key encoder follows: it keeps this share of itself at each step
  temperature  how sharply similarities are compared; lower is sharper

Recipes:
  METHOD-imagenet, METHOD-cifar10   the published setting of each method
  METHOD-small                      32-pixel images on two CPU cores
  Without a recipe the settings follow from the images; `moco check` shows them, `moco methods`
  lists the methods.";

#[derive(Debug, Args)]
#[command(after_long_help = GLOSSARY)]
pub struct PretrainArgs {
    /// Folder for the run; new or empty
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder from its last checkpoint; --set then takes what may change:
    /// data.max_bad_share, train.max_steps, and keys of checkpoints, logs and monitor
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "out", "recipe", "method", "backbone", "init", "epochs", "batch_size", "max_steps", "seed",
    ])]
    pub resume: Option<PathBuf>,
    /// With --resume: take the images as they are now, added, removed and changed ones alike
    #[arg(long, requires = "resume")]
    pub accept_new_data: bool,
    /// Started by mpirun: also print what the ranks other than the first say, with their numbers
    #[arg(long)]
    pub verbose_ranks: bool,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub watch: WatchArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// What determines a run, shared by `pretrain` and `check`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Folder (of any depth) or .tar of images; shards, Parquet, a list of paths, an address; or
    /// cifar10, cifar100 or fashion-mnist
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Name of a recipe, or a .toml file such as the config.toml of another run
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub recipe: Option<String>,
    /// Learning method; `moco methods` lists them
    #[arg(long, value_name = "NAME")]
    pub method: Option<String>,
    /// Network, e.g. resnet18, resnet50, vit-small; an unknown name lists them all
    #[arg(long, value_name = "NAME")]
    pub backbone: Option<String>,
    /// Start from these weights instead of random ones: a file, a folder, an https:// address or
    /// hf://org/name; without --backbone and recipe the network is the file's
    #[arg(long, value_name = "SOURCE")]
    pub init: Option<String>,
    /// Layout of the --init weights, where it is not told right
    #[arg(long, value_name = "LAYOUT", requires = "init")]
    pub init_as: Option<String>,
    /// Which of the networks in the --init weights, e.g. teacher
    #[arg(long, value_name = "NAME", requires = "init")]
    pub init_network: Option<String>,
    /// Attention heads in the --init weights, where the file does not tell them
    #[arg(long, value_name = "N", requires = "init", value_parser = clap::value_parser!(u16).range(1..))]
    pub init_heads: Option<u16>,
    /// Passes over the images
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub epochs: Option<i64>,
    /// Images per step
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub batch_size: Option<i64>,
    /// Stop after this many steps; the learning rate still follows --epochs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_steps: Option<i64>,
    /// Seed of everything random
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<i64>,
    /// Any setting by its name in config.toml, e.g. --set optim.lr=0.06; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Where to compute.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Where to compute: cpu, a GPU of `moco devices`, e.g. cuda:0, or auto for the best there is
    #[arg(long, value_name = "D", default_value = "cpu")]
    pub device: String,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Decoded images are kept in memory up to so many MiB, and decoded once if they all fit
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub cache_mb: u32,
}

#[derive(Debug, Args)]
pub struct EmbedArgs {
    #[command(flatten)]
    pub encoder: EncoderArgs,
    /// Folder or .tar of images
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// File to write: .npy (paths go to a .paths.csv beside it), .csv or .parquet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Which output of the encoder to write
    #[arg(long, value_name = "NAME", default_value = "backbone")]
    pub feature: Feature,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct ViewsArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// File to write: .png, .jpg or .webp
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Recipe whose views are drawn [default: what pretrain would use for such images]
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub recipe: Option<String>,
    /// Draws of each view
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub count: u16,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Folder, .tar, shards, Parquet, list of paths, address, or the name of a public data set
    #[arg(value_name = "PATH")]
    pub data: PathBuf,
    /// Print one JSON object, with every finding, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Write a page with thumbnails, .html
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Images with a side below this are tiny
    #[arg(long, value_name = "PIXELS", default_value_t = 16)]
    pub tiny_below: u32,
    /// How far perceptual hashes of near-duplicates may differ, in bits of 64
    #[arg(long, value_name = "BITS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(..=5))]
    pub near: u32,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders of the runs; the first one's images are shown
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Images to show [default: those that the first run was trained on]
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// File to write, .html [default: report.html in the first run's folder]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Images on the map at most, spread evenly over all; 2000 make a page of under 5 MB
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub images: u32,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Whether a run leaves a page on itself.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct PageArgs {
    /// Write report.html anew after every epoch; an open page follows
    #[arg(long)]
    pub report: bool,
    /// Leave out report.html, which is otherwise written at the end
    #[arg(long, conflicts_with = "report")]
    pub no_report: bool,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep images and run in this folder, new or empty [default: a temporary folder, of which the
    /// report is kept]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Images to train on; with one folder per class, which the measurement needs
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// Labelled test images of the same classes [default: every tenth image of --data]
    #[arg(long, value_name = "PATH")]
    pub test: Option<PathBuf>,
    /// Methods to compare, e.g. moco-v2,simclr,byol [default: all]
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    pub methods: Vec<String>,
    /// Folder for the runs and the table; a comparison that was stopped goes on there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Which recipes: small (two CPU cores, 32 pixels), cifar10, imagenet, or derived from the images
    #[arg(long, value_name = "KIND", default_value = "derived")]
    pub recipes: RecipeKind,
    /// Passes over the images, for all methods
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Any setting that all methods share, e.g. --set model.width=16; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Leave out report.html, the page on all runs
    #[arg(long)]
    pub no_report: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Recipes of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecipeKind {
    /// Settings that follow from the images
    Derived,
    /// The -small recipes
    Small,
    /// The -cifar10 recipes
    Cifar10,
    /// The -imagenet recipes
    Imagenet,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("must be a number above 0".to_owned()),
    }
}
