//! Listings of large folders, kept on disk: asking ten million files for their size takes minutes,
//! asking their folders whether they changed takes moments.
//!
//! A listing is used again if every folder was last changed when it was then, to the nanosecond.
//! A file that is replaced in place changes no folder; its size in the listing is then old, which
//! concerns the fingerprint alone. Listings with faults or odd names are never kept.

use super::entries::{Block, Entries};
use super::folder::Walk;
use super::listing::Fnv;
use super::whole_file::write_whole;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// First bytes of a kept listing; the number is the format's.
const MAGIC: &[u8; 16] = b"moco listing  2\n";

/// A folder changed so shortly before it was read may change again within the clock's tick.
const SETTLED: Duration = Duration::from_secs(2);

/// The file that holds the listing of `root`.
fn file_for(root: &Path, cache: &Path) -> Option<PathBuf> {
    let mut hash = Fnv::new();
    hash.feed(root.canonicalize().ok()?.to_str()?.as_bytes());
    Some(cache.join("listings").join(format!("{:016x}.bin", hash.0)))
}

/// The kept listing of `root`, and the kinds of what was passed over, if it still holds.
pub(super) fn load(root: &Path, cache: &Path) -> Option<(Entries, BTreeMap<String, usize>)> {
    let mut input = Input::open(&file_for(root, cache)?).ok()?;
    if input.bytes(MAGIC.len() as u64)? != MAGIC {
        return None;
    }
    let kinds = input.number()?;
    let passed_over = (0..kinds).map(|_| Some((input.text()?, input.number()? as usize)));
    let passed_over = passed_over.collect::<Option<_>>()?;
    for _ in 0..input.number()? {
        let (name, seconds, nanos) = (input.text()?, input.number()?, input.number()?);
        let then = UNIX_EPOCH + Duration::new(seconds, u32::try_from(nanos).ok()?);
        if fs::metadata(root.join(name)).ok()?.modified().ok()? != then {
            return None;
        }
    }
    let blocks = (0..input.number()?).map(|_| input.block()).collect::<Option<Vec<_>>>()?;
    let sum = input.sum.0;
    let entries = (input.number()? == sum).then(|| Entries::from_blocks(blocks))??;
    Some((entries, passed_over))
}

/// Keeps the outcome of a walk that began at `start`, unless a folder was being changed.
pub(super) fn save(root: &Path, cache: &Path, walk: &Walk, start: SystemTime) -> io::Result<()> {
    let Some(file) = file_for(root, cache) else { return Ok(()) };
    let settled = |(_, changed): &(String, SystemTime)| {
        start.duration_since(*changed).is_ok_and(|age| age > SETTLED)
    };
    if !walk.folders.iter().all(settled) {
        return Ok(());
    }
    write_whole(&file, |file| write(file, walk))
}

fn write(file: &mut BufWriter<File>, walk: &Walk) -> io::Result<()> {
    let mut output = Output { file, sum: Fnv::new() };
    output.bytes(MAGIC)?;
    let passed_over = &walk.listing.holdings.passed_over;
    output.number(passed_over.len() as u64)?;
    for (kind, count) in passed_over {
        output.text(kind)?;
        output.number(*count as u64)?;
    }
    output.number(walk.folders.len() as u64)?;
    for (name, changed) in &walk.folders {
        let since = changed.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        output.text(name)?;
        output.number(since.as_secs())?;
        output.number(since.subsec_nanos().into())?;
    }
    let blocks = walk.listing.entries.blocks();
    output.number(blocks.len() as u64)?;
    for block in blocks {
        output.block(block)?;
    }
    let sum = output.sum.0;
    output.file.write_all(&sum.to_le_bytes())
}

/// Numbers are 64 bits, little-endian; a text is its length and its bytes.
struct Output<'a> {
    file: &'a mut BufWriter<File>,
    sum: Fnv,
}

impl Output<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.feed(bytes);
        self.file.write_all(bytes)
    }

    fn number(&mut self, number: u64) -> io::Result<()> {
        self.bytes(&number.to_le_bytes())
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.number(text.len() as u64)?;
        self.bytes(text.as_bytes())
    }

    fn block(&mut self, block: &Block) -> io::Result<()> {
        self.text(&block.text)?;
        self.number(block.ends.len() as u64)?;
        for (&end, &size) in block.ends.iter().zip(&block.sizes) {
            self.number(end as u64)?;
            self.number(size)?;
        }
        Ok(())
    }
}

/// Read piece by piece: a listing takes no more memory than itself.
struct Input {
    file: BufReader<File>,
    /// Bytes not yet read, which no length can exceed.
    left: u64,
    sum: Fnv,
}

impl Input {
    fn open(path: &Path) -> io::Result<Input> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        Ok(Input { file: BufReader::new(file), left, sum: Fnv::new() })
    }

    fn bytes(&mut self, count: u64) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(count)?;
        let mut bytes = vec![0; count as usize];
        self.file.read_exact(&mut bytes).ok()?;
        self.sum.feed(&bytes);
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(8)?;
        let mut bytes = [0; 8];
        self.file.read_exact(&mut bytes).ok()?;
        self.sum.feed(&bytes);
        Some(u64::from_le_bytes(bytes))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?;
        String::from_utf8(self.bytes(length)?).ok()
    }

    fn block(&mut self) -> Option<Block> {
        let mut block = Block { text: self.text()?, ..Block::default() };
        for _ in 0..self.number()? {
            block.ends.push(self.number()? as usize);
            block.sizes.push(self.number()?);
        }
        Some(block)
    }
}
