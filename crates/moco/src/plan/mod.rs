//! From what is asked for to what can be built: the one place where settings, data and methods meet.
//!
//! ```text
//! recipe, flags, --set ─► tree ─► resolve(data) ─► complete tree ─► RunConfig ─► Plan
//!                         keys: names and ranges                    check: what must hold between them
//! ```
//!
//! A [`Plan`] cannot be invalid: it is made here alone, and what it holds can be read only. [`recipes`]
//! are named starting points; [`parse_run`] reads what a run wrote.

mod change;
mod check;
mod choices;
mod keys;
mod memory;
mod read;
mod recipe;
mod resolve;
#[cfg(test)]
mod tests;

pub use change::{CHANGEABLE, Difference, differences};
pub use choices::Choices;
#[cfg(test)]
pub(crate) use keys::drawn;
pub use read::{parse_run, parse_tree, read_tree, set, set_value};
pub use recipe::{load_recipe, recipes};
pub use resolve::{Resolved, resolve};

use crate::config::{ConfigError, MethodConfig, Protocol, Refit, RunConfig};
use crate::methods::{self, Method, MethodSettings, Site, Spec};
use crate::models::{Encode, NetworkSpec};
use crate::schedule::RateSchedule;
use burn::tensor::Device;
use keys::Keys;
use moco_data::View;
use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use toml::{Table, Value};

/// A run's configuration, checked, with what follows from it: views, backbone, method, learning rates.
///
/// It reads as its [`RunConfig`].
#[derive(Clone)]
pub struct Plan {
    config: RunConfig,
    spec: &'static dyn Spec,
    settings: Arc<dyn MethodSettings>,
    training_views: Vec<View>,
    eval_view: View,
    network: NetworkSpec,
    rate: RateSchedule,
}

impl Deref for Plan {
    type Target = RunConfig;

    fn deref(&self) -> &RunConfig {
        &self.config
    }
}

impl PartialEq for Plan {
    fn eq(&self, other: &Plan) -> bool {
        self.config == other.config
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl Plan {
    /// Checks a configuration.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn of(config: &RunConfig) -> Result<Plan, ConfigError> {
        Plan::from_tree(
            Table::try_from(config).map_err(|error| ConfigError::Invalid(error.to_string()))?,
        )
    }

    /// The plan with `change` made to its configuration.
    ///
    /// # Errors
    /// What is wrong with the configuration then.
    pub fn changed(&self, change: impl FnOnce(&mut RunConfig)) -> Result<Plan, ConfigError> {
        let mut config = self.config.clone();
        change(&mut config);
        Plan::of(&config)
    }

    /// The plan for steps of `batch_size` images in so many parts, to time them: a run could not be made
    /// of it, since a queue or prototypes may ask for more images.
    pub fn for_timing(&self, batch_size: usize, parts: usize) -> Plan {
        let mut plan = self.clone();
        (plan.config.train.batch_size, plan.config.optim.accumulate) = (batch_size, parts);
        plan.rate = RateSchedule::of(&plan.config.optim, &plan.config.train);
        plan
    }

    /// The plan of a complete tree.
    fn from_tree(tree: Table) -> Result<Plan, ConfigError> {
        Keys::of(&tree).check_complete()?;
        let mut config: RunConfig = tree
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::syntax(error.message()))?;
        let (spec, settings) = settle(&mut config)?;
        let parsed = check::Views::parse(&config.data)?;
        let candidate =
            check::Candidate { config: &config, profile: spec.profile(), views: &parsed };
        candidate.check_views()?;
        settings.check(&config, &parsed.training)?;
        let first = parsed.training.first().map_or([0, 0], View::size);
        let (form, seed) = (spec.transformer(), config.train.seed);
        candidate.check_model()?;
        let network = NetworkSpec::new(&config.model, first, form, seed)?;
        candidate.check_rest(settings.as_ref(), &network)?;
        let rate = RateSchedule::of(&config.optim, &config.train);
        let check::Views { training: training_views, eval: eval_view } = parsed;
        let settings = settings.into();
        Ok(Plan { config, spec, settings, training_views, eval_view, network, rate })
    }

    /// The configuration, as it is written to `config.toml`.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// What the method says of itself.
    pub fn spec(&self) -> &'static dyn Spec {
        self.spec
    }

    /// The method's settings.
    pub fn settings(&self) -> &dyn MethodSettings {
        self.settings.as_ref()
    }

    /// The method's settings as the struct `T`, if they are one.
    pub fn settings_as<T: MethodSettings>(&self) -> Option<&T> {
        let any: &dyn Any = self.settings.as_ref();
        any.downcast_ref()
    }

    /// The views of training, one after the other: at least one.
    pub fn views(&self) -> &[View] {
        &self.training_views
    }

    /// What is done to an image for evaluation.
    pub fn eval_view(&self) -> &View {
        &self.eval_view
    }

    /// The backbone, made for the size of the first view.
    pub fn network(&self) -> &NetworkSpec {
        &self.network
    }

    /// The learning rate over the run.
    pub fn rate(&self) -> &RateSchedule {
        &self.rate
    }

    /// The linear probe of the method's paper.
    pub fn probe(&self) -> Protocol {
        self.spec.probe(&self.network)
    }

    /// How the method's paper changes a network before it fine-tunes it.
    pub fn refit(&self) -> Refit {
        self.spec.refit()
    }

    /// The method at its start, with weights drawn from the run's seed, for a data set of `images` images.
    /// `device` is the plain device; the trained networks are put on its autodiff side.
    pub fn method(&self, images: usize, device: &Device) -> Box<dyn Method> {
        self.settings.build(&self.site(images, device))
    }

    /// The network that evaluation needs, untrained, without the rest of the method.
    pub fn encoder(&self, device: &Device) -> Box<dyn Encode> {
        self.settings.encoder(&self.site(0, device))
    }

    fn site<'a>(&'a self, images: usize, device: &'a Device) -> Site<'a> {
        let grid = self.training_views.first().and_then(View::grid).unwrap_or([1, 1]);
        let compared = self.config.compared_images();
        Site { network: &self.network, grid, images, compared, device }
    }
}

/// Reads the method's settings, and puts all their values into `config` in the method's order.
fn settle(
    config: &mut RunConfig,
) -> Result<(&'static dyn Spec, Box<dyn MethodSettings>), ConfigError> {
    let name = config.method.name();
    let spec = methods::find(name)
        .ok_or_else(|| ConfigError::unknown_name(keys::METHOD, name, &methods::names()))?;
    let mut settled = spec.read(config.method.table())?;
    let fields = spec.fields().iter();
    let values: Vec<(String, Value)> = fields
        .filter_map(|field| Some((field.name.to_owned(), settled.values.remove(field.name)?)))
        .collect();
    config.method = MethodConfig::new(name, values);
    Ok((spec, settled.settings))
}
