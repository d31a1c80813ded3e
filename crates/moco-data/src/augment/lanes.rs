//! Pixels in blocks, channel by channel, in the widest vectors that the processor has.
//!
//! Interleaved RGB resists vector instructions: neighbouring bytes belong to three channels. A
//! block of pixels is taken apart, worked on in plain loops that the compiler turns into vector
//! code, and put together again. [`vectorized`] compiles such code once for each instruction set;
//! everything that it calls, closures too, must be `#[inline(always)]`, or it stays in the
//! baseline's instructions. What is computed does not depend on the instruction set.

use std::sync::LazyLock;

/// Pixels of a block.
pub(super) const BLOCK: usize = 64;

/// Red, green and blue of the pixels of a block.
pub(super) type Block = [[u8; BLOCK]; 3];

/// Runs `f` in the best instruction set of this processor.
pub(super) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);
    ARCH.dispatch(f)
}

/// Calls `f` with all pixels in turn, as a block and the number of its pixels that count, and
/// writes the block back.
#[inline(always)]
pub(super) fn change_blocks(pixels: &mut [u8], mut f: impl FnMut(&mut Block, usize)) {
    let (chunks, rest) = pixels.as_chunks_mut::<{ 3 * BLOCK }>();
    for chunk in chunks {
        let mut block = split(chunk);
        f(&mut block, BLOCK);
        join(&block, chunk);
    }
    if !rest.is_empty() {
        let mut chunk = [0; 3 * BLOCK];
        chunk[..rest.len()].copy_from_slice(rest);
        let mut block = split(&chunk);
        f(&mut block, rest.len() / 3);
        join(&block, &mut chunk);
        rest.copy_from_slice(&chunk[..rest.len()]);
    }
}

/// As [`change_blocks`], without writing back.
#[inline(always)]
pub(super) fn read_blocks(pixels: &[u8], mut f: impl FnMut(&Block, usize)) {
    let (chunks, rest) = pixels.as_chunks::<{ 3 * BLOCK }>();
    for chunk in chunks {
        f(&split(chunk), BLOCK);
    }
    if !rest.is_empty() {
        let mut chunk = [0; 3 * BLOCK];
        chunk[..rest.len()].copy_from_slice(rest);
        f(&split(&chunk), rest.len() / 3);
    }
}

/// Added to a small number in single precision, leaves its whole part in the low bits, rounded.
const SHIFT: f32 = 8_388_608.0;

/// The level of a value, clipped and rounded down.
#[inline(always)]
pub(super) fn level(value: f32) -> u8 {
    let value = if value > 0.0 { value } else { 0.0 };
    whole(if value < 255.0 { value } else { 255.0 })
}

/// A value in 0..256, rounded down.
///
/// In steps that exist as vector instructions; the language's own conversion of floats to integers
/// would be done one by one.
#[inline(always)]
pub(super) fn whole(value: f32) -> u8 {
    (value.floor() + SHIFT).to_bits() as u8
}

/// 255 times a share in 0..=1, rounded down as if the product were exact.
///
/// What was rounded up is found by a comparison with 256 times the share, which is exact.
#[inline(always)]
pub(super) fn level_of_share(share: f32) -> u8 {
    let rounded = share * 255.0 + SHIFT;
    let above = u32::from(share * 256.0 - (rounded - SHIFT) < share);
    (rounded.to_bits() - above) as u8
}

#[inline(always)]
fn split(chunk: &[u8; 3 * BLOCK]) -> Block {
    let mut block = [[0; BLOCK]; 3];
    for i in 0..BLOCK {
        block[0][i] = chunk[3 * i];
        block[1][i] = chunk[3 * i + 1];
        block[2][i] = chunk[3 * i + 2];
    }
    block
}

#[inline(always)]
fn join(block: &Block, chunk: &mut [u8; 3 * BLOCK]) {
    for i in 0..BLOCK {
        chunk[3 * i] = block[0][i];
        chunk[3 * i + 1] = block[1][i];
        chunk[3 * i + 2] = block[2][i];
    }
}
