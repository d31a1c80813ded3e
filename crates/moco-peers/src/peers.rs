//! The handle that everything which needs the other ranks holds.

use crate::{Comm, Solo};
use std::fmt::Display;
use std::ops::Deref;

/// Why something that all ranks do was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure<E> {
    /// This rank could not.
    Own(E),
    /// Another rank could not.
    Other {
        /// Its number.
        rank: usize,
        /// Its machine.
        host: String,
        /// What it says.
        reason: String,
    },
}

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

    /// Everybody's numbers, which may differ in length.
    pub fn gather_each<T: bytemuck::Pod>(self, x: &[T], what: &'static str) -> Vec<Vec<T>> {
        if self.alone() {
            return vec![x.to_vec()];
        }
        let lengths = self.gather(&(x.len() as u64).to_ne_bytes(), what);
        let lengths: Vec<u64> = bytemuck::allocation::pod_collect_to_vec(&lengths);
        let longest = lengths.iter().max().map_or(0, |n| *n as usize);
        if longest == 0 {
            return vec![Vec::new(); lengths.len()];
        }
        let mut padded = x.to_vec();
        padded.resize(longest, T::zeroed());
        let all = self.gather(bytemuck::cast_slice(&padded), what);
        let blocks = all.chunks_exact(longest * size_of::<T>()).zip(&lengths);
        let bytes = |length: u64| length as usize * size_of::<T>();
        let numbers = |(block, length): (&[u8], &u64)| {
            bytemuck::allocation::pod_collect_to_vec(&block[..bytes(*length)])
        };
        blocks.map(numbers).collect()
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

    /// What this rank has made of something that all do, unless it failed on one of them: then the
    /// error of the first that failed, which itself gets its own. All ranks go on, or none.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn together<T, E: Display>(
        self,
        own: Result<T, E>,
        what: &'static str,
    ) -> Result<T, Failure<E>> {
        if self.alone() {
            return own.map_err(Failure::Own);
        }
        let text = own.as_ref().err().map(|error| format!("!{error}")).unwrap_or_default();
        let all = self.gather_each(text.as_bytes(), what);
        match all.iter().position(|text| !text.is_empty()) {
            None => own.map_err(Failure::Own),
            Some(rank) if rank == self.rank() => own.map_err(Failure::Own),
            Some(rank) => {
                let reason = String::from_utf8_lossy(&all[rank][1..]).into_owned();
                Err(Failure::Other { rank, host: self.hosts()[rank].clone(), reason })
            }
        }
    }

    /// Bytes of rank 0 on all ranks; what the others bring is left aside.
    pub fn tell(self, x: Vec<u8>, what: &'static str) -> Vec<u8> {
        if self.alone() {
            return x;
        }
        let mut length = (x.len() as u64).to_ne_bytes();
        self.broadcast(&mut length, 0, what);
        let mut told = if self.speaks() { x } else { vec![0; u64::from_ne_bytes(length) as usize] };
        if !told.is_empty() {
            self.broadcast(&mut told, 0, what);
        }
        told
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
