//! PBM, PGM, PPM and PAM, as text and binary.
//!
//! Read here and not by the `image` crate because that spreads the samples over the whole of their
//! type, so that a range could not be given in the file's own values, and rounds otherwise than
//! Pillow does.

use super::samples::{Samples, Values};
use super::{BAD_DATA, BAD_HEADER, CONVERT, DecodeOptions, Decoded, Pixels, damaged, unsupported};
use crate::error::ImageError;

const NAME: &str = "PNM";

/// What comes before the pixels.
struct Header {
    width: usize,
    height: usize,
    channels: usize,
    /// The value that is white.
    white: u16,
}

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    let kind = bytes[1];
    let mut scanner = Scanner { bytes, at: 2 };
    let header = if kind == b'7' { scanner.pam_header() } else { scanner.header(kind) }?;
    let Header { width, height, channels, white } = header;
    options.check_size(NAME, width as u64, height as u64)?;
    let count = width * height * channels;
    let values = match kind {
        b'1' => scanner.text_bits(count)?,
        b'2' | b'3' => scanner.text_values(count)?,
        b'4' => scanner.packed_bits(width, height)?,
        _ => scanner.binary(count, white)?,
    };
    let values = values.into_iter().map(|value| value.min(white)).collect();
    let samples =
        Samples { width, height, channels, values: Values::U16(values), white: white.into() };
    Ok(Decoded::upright(match white {
        // Nothing that a range is meant for.
        0..=255 => Pixels::Rgb8(samples.to_image(None)),
        _ => Pixels::Deep(samples),
    }))
}

/// Walks through a file.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn header(&mut self, kind: u8) -> Result<Header, ImageError> {
        let (width, height) = (self.number()?, self.number()?);
        let white = if matches!(kind, b'1' | b'4') { 1 } else { self.number()? };
        if matches!(kind, b'4'..=b'6') {
            // One character of white space, then pixels.
            self.at += 1;
        }
        let channels = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
        Ok(Header { width, height, channels, white: white_of(white)? })
    }

    /// Lines of a key and a value, up to `ENDHDR`.
    fn pam_header(&mut self) -> Result<Header, ImageError> {
        let (mut width, mut height, mut channels, mut white) = (0, 0, 0, 0);
        self.at = 3;
        loop {
            let line = self.line()?;
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let number = || value.trim().parse().map_err(|_| damaged(NAME, BAD_HEADER));
            match key {
                "WIDTH" => width = number()?,
                "HEIGHT" => height = number()?,
                "DEPTH" => channels = number()?,
                "MAXVAL" => white = number()?,
                "ENDHDR" => break,
                // The type follows from the depth; comments and blank lines say nothing.
                _ => {}
            }
        }
        match channels {
            1..=4 => Ok(Header { width, height, channels, white: white_of(white)? }),
            _ => Err(unsupported(format!("PAM image of {channels} channels"), CONVERT)),
        }
    }

    fn line(&mut self) -> Result<&'a str, ImageError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(ImageError::Truncated)?;
        self.at += length + 1;
        str::from_utf8(&rest[..length]).map(str::trim).map_err(|_| damaged(NAME, BAD_HEADER))
    }

    /// Passes over white space and comments.
    fn skip_space(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte == b'#' {
                let rest = &self.bytes[self.at..];
                let is_end = |&byte: &u8| byte == b'\n' || byte == b'\r';
                self.at += rest.iter().position(is_end).unwrap_or(rest.len());
            } else if byte.is_ascii_whitespace() {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn number(&mut self) -> Result<usize, ImageError> {
        self.skip_space();
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        match str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(number),
            None if rest.is_empty() => Err(ImageError::Truncated),
            None => Err(damaged(NAME, BAD_HEADER)),
        }
    }

    fn text_values(&mut self, count: usize) -> Result<Vec<u16>, ImageError> {
        // A text has at least two characters for each.
        if count / 2 > self.bytes.len() {
            return Err(ImageError::Truncated);
        }
        let value = |scanner: &mut Scanner| {
            u16::try_from(scanner.number()?).map_err(|_| damaged(NAME, BAD_DATA))
        };
        (0..count).map(|_| value(self)).collect()
    }

    /// A 1 is black; space between the digits may be missing.
    fn text_bits(&mut self, count: usize) -> Result<Vec<u16>, ImageError> {
        if count > self.bytes.len() {
            return Err(ImageError::Truncated);
        }
        let bit = |scanner: &mut Scanner| {
            scanner.skip_space();
            scanner.at += 1;
            match scanner.bytes.get(scanner.at - 1) {
                Some(b'0') => Ok(1),
                Some(b'1') => Ok(0),
                Some(_) => Err(damaged(NAME, BAD_DATA)),
                None => Err(ImageError::Truncated),
            }
        };
        (0..count).map(|_| bit(self)).collect()
    }

    fn pixels(&self, count: usize) -> Result<&'a [u8], ImageError> {
        self.bytes.get(self.at..).and_then(|rest| rest.get(..count)).ok_or(ImageError::Truncated)
    }

    /// Rows of whole bytes, in which a 1 is black.
    fn packed_bits(&self, width: usize, height: usize) -> Result<Vec<u16>, ImageError> {
        let stride = width.div_ceil(8);
        let rows = self.pixels(stride * height)?.chunks_exact(stride);
        let bit = |row: &[u8], x: usize| u16::from(row[x / 8] >> (7 - x % 8) & 1 == 0);
        Ok(rows.flat_map(|row| (0..width).map(move |x| bit(row, x))).collect())
    }

    fn binary(&self, count: usize, white: u16) -> Result<Vec<u16>, ImageError> {
        Ok(match white {
            0..=255 => self.pixels(count)?.iter().map(|&value| value.into()).collect(),
            _ => {
                let pairs = self.pixels(2 * count)?.as_chunks::<2>().0;
                pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect()
            }
        })
    }
}

fn white_of(value: usize) -> Result<u16, ImageError> {
    match u16::try_from(value) {
        Ok(white) if white > 0 => Ok(white),
        _ => Err(damaged(NAME, BAD_HEADER)),
    }
}
