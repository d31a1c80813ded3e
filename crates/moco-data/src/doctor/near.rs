//! Groups of hashes that differ in few bits.
//!
//! A hash is cut into three bands. Two hashes that differ in at most five bits have a band in which
//! they differ in at most one (Norouzi, Punjani and Fleet 2012, "Fast Search in Hamming Space with
//! Multi-Index Hashing", Sec. 3); so it suffices to look up each band, and each with one bit turned,
//! in a table: 67 look-ups per hash, whatever their number.

/// Largest distance that is found.
pub(super) const MAX_DISTANCE: u32 = 5;

/// First bit and number of bits of each band.
const BANDS: [(u32, u32); 3] = [(0, 21), (21, 21), (42, 22)];

/// Groups of two or more positions whose hashes are linked by steps of at most `distance` bits,
/// at most [`MAX_DISTANCE`]; each sorted, and the groups by their first.
pub(super) fn groups(hashes: &[u64], distance: u32) -> Vec<Vec<usize>> {
    let distance = distance.min(MAX_DISTANCE);
    // Equal hashes are one, so that a thousand copies are not a million pairs.
    let mut order: Vec<usize> = (0..hashes.len()).collect();
    order.sort_by_key(|&i| (hashes[i], i));
    let mut distinct: Vec<u64> = order.iter().map(|&i| hashes[i]).collect();
    distinct.dedup();

    let mut sets = Sets((0..distinct.len()).collect());
    for (shift, bits) in BANDS {
        let band = Band::new(&distinct, shift, bits);
        for (i, &hash) in distinct.iter().enumerate() {
            let key = band.key(hash);
            let turned = (0..bits).map(|bit| key ^ (1 << bit));
            for j in std::iter::once(key).chain(turned).flat_map(|key| band.at(key)) {
                let j = *j as usize;
                if j > i && (hash ^ distinct[j]).count_ones() <= distance {
                    sets.join(i, j);
                }
            }
        }
    }

    let mut members: Vec<Vec<usize>> = vec![Vec::new(); distinct.len()];
    let mut position = 0;
    for i in order {
        if distinct[position] != hashes[i] {
            position += 1;
        }
        members[sets.root(position)].push(i);
    }
    members.retain(|group| group.len() > 1);
    for group in &mut members {
        group.sort_unstable();
    }
    members.sort();
    members
}

/// The hashes by the value of some of their bits.
struct Band {
    shift: u32,
    mask: usize,
    /// Where the hashes of each value begin in `items`.
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Band {
    fn new(hashes: &[u64], shift: u32, bits: u32) -> Band {
        let mask = (1 << bits) - 1;
        let mut band =
            Band { shift, mask, starts: vec![0; mask + 2], items: vec![0; hashes.len()] };
        for &hash in hashes {
            let key = band.key(hash);
            band.starts[key + 1] += 1;
        }
        for key in 0..=mask {
            band.starts[key + 1] += band.starts[key];
        }
        let mut next = band.starts.clone();
        for (i, &hash) in hashes.iter().enumerate() {
            let slot = &mut next[band.key(hash)];
            band.items[*slot as usize] = i as u32;
            *slot += 1;
        }
        band
    }

    fn key(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize & self.mask
    }

    fn at(&self, key: usize) -> &[u32] {
        &self.items[self.starts[key] as usize..self.starts[key + 1] as usize]
    }
}

/// Disjoint sets: the parent of each element, itself if it is the root.
struct Sets(Vec<usize>);

impl Sets {
    fn root(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Every pair compared.
    fn oracle(hashes: &[u64], distance: u32) -> Vec<Vec<usize>> {
        let mut sets = Sets((0..hashes.len()).collect());
        for i in 0..hashes.len() {
            for j in 0..i {
                if (hashes[i] ^ hashes[j]).count_ones() <= distance {
                    sets.join(i, j);
                }
            }
        }
        let mut groups = vec![Vec::new(); hashes.len()];
        for i in 0..hashes.len() {
            let root = sets.root(i);
            groups[root].push(i);
        }
        groups.retain(|group| group.len() > 1);
        groups
    }

    #[test]
    fn groups_are_those_of_all_pairs() {
        let mut random = Random::from_words([3, 0, 0, 0]);
        let mut hashes: Vec<u64> = Vec::new();
        for i in 0..600 {
            let fresh = (random.below(1 << 32) as u64) << 32 | random.below(1 << 32) as u64;
            // A third of them are others with up to eight bits turned.
            let hash = if i % 3 == 2 { hashes[random.below(hashes.len())] } else { fresh };
            let turns = if i % 3 == 2 { random.below(9) } else { 0 };
            hashes.push((0..turns).fold(hash, |hash, _| hash ^ 1 << random.below(64)));
        }
        for distance in 0..=MAX_DISTANCE {
            let found = groups(&hashes, distance);
            assert_eq!(found, oracle(&hashes, distance), "{distance}");
            assert!(!found.is_empty());
        }
    }

    #[test]
    fn nothing_is_no_group() {
        assert!(groups(&[], 4).is_empty());
        assert!(groups(&[7], 4).is_empty());
        assert_eq!(groups(&[7, 0, 7], 0), [[0, 2]]);
    }
}
