//! The definition, in f64.
#![cfg(test)]

use super::{ContrastShape, Positives};

pub(crate) struct Truth {
    pub loss: Vec<f64>,
    pub hits: Vec<bool>,
    pub d_queries: Vec<f64>,
    pub d_positives: Vec<f64>,
}

pub(crate) fn contrast(
    shape: &ContrastShape,
    queries: &[f32],
    positives: Positives,
    bank: &[f32],
    temperature: f64,
) -> Truth {
    let dim = shape.dim;
    let mut truth = Truth { loss: vec![], hits: vec![], d_queries: vec![], d_positives: vec![] };
    for i in 0..shape.queries {
        let q = &queries[i * dim..][..dim];
        let k = positives.get(bank, dim, i);
        let is_positive = |j: usize| matches!(positives, Positives::Rows(rows) if rows[i] == j);
        let others: Vec<&[f32]> =
            (0..shape.bank).filter(|&j| !is_positive(j)).map(|j| &bank[j * dim..][..dim]).collect();
        let logit = |n: &[f32]| {
            q.iter().zip(n).map(|(&q, &n)| f64::from(q) * f64::from(n)).sum::<f64>() / temperature
        };
        let positive = logit(k);
        let logits: Vec<f64> = others.iter().map(|n| logit(n)).collect();
        let sum: f64 = logits.iter().map(|l| (l - positive).exp()).sum();
        truth.loss.push(sum.ln_1p());
        truth.hits.push(logits.iter().all(|&l| l < positive));
        let rest = sum / (1.0 + sum);
        let weights: Vec<f64> = logits.iter().map(|l| (l - positive).exp() / (1.0 + sum)).collect();
        for d in 0..dim {
            let pull: f64 = weights.iter().zip(&others).map(|(w, n)| w * f64::from(n[d])).sum();
            truth.d_queries.push((pull - rest * f64::from(k[d])) / temperature);
            truth.d_positives.push(-rest * f64::from(q[d]) / temperature);
        }
    }
    truth
}
