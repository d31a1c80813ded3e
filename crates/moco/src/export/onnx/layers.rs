//! Layers as ONNX operations on named weights.

use super::graph::{Graph, Setting, Value};
use crate::checkpoint::NamedTensor;
use std::collections::BTreeMap;
use std::f64::consts::SQRT_2;

/// Added to the variance of a BatchNorm, torch's default.
const BATCH_NORM_EPSILON: f64 = crate::nn::EPSILON;
/// What lengths have at least, as its square, as everywhere in this library.
const LENGTH_EPSILON: f32 = 1e-24;

/// A graph that grows layer by layer, and the weights that it takes.
pub(super) struct Layers {
    pub graph: Graph,
    weights: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// How a convolution moves over a map. Its padding keeps the size of a map at a stride of 1.
#[derive(Clone, Copy)]
pub(super) struct Stride {
    pub stride: usize,
    /// Zeros beyond each border besides that padding.
    pub border: usize,
}

impl Stride {
    pub(super) fn of(stride: usize) -> Self {
        Self { stride, border: 0 }
    }
}

impl Layers {
    pub(super) fn new(tensors: Vec<NamedTensor>) -> Self {
        let weights = tensors.into_iter().map(|(name, shape, data)| {
            let values = data.try_into_vec::<f32>().expect("weights are f32");
            (name, (shape, values))
        });
        Self { graph: Graph::default(), weights: weights.collect() }
    }

    /// Whether there is such a weight.
    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.contains_key(name)
    }

    /// # Panics
    /// If there is no weight of that name: networks and their names are of this library.
    pub(super) fn values(&self, name: &str) -> (&[usize], &[f32]) {
        let (shape, values) = self.weights.get(name).unwrap_or_else(|| panic!("no weight {name}"));
        (shape, values)
    }

    /// The weight as it is.
    fn weight(&mut self, name: &str) -> Value {
        let (shape, values) = self.weights.get(name).unwrap_or_else(|| panic!("no weight {name}"));
        self.graph.floats(name, shape, values)
    }

    /// The weight, or so many times `value`.
    fn weight_or(&mut self, name: &str, count: usize, value: f32) -> Value {
        match self.has(name) {
            true => self.weight(name),
            false => self.graph.floats(name, &[count], &vec![value; count]),
        }
    }

    /// `[N, in, H, W]` to `[N, out, H', W']`, with the bias if there is one.
    pub(super) fn conv(&mut self, x: &Value, name: &str, moves: Stride) -> Value {
        let kernel = self.values(&format!("{name}.weight")).0[2];
        self.conv_padded(x, name, moves.stride, kernel / 2 + moves.border)
    }

    /// A convolution of patches that touch each other.
    pub(super) fn patches(&mut self, x: &Value, name: &str) -> Value {
        let kernel = self.values(&format!("{name}.weight")).0[2];
        self.conv_padded(x, name, kernel, 0)
    }

    fn conv_padded(&mut self, x: &Value, name: &str, stride: usize, padding: usize) -> Value {
        let kernel = self.values(&format!("{name}.weight")).0[2] as i64;
        let weight = self.weight(&format!("{name}.weight"));
        let bias = format!("{name}.bias");
        let bias = self.has(&bias).then(|| self.weight(&bias));
        let inputs: Vec<&Value> = [x, &weight].into_iter().chain(&bias).collect();
        let settings = [
            ("kernel_shape", Setting::Ints(&[kernel; 2])),
            ("pads", Setting::Ints(&[padding as i64; 4])),
            ("strides", Setting::Ints(&[stride as i64; 2])),
        ];
        self.graph.node("Conv", name, &inputs, &settings)
    }

    /// BatchNorm by the running statistics, `[N, C, ...]` to the same. What it has not learnt is 1
    /// and 0.
    pub(super) fn batch_norm(&mut self, x: &Value, name: &str) -> Value {
        let channels = self.values(&format!("{name}.running_mean")).0[0];
        let scale = self.weight_or(&format!("{name}.weight"), channels, 1.0);
        let shift = self.weight_or(&format!("{name}.bias"), channels, 0.0);
        let mean = self.weight(&format!("{name}.running_mean"));
        let var = self.weight(&format!("{name}.running_var"));
        let settings = [("epsilon", Setting::Float(BATCH_NORM_EPSILON as f32))];
        let inputs = [x, &scale, &shift, &mean, &var];
        self.graph.node("BatchNormalization", name, &inputs, &settings)
    }

    /// LayerNorm over the last dimension.
    pub(super) fn layer_norm(&mut self, x: &Value, name: &str, epsilon: f64) -> Value {
        let scale = self.weight(&format!("{name}.weight"));
        let shift = self.weight(&format!("{name}.bias"));
        let settings = [("axis", Setting::Int(-1)), ("epsilon", Setting::Float(epsilon as f32))];
        self.graph.node("LayerNormalization", name, &[x, &scale, &shift], &settings)
    }

    /// A linear layer, `[N, in]` to `[N, out]`, with the bias if there is one.
    pub(super) fn linear(&mut self, x: &Value, name: &str) -> Value {
        let weight = self.weight(&format!("{name}.weight"));
        let bias = format!("{name}.bias");
        let bias = self.has(&bias).then(|| self.weight(&bias));
        let inputs: Vec<&Value> = [x, &weight].into_iter().chain(&bias).collect();
        self.graph.node("Gemm", name, &inputs, &[("transB", Setting::Int(1))])
    }

    /// A linear layer of tokens, `[N, T, in]` to `[N, T, out]`, with the bias if there is one. Its
    /// weight stands in the file as `[in, out]`, which is what `MatMul` takes.
    pub(super) fn token_linear(&mut self, x: &Value, name: &str) -> Value {
        let (shape, values) = self.values(&format!("{name}.weight"));
        let (outputs, inputs) = (shape[0], shape[1]);
        let turned: Vec<f32> =
            (0..inputs * outputs).map(|at| values[at % outputs * inputs + at / outputs]).collect();
        let turned =
            self.graph.floats(&format!("{name}.weight_transposed"), &[inputs, outputs], &turned);
        let bias = format!("{name}.bias");
        if !self.has(&bias) {
            return self.graph.node("MatMul", name, &[x, &turned], &[]);
        }
        let product = self.graph.node("MatMul", &format!("{name}.product"), &[x, &turned], &[]);
        let bias = self.weight(&bias);
        self.graph.node("Add", name, &[&product, &bias], &[])
    }

    pub(super) fn relu(&mut self, x: &Value, name: &str) -> Value {
        self.graph.node("Relu", name, &[x], &[])
    }

    /// GELU by the error function: `x (1 + erf(x / sqrt(2))) / 2`. The operation of that name came
    /// with opset 20.
    pub(super) fn gelu(&mut self, x: &Value, name: &str) -> Value {
        let part = |part: &str| format!("{name}.{part}");
        let mut number = |part: &str, value: f64| {
            self.graph.floats(&format!("{name}.{part}"), &[], &[value as f32])
        };
        let (root, one, half) = (number("sqrt2", SQRT_2), number("one", 1.0), number("half", 0.5));
        let graph = &mut self.graph;
        let scaled = graph.node("Div", &part("scaled"), &[x, &root], &[]);
        let erf = graph.node("Erf", &part("erf"), &[&scaled], &[]);
        let raised = graph.node("Add", &part("raised"), &[&erf, &one], &[]);
        let product = graph.node("Mul", &part("product"), &[x, &raised], &[]);
        graph.node("Mul", name, &[&product, &half], &[])
    }

    /// SiLU: `x sigmoid(x)`.
    pub(super) fn silu(&mut self, x: &Value, name: &str) -> Value {
        let sigmoid = self.graph.node("Sigmoid", &format!("{name}.sigmoid"), &[x], &[]);
        self.graph.node("Mul", name, &[x, &sigmoid], &[])
    }

    /// Rows of unit length, `[N, D]`.
    pub(super) fn unit_length(&mut self, x: &Value, name: &str) -> Value {
        let epsilon = self.graph.floats(&format!("{name}.epsilon"), &[], &[LENGTH_EPSILON]);
        let part = |part: &str| format!("{name}.{part}");
        let settings = [("axes", Setting::Ints(&[1])), ("keepdims", Setting::Int(1))];
        // Axes are a setting of this operation, not an input, at opset 17.
        let sum = self.graph.node("ReduceSumSquare", &part("sum"), &[x], &settings);
        let raised = self.graph.node("Add", &part("raised"), &[&sum, &epsilon], &[]);
        let length = self.graph.node("Sqrt", &part("length"), &[&raised], &[]);
        self.graph.node("Div", name, &[x, &length], &[])
    }

    /// The mean over the tokens, `[N, T, D]` to `[N, D]`.
    pub(super) fn token_mean(&mut self, x: &Value, name: &str) -> Value {
        let settings = [("axes", Setting::Ints(&[1])), ("keepdims", Setting::Int(0))];
        self.graph.node("ReduceMean", name, &[x], &settings)
    }

    pub(super) fn transpose(&mut self, x: &Value, name: &str, order: &[i64]) -> Value {
        self.graph.node("Transpose", name, &[x], &[("perm", Setting::Ints(order))])
    }

    /// A size of 0 is that of the input, one of -1 what is left.
    pub(super) fn reshape(&mut self, x: &Value, name: &str, sizes: &[i64]) -> Value {
        let sizes = self.graph.integers(&format!("{name}.sizes"), sizes);
        self.graph.node("Reshape", name, &[x, &sizes], &[])
    }

    /// `x` times the weight `name`, one per channel, if there is one: LayerScale.
    pub(super) fn scaled(&mut self, x: &Value, name: &str) -> Value {
        let weight = format!("{name}.gamma");
        if !self.has(&weight) {
            return x.clone();
        }
        let gamma = self.weight(&weight);
        self.graph.node("Mul", name, &[x, &gamma], &[])
    }

    pub(super) fn add(&mut self, a: &Value, b: &Value, name: &str) -> Value {
        self.graph.node("Add", name, &[a, b], &[])
    }

    /// What lies from `start` up to `end` along an axis.
    pub(super) fn slice(
        &mut self,
        x: &Value,
        name: &str,
        axis: i64,
        [start, end]: [i64; 2],
    ) -> Value {
        let graph = &mut self.graph;
        let start = graph.integers(&format!("{name}.start"), &[start]);
        let end = graph.integers(&format!("{name}.end"), &[end]);
        let axis = graph.integers(&format!("{name}.axis"), &[axis]);
        graph.node("Slice", name, &[x, &start, &end, &axis], &[])
    }

    pub(super) fn concat(&mut self, parts: &[&Value], name: &str, axis: i64) -> Value {
        self.graph.node("Concat", name, parts, &[("axis", Setting::Int(axis))])
    }
}
