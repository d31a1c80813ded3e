//! Jobs over as many threads as the current rayon pool has, and the memory that outlives them.
//!
//! Jobs are handed out one by one through a counter: with static shares a core that the system
//! takes away for a moment holds up everybody. What a job computes must depend on its number alone,
//! never on the thread: then the result is the same for any number of threads.

use crate::team;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `body(0)..body(jobs - 1)` on as many threads as the current rayon pool has.
pub(crate) fn for_each(jobs: usize, body: impl Fn(usize) + Sync) {
    let threads = rayon::current_num_threads().min(jobs);
    if threads <= 1 {
        return (0..jobs).for_each(body);
    }
    let next = AtomicUsize::new(0);
    team::run(threads - 1, &|| {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs {
                break;
            }
            body(job);
        }
    });
}

/// Runs `body(i, chunk i)` for the chunks of `size` elements of `data` (the last may be shorter).
pub(crate) fn for_each_chunk<T: Send>(
    data: &mut [T],
    size: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    let len = data.len();
    let shared = Disjoint::new(data);
    for_each(len.div_ceil(size.max(1)), |i| {
        // SAFETY: chunk `i` is touched by job `i` alone.
        body(i, unsafe { shared.slice(i * size..len.min((i + 1) * size)) });
    });
}

/// A slice that jobs write at the same time, each its own part.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `slice` and `start`, whose callers promise that no two threads touch
// one element.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(data: &'a mut [T]) -> Self {
        Disjoint { start: data.as_mut_ptr(), len: data.len(), lifetime: PhantomData }
    }

    /// # Safety
    /// No other live slice overlaps `range`.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion, unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The first element, for kernels that write scattered rows. Writing through it is unsafe as
    /// for `slice`.
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }
}

/// A new vector whose elements `fill` writes, all of them, without a first pass of zeros.
///
/// # Safety
/// `fill` initialises every element.
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut out = Vec::with_capacity(len);
    fill(&mut out.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is there, and `fill` wrote all of it.
    unsafe { out.set_len(len) };
    out
}

/// Floats per cache line: buffers begin on a line, and lengths are rounded to lines where vectors
/// run over.
pub(crate) const LINE: usize = 16;

thread_local! {
    static ARENA: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// The calling thread's scratch, aligned to a cache line, with old contents; kept for the next use
/// when dropped.
///
/// Not a function that takes a closure: closures inside kernels are not compiled for the kernel's
/// instruction set unless each one is forced inline.
pub(crate) struct Scratch(Buffer);

impl Scratch {
    /// `len` floats. A second one taken while the first lives gets memory of its own.
    pub(crate) fn new(len: usize) -> Scratch {
        Scratch(Buffer::new(ARENA.take(), len))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        ARENA.set(std::mem::take(&mut self.0.memory));
    }
}
/// Buffers between uses. Never more than were in use at once.
static KEPT: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// A large buffer that several threads use, returned to the process-wide store when dropped. Old
/// contents.
#[derive(Debug)]
pub(crate) struct Kept {
    buffer: Buffer,
    /// Whether it stays out of the store.
    apart: bool,
}

impl Kept {
    /// `len` floats, aligned to a cache line: the smallest kept buffer that is large enough, else
    /// the largest, grown.
    pub(crate) fn new(len: usize) -> Kept {
        let mut kept = KEPT.lock().expect("no code panics while it holds this lock");
        let best = (0..kept.len()).min_by_key(|&i| {
            let size = kept[i].len();
            if size >= len + LINE { (0, size) } else { (1, usize::MAX - size) }
        });
        let memory = best.map(|i| kept.swap_remove(i)).unwrap_or_default();
        drop(kept);
        Kept { buffer: Buffer::new(memory, len), apart: false }
    }

    /// These floats in memory of their own, which is freed when dropped: for what outlives the call
    /// that made it.
    pub(crate) fn apart(self) -> Kept {
        let mut kept = Kept { buffer: Buffer::new(Vec::new(), self.len()), apart: true };
        kept.copy_from_slice(&self);
        kept
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.apart {
            return;
        }
        if let Ok(mut kept) = KEPT.lock() {
            kept.push(std::mem::take(&mut self.buffer.memory));
        }
    }
}

/// The aligned part of some memory.
#[derive(Debug)]
struct Buffer {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` floats within `memory`, which is replaced when it is too small.
    fn new(mut memory: Vec<f32>, len: usize) -> Buffer {
        if memory.len() < len + LINE {
            // Not `resize`: old contents need no copy into the larger block.
            memory = vec![0.0; len + LINE];
        }
        let start = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Buffer { memory, start, len }
    }
}

macro_rules! deref_to_buffer {
    ($name:ty, $buffer:tt) => {
        impl Deref for $name {
            type Target = [f32];
            #[inline]
            fn deref(&self) -> &[f32] {
                let Buffer { memory, start, len } = &self.$buffer;
                &memory[*start..][..*len]
            }
        }

        impl DerefMut for $name {
            #[inline]
            fn deref_mut(&mut self) -> &mut [f32] {
                let Buffer { memory, start, len } = &mut self.$buffer;
                &mut memory[*start..][..*len]
            }
        }
    };
}

deref_to_buffer!(Scratch, 0);
deref_to_buffer!(Kept, buffer);

/// Bytes that the kernels hold between calls in buffers shared by threads. It reaches a maximum
/// with the first training step and stays there; each thread's own scratch, a few MiB, comes on
/// top.
pub fn kept_bytes() -> usize {
    let kept = KEPT.lock().expect("no code panics while it holds this lock");
    kept.iter().map(|buffer| buffer.capacity() * size_of::<f32>()).sum()
}

/// Cuts the next `len` floats, rounded up to whole cache lines, off the front of `rest`.
pub(crate) fn cut<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (head, tail) = std::mem::take(rest).split_at_mut(len.next_multiple_of(LINE));
    *rest = tail;
    &mut head[..len]
}

/// A row stride of at least `len` floats that is an odd number of cache lines: rows then spread
/// over all cache sets, where a power of two would pile them onto a few.
pub(crate) fn odd_lines(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_once() {
        let mut counts = vec![0u32; 1000];
        let shared = Disjoint::new(&mut counts);
        // SAFETY: each job has its own element.
        for_each(1000, |i| unsafe { shared.slice(i..i + 1)[0] += 1 });
        assert!(counts.iter().all(|&count| count == 1));
    }

    #[test]
    fn chunks_cover_a_slice_with_a_short_last_one() {
        let mut data = vec![0usize; 23];
        for_each_chunk(&mut data, 5, |i, chunk| chunk.fill(10 * i + chunk.len()));
        assert_eq!(data[4..6], [5, 15]);
        assert_eq!(data[20..], [43; 3]);
        for_each_chunk(&mut data[..0], 5, |_, _| unreachable!("no chunks"));
    }

    #[test]
    fn scratch_is_aligned_and_reused() {
        let first = {
            let scratch = Scratch::new(100);
            assert!(scratch.as_ptr().addr().is_multiple_of(64) && scratch.len() == 100);
            scratch.as_ptr()
        };
        let again = Scratch::new(50);
        assert_eq!(again.as_ptr(), first);
        let nested = Scratch::new(50);
        assert_ne!(nested.as_ptr(), first);
    }

    #[test]
    fn row_strides_are_odd_numbers_of_lines() {
        assert_eq!([1, 16, 17, 32, 64].map(odd_lines), [16, 16, 48, 48, 80]);
    }
}
