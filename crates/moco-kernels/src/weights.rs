//! Weights on their way into a layer: as the model has them, and perhaps as the kernels read them.

use std::ops::Deref;

/// A layer's weights, with what was prepared of them before: packed, or transformed.
#[derive(Debug)]
pub struct Weights<'a, P> {
    /// In the model's order.
    pub values: &'a [f32],
    /// The values in the kernels' order. Without it, or where it was made for other sizes or
    /// another instruction set, a call prepares them for itself.
    pub prepared: Option<&'a P>,
}

impl<P> Clone for Weights<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Weights<'_, P> {}

impl<'a, P, T: AsRef<[f32]> + ?Sized> From<&'a T> for Weights<'a, P> {
    fn from(values: &'a T) -> Self {
        Weights { values: values.as_ref(), prepared: None }
    }
}

impl<'a, P> Weights<'a, P> {
    /// What was prepared, if it suits, or is made now.
    pub(crate) fn prepare(
        self,
        suits: impl FnOnce(&P) -> bool,
        make: impl FnOnce(&'a [f32]) -> P,
    ) -> Prepared<'a, P> {
        match self.prepared {
            Some(prepared) if suits(prepared) => Prepared::Before(prepared),
            _ => Prepared::Now(make(self.values)),
        }
    }
}

/// Weights in the kernels' order.
pub(crate) enum Prepared<'a, P> {
    Before(&'a P),
    Now(P),
}

impl<P> Deref for Prepared<'_, P> {
    type Target = P;

    fn deref(&self) -> &P {
        match self {
            Prepared::Before(prepared) => prepared,
            Prepared::Now(prepared) => prepared,
        }
    }
}
