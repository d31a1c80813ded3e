//! The definition: plain loops.
#![cfg(test)]

use super::PoolShape;

/// Output and position of the maximum per window, and the input index of that position.
pub(crate) fn max_pool(shape: &PoolShape, x: &[f32]) -> (Vec<f32>, Vec<u8>, Vec<usize>) {
    let (mut out, mut positions, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..shape.out_len() {
        let channel = i % shape.c;
        let ox = i / shape.c % shape.out_w();
        let oy = i / shape.c / shape.out_w() % shape.out_h();
        let image = i / shape.c / shape.out_w() / shape.out_h();
        let mut best = (f32::NEG_INFINITY, 0, usize::MAX);
        for position in 0..shape.k * shape.k {
            let y = (oy * shape.stride + position / shape.k).wrapping_sub(shape.pad);
            let x_at = (ox * shape.stride + position % shape.k).wrapping_sub(shape.pad);
            if y < shape.h && x_at < shape.w {
                let source = ((image * shape.h + y) * shape.w + x_at) * shape.c + channel;
                if x[source] > best.0 || best.2 == usize::MAX {
                    best = (x[source], position as u8, source);
                }
            }
        }
        out.push(best.0);
        positions.push(best.1);
        sources.push(best.2);
    }
    (out, positions, sources)
}
