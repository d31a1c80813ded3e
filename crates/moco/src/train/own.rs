//! What a run trains: a method of the library, or one of the caller's own.

use super::scale::LossScale;
use super::{TrainError, Trainer, TrainerOptions};
use crate::config::RunConfig;
use crate::device::Arithmetic;
use crate::methods::{self, Method};
use crate::models::Encode;
use crate::optim::Optimizer;
use burn::tensor::Device;
use moco_data::{DataError, Dataset};
use moco_peers::Peers;
use std::sync::Arc;

/// Makes an encoder on a device.
pub type MakeEncoder = Box<dyn Fn(&Device) -> Box<dyn Encode>>;

/// A method with what a run needs beside it. `examples/own_method.rs` makes one.
pub struct OwnMethod {
    /// The method's name in reports.
    pub name: String,
    /// The method at its start; what it trains is on the autodiff side of the run's device.
    pub method: Box<dyn Method>,
    /// Makes a network of the same structure as the method's [`Method::encoder`], on the plain
    /// device that it is given. Its weights do not matter: monitors give it those under training.
    pub encoder: MakeEncoder,
}

impl OwnMethod {
    /// The method that `config` names, for a data set of `images` images.
    pub(super) fn named_by(config: &RunConfig, images: usize, device: &Device) -> OwnMethod {
        let run = config.clone();
        OwnMethod {
            name: config.method.name().to_owned(),
            method: methods::build(config, images, device),
            encoder: Box::new(move |device| methods::encoder(&run, device)),
        }
    }
}

impl Trainer {
    /// A run of a method that the library does not know, at its first step.
    ///
    /// `config`, which must be validated, says everything but the method: images and views,
    /// optimiser, length, monitors. It names a method of the library whose number of views is the
    /// right one; that method's own settings are without effect. A run goes on with
    /// [`super::Resume::trainer_with`].
    ///
    /// # Errors
    /// [`TrainError::Data`] when there are fewer images than a batch.
    pub fn with_method(
        config: &RunConfig,
        own: OwnMethod,
        dataset: Arc<Dataset>,
        device: &Device,
        options: TrainerOptions,
    ) -> Result<Self, TrainError> {
        let steps_per_epoch = steps_per_epoch(config, &dataset)?;
        let OwnMethod { name, mut method, encoder } = own;
        let optimizer = Optimizer::new(&config.optim, method.student());
        let arithmetic = Arithmetic::on(device, config.train.precision.unwrap_or_default())?;
        Ok(Self {
            config: config.clone(),
            dataset,
            options,
            device: device.clone(),
            name,
            method,
            plain_encoder: encoder,
            optimizer,
            arithmetic,
            scale: (arithmetic == Arithmetic::F16).then(LossScale::default),
            step: 0,
            epoch_loss: 0.0,
            epoch_steps: 0,
            steps_per_epoch,
            images_changed: true,
            notes: Vec::new(),
            peers: Peers::SOLO,
            bad_known: 0,
            own_busy: 0.0,
            busy: Vec::new(),
            epoch_busy: Default::default(),
        })
    }
}

/// Whole batches in a data set.
///
/// # Errors
/// [`TrainError::Data`] when there is none.
pub(super) fn steps_per_epoch(config: &RunConfig, dataset: &Dataset) -> Result<usize, TrainError> {
    let (images, batch) = (dataset.len(), config.train.batch_size);
    match images / batch {
        0 => Err(DataError::BatchTooLarge { batch, images }.into()),
        steps => Ok(steps),
    }
}
