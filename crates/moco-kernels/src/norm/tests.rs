use super::*;
use crate::testing::{Rng, isas};

#[test]
fn statistics_of_unequal_spans_merge_exactly() {
    let mut rng = Rng::new(50);
    let values: Vec<f64> = (0..100).map(|_| f64::from(rng.normal()) + 50.0).collect();
    // Group 0 in spans of 7, 30 and 23 values, group 1 in one of 40.
    let cuts = [(0, 0..7), (0, 7..37), (0, 37..60), (1, 60..100)];
    let mut partial = Vec::new();
    let mut spans = Vec::new();
    for (group, range) in cuts {
        let part = &values[range];
        let shift = part[0];
        let sum: f64 = part.iter().map(|v| v - shift).sum();
        let square: f64 = part.iter().map(|v| (v - shift).powi(2)).sum();
        partial.extend([shift as f32, sum as f32, square as f32]);
        spans.push(Span { group, start: 0, end: part.len(), pixels: part.len() });
    }
    let (mean, var) = fold_statistics(&spans, &partial, 2, 1, None);
    for (group, part) in [&values[..60], &values[60..]].into_iter().enumerate() {
        let expected = part.iter().sum::<f64>() / part.len() as f64;
        let spread = part.iter().map(|v| (v - expected).powi(2)).sum::<f64>() / part.len() as f64;
        assert!((f64::from(mean[group]) - expected).abs() < 1e-5);
        assert!((f64::from(var[group]) - spread).abs() < 1e-5);
    }
}

#[test]
fn narrow_maps_fill_their_vectors() {
    for isa in isas() {
        let maps = Maps::new(isa, 4, 32, 4, 2);
        assert_eq!(maps.width() % isa.lanes(), 0);
        assert_eq!(maps.len(), 4 * 32 * 4);
        let wide = maps.widen(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(wide.len(), 2 * maps.width());
        assert_eq!(wide[..8], [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(wide[maps.width()..][..4], [5.0, 6.0, 7.0, 8.0]);
        // An odd number of pixels per image cannot be folded: a row would straddle two groups.
        assert_eq!(Maps::new(isa, 4, 9, 4, 2).width(), 4);
    }
}
