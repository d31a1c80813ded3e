//! A pickle's bytes, as they are asked for.

use super::Refusal;
use crate::read::bytes::Bytes;

/// Bytes that are read from the file at a time.
const WINDOW: u64 = 64 << 10;

/// A reader over a part of a file.
pub(in crate::read) struct Input<'a> {
    file: &'a Bytes,
    /// Where the next byte is in the file.
    at: u64,
    /// Where the part ends.
    end: u64,
    window: Vec<u8>,
    /// The next byte in the window.
    next: usize,
}

impl<'a> Input<'a> {
    /// From `start` on, up to `end`, both in bytes of the file.
    pub fn new(file: &'a Bytes, start: u64, end: u64) -> Input<'a> {
        Input { file, at: start, end: end.min(file.length()), window: Vec::new(), next: 0 }
    }

    /// Where the next byte is in the file.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Refusal> {
        if self.next == self.window.len() {
            let count = WINDOW.min(self.end.saturating_sub(self.at));
            if count == 0 {
                return Err(Refusal::damaged("its pickle breaks off"));
            }
            self.window = self.file.read(self.at, count)?;
            self.next = 0;
        }
        let byte = self.window[self.next];
        self.next += 1;
        self.at += 1;
        Ok(byte)
    }

    /// The next `count` bytes. Nothing is allocated for more than there are.
    pub fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Refusal> {
        if count > self.end.saturating_sub(self.at) {
            return Err(Refusal::damaged("its pickle breaks off"));
        }
        let inside = self.window.len() - self.next;
        if count <= inside as u64 {
            let bytes = self.window[self.next..self.next + count as usize].to_vec();
            self.next += count as usize;
            self.at += count;
            return Ok(bytes);
        }
        let bytes = self.file.read(self.at, count)?;
        self.skip_to(self.at + count);
        Ok(bytes)
    }

    /// Goes on at another place.
    pub fn skip_to(&mut self, position: u64) {
        self.at = position;
        self.window.clear();
        self.next = 0;
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// The text up to the end of a line.
    pub fn line(&mut self) -> Result<String, Refusal> {
        let mut bytes = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte => bytes.push(byte),
            }
        }
        text(bytes)
    }

    /// A text of `count` bytes.
    pub fn text(&mut self, count: u64) -> Result<String, Refusal> {
        text(self.bytes(count)?)
    }
}

/// UTF-8, or what Python 2 wrote as bytes.
fn text(bytes: Vec<u8>) -> Result<String, Refusal> {
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect()))
}
