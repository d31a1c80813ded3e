//! `moco import`: weights of other programs as an encoder of ours.

use crate::args::ImportArgs;
use crate::output::check_folder;
use crate::session::Machine;
use crate::weights;
use anyhow::{Context, bail};
use moco::device::Device;
use moco::files::shell_word;
use moco::pretrained::{Compared, Pretrained, check_features, save_imported};
use moco::run::RunDir;
use moco_weights::{Architecture, Options, ResNet, ResNetStem, Weights, WeightsError};
use std::path::{Path, PathBuf};

/// Reads, tells what it is, checks and writes it.
pub fn run(args: &ImportArgs) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        RunDir::check_new(out)?;
        check_folder(out)?;
    }
    let machine = Machine::open(&args.machine)?;
    let reader = Reader { args, file: weights::fetch(&args.source)?, device: machine.device };
    let mut pretrained = match &args.check {
        Some(features) => reader.agreeing(features)?,
        None => reader.read(&args.reading.options()?)?,
    };
    eprintln!("view     {}", pretrained.imported.view);
    match &pretrained.imported.licence {
        Some(licence) => eprintln!(
            "licence  {licence}, of what this code's authors publish, or of what training began with"
        ),
        None => eprintln!("licence  not known: see where the weights are from"),
    }
    if let Some(features) = &args.check {
        check(&mut pretrained, features)?;
    }
    if let Some(out) = &args.out {
        write(&mut pretrained, out)?;
    }
    Ok(())
}

/// A file of weights, and how it is asked to be read.
struct Reader<'a> {
    args: &'a ImportArgs,
    file: PathBuf,
    device: Device,
}

impl Reader<'_> {
    /// The weights as `options` say, which are told about.
    fn read(&self, options: &Options) -> anyhow::Result<Pretrained> {
        let weights = moco_weights::open(&self.file, options)?;
        weights::tell(&weights);
        self.network(&weights)
    }

    fn network(&self, weights: &Weights) -> anyhow::Result<Pretrained> {
        let view = self.args.reading.eval_view.as_ref();
        Ok(Pretrained::new(weights, &self.args.source, view, &self.device)?)
    }

    /// The weights in the reading whose features are those in a file. No tensor tells the number of
    /// attention heads, nor the padding of a small first layer: where these are neither given nor in
    /// a table, they are tried in turn.
    fn agreeing(&self, features: &Path) -> anyhow::Result<Pretrained> {
        let asked = self.args.reading.options()?;
        let others: Vec<Options> = match moco_weights::open(&self.file, &asked) {
            Err(WeightsError::Heads { candidates, .. }) => {
                let with = |heads| Options { heads: Some(heads), ..asked.clone() };
                candidates.into_iter().map(with).collect()
            }
            Ok(weights) if has_small_stem(&weights) && asked.stem_padding.is_none() => {
                let with = |padding| Options { stem_padding: Some(padding), ..asked.clone() };
                [asked.clone()].into_iter().chain([1, 2].map(with)).collect()
            }
            _ => Vec::new(),
        };
        for options in others {
            let mut pretrained = self.network(&moco_weights::open(&self.file, &options)?)?;
            if check_features(&mut pretrained, features)?.iter().all(Compared::agrees) {
                drop(pretrained);
                let told = options.heads.filter(|_| asked.heads.is_none());
                if let Some(heads) = told {
                    eprintln!("heads    {heads}, with which the features agree");
                }
                return self.read(&options);
            }
        }
        self.read(&asked)
    }
}

/// Whether the first layer is one whose padding no tensor tells.
fn has_small_stem(weights: &Weights) -> bool {
    let small = |net: &ResNet| matches!(net.stem, ResNetStem::Cifar { .. });
    matches!(&weights.architecture, Architecture::ResNet(net) if small(net))
}

/// Prints how far each feature is off, and fails if one is off by more than rounding.
fn check(pretrained: &mut Pretrained, file: &Path) -> anyhow::Result<()> {
    let compared = check_features(pretrained, file)?;
    println!("{:<16}{:>20}{:>20}", "feature", "largest difference", "largest value");
    for Compared { name, difference, largest } in &compared {
        println!("{name:<16}{difference:>20.3e}{largest:>20.4}");
    }
    if let Some(feature) = compared.iter().find(|feature| !feature.agrees()) {
        bail!(
            "`{}` differs from {} by more than rounding: the weights are of another network or \
             layout than was told, so name it with --as, --network or --heads",
            feature.name,
            file.display()
        );
    }
    println!("all within rounding");
    Ok(())
}

fn write(pretrained: &mut Pretrained, out: &Path) -> anyhow::Result<()> {
    let folder = RunDir::create(out)?;
    save_imported(pretrained, &folder.encoder())
        .with_context(|| format!("cannot write the encoder to {}", out.display()))?;
    let word = shell_word(out);
    println!("encoder: {}", folder.encoder().display());
    println!("measure: moco eval knn --run {word} --train LABELLED --test LABELLED");
    println!("use:     moco embed --run {word} --data IMAGES --out features.npy");
    println!("go on:   moco pretrain --init {word} --data IMAGES --out runs/next");
    Ok(())
}
