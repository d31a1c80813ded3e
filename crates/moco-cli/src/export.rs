//! `moco export`: the encoder's weights for other programs.

use crate::args::{ExportArgs, Naming};
use crate::output::{Output, extension};
use crate::session::load_encoder;
use anyhow::ensure;
use moco::config::{FamilyConfig, ModelConfig, StemKind};
use moco::export::{Names, save_encoder};
use moco::train::RunDir;
use std::path::Path;

/// Writes the weights and says how to load them.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    ensure!(
        extension(&args.out) == "safetensors",
        "{} does not end in .safetensors: rename --out",
        args.out.display()
    );
    let out = Output::at(&args.out)?;
    ensure!(
        args.force || !is_of_a_run(out.target()),
        "{} belongs to a run, which would be lost: give --out another file, or pass --force",
        args.out.display()
    );
    let (mut frozen, config) = load_encoder(&args.run, &moco::device::parse("cpu")?)?;
    let names = match args.names {
        Naming::Moco => Names::Moco,
        Naming::Torchvision => Names::Torchvision,
    };
    save_encoder(frozen.encoder.as_mut(), out.target(), names)?;
    println!("wrote {}", args.out.display());
    if args.names == Naming::Torchvision {
        print_loading(&args.out.display().to_string(), &config.model);
    }
    Ok(())
}

/// Whether a file is the encoder or a checkpoint of a run, by its place and name.
fn is_of_a_run(file: &Path) -> bool {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { return false };
    let name = name.to_string_lossy();
    let run = match folder.file_name() {
        Some(last) if last == "checkpoints" && name.starts_with("step-") => folder.parent(),
        _ if name == "encoder.safetensors" => Some(folder),
        _ => None,
    };
    run.is_some_and(|run| RunDir::at(run).config().exists())
}

fn print_loading(file: &str, model: &ModelConfig) {
    let name = &model.backbone;
    println!("load it in Python:");
    match &model.family {
        FamilyConfig::ResNet(resnet) => {
            println!("    net = torchvision.models.{name}()");
            println!("    net.fc = torch.nn.Identity()");
            if resnet.stem == StemKind::Cifar {
                let width = resnet.width;
                println!("    net.conv1 = torch.nn.Conv2d(3, {width}, 3, padding=1, bias=False)");
                println!("    net.maxpool = torch.nn.Identity()");
            }
        }
        FamilyConfig::Vit(vit) => println!(
            "    net = timm.models.vision_transformer.VisionTransformer(patch_size={}, \
             num_classes=0, ...)  # {name}",
            vit.patch
        ),
    }
    println!("    net.load_state_dict(safetensors.torch.load_file(\"{file}\"), strict=True)");
    if let Some(width) = model.resnet().map(|resnet| resnet.width).filter(|width| *width != 64) {
        println!(
            "after giving its stages {width} channels instead of 64: torchvision has no switch for \
             that"
        );
    }
}
