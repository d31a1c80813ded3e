//! A residual block layer by layer.

use super::Layer;
use crate::ops::Epilogue;
use crate::ops::batch_norm::Statistics;
use crate::ops::conv::conv_bn_by_batch;
use burn::tensor::Tensor;

pub(super) fn residual_block(
    mut x: Tensor<4>,
    layers: Vec<Layer>,
    projection: Option<Layer>,
) -> (Tensor<4>, Vec<Statistics>) {
    let run = |x, Layer { filter, norm }, then| conv_bn_by_batch(x, filter, norm, then);
    let (skip, of_skip) = match projection {
        Some(projection) => {
            let (skip, statistics) = run(x.clone(), projection, Epilogue::Nothing);
            (skip, Some(statistics))
        }
        None => (x.clone(), None),
    };
    let last = layers.len() - 1;
    let (mut skip, mut all) = (Some(skip), Vec::new());
    for (i, layer) in layers.into_iter().enumerate() {
        let then = match skip.take_if(|_| i == last) {
            Some(skip) => Epilogue::AddRelu(skip),
            None => Epilogue::Relu,
        };
        let (y, statistics) = run(x, layer, then);
        x = y;
        all.push(statistics);
    }
    all.extend(of_skip);
    (x, all)
}
