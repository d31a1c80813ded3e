//! Initial weights, as torchvision and timm draw them, from the run's own random streams.
//!
//! Drawn on the host by [`crate::rng`], so the same seed gives the same network on every device.

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Normal with mean 0 and standard deviation `sqrt(2 / fan_out)`: "Kaiming normal, fan out, ReLU",
/// torchvision's choice for ResNet convolutions.
///
/// # Shapes
/// `[out, in, kernel, kernel]`; fan out is `out * kernel * kernel`.
pub fn kaiming_normal_fan_out(
    shape: [usize; 4],
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Tensor<4> {
    let std = (2.0 / (shape[0] * shape[2] * shape[3]) as f64).sqrt();
    normal(shape, std, rng, device)
}

/// Uniform in `±1/sqrt(fan_in)`: torch's default for the weight and bias of a linear layer.
pub fn linear_uniform<const D: usize>(
    shape: [usize; D],
    fan_in: usize,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Tensor<D> {
    uniform(shape, 1.0 / (fan_in as f64).sqrt(), rng, device)
}

/// Uniform in `±sqrt(6 / (fan_in + fan_out))`: Glorot & Bengio 2010, Eq. 16.
pub fn xavier_uniform<const D: usize>(
    shape: [usize; D],
    [fan_in, fan_out]: [usize; 2],
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Tensor<D> {
    uniform(shape, (6.0 / (fan_in + fan_out) as f64).sqrt(), rng, device)
}

/// Uniform in `±bound`.
pub fn uniform<const D: usize>(
    shape: [usize; D],
    bound: f64,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Tensor<D> {
    from_fn(shape, device, || rng.random_range(-bound..bound) as f32)
}

/// Normal with mean 0 and the given standard deviation.
pub fn normal<const D: usize>(
    shape: [usize; D],
    std: f64,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Tensor<D> {
    from_fn(shape, device, || (std * standard_normal(rng)) as f32)
}

/// Normal with mean 0 and standard deviation `std` before all that is beyond two of them is drawn
/// again: Haiku's default.
pub fn truncated_normal<const D: usize>(
    shape: [usize; D],
    std: f64,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Tensor<D> {
    from_fn(shape, device, || {
        let within = |draw: &f64| draw.abs() <= 2.0;
        let drawn = std::iter::repeat_with(|| standard_normal(rng)).find(within);
        (std * drawn.unwrap_or(0.0)) as f32
    })
}

fn from_fn<const D: usize>(
    shape: [usize; D],
    device: &Device,
    mut draw: impl FnMut() -> f32,
) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> = std::iter::repeat_with(&mut draw).take(count).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Box-Muller; one of the pair is enough where speed does not matter.
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
