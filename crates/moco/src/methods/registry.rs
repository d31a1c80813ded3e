//! All methods by name.

use super::spec::Spec;
use super::{
    byol, cmc, cpc, dino, instdisc, invaspread, mae, moco, moco_v3, simclr, simsiam, swav,
};
use crate::config::ConfigError;
use std::any::Any;
use std::sync::{PoisonError, RwLock};

/// The methods of the library, in order of publication.
pub static REGISTRY: [&dyn Spec; 14] = [
    &instdisc::InstDiscSpec,
    &cpc::CpcSpec,
    &invaspread::InvaSpreadSpec,
    &cmc::CmcSpec,
    &moco::MocoSpec::V1,
    &simclr::SimClrSpec::V1,
    &moco::MocoSpec::V2,
    &byol::ByolSpec,
    &simclr::SimClrSpec::V2,
    &swav::SwAvSpec,
    &simsiam::SimSiamSpec,
    &moco_v3::MocoV3Spec,
    &dino::DinoSpec,
    &mae::MaeSpec,
];

/// Methods from outside, in the order in which they were added.
static ADDED: RwLock<Vec<&'static dyn Spec>> = RwLock::new(Vec::new());

/// Adds a method to those that this process knows by name: configurations, resumed runs and encoders'
/// files may name it from then on. To add the same one again is no error.
///
/// # Errors
/// [`ConfigError::Invalid`] if another method has the name, or a setting is called `name`.
pub fn register(spec: &'static dyn Spec) -> Result<(), ConfigError> {
    let name = spec.card().name;
    if spec.fields().iter().any(|field| field.name == "name") {
        return Err(ConfigError::Invalid(format!(
            "the method {name} has a setting called `name`, which is its own name's: call it otherwise"
        )));
    }
    let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    let known = REGISTRY.iter().chain(added.iter()).find(|known| known.card().name == name);
    match known {
        None => added.push(spec),
        Some(known) if same(*known, spec) => (),
        Some(_) => {
            return Err(ConfigError::Invalid(format!(
                "there is a method called {name} already: give this one another name"
            )));
        }
    }
    Ok(())
}

/// Whether two specs are of one type; a method from outside has a type of its own.
fn same(one: &dyn Any, other: &dyn Any) -> bool {
    one.type_id() == other.type_id()
}

/// All methods, those of the library first.
pub fn all() -> Vec<&'static dyn Spec> {
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    REGISTRY.iter().chain(added.iter()).copied().collect()
}

/// The names of all methods, those of the library first, in order of publication.
pub fn names() -> Vec<&'static str> {
    all().into_iter().map(|spec| spec.card().name).collect()
}

/// The method of that name, if there is one.
pub fn find(name: &str) -> Option<&'static dyn Spec> {
    all().into_iter().find(|spec| spec.card().name == name)
}
