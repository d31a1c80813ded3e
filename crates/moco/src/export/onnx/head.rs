//! Projection heads as ONNX operations, read off their weights.

use super::graph::Value;
use super::layers::Layers;

/// Linear layers, normalised or not, with a ReLU behind all but the last; `[N, D]` to `[N, outputs]`.
pub(super) fn perceptron(layers: &mut Layers, x: &Value, place: &str) -> Value {
    let count = (0..).take_while(|i| layers.has(&format!("{place}.{i}.weight"))).count();
    let mut x = x.clone();
    for layer in (0..count).map(|i| format!("{place}.{i}")) {
        x = layers.linear(&x, &layer);
        if layers.has(&format!("{layer}.norm.running_mean")) {
            x = layers.batch_norm(&x, &format!("{layer}.norm"));
        }
        if layer != format!("{place}.{}", count - 1) {
            x = layers.relu(&x, &format!("{layer}.relu"));
        }
    }
    x
}

/// DINO's, up to the bottleneck: three layers with GELU between them, then rows of unit length.
pub(super) fn dino(layers: &mut Layers, x: &Value) -> Value {
    let mut x = x.clone();
    for i in 0..3 {
        x = layers.linear(&x, &format!("head.layers.{i}"));
        if layers.has(&format!("head.norms.{i}.running_mean")) {
            x = layers.batch_norm(&x, &format!("head.norms.{i}"));
        }
        if i < 2 {
            x = layers.gelu(&x, &format!("head.gelu.{i}"));
        }
    }
    layers.unit_length(&x, "head.bottleneck")
}
