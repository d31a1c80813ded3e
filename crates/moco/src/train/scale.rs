//! The scale of a loss whose gradients pass through IEEE half precision, where what is below 6e-8 would
//! be lost.
//!
//! Micikevicius et al. 2018 (arXiv 1710.03740), Sec. 3.2, with the numbers of PyTorch's `GradScaler`: the
//! loss is multiplied by 2^16 and its gradients divided by it; where one is not finite, the weights stay
//! as they are and the scale is halved; after 2000 steps without that it is doubled.

/// Steps without a gradient too large before the scale is doubled.
const PATIENCE: u64 = 2000;

/// The scale, a power of two, so that it changes nothing but the range.
#[derive(Debug)]
pub(super) struct LossScale {
    /// Its logarithm to base 2.
    exponent: u64,
    /// Steps since it changed.
    steps: u64,
}

crate::module!(LossScale { exponent, steps });

impl Default for LossScale {
    fn default() -> Self {
        Self { exponent: 16, steps: 0 }
    }
}

impl LossScale {
    /// What the loss is multiplied by.
    pub fn factor(&self) -> f64 {
        (self.exponent as f64).exp2()
    }

    /// Learns whether the gradients of a step were finite.
    pub fn see(&mut self, finite: bool) {
        self.steps += 1;
        if !finite {
            *self = Self { exponent: self.exponent.saturating_sub(1), steps: 0 };
        } else if self.steps == PATIENCE {
            // f32 ends at 2^128, and gradients are divided in it.
            *self = Self { exponent: (self.exponent + 1).min(100), steps: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_halved_at_once_and_doubled_after_2000_good_steps() {
        let mut scale = LossScale::default();
        assert_eq!(scale.factor(), 65536.0);
        scale.see(false);
        assert_eq!(scale.factor(), 32768.0);
        (1..PATIENCE).for_each(|_| scale.see(true));
        assert_eq!(scale.factor(), 32768.0);
        scale.see(true);
        assert_eq!((scale.factor(), scale.steps), (65536.0, 0));
        (0..40).for_each(|_| scale.see(false));
        assert_eq!(scale.factor(), 1.0);
    }
}
