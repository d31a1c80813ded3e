//! The process's allocator: large blocks side by side in one region, small ones from mimalloc.
//!
//! A training step asks for the same large maps again and again, and frees them in another order.
//! Allocators for many small blocks serve that badly: the system's hands large blocks back, and
//! every page that it takes anew is zeroed first; mimalloc, told to keep what is freed, held 3.44 GB
//! for the 2.74 GB that a ResNet-18 step at batch 512 had in use at once. Here freed neighbours
//! become one block, and the region grows only when no free block is large enough: 2.91 GB. Nothing
//! is returned to the system.

use memmap2::MmapOptions;
use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use talc::base::Talc;
use talc::base::binning::{Binning, DefaultBinning};
use talc::source::Source;

/// Blocks of at least so many bytes come from the region.
const LARGE: usize = 256 << 10;

/// Bytes of address space that are reserved; only pages that were written to take memory. On a
/// system that refuses so much, and where addresses have 32 bits, all blocks come from mimalloc.
const RESERVED: usize = (1u64 << 40) as usize;

/// The region grows by multiples of this many bytes, those of a huge page.
const STEP: usize = 2 << 20;

/// A global allocator for programs that train: `#[global_allocator] static A: Allocator = Allocator;`
#[derive(Clone, Copy, Debug)]
pub struct Allocator;

// SAFETY: each block goes back to the allocator that it came from, which is known by its address;
// both keep the contract of `GlobalAlloc`.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            // SAFETY: the size is not zero.
            if let Some(block) = unsafe { region().allocate(layout) } {
                return block.as_ptr();
            }
        }
        // SAFETY: the caller says that the layout's size is not zero, which is all that `alloc` asks.
        known_if_none(unsafe { MiMalloc.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if in_region(block) {
            // SAFETY: the block's address lies in the region, hence it was allocated there; the caller says that it
            // has this layout and is used no more.
            unsafe { region().deallocate(block, layout) }
        } else {
            // SAFETY: the block's address lies outside the region, hence it is MiMalloc's; the caller says that it
            // has this layout and is used no more.
            unsafe { MiMalloc.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let large = in_region(block);
        if !large && size < LARGE {
            // SAFETY: the block's address lies outside the region, hence it is MiMalloc's; the caller says that it
            // has this layout and that the new size is not zero.
            return known_if_none(unsafe { MiMalloc.realloc(block, layout, size) }, size);
        }
        // SAFETY: `large` says that the block lies in the region; the caller says that it has this layout.
        if large && unsafe { region().try_realloc_in_place(block, layout, size) } {
            return block;
        }
        // SAFETY: the caller promises that the size suits the alignment; the blocks are different
        // ones, each of at least the bytes copied.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

static EXHAUSTED: OnceLock<fn(usize)> = OnceLock::new();

/// Has `tell` called with the number of bytes when the system gives no memory; `tell` must not ask
/// for any. Unless who asked takes no for an answer, the program is aborted afterwards.
pub fn on_exhaustion(tell: fn(usize)) {
    // The first one stays.
    let _ = EXHAUSTED.set(tell);
}

#[inline]
fn known_if_none(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        exhausted(size);
    }
    block
}

#[cold]
fn exhausted(size: usize) {
    if let Some(tell) = EXHAUSTED.get() {
        tell(size);
    }
}

/// Where the region begins; 0 before it is reserved.
static START: AtomicUsize = AtomicUsize::new(0);

static REGION: Mutex<Talc<Region, DefaultBinning>> = Mutex::new(Talc::new(Region::Unused));

fn region() -> MutexGuard<'static, Talc<Region, DefaultBinning>> {
    REGION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a block lies in the region. Whoever has such a block has seen `START` set.
fn in_region(block: *mut u8) -> bool {
    let start = START.load(Ordering::Relaxed);
    start != 0 && block.addr().wrapping_sub(start) < RESERVED
}

/// Where talc, which manages the blocks, gets more memory from.
#[derive(Debug)]
enum Region {
    Unused,
    /// In use up to this end.
    Used(NonNull<u8>),
    /// The system did not grant it.
    Refused,
}

// SAFETY: the pointer is only ever used by who holds the lock around it.
unsafe impl Send for Region {}

// SAFETY: nothing here allocates: the system is asked for memory directly.
unsafe impl Source for Region {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        match talc.source {
            Region::Unused => begin(talc),
            Region::Used(end) => grow(talc, end, layout),
            Region::Refused => Err(()),
        }
    }
}

fn begin<B: Binning>(talc: &mut Talc<Region, B>) -> Result<(), ()> {
    talc.source = Region::Refused;
    let region = MmapOptions::new().len(RESERVED).no_reserve_swap().map_anon();
    let mut region = region.map_err(|_| ())?;
    // Only a hint: without huge pages the same memory is slower.
    #[cfg(target_os = "linux")]
    let _ = region.advise(memmap2::Advice::HugePage);
    let start = region.as_mut_ptr();
    std::mem::forget(region);
    // SAFETY: the map's first bytes, which nobody else knows of and which are never unmapped.
    let end = unsafe { talc.claim(start, STEP) }.ok_or(())?;
    START.store(start.addr(), Ordering::Relaxed);
    talc.source = Region::Used(end);
    Ok(())
}

/// Makes the free block at the end large enough.
fn grow<B: Binning>(
    talc: &mut Talc<Region, B>,
    end: NonNull<u8>,
    layout: Layout,
) -> Result<(), ()> {
    // SAFETY: the end is that of the only heap.
    let free = unsafe { talc.reserved(end) }.up_to.addr().get();
    let start = START.load(Ordering::Relaxed);
    // More than talc writes beside a block.
    let bookkeeping = 4096;
    let wanted = layout.size().checked_add(layout.align() + bookkeeping).ok_or(())?;
    let size = (free - start).saturating_add(wanted).next_multiple_of(STEP);
    if size > RESERVED {
        return Err(());
    }
    // SAFETY: within the map, of which nobody else uses what lies behind the end.
    let new = unsafe {
        let new = end.as_ptr().with_addr(start + size);
        talc.extend(end, new)
    };
    talc.source = Region::Used(new);
    if new > end { Ok(()) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    /// Tests that see the region's end run one by one.
    static ALONE: Mutex<()> = Mutex::new(());

    fn end_of_region() -> usize {
        match region().source {
            Region::Used(end) => end.addr().get(),
            _ => panic!("the region is in use"),
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 64).unwrap()
    }

    #[test]
    fn freed_neighbours_serve_one_large_block() {
        let _alone = ALONE.lock();
        let sizes = [LARGE, 3 * LARGE + 5, 2 * LARGE];
        // SAFETY: each block is freed once, with its layout.
        unsafe {
            let blocks = sizes.map(|size| Allocator.alloc(layout(size)));
            assert!(blocks.iter().all(|&block| in_region(block)));
            let end = end_of_region();
            for i in [1, 0, 2] {
                Allocator.dealloc(blocks[i], layout(sizes[i]));
            }
            let all = Allocator.alloc(layout(6 * LARGE + 5));
            assert!(in_region(all));
            assert_eq!(end_of_region(), end, "the region did not grow");
            Allocator.dealloc(all, layout(6 * LARGE + 5));
        }
    }

    #[test]
    fn a_block_larger_than_the_region_is_refused_by_it() {
        let _alone = ALONE.lock();
        // SAFETY: the size is not zero.
        assert!(unsafe { region().allocate(layout(2 * RESERVED)) }.is_none());
    }

    #[test]
    fn blocks_keep_their_contents() {
        let _alone = ALONE.lock();
        let mut random = Rng::new(7);
        let mut blocks: Vec<(*mut u8, usize, u8)> = Vec::new();
        let size = |random: &mut Rng| random.below(4 * LARGE) + 1;
        // SAFETY: each block is of the length that is kept beside it, and freed once.
        unsafe {
            for tag in 0..600 {
                let tag = tag as u8;
                if blocks.len() > 20 {
                    let (block, len, tag) = blocks.swap_remove(random.below(blocks.len()));
                    assert!(std::slice::from_raw_parts(block, len).iter().all(|&b| b == tag));
                    Allocator.dealloc(block, layout(len));
                }
                let len = size(&mut random);
                let block = Allocator.alloc(layout(len));
                assert!(block.addr().is_multiple_of(64) && in_region(block) == (len >= LARGE));
                block.write_bytes(tag, len);
                let other = size(&mut random);
                let moved = Allocator.realloc(block, layout(len), other);
                let kept = std::slice::from_raw_parts(moved, other.min(len));
                assert!(kept.iter().all(|&b| b == tag), "{len} to {other} bytes");
                moved.write_bytes(tag, other);
                blocks.push((moved, other, tag));
            }
            for (block, len, _) in blocks {
                Allocator.dealloc(block, layout(len));
            }
        }
    }
}
