//! Shapes of a convolution and the cutting of its output into jobs.

/// A square convolution over NHWC maps with OIHW weights, as `torch.nn.Conv2d` defines it (no
/// dilation, one group).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images in the batch.
    pub n: usize,
    /// Input rows.
    pub h: usize,
    /// Input columns.
    pub w: usize,
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Kernel side, at least 1.
    pub k: usize,
    /// Step between outputs, at least 1.
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub pad: usize,
}

impl ConvShape {
    /// Output rows.
    pub fn out_h(&self) -> usize {
        self.out_side(self.h)
    }

    /// Output columns.
    pub fn out_w(&self) -> usize {
        self.out_side(self.w)
    }

    /// Floats of the input `[n, h, w, cin]`.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.cin
    }

    /// Output pixels of the batch, `n * out_h * out_w`.
    pub fn out_pixels(&self) -> usize {
        self.n * self.out_h() * self.out_w()
    }

    /// Floats of the output `[n, out_h, out_w, cout]`.
    pub fn out_len(&self) -> usize {
        self.out_pixels() * self.cout
    }

    /// Floats of the weights `[cout, cin, k, k]`.
    pub fn weight_len(&self) -> usize {
        self.cout * self.cin * self.k * self.k
    }

    /// Operations of the direct convolution, a multiply-add counted as two: the convention of every
    /// benchmark.
    pub fn flops(&self) -> f64 {
        2.0 * (self.out_pixels() * self.weight_len()) as f64
    }

    fn out_side(&self, side: usize) -> usize {
        let padded = side + 2 * self.pad;
        if padded < self.k { 0 } else { (padded - self.k) / self.stride + 1 }
    }

    /// # Panics
    /// When the kernel or the stride is zero.
    pub(crate) fn check(&self) {
        assert!(
            self.k > 0 && self.stride > 0,
            "a convolution needs k >= 1 and stride >= 1: {self:?}"
        );
    }
}

/// A run of consecutive units (pixels or tiles) of one BatchNorm group, the work of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub group: usize,
    pub start: usize,
    pub end: usize,
    /// Output pixels in it.
    pub pixels: usize,
}

/// Cuts `n` images of `per_image` units (pixels; where units are tiles, the caller sets `pixels`)
/// into spans of at most `most` units, group by group.
///
/// Towards a group's end spans become shorter, in multiples of `least`: threads that share out the
/// jobs then end at about the same time.
///
/// Group `g` holds the images `g, g + groups, g + 2 groups, ...`; a span never crosses groups, so
/// that its statistics belong to one of them. The cut depends on the shape alone, never on the
/// number of threads.
pub(crate) fn spans(
    n: usize,
    groups: usize,
    per_image: usize,
    [most, least]: [usize; 2],
) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in 0..groups {
        let units = (n + groups - 1 - group) / groups * per_image;
        let mut start = 0;
        while start < units {
            let share = ((units - start) / 4).next_multiple_of(least).clamp(least, most);
            let end = units.min(start + share);
            spans.push(Span { group, start, end, pixels: end - start });
            start = end;
        }
    }
    spans
}

/// Walks the units of a span: which image, which unit in it.
pub(crate) fn units(
    span: Span,
    groups: usize,
    per_image: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let mut image = span.group + span.start / per_image * groups;
    let mut unit = span.start % per_image;
    (span.start..span.end).map(move |_| {
        let here = (image, unit);
        unit += 1;
        if unit == per_image {
            (image, unit) = (image + groups, 0);
        }
        here
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_visit_every_unit_once_in_its_group() {
        for (n, groups, per_image, [most, least]) in [
            (7, 3, 5, [4, 2]),
            (4, 1, 1, [10, 10]),
            (8, 4, 9, [100, 1]),
            (2, 1, 196, [36, 12]),
            (1, 1, 1, [1, 1]),
        ] {
            let mut seen = vec![0; n * per_image];
            for span in spans(n, groups, per_image, [most, least]) {
                assert!(span.end - span.start <= most);
                for (image, unit) in units(span, groups, per_image) {
                    assert_eq!(image % groups, span.group);
                    seen[image * per_image + unit] += 1;
                }
            }
            assert!(seen.iter().all(|&count| count == 1));
        }
    }

    #[test]
    fn the_last_spans_are_short() {
        let lens = |most, least| -> Vec<usize> {
            spans(2, 1, 196, [most, least]).iter().map(|span| span.end - span.start).collect()
        };
        assert_eq!(lens(36, 12), [36, 36, 36, 36, 36, 36, 36, 36, 36, 24, 12, 12, 12, 8]);
        assert_eq!(lens(100, 100), [100, 100, 100, 92]);
    }

    #[test]
    fn output_sides_follow_torch() {
        let shape = ConvShape { n: 2, h: 224, w: 7, cin: 3, cout: 8, k: 7, stride: 2, pad: 3 };
        assert_eq!((shape.out_h(), shape.out_w()), (112, 4));
        assert_eq!(ConvShape { h: 1, w: 1, pad: 0, ..shape }.out_len(), 0);
    }
}
