//! Residual blocks: convolutions in a row, and around them a skip connection.

use super::conv::{Conv, ConvNorm, Then, conv_norm_act};
use super::norm::{BatchNorm, EPSILON, Mode};
use super::{fused, fused_block};
use burn::tensor::Tensor;
use moco_kernels::Isa;

/// A convolution and what normalises its output.
pub type NormedConv<'a> = (&'a Conv, &'a mut ConvNorm);

/// `relu(f(x) + skip(x))`: `f` the layers, each with its normalisation, ReLUs between; the skip the
/// projection with its own, or `x` itself.
///
/// He et al. 2016 (arXiv 1512.03385), Eq. 1 and 2.
///
/// # Shapes
/// `x` is `[N, H, W, in]`; the output `[N, H', W', out]`.
///
/// # Panics
/// In training mode, if N is not a multiple of the BatchNorm's groups.
pub fn residual(
    x: Tensor<4>,
    layers: Vec<NormedConv>,
    projection: Option<NormedConv>,
    mode: Mode,
) -> Tensor<4> {
    let groups = common_groups(layers.iter().chain(&projection));
    let isa = fused::isa(&x.device());
    match (mode, isa, groups, layers.len()) {
        (Mode::Train, Some(isa), Some(groups), 2 | 3) => {
            run_fused(x, layers, projection, groups, isa)
        }
        _ => layer_by_layer(x, layers, projection, mode),
    }
}

/// The BatchNorm groups of all layers, if all have BatchNorm, in as many, and none is shared with
/// other ranks.
fn common_groups<'a>(layers: impl Iterator<Item = &'a NormedConv<'a>>) -> Option<usize> {
    let mut groups = layers.map(|(_, norm)| match norm {
        ConvNorm::Batch(norm) if !norm.is_shared() => Some(norm.groups()),
        _ => None,
    });
    let first = groups.next()??;
    groups.all(|other| other == Some(first)).then_some(first)
}

fn layer_by_layer(
    x: Tensor<4>,
    layers: Vec<NormedConv>,
    projection: Option<NormedConv>,
    mode: Mode,
) -> Tensor<4> {
    let skip = match projection {
        Some((conv, norm)) => conv_norm_act(x.clone(), conv, norm, Then::Nothing, mode),
        None => x.clone(),
    };
    let last = layers.len() - 1;
    let mut skip = Some(skip);
    layers.into_iter().enumerate().fold(x, |x, (i, (conv, norm))| {
        let then = match skip.take_if(|_| i == last) {
            Some(skip) => Then::AddRelu(skip),
            None => Then::Relu,
        };
        conv_norm_act(x, conv, norm, then, mode)
    })
}

/// The block as one operation, with our CPU kernels.
fn run_fused(
    x: Tensor<4>,
    layers: Vec<NormedConv>,
    projection: Option<NormedConv>,
    groups: usize,
    isa: Isa,
) -> Tensor<4> {
    let [n, h, w, _] = x.dims();
    let (depth, projected) = (layers.len(), projection.is_some());
    let mut strides = [1; 4];
    let mut size = [h, w];
    let mut parameters = Vec::new();
    let mut norms: Vec<(&mut BatchNorm, usize)> = Vec::new();
    for (i, (conv, norm)) in layers.into_iter().chain(projection).enumerate() {
        let ConvNorm::Batch(norm) = norm else { unreachable!("all layers have BatchNorm") };
        norm.check_batch(n);
        let (weight, gamma, beta) = (conv.weight.val(), norm.weight.val(), norm.bias.val());
        parameters.push(fused_block::Layer { weight, gamma, beta });
        if i < depth {
            strides[i] = conv.stride();
            size = size.map(|side| side.div_ceil(conv.stride()));
        } else {
            strides[3] = conv.stride(); // ends with the size of the last layer
        }
        norms.push((norm, n / groups * size[0] * size[1]));
    }
    let settings = fused_block::Settings { strides, groups, eps: EPSILON as f32, isa };
    let mut parameters = parameters.into_iter();
    let mut next = || parameters.next().expect("as many as were pushed");
    let two = [next(), next()];
    let third = (depth == 3).then(&mut next);
    let projection = projected.then(next);
    let (out, statistics) = fused_block::run(x, two, third, projection, settings);
    for ((norm, count), [mean, variance]) in norms.into_iter().zip(statistics) {
        norm.track(mean, variance, count);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::nn::module::{Module, Visitor, tensors};
    use crate::nn::{Param, for_each_param, init};
    use crate::rng::{Purpose, stream};
    use burn::tensor::Device;

    /// Kernel, inputs, outputs and stride.
    type Sizes = [usize; 4];

    struct Net {
        convs: Vec<Conv>,
        norms: Vec<ConvNorm>,
        projection: Option<(Conv, ConvNorm)>,
    }

    impl Module for Net {
        fn visit(&mut self, visitor: &mut Visitor<'_>) {
            for (i, (conv, norm)) in self.convs.iter_mut().zip(&mut self.norms).enumerate() {
                visitor.child(&format!("conv{i}"), conv);
                visitor.child(&format!("bn{i}"), norm);
            }
            if let Some((conv, norm)) = &mut self.projection {
                visitor.child("projection", conv);
                visitor.child("projection_bn", norm);
            }
        }
    }

    impl Net {
        fn new(layers: &[Sizes], projection: Option<Sizes>, groups: usize) -> Self {
            let device = Device::flex().autodiff();
            let rng = &mut stream(8, Purpose::Weights, 0);
            let mut make = |[kernel, inputs, outputs, stride]: Sizes| {
                let mut norm = BatchNorm::new(outputs, groups, &device);
                norm.weight = Param::new(init::normal([outputs], 0.3, rng, &device));
                norm.bias = Param::new(init::normal([outputs], 0.3, rng, &device));
                (Conv::new(inputs, outputs, kernel, stride, rng, &device), ConvNorm::Batch(norm))
            };
            let (convs, norms) = layers.iter().map(|&layer| make(layer)).unzip();
            Self { convs, norms, projection: projection.map(make) }
        }

        fn layers(&mut self) -> (Vec<NormedConv<'_>>, Option<NormedConv<'_>>) {
            let layers = self.convs.iter().zip(&mut self.norms).collect();
            (layers, self.projection.as_mut().map(|(conv, norm)| (&*conv, norm)))
        }
    }

    /// Output, gradient of x, and by name the gradients and running statistics.
    fn run(mut net: Net, x: &Tensor<4>, fused: bool) -> Vec<(String, Vec<f32>)> {
        let x = x.clone().require_grad();
        let (layers, projection) = net.layers();
        let out = match fused {
            true => residual(x.clone(), layers, projection, Mode::Train),
            false => layer_by_layer(x.clone(), layers, projection, Mode::Train),
        };
        let rng = &mut stream(9, Purpose::Weights, 0);
        let cotangent = init::normal(out.dims(), 1.0, rng, &out.device());
        let gradients = (out.clone() * cotangent).sum().backward();
        let dx = to_host(x.grad(&gradients).expect("a gradient of x"));
        let mut all = vec![("out".into(), to_host(out)), ("dx".into(), dx)];
        for_each_param(&mut net, |name, param| {
            let gradient = param.gradient(&gradients).expect("a gradient of every parameter");
            all.push((format!("gradient of {name}"), to_host(gradient)));
        });
        all.extend(tensors(&mut net).into_iter().map(|(name, values)| (name, to_host(values))));
        all
    }

    /// The kernels of the block are those of its layers, in the same order.
    #[test]
    fn a_fused_block_is_its_layers_bit_for_bit() {
        let cases: [(&[Sizes], Option<Sizes>); 4] = [
            (&[[3, 8, 8, 1], [3, 8, 8, 1]], None),
            (&[[3, 8, 16, 2], [3, 16, 16, 1]], Some([1, 8, 16, 2])),
            (&[[1, 8, 5, 1], [3, 5, 5, 1], [1, 5, 8, 1]], None),
            (&[[1, 8, 5, 1], [3, 5, 5, 2], [1, 5, 20, 1]], Some([1, 8, 20, 2])),
        ];
        let rng = &mut stream(10, Purpose::Weights, 0);
        for (layers, projection) in cases {
            for groups in [1, 3] {
                let x = init::normal([6, 7, 7, 8], 1.0, rng, &Device::flex().autodiff());
                let net = || Net::new(layers, projection, groups);
                for (fused, expected) in run(net(), &x, true).iter().zip(&run(net(), &x, false)) {
                    assert!(fused == expected, "{} of {layers:?}, {groups} groups", fused.0);
                }
            }
        }
    }
}
