//! The definition, in f64.
#![cfg(test)]

use super::AttentionShape;

/// The output `[B, Q, H d]` and `d_qkv`.
pub(crate) fn attention(
    shape: &AttentionShape,
    qkv: &[f64],
    d_out: &[f32],
) -> (Vec<f64>, Vec<f64>) {
    let AttentionShape { batch, tokens, queries, heads, head_dim } = *shape;
    let (mut out, mut d_qkv) = (vec![0.0; shape.out_len()], vec![0.0; shape.qkv_len()]);
    let scale = 1.0 / (head_dim as f64).sqrt();
    for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
        let at = |t: usize, part: usize, i: usize| {
            (((b * tokens + t) * 3 + part) * heads + h) * head_dim + i
        };
        let out_at = |t: usize, i: usize| ((b * queries + t) * heads + h) * head_dim + i;
        let dims = || 0..head_dim;
        for t in 0..queries {
            let scores: Vec<f64> = (0..tokens)
                .map(|j| scale * dims().map(|i| qkv[at(t, 0, i)] * qkv[at(j, 1, i)]).sum::<f64>())
                .collect();
            let max = scores.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
            let p: Vec<f64> = scores.iter().map(|x| (x - max).exp() / sum).collect();
            let d = |i: usize| f64::from(d_out[out_at(t, i)]);
            let dp: Vec<f64> =
                (0..tokens).map(|j| dims().map(|i| d(i) * qkv[at(j, 2, i)]).sum::<f64>()).collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, d)| p * d).sum();
            for j in 0..tokens {
                let ds = p[j] * (dp[j] - mean) * scale;
                for i in dims() {
                    out[out_at(t, i)] += p[j] * qkv[at(j, 2, i)];
                    d_qkv[at(j, 2, i)] += p[j] * d(i);
                    d_qkv[at(t, 0, i)] += ds * qkv[at(j, 1, i)];
                    d_qkv[at(j, 1, i)] += ds * qkv[at(t, 0, i)];
                }
            }
        }
    }
    (out, d_qkv)
}
