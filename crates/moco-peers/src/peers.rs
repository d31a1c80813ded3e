//! The handle that everything which needs the other ranks holds.

use crate::{Comm, Solo};
use std::ops::Deref;

/// The ranks of this run, as one of them sees them: a handle that is copied freely.
///
/// Sample j of rank r is sample `j R + r` of the global batch, so rows go to and fro by stride.
#[derive(Clone, Copy, Debug)]
pub struct Peers(&'static dyn Comm);

impl Peers {
    /// A run of one rank.
    pub const SOLO: Peers = Peers(&Solo);

    /// A handle to `comm`, which lives as long as the process.
    pub fn new(comm: impl Comm + 'static) -> Self {
        Self(Box::leak(Box::new(comm)))
    }

    /// Whether this is the only rank.
    pub fn alone(self) -> bool {
        self.size() == 1
    }

    /// Whether this rank writes files and prints.
    pub fn speaks(self) -> bool {
        self.rank() == 0
    }

    /// The global number of the local sample `j`.
    pub fn global(self, j: usize) -> usize {
        j * self.size() + self.rank()
    }

    /// The numbers in `0..count` that are this rank's: rank, rank + R, and so on.
    pub fn share(self, count: usize) -> impl Iterator<Item = usize> + Clone {
        (self.rank()..count).step_by(self.size())
    }

    /// Everybody's bytes, which may differ in length.
    pub fn gather_each(self, x: &[u8], what: &'static str) -> Vec<Vec<u8>> {
        let lengths = self.gather(&(x.len() as u64).to_ne_bytes(), what);
        let lengths: Vec<u64> = bytemuck::allocation::pod_collect_to_vec(&lengths);
        let longest = lengths.iter().max().map_or(0, |n| *n as usize);
        if longest == 0 {
            return vec![Vec::new(); lengths.len()];
        }
        let mut padded = x.to_vec();
        padded.resize(longest, 0);
        let all = self.gather(&padded, what);
        let blocks = all.chunks_exact(longest).zip(&lengths);
        blocks.map(|(block, length)| block[..*length as usize].to_vec()).collect()
    }

    /// Numbers of all ranks by stride: that of global number `i` is number `i / R` of rank `i mod R`,
    /// in rows of `width`. All ranks bring as many.
    pub fn gather_rows<T: bytemuck::Pod>(
        self,
        x: &[T],
        width: usize,
        what: &'static str,
    ) -> Vec<T> {
        if self.alone() {
            return x.to_vec();
        }
        let all: Vec<T> =
            bytemuck::allocation::pod_collect_to_vec(&self.gather(bytemuck::cast_slice(x), what));
        let mut rows = Vec::with_capacity(all.len());
        for j in 0..x.len().checked_div(width).unwrap_or(0) {
            for block in all.chunks_exact(x.len()) {
                rows.extend_from_slice(&block[j * width..][..width]);
            }
        }
        rows
    }

    /// The sum over the ranks of `x`, rows of all ranks by stride as [`Peers::gather_rows`] has them,
    /// and of it the own rows: the gradient of that gather.
    pub fn scatter_sum(self, x: &[f32], width: usize, what: &'static str) -> Vec<f32> {
        if self.alone() {
            return x.to_vec();
        }
        // From stride to blocks, one for each rank.
        let size = self.size();
        let mut blocks = Vec::with_capacity(x.len());
        for rank in 0..size {
            let rows = x.chunks_exact(width.max(1)).skip(rank).step_by(size);
            rows.for_each(|row| blocks.extend_from_slice(row));
        }
        self.reduce_scatter(&blocks, what)
    }

    /// Whether `yes` holds on any rank.
    pub fn any(self, yes: bool, what: &'static str) -> bool {
        let mut flag = [f64::from(u8::from(yes))];
        self.max_f64(&mut flag, what);
        flag[0] > 0.0
    }
}

impl Default for Peers {
    fn default() -> Self {
        Self::SOLO
    }
}

impl Deref for Peers {
    type Target = dyn Comm;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}
