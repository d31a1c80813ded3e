//! Bytes at offsets: what every archive format here is read from, be it a file, memory or an
//! object on a server.

use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// Bytes fetched at a time where small reads follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stride {
    /// The headers of a tar, spread over all of it. On a server, a megabyte takes about as long as
    /// the delay of a request.
    Headers,
    /// The header of one page, read at its beginning.
    Peek,
}

/// A fixed sequence of bytes, read at any offset from any thread.
pub(super) enum Blob {
    /// A file, and its length when it was opened.
    File(File, u64),
    /// Bytes in memory.
    Memory(Bytes),
    /// An object on a server.
    #[cfg(feature = "remote")]
    Remote(super::remote::Object),
}

impl Blob {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> io::Result<Blob> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Blob::File(file, length))
    }

    /// Number of bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Blob::File(_, length) => *length,
            Blob::Memory(bytes) => bytes.len() as u64,
            #[cfg(feature = "remote")]
            Blob::Remote(object) => object.len(),
        }
    }

    /// The `length` bytes at `offset`. A length that a damaged header made up is an error before
    /// it is an allocation.
    pub(super) fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match self {
            Blob::File(file, _) => {
                let mut bytes = vec![0; length];
                read_exact_at(file, &mut bytes, offset)?;
                Ok(bytes.into())
            }
            Blob::Memory(bytes) => Ok(bytes.slice(offset as usize..offset as usize + length)),
            #[cfg(feature = "remote")]
            Blob::Remote(object) => object.read(offset, length),
        }
    }

    /// A reader that starts at `offset`.
    pub(super) fn window(self: &Arc<Self>, offset: u64, stride: Stride) -> Window {
        let block_size = match (self.is_distant(), stride) {
            (false, _) => 4 << 10,
            (true, Stride::Headers) => 1 << 20,
            (true, Stride::Peek) => 64 << 10,
        };
        let blob = Arc::clone(self);
        Window { blob, block_size, position: offset, block: Bytes::new(), block_start: 0 }
    }

    fn is_distant(&self) -> bool {
        match self {
            #[cfg(feature = "remote")]
            Blob::Remote(_) => true,
            Blob::File(..) | Blob::Memory(_) => false,
        }
    }
}

/// A buffered reader of a [`Blob`] that seeks without reading.
pub(super) struct Window {
    blob: Arc<Blob>,
    block_size: u64,
    position: u64,
    /// The bytes from `block_start` on.
    block: Bytes,
    block_start: u64,
}

impl Read for Window {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.len().saturating_sub(self.position);
        if left == 0 || out.is_empty() {
            return Ok(0);
        }
        let known = self.block_start..self.block_start + self.block.len() as u64;
        if !known.contains(&self.position) {
            let length = left.min(self.block_size) as usize;
            self.block = self.blob.read(self.position, length)?;
            self.block_start = self.position;
        }
        let ready = &self.block[(self.position - self.block_start) as usize..];
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.blob.len().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
