//! A page that follows a run: written anew after every epoch.

use super::{leave, share_of};
use crate::session::Machine;
use moco::plan::Plan;
use moco::run::RunDir;
use moco::train::{Event, Observer};
use moco_data::Dataset;
use std::path::Path;
use std::sync::Arc;

/// Seconds after which an open page looks for a newer one.
const RELOAD: u32 = 15;

/// Writes the page of a run when the encoder of an epoch is on disk.
pub struct Follow {
    dir: RunDir,
    images: Arc<Dataset>,
    machine: Machine,
    count: usize,
    epoch_ended: bool,
    told: bool,
}

impl Follow {
    /// Follows the run in `dir`.
    pub fn new(dir: &Path, config: &Plan, images: Arc<Dataset>, machine: &Machine) -> Follow {
        let machine = Machine { device: machine.device.clone(), options: machine.options };
        let count = share_of(config, images.len());
        Follow { dir: RunDir::at(dir), images, machine, count, epoch_ended: false, told: false }
    }
}

impl Observer for Follow {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Epoch(_) => self.epoch_ended = true,
            Event::Saved(_) if std::mem::take(&mut self.epoch_ended) => {
                match leave(&self.dir, &self.images, &self.machine, Some(RELOAD), self.count) {
                    Err(error) => eprintln!("warning: there is no report of this epoch: {error:#}"),
                    Ok(path) if !std::mem::replace(&mut self.told, true) => {
                        eprintln!("report: {}, written anew every epoch", path.display());
                    }
                    Ok(_) => {}
                }
            }
            _ => {}
        }
    }
}
