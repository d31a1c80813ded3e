use super::*;

/// A block and its operands: sizes, then weights, gamma and beta of each layer, of the projection
/// last.
pub(super) struct Problem {
    pub shapes: Vec<ConvShape>,
    pub projection: bool,
    pub groups: usize,
    pub x: Vec<f32>,
    pub parameters: Vec<[Vec<f32>; 3]>,
    pub d_out: Vec<f32>,
}

impl Problem {
    /// `kernels` of the main path, `channels` from `x` to the output, the stride on the layer
    /// `strided`.
    pub fn new(
        rng: &mut Rng,
        [n, h, w]: [usize; 3],
        kernels: &[usize],
        channels: &[usize],
        (strided, stride): (usize, usize),
        groups: usize,
    ) -> Problem {
        let mut shapes: Vec<ConvShape> = Vec::new();
        let mut size = [h, w];
        for (i, &k) in kernels.iter().enumerate() {
            let stride = if i == strided { stride } else { 1 };
            let (cin, cout) = (channels[i], channels[i + 1]);
            let shape = ConvShape { n, h: size[0], w: size[1], cin, cout, k, stride, pad: k / 2 };
            size = [shape.out_h(), shape.out_w()];
            shapes.push(shape);
        }
        let (cin, cout) = (channels[0], channels[kernels.len()]);
        let projection = stride > 1 || cin != cout;
        if projection {
            shapes.push(ConvShape { n, h, w, cin, cout, k: 1, stride, pad: 0 });
        }
        let parameters = shapes.iter().map(|shape| {
            let scale = (2.0 / (shape.k * shape.k * shape.cin) as f32).sqrt();
            let weight = rng.normals(shape.weight_len()).iter().map(|v| v * scale).collect();
            let gamma = (0..shape.cout).map(|_| 0.5 + rng.unit() as f32).collect();
            [weight, gamma, rng.normals(shape.cout)]
        });
        let parameters = parameters.collect();
        let x = rng.normals(shapes[0].x_len());
        let d_out = rng.normals(shapes[kernels.len() - 1].out_len());
        Problem { shapes, projection, groups, x, parameters, d_out }
    }

    pub fn depth(&self) -> usize {
        self.shapes.len() - usize::from(self.projection)
    }

    /// The block's output, statistics and gradients.
    fn as_block(&self, isa: Isa) -> (BlockOutput, BlockGrads) {
        let layer = |i: usize| {
            let [weight, gamma, beta] = &self.parameters[i];
            BlockLayer { shape: self.shapes[i], weight, gamma, beta }
        };
        let layers: Vec<_> = (0..self.depth()).map(layer).collect();
        let projection = self.projection.then(|| layer(self.depth()));
        let block =
            Block { layers: &layers, projection, groups: self.groups, others: None, eps: 1e-5 };
        let output = block_forward(isa, &self.x, &block, true);
        let lean = block_forward(isa, &self.x, &block, false);
        assert_eq!(lean.out, output.out, "keeping changes nothing");
        let saved = output.saved.as_ref().expect("kept");
        let needs = BlockNeeds { x: true, weights: true, affine: true };
        let grads = block_backward(isa, &self.x, &block, saved, &output.out, &self.d_out, needs);
        (output, grads)
    }

    /// The block computed layer by layer.
    fn by_layers(&self, isa: Isa) -> (Vec<f32>, Vec<BnActOutput>, Vec<BnActGrads>, Vec<f32>) {
        let depth = self.depth();
        let run = |i: usize, x: &[f32], skip: Option<&[f32]>, relu: bool| {
            let [weight, gamma, beta] = &self.parameters[i];
            let norm = Norm::Batch { groups: self.groups };
            let bn = BnParams { gamma, beta, eps: 1e-5, norm };
            conv_bn_act_forward(isa, &self.shapes[i], x, weight.into(), &bn, skip, relu, true)
        };
        let mut outputs: Vec<BnActOutput> = Vec::new();
        let projected = self.projection.then(|| run(depth, &self.x, None, false));
        for i in 0..depth {
            let x = outputs.last().map_or(&self.x, |output| &output.out);
            let skip = projected.as_ref().map_or(&self.x, |output| &output.out);
            outputs.push(run(i, x, (i + 1 == depth).then_some(skip), true));
        }
        let out = outputs[depth - 1].out.clone();
        outputs.extend(projected);

        let back = |i: usize, x: &[f32], d: &[f32]| {
            let needs = BnActNeeds { x: true, weight: true, affine: true, skip: i + 1 == depth };
            let (weight, saved) = (&self.parameters[i][0], outputs[i].saved.as_ref().unwrap());
            conv_bn_act_backward(isa, &self.shapes[i], x, weight, saved, &outputs[i].out, d, needs)
        };
        let mut grads = Vec::new();
        let mut d = self.d_out.clone();
        let mut dz = Vec::new();
        for i in (0..depth).rev() {
            let x = if i == 0 { &self.x } else { &outputs[i - 1].out };
            let mut result = back(i, x, &d);
            d = result.x.take().unwrap();
            dz = result.skip.take().unwrap_or(dz);
            grads.insert(0, result);
        }
        if self.projection {
            let mut result = back(depth, &self.x, &dz);
            dz = result.x.take().unwrap();
            grads.push(result);
        }
        let dx = d.iter().zip(&dz).map(|(a, b)| a + b).collect();
        (out, outputs, grads, dx)
    }
}

fn problems(rng: &mut Rng) -> Vec<Problem> {
    let mut all = Vec::new();
    for (n, h, w, groups) in [(4, 9, 7, 1), (6, 8, 8, 3), (3, 1, 1, 1), (2, 2, 5, 2), (1, 6, 6, 1)]
    {
        for stride in [1, 2] {
            for channels in [[5, 5, 5], [8, 24, 24], [33, 17, 70], [16, 16, 16]] {
                let size = [n, h, w];
                all.push(Problem::new(rng, size, &[3, 3], &channels, (0, stride), groups));
                let [cin, inner, cout] = channels;
                let channels = [cin, inner, inner, cout];
                all.push(Problem::new(rng, size, &[1, 3, 1], &channels, (1, stride), groups));
            }
        }
    }
    all
}

/// Fusing leaves every value as it is: the same operations in the same order, but for the sum of
/// two gradients, which commutes.
#[test]
fn a_block_is_its_layers_bit_for_bit() {
    let mut rng = Rng::new(41);
    for problem in problems(&mut rng) {
        for isa in isas() {
            let what = format!("{:?} in {} groups, {isa:?}", problem.shapes, problem.groups);
            let (output, grads) = problem.as_block(isa);
            let (out, outputs, expected, dx) = problem.by_layers(isa);
            assert!(output.out == out, "the output of {what}");
            for (found, expected) in output.statistics.iter().zip(&outputs) {
                assert!(found.mean == expected.mean && found.var == expected.var, "{what}");
            }
            assert!(grads.x.as_ref() == Some(&dx), "the gradient of x of {what}");
            for (i, (found, expected)) in grads.layers.iter().zip(&expected).enumerate() {
                assert!(found.weight == expected.weight, "weight {i} of {what}");
                assert!(found.gamma == expected.gamma, "gamma {i} of {what}");
                assert!(found.beta == expected.beta, "beta {i} of {what}");
            }
        }
    }
}

#[test]
fn a_block_computes_what_is_asked_for() {
    let mut rng = Rng::new(42);
    let problem = Problem::new(&mut rng, [2, 6, 6], &[3, 3], &[8, 16, 16], (0, 2), 1);
    let layer = |i: usize| {
        let [weight, gamma, beta] = &problem.parameters[i];
        BlockLayer { shape: problem.shapes[i], weight, gamma, beta }
    };
    let layers = [layer(0), layer(1)];
    let block =
        Block { layers: &layers, projection: Some(layer(2)), groups: 1, others: None, eps: 1e-5 };
    let isa = Isa::best();
    let output = block_forward(isa, &problem.x, &block, true);
    let saved = output.saved.as_ref().unwrap();
    let needs = BlockNeeds { weights: true, ..BlockNeeds::default() };
    let (x, d_out) = (&problem.x, &problem.d_out);
    let grads = block_backward(isa, x, &block, saved, &output.out, d_out, needs);
    assert!(grads.x.is_none());
    assert!(grads.layers.iter().all(|g| g.weight.is_some() && g.gamma.is_none()));
}
