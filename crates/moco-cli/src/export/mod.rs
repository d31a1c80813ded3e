//! `moco export`: the encoder for other programs.

mod loading;
mod target;

use crate::args::ExportArgs;
use crate::session::open_encoder;
use anyhow::{Context, anyhow};
use moco::checkpoint::Checkpoint;
use moco::export::{
    FolderKind, Names, OnnxOptions, Origin, Part, Source, read_origin, save_folder, save_named,
    save_onnx, save_state,
};
use moco::plan::Plan;
use moco::pretrained::{Imported, Network};
use moco::run::{RunDir, TrainedEncoder};
use target::{Form, Target};

/// Writes what was asked for and says how to load it.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let target = Target::of(args)?;
    let opened = open_encoder(&args.encoder, &moco::device::parse("cpu")?)?;
    let TrainedEncoder { encoder: mut frozen, config, imported, .. } = opened;
    let run = args.encoder.run.as_deref().filter(|_| imported.is_none()).map(RunDir::at);
    let origin = origin(run.as_ref(), &config, imported.as_ref())?;
    let mut source = Source::of_run(&mut frozen, &config, origin);
    if let Some(Network::Single(architecture)) = imported.map(|imported| imported.network) {
        source = Source { architecture, run: None, ..source };
    }
    let source = &mut source;
    match target.form {
        Form::Tensors(names, Part::All) => {
            let run = run.context("--part all is read from a run's checkpoint: give its --run")?;
            write_state(&run, &config, source, &target, names)?;
        }
        Form::Tensors(names, part) => save_named(source, target.path(), names, part)?,
        Form::Graph(options) => save_onnx(source, target.path(), options)?,
        Form::Folder(kind) => save_folder(source, target.path(), kind)?,
    }
    println!("wrote {}", args.out.display());
    loading::explain(&args.out, target.form, source);
    Ok(())
}

/// The whole method, from the newest checkpoint.
fn write_state(
    run: &RunDir,
    config: &Plan,
    source: &Source<'_>,
    target: &Target,
    names: Names,
) -> anyhow::Result<()> {
    names.check(Part::All, source.run, &source.architecture)?;
    let newest = run.list_checkpoints()?.pop().ok_or_else(|| {
        anyhow!(
            "{} has no checkpoint, which --part all is read from: pass --part encoder+head",
            run.path().display()
        )
    })?;
    let checkpoint = Checkpoint::open(&newest)?;
    let origin = Origin { step: checkpoint.meta().step, ..source.origin.clone() };
    save_state(&checkpoint, config, &origin, target.path(), names)?;
    Ok(())
}

/// What made the encoder, as far as it is known: files of early versions do not tell.
fn origin(
    run: Option<&RunDir>,
    config: &Plan,
    imported: Option<&Imported>,
) -> anyhow::Result<Origin> {
    let new = Origin::new(config, 0)?;
    if let Some(imported) = imported {
        let start_licence = imported.licence.clone();
        return Ok(Origin { config: String::new(), start_licence, ..new });
    }
    let origin = run.map(|run| read_origin(&run.encoder())).transpose()?.flatten();
    Ok(match origin {
        Some(origin) => Origin { config: new.config, ..origin },
        None => new,
    })
}
