//! Linear probe on cached features by full-batch logistic regression: seconds instead of epochs.

use super::{Accuracy, Features};
use crate::batch::to_host;
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::VecDeque;

/// Penalty and stopping rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logistic {
    /// Weight of `½‖W‖²` beside the mean cross-entropy; intercepts are free. In scikit-learn's
    /// terms `C = 1 / (l2 * images)`.
    pub l2: f64,
    /// Iterations of L-BFGS at most.
    pub iterations: usize,
}

impl Default for Logistic {
    fn default() -> Self {
        Self { l2: 1e-4, iterations: 300 }
    }
}

/// Gradient norm, relative to the parameters' (at least 1), at which the search stops.
const TOLERANCE: f64 = 1e-5;
/// Steps that L-BFGS remembers.
const MEMORY: usize = 10;

/// Trains on `train` and classifies `test`; features are standardised by the training set.
///
/// # Panics
/// If the widths differ or a set has no labels; callers check both.
pub fn logistic(train: &Features, test: &Features, config: Logistic) -> Accuracy {
    assert_eq!(train.dim, test.dim, "features of one width");
    let classes = 1 + train.labels.iter().chain(&test.labels).max().copied().unwrap_or(0) as usize;
    let scale = Standardization::of(train);
    let problem = Problem::new(scale.apply(train), &train.labels, train.dim, classes, config.l2);
    let weights = minimize(&problem, config.iterations);
    let scores = problem.scores(scale.apply(test), &weights);
    Accuracy::from_scores(&scores, classes, &test.labels)
}

/// Mean and standard deviation per channel.
struct Standardization {
    mean: Vec<f64>,
    inverse_std: Vec<f64>,
}

impl Standardization {
    fn of(features: &Features) -> Self {
        let rows = features.len().max(1) as f64;
        let mut mean = vec![0.0; features.dim];
        let mut square = vec![0.0; features.dim];
        for row in features.values.chunks_exact(features.dim.max(1)) {
            for ((&v, mean), square) in row.iter().zip(&mut mean).zip(&mut square) {
                *mean += f64::from(v) / rows;
                *square += f64::from(v).powi(2) / rows;
            }
        }
        // A constant channel carries nothing: leave it at zero instead of blowing up its noise.
        let inverse = |(m, s): (&f64, &f64)| match s - m * m {
            variance if variance > 1e-12 => 1.0 / variance.sqrt(),
            _ => 0.0,
        };
        let inverse_std = mean.iter().zip(&square).map(inverse).collect();
        Self { mean, inverse_std }
    }

    fn apply(&self, features: &Features) -> Tensor<2> {
        let mut values = features.values.clone();
        for row in values.chunks_exact_mut(features.dim.max(1)) {
            for ((v, mean), inverse) in row.iter_mut().zip(&self.mean).zip(&self.inverse_std) {
                *v = ((f64::from(*v) - mean) * inverse) as f32;
            }
        }
        matrix(values, features.len(), features.dim)
    }
}

fn matrix(values: Vec<f32>, rows: usize, columns: usize) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
}

/// Mean cross-entropy of a linear classifier plus its penalty.
///
/// Parameters are one flat vector: weights `[dim, classes]`, then intercepts `[classes]`.
struct Problem {
    x: Tensor<2>,
    one_hot: Tensor<2>,
    dim: usize,
    classes: usize,
    l2: f64,
}

impl Problem {
    fn new(x: Tensor<2>, labels: &[u32], dim: usize, classes: usize, l2: f64) -> Self {
        let mut one_hot = vec![0f32; labels.len() * classes];
        for (row, &label) in labels.iter().enumerate() {
            one_hot[row * classes + label as usize] = 1.0;
        }
        Self { x, one_hot: matrix(one_hot, labels.len(), classes), dim, classes, l2 }
    }

    fn logits(&self, x: Tensor<2>, parameters: &[f64]) -> Tensor<2> {
        let values: Vec<f32> = parameters.iter().map(|&v| v as f32).collect();
        let (weights, intercepts) = values.split_at(self.dim * self.classes);
        let weights = matrix(weights.to_vec(), self.dim, self.classes);
        x.matmul(weights) + matrix(intercepts.to_vec(), 1, self.classes)
    }

    fn scores(&self, x: Tensor<2>, parameters: &[f64]) -> Vec<f32> {
        to_host(self.logits(x, parameters))
    }

    /// Objective and gradient.
    fn evaluate(&self, parameters: &[f64]) -> (f64, Vec<f64>) {
        let rows = self.x.dims()[0] as f64;
        let logits = self.logits(self.x.clone(), parameters);
        let likelihood = (log_softmax(logits.clone(), 1) * self.one_hot.clone()).sum();
        let excess = softmax(logits, 1) - self.one_hot.clone();
        let by_weight = self.x.clone().transpose().matmul(excess.clone());
        let by_intercept = excess.sum_dim(0);

        let weights = &parameters[..self.dim * self.classes];
        let penalty = 0.5 * self.l2 * dot(weights, weights);
        let objective = penalty - f64::from(likelihood.into_scalar::<f32>()) / rows;
        let mut gradient: Vec<f64> = to_host(by_weight)
            .into_iter()
            .chain(to_host(by_intercept))
            .map(|g| f64::from(g) / rows)
            .collect();
        for (g, w) in gradient.iter_mut().zip(weights) {
            *g += self.l2 * w;
        }
        (objective, gradient)
    }
}

/// L-BFGS with backtracking (Nocedal & Wright 2006, Alg. 7.4 and 3.1), from zero.
fn minimize(problem: &Problem, iterations: usize) -> Vec<f64> {
    let mut x = vec![0.0; (problem.dim + 1) * problem.classes];
    let (mut value, mut gradient) = problem.evaluate(&x);
    let mut memory: VecDeque<Pair> = VecDeque::new();
    for _ in 0..iterations {
        if norm(&gradient) <= TOLERANCE * norm(&x).max(1.0) {
            break;
        }
        let direction = descent_direction(&gradient, &memory);
        let slope = dot(&gradient, &direction);
        let mut step = 1.0;
        let accepted = loop {
            let trial: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            let (new_value, new_gradient) = problem.evaluate(&trial);
            if new_value <= value + 1e-4 * step * slope {
                break Some((trial, new_value, new_gradient));
            }
            step *= 0.5;
            if step < 1e-10 {
                break None; // The objective cannot fall further in f32.
            }
        };
        let Some((new_x, new_value, new_gradient)) = accepted else { break };
        memory.push_back(Pair::new(&x, &new_x, &gradient, &new_gradient));
        memory.retain(|pair| pair.curvature > 1e-12);
        if memory.len() > MEMORY {
            memory.pop_front();
        }
        (x, value, gradient) = (new_x, new_value, new_gradient);
    }
    x
}

/// A step and the change of gradient it caused.
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    curvature: f64,
}

impl Pair {
    fn new(x: &[f64], new_x: &[f64], gradient: &[f64], new_gradient: &[f64]) -> Self {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        let s: Vec<f64> = difference(new_x, x);
        let y: Vec<f64> = difference(new_gradient, gradient);
        Self { curvature: dot(&s, &y), s, y }
    }
}

/// The two-loop recursion.
fn descent_direction(gradient: &[f64], memory: &VecDeque<Pair>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let alpha = dot(&pair.s, &q) / pair.curvature;
        add_scaled(&mut q, -alpha, &pair.y);
        alphas.push(alpha);
    }
    if let Some(last) = memory.back() {
        let scale = last.curvature / dot(&last.y, &last.y);
        q.iter_mut().for_each(|v| *v *= scale);
    }
    for (pair, alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(&pair.y, &q) / pair.curvature;
        add_scaled(&mut q, alpha - beta, &pair.s);
    }
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn add_scaled(target: &mut [f64], factor: f64, other: &[f64]) {
    target.iter_mut().zip(other).for_each(|(t, o)| *t += factor * o);
}
