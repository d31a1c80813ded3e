//! Which patches a masked autoencoder hides.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Visible patches of `patches` at a masking `ratio`: `floor(L (1 - ratio))`.
pub fn kept_patches(patches: usize, ratio: f64) -> usize {
    (patches as f64 * (1.0 - ratio)) as usize
}

/// For each image of a batch, a random order of its patches, of which the first K are visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masking {
    images: usize,
    patches: usize,
    kept: usize,
    /// Patch at each place of an image's order, `[N, L]`.
    order: Vec<usize>,
    /// Place of each patch in that order, `[N, L]`: the inverse, `ids_restore` in the paper's code.
    places: Vec<usize>,
}

impl Masking {
    /// Draws a masking from `rng`, for every image on its own.
    ///
    /// # Panics
    /// If [`kept_patches`] leaves no patch visible, or none hidden; configurations are validated
    /// before.
    pub fn random(images: usize, patches: usize, ratio: f64, rng: &mut ChaCha8Rng) -> Self {
        let noise: Vec<f32> =
            std::iter::repeat_with(|| rng.random()).take(images * patches).collect();
        Self::from_noise(&noise, patches, ratio)
    }

    /// The masking that sorts each image's patches by ascending noise.
    ///
    /// # Shapes
    /// `noise` is `[N, L]` with L = `patches`.
    ///
    /// # Panics
    /// As [`Masking::random`].
    pub fn from_noise(noise: &[f32], patches: usize, ratio: f64) -> Self {
        let kept = kept_patches(patches, ratio);
        assert!((1..patches).contains(&kept), "{kept} of {patches} patches visible");
        let (mut order, mut places) = (Vec::new(), Vec::new());
        for noise in noise.chunks_exact(patches) {
            let mut own: Vec<usize> = (0..patches).collect();
            own.sort_by(|a, b| noise[*a].total_cmp(&noise[*b]));
            let first = places.len();
            places.resize(first + patches, 0);
            for (place, patch) in own.iter().enumerate() {
                places[first + patch] = place;
            }
            order.extend(own);
        }
        Self { images: order.len() / patches, patches, kept, order, places }
    }

    /// Patches per image, L.
    pub fn patches(&self) -> usize {
        self.patches
    }

    /// Visible patches per image, K.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// 1 where a patch is hidden, 0 where it is visible, `[N, L]`.
    pub fn hidden(&self, device: &Device) -> Tensor<2> {
        let hidden = self.places.iter().map(|place| f32::from(*place >= self.kept));
        let shape = [self.images, self.patches];
        Tensor::from_data(TensorData::new(hidden.collect::<Vec<f32>>(), shape), device)
    }

    /// # Shapes
    /// `[N, L, D]`, in the image's order, to `[N, K, D]`, in the masking's.
    pub fn visible(&self, patches: Tensor<3>) -> Tensor<3> {
        self.check(&patches);
        let order = self.order.chunks_exact(self.patches);
        self.select(patches, order.map(|order| &order[..self.kept]))
    }

    /// # Shapes
    /// `[N, L, D]`, in the masking's order, to the same in the image's.
    pub fn restore(&self, patches: Tensor<3>) -> Tensor<3> {
        self.check(&patches);
        self.select(patches, self.places.chunks_exact(self.patches))
    }

    /// Rows of each image by index, as one selection from all rows of the batch.
    fn select<'a>(
        &self,
        tokens: Tensor<3>,
        indices: impl Iterator<Item = &'a [usize]>,
    ) -> Tensor<3> {
        let [n, l, d] = tokens.dims();
        let rows = indices.enumerate().flat_map(|(i, own)| own.iter().map(move |at| i * l + at));
        let rows: Vec<i32> = rows.map(|row| row as i32).collect();
        let count = rows.len() / n;
        let device = tokens.device().without_autodiff();
        let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &device);
        tokens.reshape([n * l, d]).select(0, rows).reshape([n, count, d])
    }

    fn check(&self, tokens: &Tensor<3>) {
        let [n, l, _] = tokens.dims();
        let own = (self.images, self.patches);
        assert_eq!((n, l), own, "images and patches of a batch are the masking's");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::to_host;
    use crate::rng::{Purpose, stream};

    fn masking() -> Masking {
        Masking::random(5, 196, 0.75, &mut stream(3, Purpose::Mask, 0))
    }

    #[test]
    fn three_quarters_of_196_patches_are_hidden_differently_in_each_image() {
        let hidden = to_host(masking().hidden(&Device::flex()));
        let images: Vec<&[f32]> = hidden.chunks(196).collect();
        for image in &images {
            assert_eq!(image.iter().sum::<f32>(), 147.0);
        }
        assert_ne!(images[0], images[1]);
    }

    #[test]
    fn restoring_the_visible_patches_puts_them_where_they_were() {
        let masking = masking();
        let device = Device::flex();
        let values: Vec<f32> = (0..5 * 196 * 2).map(|i| i as f32 + 1.0).collect();
        let tokens = Tensor::<3>::from_data(TensorData::new(values.clone(), [5, 196, 2]), &device);
        let visible = masking.visible(tokens);
        assert_eq!(visible.dims(), [5, 49, 2]);
        let blank = Tensor::zeros([5, 147, 2], &device);
        let restored = to_host(masking.restore(Tensor::cat(vec![visible, blank], 1)));
        let hidden = to_host(masking.hidden(&device));
        for (i, (found, original)) in restored.iter().zip(&values).enumerate() {
            assert_eq!(*found, original * (1.0 - hidden[i / 2]));
        }
    }
}
