//! Where kernels keep what they prepare of weights that stay as they are.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

/// What was prepared of one parameter's values. Copies share it: it belongs to the values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frozen(Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>);

impl Frozen {
    /// What was made before, if it suits; else it is made, and kept.
    pub(crate) fn prepared<T: Send + Sync + 'static>(
        &self,
        suits: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.clone().and_then(|kept| kept.downcast::<T>().ok());
        before.filter(|prepared| suits(prepared)).unwrap_or_else(|| {
            let made = Arc::new(make());
            *kept = Some(made.clone());
            made
        })
    }

    /// Whether anything is kept.
    #[cfg(test)]
    pub(crate) fn is_filled(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}
