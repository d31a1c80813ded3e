//! The values that become black and white where a sample has more than 8 bits.

use std::fmt;

/// The values of an image that become black and white; those between are spread evenly over the
/// 256 levels, those beyond are cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRange {
    /// From one value of the file to another, such as 0 to 4095 for 12 bits.
    Values([f64; 2]),
    /// From one percentile of the image's own values to another, each in 0..=100.
    Percentiles([f64; 2]),
}

impl ValueRange {
    /// The values that become black and white, given all values of an image.
    pub(super) fn bounds(self, values: &mut dyn FnMut() -> Vec<f32>) -> [f64; 2] {
        match self {
            ValueRange::Values(bounds) => bounds,
            ValueRange::Percentiles(ranks) => {
                let mut values = values();
                values.retain(|value| value.is_finite());
                ranks.map(|rank| percentile(&mut values, rank))
            }
        }
    }
}

/// The percentile of values as numpy has it: between two values, in proportion.
fn percentile(values: &mut [f32], rank: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let place = rank / 100.0 * (values.len() - 1) as f64;
    let (_, &mut below, above) =
        values.select_nth_unstable_by(place.floor() as usize, f32::total_cmp);
    let above = above.iter().copied().min_by(f32::total_cmp).unwrap_or(below);
    f64::from(below) + (f64::from(above) - f64::from(below)) * place.fract()
}

impl fmt::Display for ValueRange {
    /// Writes the range as an operation of a view's text.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ValueRange::Values([low, high]) => write!(f, "range({low}..{high})"),
            ValueRange::Percentiles([low, high]) => write!(f, "range(percentile {low}..{high})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.percentile([3, 1, 10, 7, 5], rank)`.
    #[test]
    fn percentiles_are_those_of_numpy() {
        let mut values = vec![3.0, 1.0, 10.0, 7.0, 5.0];
        for (rank, expected) in [(0.0, 1.0), (1.0, 1.08), (50.0, 5.0), (90.0, 8.8), (100.0, 10.0)] {
            let found = percentile(&mut values, rank);
            assert!((found - expected).abs() < 1e-9, "{rank}: {found}");
        }
        assert_eq!(percentile(&mut [], 5.0), 0.0);
    }
}
