use super::*;
use crate::testing::{Rng, isas, relative_error, to_f64};

fn shapes(rng: &mut Rng) -> Vec<AttentionShape> {
    let shape = |batch, [queries, tokens]: [usize; 2], heads, head_dim| AttentionShape {
        batch,
        tokens,
        queries,
        heads,
        head_dim,
    };
    let mut shapes = vec![
        shape(1, [1, 1], 1, 1),
        shape(2, [197, 197], 2, 64),
        shape(2, [1, 197], 2, 64),
        shape(1, [400, 400], 1, 128),
        shape(1, [33, 33], 3, 80),
        shape(0, [4, 4], 2, 8),
        shape(2, [0, 4], 2, 8),
    ];
    for _ in 0..15 {
        let [batch, heads] = [1 + rng.below(3), 1 + rng.below(3)];
        let tokens = 1 + rng.below(70);
        // Half of the time, some tokens do not ask.
        let queries = [tokens, 1 + rng.below(tokens)][rng.below(2)];
        shapes.push(shape(batch, [queries, tokens], heads, 1 + rng.below(70)));
    }
    shapes
}

#[test]
fn every_shape_agrees_with_f64() {
    let mut rng = Rng::new(90);
    for shape in shapes(&mut rng) {
        let (qkv, d_out) = (rng.normals(shape.qkv_len()), rng.normals(shape.out_len()));
        let (out, d_qkv) = scalar::attention(&shape, &to_f64(&qkv), &d_out);
        for isa in isas() {
            let got = attention_forward(isa, &shape, &qkv);
            let error = relative_error(&got.out, &out);
            let grads = attention_backward(isa, &shape, &qkv, &got.out, &got.log_sums, &d_out);
            let grad_error = relative_error(&grads, &d_qkv);
            assert!(error < 1e-6, "{isa:?} {shape:?}: {error}");
            assert!(grad_error < 2e-6, "{isa:?} {shape:?}: {grad_error}");
        }
    }
}

#[test]
fn the_definition_is_the_slope() {
    let mut rng = Rng::new(91);
    let shape = AttentionShape { batch: 1, tokens: 4, queries: 3, heads: 2, head_dim: 3 };
    let (qkv, d_out) = (to_f64(&rng.normals(shape.qkv_len())), rng.normals(shape.out_len()));
    let loss = |qkv: &[f64]| {
        let (out, _) = scalar::attention(&shape, qkv, &d_out);
        out.iter().zip(&d_out).map(|(o, &d)| o * f64::from(d)).sum::<f64>()
    };
    let (_, d_qkv) = scalar::attention(&shape, &qkv, &d_out);
    for i in 0..qkv.len() {
        let (mut above, mut below) = (qkv.clone(), qkv.clone());
        (above[i], below[i]) = (qkv[i] + 1e-5, qkv[i] - 1e-5);
        assert!((d_qkv[i] - (loss(&above) - loss(&below)) / 2e-5).abs() < 1e-8);
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let shape = AttentionShape { batch: 1, tokens: 2, queries: 2, heads: 1, head_dim: 1 };
    // Token 0 scores 400 and 0, token 1 scores 0 twice: softmax (1, 0) and (1/2, 1/2).
    let qkv = [20.0, 20.0, 1.0, 0.0, 0.0, 3.0];
    for isa in isas() {
        let got = attention_forward(isa, &shape, &qkv);
        assert_eq!(got.out, [1.0, 2.0]);
        let grads = attention_backward(isa, &shape, &qkv, &got.out, &got.log_sums, &[1.0, 1.0]);
        assert!(grads.iter().all(|g| g.is_finite()));
    }
}
