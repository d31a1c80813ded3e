//! A method that the library does not have, in its training loop: alignment and uniformity.
//!
//! Wang & Isola 2020, "Understanding Contrastive Representation Learning through Alignment and
//! Uniformity on the Hypersphere" (arXiv 2005.10242): two views of an image lie close, and all
//! images spread over the sphere. It has settings of its own, and what suits it is the default; views,
//! backbones, optimisers, checkpoints, monitors and reports are the library's.
//!
//! ```text
//! cargo run --release --example own_method -- IMAGES RUN [STEPS]
//! ```

#![expect(clippy::print_stdout)]

mod align_uniform;

use align_uniform::AlignUniformSpec;
use moco::device;
use moco::methods;
use moco::plan::Choices;
use moco::run::RunDir;
use moco::train::{Event, Observer, Trainer, TrainerOptions};
use moco_data::Dataset;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

struct Printer;

impl Observer for Printer {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Start(start) => println!("{}: {} steps", start.method, start.total_steps),
            Event::Epoch(epoch) => println!("epoch {}: loss {:.3}", epoch.epoch, epoch.loss),
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

    methods::register(&AlignUniformSpec)?;
    let mut chosen = Choices::new()
        .path("data.path", images)?
        .set("method.name", "align-uniform")?
        .set("method.steepness", 3.0)?;
    if let Some(steps) = steps {
        chosen = chosen.set("train.max_steps", steps)?;
    }
    let config = chosen.resolve(&dataset)?.config;
    let device = device::parse("cpu")?;
    let options = TrainerOptions { threads: 2, cache_mb: 256 };
    let mut trainer = Trainer::new(&config, dataset, &device, options)?;
    let dir = RunDir::create(Path::new(run))?;
    let finished = trainer.run(&dir, &mut Printer, &AtomicBool::new(false))?;
    println!("{} steps; the encoder is {}", finished.steps, dir.encoder().display());
    Ok(())
}
