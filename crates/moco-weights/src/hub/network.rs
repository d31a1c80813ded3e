//! Asking servers, through moco-data's client.

use super::Places;
use crate::error::{Result, WeightsError};
use std::path::Path;

/// A way to servers that is open.
pub(super) struct Network {
    #[cfg(feature = "remote")]
    options: moco_data::OpenOptions,
}

impl Network {
    /// The way to `what`.
    ///
    /// # Errors
    /// [`WeightsError::Offline`], or [`WeightsError::NoNetwork`] in a build without one.
    pub fn new(places: &Places, what: &str) -> Result<Network> {
        if places.offline {
            return Err(WeightsError::Offline { what: what.to_owned() });
        }
        #[cfg(not(feature = "remote"))]
        let open = Err(WeightsError::NoNetwork { what: what.to_owned() });
        #[cfg(feature = "remote")]
        let open = Ok(Network {
            options: moco_data::OpenOptions {
                cache: places.cache.clone(),
                notice: places.notice.clone(),
                ..moco_data::OpenOptions::default()
            },
        });
        open
    }

    /// A short answer.
    #[cfg(feature = "remote")]
    pub fn answer(&self, address: &str, bearer: Option<&str>, most: u64) -> Result<Vec<u8>> {
        moco_data::answer(address, bearer, most, &self.options).map_err(told)
    }

    /// Copies a file.
    #[cfg(feature = "remote")]
    pub fn download(&self, address: &str, bearer: Option<&str>, to: &Path) -> Result<()> {
        moco_data::download(address, bearer, to, &self.options).map_err(told)
    }

    /// There is no network.
    #[cfg(not(feature = "remote"))]
    pub fn answer(&self, address: &str, _: Option<&str>, _: u64) -> Result<Vec<u8>> {
        Err(WeightsError::NoNetwork { what: address.to_owned() })
    }

    /// There is no network.
    #[cfg(not(feature = "remote"))]
    pub fn download(&self, address: &str, _: Option<&str>, _: &Path) -> Result<()> {
        Err(WeightsError::NoNetwork { what: address.to_owned() })
    }
}

#[cfg(feature = "remote")]
fn told(error: moco_data::DataError) -> WeightsError {
    WeightsError::Server { reason: error.to_string() }
}
