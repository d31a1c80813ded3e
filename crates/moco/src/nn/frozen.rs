//! Parameters that stay as they are for a while, as a frozen encoder's do: kernels may keep what they
//! prepare of their values.

use super::module::{Leaf, Module, for_each_leaf};

/// Lets kernels keep weights in their own order (packed, transformed), for each parameter of `module`
/// until its values are set, or until [`thaw`].
///
/// Results stay the same. It takes about as much memory again as the weights, and for 3x3
/// convolutions up to four times as much.
pub fn freeze(module: &mut dyn Module) {
    keep_prepared(module, true);
}

/// Gives back what was kept since [`freeze`].
pub fn thaw(module: &mut dyn Module) {
    keep_prepared(module, false);
}

fn keep_prepared(module: &mut dyn Module, keep: bool) {
    for_each_leaf(module, |_, leaf| {
        if let Leaf::Param(tensor) | Leaf::Buffer(tensor) = leaf {
            tensor.keep_prepared(keep);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::{BatchNorm, Conv, Linear, Mode, Param, conv_bn_act, for_each_param, init};
    use crate::ops::Epilogue;
    use crate::rng::{Purpose, stream};
    use burn::tensor::{Device, Tensor};

    struct Net {
        convs: Vec<Conv>,
        norm: BatchNorm,
        linear: Linear,
    }

    crate::module!(Net { convs, norm, linear });

    impl Net {
        /// A 3x3, a strided and a 1x1 convolution, and a linear layer.
        fn new() -> Self {
            let (rng, device) = (&mut stream(8, Purpose::Weights, 0), &Device::flex());
            let mut conv = |kernel, stride| Conv::new(20, 20, kernel, stride, rng, device);
            let convs = vec![conv(3, 1), conv(3, 2), conv(1, 1)];
            let linear = Linear::new(20, 33, rng, device);
            Self { convs, norm: BatchNorm::new(20, 1, device), linear }
        }

        fn outputs(&mut self, side: usize) -> Vec<f32> {
            let rng = &mut stream(9, Purpose::Weights, side as u64);
            let mut x = init::normal([2, side, side, 20], 1.0, rng, &Device::flex());
            for conv in &self.convs {
                x = conv_bn_act(x, conv, &mut self.norm, Epilogue::Relu, Mode::Eval);
            }
            to_host(self.linear.forward_gelu(x))
        }

        /// The number of weights for which something is kept.
        fn kept(&self) -> usize {
            let weights = self.convs.iter().map(|conv| conv.weight.frozen());
            let all = weights.chain([self.linear.weight.frozen()]);
            all.filter(|kept| kept.as_ref().is_some_and(|kept| kept.is_filled())).count()
        }
    }

    #[test]
    fn frozen_layers_compute_the_same_until_and_after_their_weights_change() {
        let mut net = Net::new();
        // Two sizes that take one 3x3 convolution by different algorithms.
        let plain = [12, 2].map(|side| net.outputs(side));
        freeze(&mut net);
        for _ in 0..2 {
            for (side, plain) in [12, 2].into_iter().zip(&plain) {
                assert!(net.outputs(side) == *plain, "{side}");
                assert_eq!(net.kept(), 4);
            }
        }
        for_each_param(&mut net, |_, param| param.set_flat(param.flat() * 2.0));
        assert_eq!(net.kept(), 0);
        let doubled = net.outputs(12);
        freeze(&mut net);
        assert!(net.outputs(12) == doubled && doubled != plain[0]);
        assert_eq!(net.kept(), 4);
        thaw(&mut net);
        assert_eq!(net.kept(), 0);
    }

    #[test]
    fn a_copy_that_is_changed_does_not_change_what_the_original_keeps() {
        let mut weight = Param::new(Tensor::<2>::ones([4, 4], &Device::flex()));
        freeze(&mut weight);
        let prepared = |weight: &Param<2>, make: usize| {
            weight.frozen().map(|frozen| *frozen.prepared(|_| true, || make))
        };
        let mut copy = weight.clone();
        assert_eq!([prepared(&weight, 1), prepared(&copy, 2)], [Some(1); 2]);
        for_each_param(&mut copy, |_, param| param.set_flat(param.flat() + 1.0));
        assert_eq!([prepared(&weight, 3), prepared(&copy, 4)], [Some(1), None]);
    }
}
