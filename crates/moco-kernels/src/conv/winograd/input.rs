//! Input tiles to `V`, and output-gradient tiles to `dM`.

use super::transform::{OneWay, both_ways};
use super::{Scheme, Tile, phases, transform};
use crate::conv::source::{self, Activation, ImageActivation};
use crate::simd::{Kernel, Simd, load_n};
use crate::threads::{LINE, odd_lines};

/// How a block of transformed tiles lies in memory: `[count][tile][channel]`, a row per tile.
///
/// Each slab is followed by a cache line of padding: with power-of-two shapes all stores of a tile
/// would otherwise fall into one cache set.
#[derive(Clone, Copy)]
pub(super) struct Slabs {
    pub count: usize,
    pub pitch: usize,
    pub slab: usize,
}

impl Slabs {
    pub(super) fn new(count: usize, tiles: usize, channels: usize) -> Slabs {
        // Rows of at most two lines stay dense; longer ones are kept off powers of two.
        let pitch = channels.next_multiple_of(LINE);
        let pitch = if pitch <= 2 * LINE { pitch } else { odd_lines(pitch) };
        Slabs { count, pitch, slab: tiles * pitch + LINE }
    }

    /// Floats of all slabs.
    pub(super) fn len(&self) -> usize {
        self.count * self.slab
    }
}

/// NHWC maps that tiles are read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub data: &'a [f32],
    pub h: usize,
    pub w: usize,
    pub channels: usize,
    /// Done to the pixels as they are read.
    pub activation: Option<Activation<'a>>,
}

impl<'a> Source<'a> {
    /// Maps of these rows, columns and channels.
    pub(super) fn new(input: source::Input<'a>, [h, w, channels]: [usize; 3]) -> Source<'a> {
        let source::Input { data, activation } = input;
        Source { data, h, w, channels, activation }
    }
}

/// `V = Bᵀ d B` of the tiles, whose inputs begin at `(step y - pad, step x - pad)`.
///
/// `zeros` holds at least `channels` zeros: what overhanging tiles read.
#[inline(always)]
pub(super) fn input_tiles<S: Simd>(
    s: S,
    scheme: Scheme,
    source: Source,
    pad: usize,
    tiles: impl Iterator<Item = Tile>,
    zeros: &[f32],
    out: &mut [f32],
    slabs: Slabs,
) {
    let place = [scheme.step(), pad];
    match scheme {
        Scheme::Stride1 => {
            s.enter(Transform { by: transform::Input, source, place, tiles, zeros, out, slabs });
        }
        Scheme::Stride2 => {
            s.enter(Transform { by: phases::Input, source, place, tiles, zeros, out, slabs });
        }
    }
}

/// `dM = A dy Aᵀ` of the tiles of the output's gradient.
#[inline(always)]
pub(super) fn gradient_tiles<S: Simd>(
    s: S,
    scheme: Scheme,
    source: Source,
    tiles: impl Iterator<Item = Tile>,
    zeros: &[f32],
    out: &mut [f32],
    slabs: Slabs,
) {
    let place = [4, 0];
    match scheme {
        Scheme::Stride1 => {
            let by = transform::OutputTransposed;
            s.enter(Transform { by, source, place, tiles, zeros, out, slabs });
        }
        Scheme::Stride2 => {
            let by = phases::OutputTransposed;
            s.enter(Transform { by, source, place, tiles, zeros, out, slabs });
        }
    }
}

/// Reads `N x N` tiles from `(step y - pad, step x - pad)` on, transforms them and writes them to the
/// slabs.
struct Transform<'a, T, I, const N: usize, const M: usize> {
    by: T,
    source: Source<'a>,
    /// `[step, pad]`
    place: [usize; 2],
    tiles: I,
    zeros: &'a [f32],
    out: &'a mut [f32],
    slabs: Slabs,
}

impl<T, I, const N: usize, const M: usize> Kernel for Transform<'_, T, I, N, M>
where
    T: OneWay<N, M> + Copy,
    I: Iterator<Item = Tile>,
{
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Transform { by, source, place: [step, pad], tiles, zeros, out, slabs } = self;
        let channels = source.channels;
        assert!(zeros.len() >= channels && out.len() >= slabs.len() && slabs.count == M * M);
        assert!(channels.next_multiple_of(S::LANES) <= slabs.pitch);
        let mut tiles = tiles.map(|tile| {
            let corner = [tile.y, tile.x].map(|i| (step * i) as isize - pad as isize);
            (tile.image, pixel_pointers::<N>(source, tile.image, corner, zeros))
        });
        let mut upcoming = tiles.next();
        let mut row = 0;
        while let Some((image, pixels)) = upcoming {
            assert!((row + 1) * slabs.pitch <= slabs.slab);
            upcoming = tiles.next();
            let next = upcoming.map_or(pixels, |(_, next)| next);
            let activation = source.activation.map(|activation| activation.of_image(image));
            for first in (0..channels).step_by(S::LANES) {
                let lanes = S::LANES.min(channels - first);
                let mut values = [[s.splat(0.0); N]; N];
                for y in 0..N {
                    for x in 0..N {
                        // SAFETY: every pointer has `channels` floats behind it.
                        values[y][x] = unsafe { load_n(s, pixels[y][x].add(first), lanes) };
                        // The hardware does not foresee so many short runs: without this, a third of a
                        // 64-channel layer's time is spent waiting here.
                        s.prefetch(next[y][x].wrapping_add(first));
                    }
                }
                if let Some(activation) = activation {
                    let affine = activation.load(s, first, lanes);
                    activate(s, affine, &pixels, zeros.as_ptr(), &mut values);
                }
                let values = both_ways(s, by, values);
                for y in 0..M {
                    for x in 0..M {
                        let at = (y * M + x) * slabs.slab + row * slabs.pitch + first;
                        // SAFETY: a whole vector fits the row, the row fits the slab, `out` holds all
                        // slabs.
                        unsafe { s.store(out.as_mut_ptr().add(at), values[y][x]) };
                    }
                }
            }
            row += 1;
        }
    }
}

/// Applies the activation to the pixels of a tile, but not to the zeros around the map.
#[inline(always)]
fn activate<S: Simd, const N: usize>(
    s: S,
    affine: [S::V; 2],
    pixels: &[[*const f32; N]; N],
    zeros: *const f32,
    values: &mut [[S::V; N]; N],
) {
    for y in 0..N {
        for x in 0..N {
            values[y][x] = ImageActivation::apply(s, values[y][x], affine);
        }
    }
    // A tile that overhangs the map has one of its corners there.
    let corners = [pixels[0][0], pixels[0][N - 1], pixels[N - 1][0], pixels[N - 1][N - 1]];
    if corners.contains(&zeros) {
        for y in 0..N {
            for x in 0..N {
                if pixels[y][x] == zeros {
                    values[y][x] = s.splat(0.0);
                }
            }
        }
    }
}

/// Where each pixel's channels begin: in the map, or in `zeros` beyond its edges.
///
/// Without branches, because narrow layers spend as much time here as on the transform.
#[inline(always)]
fn pixel_pointers<const N: usize>(
    source: Source,
    image: usize,
    [top, left]: [isize; 2],
    zeros: &[f32],
) -> [[*const f32; N]; N] {
    let Source { data, h, w, channels, .. } = source;
    let map = data[image * h * w * channels..][..h * w * channels].as_ptr();
    let mut pointers = [[zeros.as_ptr(); N]; N];
    let mut rows = [0; N];
    let mut cols = [0; N];
    for i in 0..N {
        rows[i] = top.wrapping_add_unsigned(i).cast_unsigned();
        cols[i] = left.wrapping_add_unsigned(i).cast_unsigned();
    }
    for y in 0..N {
        for x in 0..N {
            // A negative position is a huge one once unsigned.
            let inside = (rows[y] < h) & (cols[x] < w);
            let offset = rows[y].wrapping_mul(w).wrapping_add(cols[x]).wrapping_mul(channels);
            if inside {
                pointers[y][x] = map.wrapping_add(offset);
            }
        }
    }
    pointers
}
