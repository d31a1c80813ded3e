//! Between host and device: the one place where pixels become tensors, and tensors values.

use crate::device;
use burn::tensor::{Device, Tensor, s};

/// The views of a batch of images, on the plain (non-autodiff) device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Position of each image in the data set, for methods that remember images.
    pub indices: Vec<usize>,
    /// One tensor per view, `[N, H, W, 3]`, normalised; views may differ in size, and one that is
    /// cut into P patches has N P rows, image by image.
    pub views: Vec<Tensor<4>>,
}

impl Batch {
    /// Moves a loaded batch to `device`.
    pub fn new(batch: moco_data::Batch, device: &Device) -> Self {
        let n = batch.indices.len();
        let views = batch
            .views
            .into_iter()
            .map(|view| {
                let rows = n * view.count;
                pixels_to_tensor(view.pixels, [rows, view.height, view.width], device)
            })
            .collect();
        Self { indices: batch.indices, views }
    }

    /// The batch in `parts` consecutive parts of equal size.
    ///
    /// # Panics
    /// If it does not split evenly; configurations are validated before.
    pub fn split(self, parts: usize) -> Vec<Batch> {
        if parts == 1 {
            return vec![self];
        }
        let part = |p: usize| {
            let views = self.views.iter().map(|view| {
                let [rows, ..] = view.dims();
                assert!(rows.is_multiple_of(parts), "{rows} rows do not split into {parts} parts");
                let size = rows / parts;
                view.clone().slice_dim(0, s![p * size..(p + 1) * size])
            });
            let size = self.indices.len() / parts;
            Batch { indices: self.indices[p * size..][..size].to_vec(), views: views.collect() }
        };
        (0..parts).map(part).collect()
    }

    /// The view of a method that looks at each image once.
    ///
    /// # Panics
    /// If there is not exactly one; configurations are validated before.
    pub fn single(&self) -> &Tensor<4> {
        match self.views.as_slice() {
            [view] => view,
            views => panic!("a method of one view was given {}", views.len()),
        }
    }

    /// The two views of a method that compares pairs.
    ///
    /// # Panics
    /// If there are not exactly two; configurations are validated before.
    pub fn pair(&self) -> [&Tensor<4>; 2] {
        match self.views.as_slice() {
            [first, second] => [first, second],
            views => panic!("a method of two views was given {}", views.len()),
        }
    }
}

/// The values of a tensor, row-major, on the host.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("every tensor here is f32 on a device that answers")
}

/// Pixels of `[N, H, W, 3]` as a tensor.
pub fn pixels_to_tensor(pixels: Vec<f32>, [n, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
    device::upload(pixels, [n, h, w, 3], device)
}
