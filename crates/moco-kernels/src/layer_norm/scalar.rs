//! The definition, in f64.
#![cfg(test)]

/// `y`, and `dx`, `dgamma` and `dbeta`.
pub(crate) fn layer_norm(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f64,
    d_out: &[f32],
) -> [Vec<f64>; 4] {
    let c = gamma.len();
    let (mut y, mut dx) = (Vec::new(), Vec::new());
    let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
    for (x, d) in x.chunks(c).zip(d_out.chunks(c)) {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / c as f64;
        let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / c as f64;
        let rstd = 1.0 / (variance + eps).sqrt();
        let hat: Vec<f64> = x.iter().map(|&x| (f64::from(x) - mean) * rstd).collect();
        let g: Vec<f64> = d.iter().zip(gamma).map(|(&d, &w)| f64::from(d) * f64::from(w)).collect();
        let mean_g = g.iter().sum::<f64>() / c as f64;
        let mean_product = g.iter().zip(&hat).map(|(g, x)| g * x).sum::<f64>() / c as f64;
        for i in 0..c {
            y.push(f64::from(gamma[i]) * hat[i] + f64::from(beta[i]));
            dx.push(rstd * (g[i] - mean_g - hat[i] * mean_product));
            dgamma[i] += f64::from(d[i]) * hat[i];
            dbeta[i] += f64::from(d[i]);
        }
    }
    [y, dx, dgamma, dbeta]
}
