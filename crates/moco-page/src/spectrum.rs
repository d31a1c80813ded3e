//! How many directions features use, by their singular values, and dimensions that say nothing.

use crate::Rows;

/// A dimension whose deviation is below this share of the mean deviation says nothing.
const DEAD: f64 = 0.01;

/// How many principal directions hold `share` of all variance. The squares of the singular values
/// of rows less their mean, the largest first, are the variances along them, times the rows.
pub fn directions(singular_values: &[f64], share: f64) -> usize {
    let total: f64 = singular_values.iter().map(|value| value * value).sum();
    let mut held = 0.0;
    let enough = singular_values.iter().position(|value| {
        held += value * value;
        held >= share * total
    });
    enough.map_or(0, |place| place + 1)
}

/// Dimensions that are nearly the same for all rows: their deviation is below 1 % of the mean one.
pub fn dead_dimensions(rows: &Rows) -> usize {
    let mean = rows.mean();
    let mut squares = vec![0.0; rows.dim()];
    for row in rows.iter() {
        let centred = row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean);
        squares.iter_mut().zip(centred).for_each(|(sum, value)| *sum += value * value);
    }
    let deviations: Vec<f64> =
        squares.into_iter().map(|sum: f64| (sum / rows.len().max(1) as f64).sqrt()).collect();
    let mean = deviations.iter().sum::<f64>() / deviations.len() as f64;
    deviations.into_iter().filter(|deviation| *deviation <= DEAD * mean).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn directions_are_counted_until_they_hold_the_share() {
        // Variances of 16, 9, 4 and 1 of 30.
        let values = [4.0, 3.0, 2.0, 1.0];
        let held = [0.5, 0.6, 0.84, 0.96, 1.0].map(|share| directions(&values, share));
        assert_eq!(held, [1, 2, 3, 3, 4]);
        assert_eq!(directions(&[], 0.9), 0);
    }

    #[test]
    fn constant_columns_are_dead() {
        let mut random = Random::new(1);
        let row = |_| [random.normal() as f32, 0.5, random.normal() as f32, 0.0];
        let rows = Rows::new((0..30).flat_map(row).collect(), 4);
        assert_eq!(dead_dimensions(&rows), 2);
        assert_eq!(dead_dimensions(&Rows::new(vec![1.0; 12], 4)), 4);
    }
}
