//! The backward pass of a block, from the addition back to `x`.

use super::{Block, BlockGrads, BlockLayer, BlockNeeds, BlockSaved, LayerGrads};
use crate::Isa;
use crate::conv::bn_act::BnActSaved;
use crate::conv::source::Input;
use crate::conv::{conv_data_grad, put_data_grad, weight_grad};
use crate::gemm::{Target, added};
use crate::norm::{Gate, Sums};
use crate::threads::filled;

/// The sums of one BatchNorm's backward pass, `[groups, cout]` each.
type NormSums = [Vec<f64>; 2];

/// What a backward pass reads, besides the gradient.
pub(super) struct Backward<'a> {
    pub isa: Isa,
    pub x: &'a [f32],
    pub block: &'a Block<'a>,
    pub saved: &'a BlockSaved,
    pub needs: BlockNeeds,
}

impl Backward<'_> {
    pub(super) fn run(&self, out: &[f32], d_out: &[f32]) -> BlockGrads {
        let depth = self.block.layers.len();
        let layers = self.block.layers.iter().chain(&self.block.projection);
        let layers: Vec<_> = layers.zip(&self.saved.layers).collect();
        let mut grads = BlockGrads { x: None, layers: Vec::new() };
        grads.layers.resize_with(layers.len(), LayerGrads::default);

        // The gradient of the sum: that of the skip, and of the last layer's output.
        let gate = layers[depth - 1].1.gate(out);
        let mut sums = None;
        // SAFETY: the pass writes all of it.
        let mut dz = unsafe {
            filled(d_out.len(), |dz| {
                sums = Some(self.sums(layers[depth - 1], d_out, gate, Some(dz)))
            })
        };
        let mut sums = sums.expect("the pass ran");
        let mut dy = self.output_grad(layers[depth - 1], &dz, Gate::Open, &sums);
        for i in (1..depth).rev() {
            let (layer, saved) = layers[i - 1];
            self.layer_grads(layers[i], saved.as_input(), &dy, &sums, &mut grads.layers[i]);
            let BlockLayer { shape, weight, .. } = layers[i].0;
            let d = conv_data_grad(self.isa, shape, &dy, weight);
            drop(dy);
            let gate = saved.gate(&[]);
            sums = self.sums((layer, saved), &d, gate, None);
            dy = self.output_grad((layer, saved), &d, gate, &sums);
        }
        self.layer_grads(layers[0], self.x.into(), &dy, &sums, &mut grads.layers[0]);
        if let Some(&projection) = layers.get(depth) {
            let sums = self.sums(projection, &dz, Gate::Open, None);
            let dy_skip = self.output_grad(projection, &dz, Gate::Open, &sums);
            self.layer_grads(projection, self.x.into(), &dy_skip, &sums, &mut grads.layers[depth]);
            drop(dz);
            grads.x = self.needs.x.then(|| {
                let BlockLayer { shape, weight, .. } = layers[0].0;
                let mut dx = conv_data_grad(self.isa, shape, &dy, weight);
                self.add_data_grad(projection.0, &dy_skip, &mut dx);
                dx
            });
        } else if self.needs.x {
            self.add_data_grad(layers[0].0, &dy, &mut dz);
            grads.x = Some(dz);
        }
        grads
    }

    /// The sums of a BatchNorm, whose gradient behind the gate is written to `dz`, if given.
    fn sums(
        &self,
        (layer, saved): (&BlockLayer, &BnActSaved),
        d_out: &[f32],
        gate: Gate,
        dz: Option<&mut [std::mem::MaybeUninit<f32>]>,
    ) -> NormSums {
        let maps = saved.maps(self.isa, &layer.shape);
        Sums { d_out, gate, centred: saved.centred() }.run(self.isa, &maps, dz)
    }

    /// The gradient of a convolution's output.
    fn output_grad(
        &self,
        (layer, saved): (&BlockLayer, &BnActSaved),
        d: &[f32],
        gate: Gate,
        sums: &NormSums,
    ) -> Vec<f32> {
        let maps = saved.maps(self.isa, &layer.shape);
        let dy = saved.output_grad(self.isa, &layer.shape, &maps, d, gate, Some(sums));
        dy.expect("BatchNorm changes every gradient")
    }

    /// The gradients of a layer's parameters.
    fn layer_grads(
        &self,
        (layer, saved): (&BlockLayer, &BnActSaved),
        x: Input,
        dy: &[f32],
        sums: &NormSums,
        grads: &mut LayerGrads,
    ) {
        if self.needs.affine {
            let (gamma, beta) = saved.affine_grads(&layer.shape, sums);
            (grads.gamma, grads.beta) = (Some(gamma), Some(beta));
        }
        if self.needs.weights {
            grads.weight = Some(weight_grad(self.isa, &layer.shape, x, dy));
        }
    }

    /// Adds the gradient of a layer's input to `dx`.
    fn add_data_grad(&self, layer: &BlockLayer, dy: &[f32], dx: &mut [f32]) {
        let sink = added(Target::over(dx, layer.shape.cin));
        put_data_grad(self.isa, &layer.shape, dy, layer.weight, &sink);
    }
}
