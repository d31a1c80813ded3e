//! Trains an encoder on a folder of images, as `moco pretrain` does, and says how it went.
//!
//! ```text
//! cargo run --release --example pretrain -- IMAGES RUN [STEPS]
//! ```

#![expect(clippy::print_stdout)]

use moco::device;
use moco::plan::Choices;
use moco::run::RunDir;
use moco::train::{Event, Observer, Trainer, TrainerOptions};
use moco_data::Dataset;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Prints the loss of each epoch, and what is worth knowing.
struct Printer;

impl Observer for Printer {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Epoch(epoch) => println!("epoch {}: loss {:.3}", epoch.epoch, epoch.loss),
            Event::Note(text) | Event::Warning(text) => println!("{text}"),
            _ => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (images, run, steps) = match arguments.as_slice() {
        [images, run] => (images, run, None),
        [images, run, steps] => (images, run, Some(steps.parse::<u32>()?)),
        _ => return Err("give a folder of images, and a new folder for the run".into()),
    };
    let images = Path::new(images);
    let dataset = Arc::new(Dataset::open(images)?);

    // The recipe's settings, with what the images leave no doubt about: size, batch, length.
    let mut chosen = Choices::new().path("data.path", images)?.set("method.name", "moco-v2")?;
    if let Some(steps) = steps {
        chosen = chosen.set("train.max_steps", steps)?;
    }
    let resolved = chosen.resolve(&dataset)?;
    resolved.notes.iter().for_each(|note| println!("{note}"));

    let device = device::parse("cpu")?;
    let options = TrainerOptions { threads: 2, cache_mb: 256 };
    let mut trainer = Trainer::new(&resolved.config, dataset, &device, options)?;
    let dir = RunDir::create(Path::new(run))?;
    let finished = trainer.run(&dir, &mut Printer, &AtomicBool::new(false))?;
    println!("{} steps; the encoder is {}", finished.steps, dir.encoder().display());
    Ok(())
}
