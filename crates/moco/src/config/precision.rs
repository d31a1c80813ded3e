//! What a network's large products are computed in.

use serde::{Deserialize, Serialize};

/// What convolutions, matrix products and attention are computed in while training. Weights, gradients
/// of weights, statistics of normalisations, losses, averages, queues and banks are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// bf16 where the device computes in it, else f32.
    Auto,
    /// 32-bit floats.
    #[default]
    F32,
    /// 32-bit floats whose products round their operands to 10 bits after the point, on GPUs that do.
    Tf32,
    /// 16-bit floats with the range of f32 and 7 bits after the point.
    Bf16,
    /// 16-bit floats with 10 bits after the point, nothing above 65504, and hence a scaled loss.
    F16,
}

impl Precision {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Auto => "auto",
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }
}
