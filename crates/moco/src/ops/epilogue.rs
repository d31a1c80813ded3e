//! What follows a convolution and its normalisation within one operation.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

/// What follows a convolution and its normalisation.
#[expect(clippy::large_enum_variant, reason = "moved once per layer, never stored")]
#[derive(Clone, Debug)]
pub enum Epilogue {
    /// Nothing.
    Nothing,
    /// ReLU.
    Relu,
    /// Add the skip connection, `[N, H, W, C]`, then ReLU.
    AddRelu(Tensor<4>),
    /// ReLU, then a 3x3 max-pool with stride 2 and padding 1.
    ReluMaxPool,
}

impl Epilogue {
    /// The epilogue without its pool, and whether it had one.
    pub(super) fn split_pool(self) -> (Self, bool) {
        match self {
            Epilogue::ReluMaxPool => (Epilogue::Relu, true),
            other => (other, false),
        }
    }

    /// The skip connection, if there is one, and whether a ReLU follows.
    pub(super) fn skip_and_relu(self) -> (Option<Tensor<4>>, bool) {
        match self {
            Epilogue::Nothing => (None, false),
            Epilogue::Relu | Epilogue::ReluMaxPool => (None, true),
            Epilogue::AddRelu(skip) => (Some(skip), true),
        }
    }

    /// The epilogue by operations of its own.
    ///
    /// # Shapes
    /// `[N, H, W, C]` to the same, or to `[N, ceil(H / 2), ceil(W / 2), C]` with a pool.
    pub fn apply(self, y: Tensor<4>) -> Tensor<4> {
        match self {
            Epilogue::Nothing => y,
            Epilogue::Relu => relu(y),
            Epilogue::AddRelu(skip) => relu(y + skip),
            Epilogue::ReluMaxPool => super::pool::max_pool(relu(y)),
        }
    }
}
