//! Names and sizes of millions of images, at the cost of their characters and 16 bytes each.

use serde::{Deserialize, Serialize};

/// Images per block. A block's text grows by itself, so that no growth ever copies all names.
const BLOCK: usize = 1 << 16;

/// An append-only list of (name, size of the file).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    blocks: Vec<Block>,
}

/// Up to [`BLOCK`] entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Block {
    /// The names, one after another.
    pub text: String,
    /// Where each name ends in the text.
    pub ends: Vec<usize>,
    /// Size of each file.
    pub sizes: Vec<u64>,
}

impl Entries {
    /// Takes over blocks; each but the last must be full, and each name must lie on character
    /// boundaries of its text. `None` if that is not so.
    pub(super) fn from_blocks(blocks: Vec<Block>) -> Option<Entries> {
        let full = |(i, block): (usize, &Block)| {
            let count = block.ends.len();
            let size_fits = if i + 1 < blocks.len() { count == BLOCK } else { count <= BLOCK };
            size_fits && block.sizes.len() == count && block.is_whole()
        };
        blocks.iter().enumerate().all(full).then_some(Entries { blocks })
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(super) fn push(&mut self, name: &str, bytes: u64) {
        self.push_parts(&[name], bytes);
    }

    /// Adds the entry whose name is all `parts` in a row.
    pub(super) fn push_parts(&mut self, parts: &[&str], bytes: u64) {
        if self.blocks.last().is_none_or(|block| block.ends.len() == BLOCK) {
            if let Some(full) = self.blocks.last_mut() {
                full.text.shrink_to_fit();
            }
            self.blocks.push(Block::default());
        }
        let Some(block) = self.blocks.last_mut() else { return };
        for part in parts {
            block.text.push_str(part);
        }
        block.ends.push(block.text.len());
        block.sizes.push(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * BLOCK + last.ends.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn name(&self, i: usize) -> &str {
        let (block, at) = (&self.blocks[i / BLOCK], i % BLOCK);
        let start = if at == 0 { 0 } else { block.ends[at - 1] };
        &block.text[start..block.ends[at]]
    }

    pub(super) fn bytes(&self, i: usize) -> u64 {
        self.blocks[i / BLOCK].sizes[i % BLOCK]
    }

    /// All entries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        (0..self.len()).map(|i| (self.name(i), self.bytes(i)))
    }

    /// Bytes of memory in use.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let block = |block: &Block| {
            block.text.capacity() + 8 * block.ends.capacity() + 8 * block.sizes.capacity()
        };
        self.blocks.iter().map(block).sum()
    }
}

impl Block {
    fn is_whole(&self) -> bool {
        let mut start = 0;
        let on_boundary = |&end: &usize| {
            let ok = end >= start && self.text.is_char_boundary(end);
            start = end;
            ok
        };
        self.ends.iter().all(on_boundary) && self.ends.last() == Some(&self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_across_blocks() {
        let mut entries = Entries::default();
        assert!(entries.is_empty());
        let count = 2 * BLOCK + 3;
        for i in 0..count {
            entries.push_parts(&["é/", &i.to_string()], i as u64);
        }
        assert_eq!(entries.len(), count);
        for i in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK, count - 1] {
            assert_eq!((entries.name(i), entries.bytes(i)), (&*format!("é/{i}"), i as u64));
        }
        assert_eq!(entries.iter().count(), count);
    }

    /// Ten million paths must stay under 1 GB. A path of ImageNet-21k is 30 characters long, one
    /// of a photo archive about 60; measured here on full blocks of them.
    #[test]
    fn ten_million_paths_stay_under_a_gigabyte() {
        let mut entries = Entries::default();
        for i in 0..2 * BLOCK as u64 {
            let folder = format!("photos/2023/{:02}/camera-{:03}/", i % 12, i % 300);
            entries.push_parts(&[&folder, &format!("IMG_{i:08}-edited-and-shared.jpeg")], i);
        }
        let per_path = entries.memory() as f64 / entries.len() as f64;
        assert!(entries.name(5).len() >= 60);
        assert!(per_path * 1e7 < 0.95e9, "{per_path} bytes per path");
    }

    #[test]
    fn blocks_that_do_not_add_up_are_refused() {
        let block = |text: &str, ends: &[usize], sizes: &[u64]| Block {
            text: text.into(),
            ends: ends.into(),
            sizes: sizes.into(),
        };
        assert!(Entries::from_blocks(vec![block("ab", &[1, 2], &[0, 0])]).is_some());
        assert!(Entries::from_blocks(vec![block("ab", &[2, 1], &[0, 0])]).is_none());
        assert!(Entries::from_blocks(vec![block("ab", &[1], &[0])]).is_none());
        assert!(Entries::from_blocks(vec![block("é", &[1, 2], &[0, 0])]).is_none());
        assert!(Entries::from_blocks(vec![block("ab", &[1, 2], &[0])]).is_none());
        let half = || block("a", &[1], &[0]);
        assert!(Entries::from_blocks(vec![half(), half()]).is_none());
    }
}
