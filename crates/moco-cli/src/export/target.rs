//! What an export writes, and where.

use super::{FolderKind, Names, OnnxOptions, Part};
use crate::args::{ExportArgs, Format};
use crate::output::{Output, check_folder, extension};
use anyhow::{bail, ensure};
use moco::run::RunDir;
use std::fs;
use std::path::{Path, PathBuf};

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Tensors(Names, Part),
    Graph(OnnxOptions),
    Folder(FolderKind),
}

/// A form and a place where it can be written.
pub struct Target {
    pub form: Form,
    path: PathBuf,
}

impl Target {
    /// Reads the form off the arguments and looks at the place, before anything is loaded.
    pub fn of(args: &ExportArgs) -> anyhow::Result<Target> {
        let form = form(args)?;
        let path = match form {
            Form::Folder(_) => folder(args)?,
            Form::Tensors(..) | Form::Graph(_) => file(args)?,
        };
        Ok(Target { form, path })
    }

    /// Where it lies, behind all symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn form(args: &ExportArgs) -> anyhow::Result<Form> {
    let format = format(args)?;
    if format != Format::Onnx {
        let flags = [("--preprocess", args.preprocess), ("--unit-length", args.unit_length)];
        if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
            bail!("{flag} is of an ONNX graph: let --out end in .onnx, or leave {flag} out");
        }
    }
    let names = args.names.map(Names::from);
    let part = args.part.map(Part::from);
    Ok(match format {
        Format::Safetensors => {
            let names = names.unwrap_or(Names::Moco);
            let usual = match names {
                Names::Moco => Part::EncoderAndHead,
                _ => Part::Encoder,
            };
            Form::Tensors(names, part.unwrap_or(usual))
        }
        Format::Onnx => {
            ensure!(
                names.is_none(),
                "the tensors of an ONNX graph have names of their own: leave --names out"
            );
            Form::Graph(OnnxOptions {
                part: part.unwrap_or(Part::Encoder),
                preprocess: args.preprocess,
                unit_length: args.unit_length,
            })
        }
        Format::Timm => folder_form(FolderKind::Timm, names, part)?,
        Format::HuggingFace => folder_form(FolderKind::HuggingFace, names, part)?,
    })
}

fn folder_form(kind: FolderKind, names: Option<Names>, part: Option<Part>) -> anyhow::Result<Form> {
    let name = kind.names().name();
    if let Some(other) = names.filter(|names| *names != kind.names()) {
        bail!(
            "a folder for {name} has {name}'s names, not those of {}: leave --names out, or let \
             --out end in .safetensors without --format",
            other.name()
        );
    }
    if let Some(other) = part.filter(|part| *part != Part::Encoder) {
        bail!(
            "a folder for {name} holds the encoder alone: leave `--part {}` out, or let --out end in \
             .safetensors without --format",
            other.name()
        );
    }
    Ok(Form::Folder(kind))
}

/// What `--format` and the end of `--out` say, which must not contradict each other.
fn format(args: &ExportArgs) -> anyhow::Result<Format> {
    let shown = args.out.display();
    let by_name = match extension(&args.out).as_str() {
        "safetensors" => Some(Format::Safetensors),
        "onnx" => Some(Format::Onnx),
        _ => None,
    };
    match (args.format, by_name) {
        (None, Some(format)) => Ok(format),
        (Some(asked), Some(named)) if asked == named => Ok(asked),
        (Some(asked @ (Format::Timm | Format::HuggingFace)), None) => Ok(asked),
        (Some(Format::Timm | Format::HuggingFace), Some(_)) => {
            bail!("{shown} has the name of a file, and this --format makes a folder: rename --out")
        }
        (Some(Format::Safetensors), _) => {
            bail!("{shown} does not end in .safetensors: rename --out")
        }
        (Some(Format::Onnx), _) => bail!("{shown} does not end in .onnx: rename --out"),
        (None, None) => bail!(
            "{shown} does not end in .safetensors or .onnx: rename --out, or pass --format timm or \
             huggingface for a folder"
        ),
    }
}

fn file(args: &ExportArgs) -> anyhow::Result<PathBuf> {
    let out = Output::at(&args.out)?;
    ensure!(
        args.force || !is_of_a_run(out.target()),
        "{} belongs to a run, which would be lost: give --out another file, or pass --force",
        args.out.display()
    );
    Ok(out.target().to_owned())
}

/// A folder that is new or empty, or with `--force` any that is no run's.
fn folder(args: &ExportArgs) -> anyhow::Result<PathBuf> {
    let shown = args.out.display();
    check_folder(&args.out)?;
    ensure!(
        !RunDir::at(&args.out).config().exists(),
        "{shown} is the folder of a run: give --out another folder"
    );
    let occupied = fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(
        args.force || !occupied,
        "{shown} is not empty: give --out a new folder, or pass --force"
    );
    Ok(args.out.clone())
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
