//! First layers for images of other channel counts.

use moco_weights::Values;

/// The weights of a first layer, `[out, from, kernel, kernel]`, for images of `to` channels, as timm
/// adapts them: one channel has the sum of all, more are repeated and scaled so that equal channels
/// give the same sum. From one channel to three, each has a third.
pub(super) fn adapted(weight: &Values, to: usize) -> Values {
    let [out, from] = [weight.shape[0], weight.shape[1]];
    let plane: usize = weight.shape[2..].iter().product();
    let mut data = Vec::with_capacity(out * to * plane);
    for filter in weight.data.chunks(from * plane) {
        for channel in 0..to {
            data.extend((0..plane).map(|at| match to {
                1 => (0..from).map(|c| filter[c * plane + at]).sum(),
                _ => filter[channel % from * plane + at] * (from as f32 / to as f32),
            }));
        }
    }
    let mut shape = weight.shape.clone();
    shape[1] = to;
    Values { shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_channels_give_the_same_sum() {
        let weight = Values { shape: vec![2, 3, 1, 2], data: (1..=12).map(|v| v as f32).collect() };
        assert_eq!(adapted(&weight, 1).data, [9.0, 12.0, 27.0, 30.0]);
        assert_eq!(adapted(&weight, 3), weight);
        for to in [1, 2, 4, 6] {
            let found = adapted(&weight, to);
            assert_eq!(found.shape, [2, to, 1, 2]);
            if to.is_multiple_of(3) {
                let sum: f32 = found.data[..2 * to].iter().step_by(2).sum();
                assert!((sum - 9.0).abs() < 1e-6, "{to}: {sum}");
            }
        }
        let grey = Values { shape: vec![1, 1, 1, 1], data: vec![6.0] };
        assert_eq!(adapted(&grey, 3).data, [2.0, 2.0, 2.0]);
    }
}
