//! A file's bytes, read where they are wanted.

use crate::error::{Result, WeightsError};
use crate::tensor::Dtype;
use half::{bf16, f16};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// An open file, or bytes in memory.
#[derive(Debug)]
pub(super) struct Bytes {
    path: PathBuf,
    length: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(Mutex<File>),
    Memory(Vec<u8>),
}

impl Bytes {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Bytes> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => WeightsError::Missing { path: path.to_owned() },
            _ => WeightsError::Io { path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        Ok(Bytes { path: path.to_owned(), length, place: Place::File(Mutex::new(file)) })
    }

    /// Bytes in memory, under a name for messages.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Bytes {
        let length = bytes.len() as u64;
        Bytes { path: path.to_owned(), length, place: Place::Memory(bytes) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// So many bytes from `start` on. Nothing is allocated for more than the file has.
    ///
    /// # Errors
    /// [`WeightsError::Damaged`] if the file ends before, [`WeightsError::Io`].
    pub fn read(&self, start: u64, count: u64) -> Result<Vec<u8>> {
        if start.checked_add(count).is_none_or(|end| end > self.length) {
            return Err(self.damaged("it ends before its values do"));
        }
        let mut bytes = vec![0; count as usize];
        self.fill(start, &mut bytes)
            .map_err(|source| WeightsError::Io { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    /// Fills a slice with the bytes from `start` on, which must exist.
    fn fill(&self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        match &self.place {
            Place::Memory(all) => {
                let start = start as usize;
                let found = all.get(start..start + bytes.len());
                bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Place::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(bytes)
            }
        }
    }

    /// The bytes from the first to the last.
    pub fn reader(&self) -> Reader<'_> {
        Reader { bytes: self, at: 0 }
    }

    /// The error of a file that contradicts itself.
    pub fn damaged(&self, reason: impl Into<String>) -> WeightsError {
        WeightsError::Damaged { path: self.path.clone(), reason: reason.into() }
    }
}

/// Reads a file's bytes in turn.
pub(super) struct Reader<'a> {
    bytes: &'a Bytes,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (buffer.len() as u64).min(self.bytes.length.saturating_sub(self.at)) as usize;
        self.bytes.fill(self.at, &mut buffer[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.bytes.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Values of a type as 32-bit floats, little end first.
pub(super) fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|&value| convert(value)).collect()
    }
    match dtype {
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::Bool => each(bytes, |[b]: [u8; 1]| f32::from(b != 0)),
        Dtype::Int { bytes: 1, signed: true } => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::Int { bytes: 1, .. } => each(bytes, |[b]: [u8; 1]| f32::from(b)),
        Dtype::Int { bytes: 2, signed: true } => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::Int { bytes: 2, .. } => each(bytes, |b| f32::from(u16::from_le_bytes(b))),
        Dtype::Int { bytes: 4, signed: true } => each(bytes, |b| i32::from_le_bytes(b) as f32),
        Dtype::Int { bytes: 4, .. } => each(bytes, |b| u32::from_le_bytes(b) as f32),
        Dtype::Int { signed: true, .. } => each(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::Int { .. } => each(bytes, |b| u64::from_le_bytes(b) as f32),
    }
}
