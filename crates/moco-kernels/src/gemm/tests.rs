use super::{Columns, Dims, Fetch, Panel, Strided, multiply, scalar};
use crate::Isa;
use crate::simd::{Kernel, Simd};
use crate::testing::{Rng, isas, relative_error};

struct Block<'a> {
    dims: [usize; 3],
    a: Strided<'a>,
    b: &'a [f32],
    b_stride: usize,
    c: &'a mut [f32],
    c_stride: usize,
}

impl Kernel for Block<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [rows, depth, cols] = self.dims;
        let mut col = 0;
        while col < cols {
            let vectors = ((cols - col) / S::LANES).min(S::TILE_VECTORS);
            let b = Panel { data: &self.b[col..], stride: self.b_stride };
            // Of places that exist and of some that do not.
            let mut columns = Columns::new();
            columns.add(self.b.as_ptr(), self.b_stride, 2);
            columns.add(self.b.as_ptr().wrapping_add(1 << 20), self.b_stride, 5);
            let rows = (self.a.k_stride == 1).then_some(rows * self.a.row_stride);
            let fetch = Fetch { rows, ..columns.fetch() };
            let dims = Dims { fetch, ..Dims::new(self.dims[0], depth, vectors) };
            let c = (&mut self.c[col..], self.c_stride);
            multiply(s, dims, self.a, b, c, true);
            col += vectors * S::LANES;
        }
    }
}

#[test]
fn every_height_depth_and_stride_agrees_with_f64() {
    let mut rng = Rng::new(1);
    for isa in isas() {
        for rows in 1..=26 {
            let depth = 1 + rng.below(70);
            let cols = 16 * (1 + rng.below(4));
            let a = rng.normals(rows * (depth + 3));
            // Row-major and column-major: the two ways the convolutions read `A`.
            let strides = [(depth + 3, 1), (1, rows)];
            for (row_stride, k_stride) in strides {
                let a = Strided { data: &a, row_stride, k_stride };
                let (b_stride, c_stride) = (cols + rng.below(5), cols + rng.below(5));
                let b = rng.normals(depth * b_stride);
                let mut c = rng.normals(rows * c_stride);
                let mut expected = c.clone();
                scalar::multiply(a, &b, b_stride, &mut expected, c_stride, [rows, depth, cols]);
                isa.run(Block {
                    dims: [rows, depth, cols],
                    a,
                    b: &b,
                    b_stride,
                    c: &mut c,
                    c_stride,
                });
                let expected: Vec<f64> = expected.iter().map(|&x| f64::from(x)).collect();
                let error = relative_error(&c, &expected);
                assert!(error < 5e-7, "{isa:?} {rows}x{depth}x{cols}: {error}");
            }
        }
    }
}

#[test]
#[should_panic]
fn a_short_operand_is_refused() {
    let a = Strided { data: &[1.0; 5], row_stride: 3, k_stride: 1 };
    let (b, mut c) = (vec![0.0; 48], vec![0.0; 32]);
    let (b_stride, c_stride) = (16, 16);
    Isa::Portable.run(Block { dims: [2, 3, 16], a, b: &b, b_stride, c: &mut c, c_stride });
}
