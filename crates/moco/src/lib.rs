//! Self-supervised visual representation learning around Momentum Contrast.
//!
//! A run from images to an encoder, and what the encoder makes of them:
//!
//! ```
//! use moco::config::FeatureKind;
//! use moco::eval::features;
//! use moco::plan::Choices;
//! use moco::run::{RunDir, load_encoder};
//! use moco::train::{Event, Observer, Trainer, TrainerOptions};
//! use moco_data::Dataset;
//! use std::sync::Arc;
//! use std::sync::atomic::AtomicBool;
//!
//! /// Hears of every step; here, of the losses alone.
//! struct Losses(Vec<f64>);
//!
//! impl Observer for Losses {
//!     fn event(&mut self, event: &Event) {
//!         if let Event::Step(step) = event {
//!             self.0.push(step.loss);
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let place = tempfile::tempdir()?;
//! # let photos = place.path().join("photos");
//! # std::fs::create_dir(&photos)?;
//! # for (i, (.., image)) in moco_data::synthetic::shapes(8, 32, 0).into_iter().enumerate() {
//! #     moco_data::save_png(&image, &photos.join(format!("{i}.png")))?;
//! # }
//! # let folder = place.path().join("run");
//! // `photos` is a folder of images, `folder` is where the run is kept.
//! let images = Arc::new(Dataset::open(&photos)?);
//! let chosen = Choices::recipe("moco-v2-small")?
//!     .path("data.path", &photos)?
//!     .set("train.batch_size", 4)?
//!     .set("train.max_steps", 1)?;
//! # let chosen = chosen.set("model.width", 4)?.set("model.bn_groups", 1)?;
//! let config = chosen.resolve(&images)?.config;
//!
//! let device = moco::device::parse("cpu")?;
//! let options = TrainerOptions { threads: 1, cache_mb: 64 };
//! let mut trainer = Trainer::new(&config, images.clone(), &device, options)?;
//! let mut losses = Losses(Vec::new());
//! trainer.run(&RunDir::create(&folder)?, &mut losses, &AtomicBool::new(false))?;
//! assert!(losses.0.iter().all(|loss| loss.is_finite()));
//!
//! let mut trained = load_encoder(&folder, &device)?;
//! let found = features(&mut trained.encoder, &images, FeatureKind::Backbone, 1, &mut |_, _| ())?;
//! assert_eq!(found.len(), images.len());
//! # Ok(())
//! # }
//! ```
//!
//! `examples/` has the same as programs, and a method of one's own: [`methods::Spec`].
//!
//! The modules in reading order follow the data:
//!
//! ```text
//! moco_data ─► batch ─► methods(student, key encoder, queue) ─► loss ─► optim ─► checkpoint ─► eval / export
//! ```

#![forbid(unsafe_code)]

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod eval;
pub mod events;
pub mod export;
pub mod features;
pub mod files;
pub mod layout;
pub mod loss;
pub mod machine;
pub mod methods;
pub mod models;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod parts;
pub mod plan;
pub mod pretrained;
pub mod report;
pub mod rng;
pub mod run;
pub mod schedule;
pub mod train;
