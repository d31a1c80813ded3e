//! What this machine can do at best: the yardsticks of a benchmark.

use std::hint::black_box;
use std::time::Instant;

use crate::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads;

/// Multiply-adds per second (counted as two operations each) in GFLOP/s that all threads reach from
/// registers alone: no kernel can be faster. Takes about 50 ms.
pub fn fma_peak(isa: Isa) -> f64 {
    let threads = rayon::current_num_threads();
    const ROUNDS: usize = 2_000_000;
    let run = || {
        threads::for_each(threads, |_| {
            black_box(isa.run(Chains(ROUNDS)));
        });
    };
    run();
    let start = Instant::now();
    run();
    let flops = (threads * ROUNDS * CHAINS * isa.lanes() * 2) as f64;
    flops / start.elapsed().as_secs_f64() / 1e9
}

/// Bytes per second, in GB/s, that all threads copy between buffers larger than any cache (bytes
/// read plus bytes written). Takes about 200 ms and 256 MiB.
pub fn copy_bandwidth() -> f64 {
    const LEN: usize = 32 << 20;
    let from = vec![1.0f32; LEN];
    let mut to = vec![0.0f32; LEN];
    let mut copy = || {
        threads::for_each_chunk(&mut to, LEN / 64, |i, part| {
            part.copy_from_slice(&from[i * (LEN / 64)..][..part.len()]);
        });
        black_box(&mut to);
    };
    copy();
    let start = Instant::now();
    copy();
    (2 * LEN * size_of::<f32>()) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Independent accumulators: more than latency times throughput of any known core, fewer than 16
/// registers.
const CHAINS: usize = 12;

struct Chains(usize);

impl Kernel for Chains {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(black_box(0.0)); CHAINS];
        let (a, b) = (s.splat(black_box(0.5)), s.splat(black_box(1.0)));
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = s.fma(*sum, a, b);
            }
        }
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = s.add(total, *sum);
        }
        let mut out = [0.0f32; 16];
        // SAFETY: no vector has more than 16 lanes.
        unsafe { s.store(out.as_mut_ptr(), total) };
        out[0]
    }
}
