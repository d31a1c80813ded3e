//! What the markers before a JPEG's first scan say.

use crate::decode::{BAD_HEADER, CONVERT, damaged, orientation_of, unsupported};
use crate::error::ImageError;
use image::metadata::Orientation;

use super::NAME;

/// How the coefficients are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Baseline,
    /// Baseline with more tables or more bits.
    Extended,
    Progressive,
    /// Arithmetic coding, sequential or progressive.
    Arithmetic,
    /// Without loss, or in a hierarchy of frames.
    Other(&'static str),
}

/// A component: its number and its samplings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    pub id: u8,
    pub horizontal: u8,
    pub vertical: u8,
}

/// What the markers before the first scan say.
pub(super) struct Header {
    pub coding: Coding,
    pub precision: u8,
    pub width: u16,
    pub height: u16,
    pub components: Vec<Component>,
    /// How many components the first scan has.
    pub in_first_scan: usize,
    /// Whether any Huffman table came before the scan.
    pub has_tables: bool,
    /// The transform that Adobe's marker names.
    pub adobe: Option<u8>,
    pub orientation: Orientation,
}

impl Header {
    /// Reads the markers up to the first scan.
    pub(super) fn read(bytes: &[u8]) -> Result<Header, ImageError> {
        let mut header = Header {
            coding: Coding::Baseline,
            precision: 0,
            width: 0,
            height: 0,
            components: Vec::new(),
            in_first_scan: 0,
            has_tables: false,
            adobe: None,
            orientation: Orientation::NoTransforms,
        };
        let mut rest = &bytes[2..];
        let mut exif = None;
        loop {
            let (marker, body, after) = segment(rest)?;
            match marker {
                0xc4 => header.has_tables = true,
                0xc0..=0xcf if marker != 0xc8 && marker != 0xcc => header.frame(marker, body)?,
                0xe1 => exif = exif.or(body.strip_prefix(b"Exif\0\0")),
                0xee if body.len() >= 12 && body.starts_with(b"Adobe") => {
                    header.adobe = Some(body[11]);
                }
                0xda => {
                    header.in_first_scan = body.first().copied().unwrap_or(0).into();
                    break;
                }
                _ => {}
            }
            rest = after;
        }
        header.orientation = exif.map_or(Orientation::NoTransforms, orientation_of);
        if header.components.is_empty() {
            return Err(damaged(NAME, BAD_HEADER));
        }
        Ok(header)
    }

    fn frame(&mut self, marker: u8, body: &[u8]) -> Result<(), ImageError> {
        let &[precision, h0, h1, w0, w1, count, ref components @ ..] = body else {
            return Err(damaged(NAME, BAD_HEADER));
        };
        self.coding = match marker {
            0xc0 => Coding::Baseline,
            0xc1 => Coding::Extended,
            0xc2 => Coding::Progressive,
            0xc9 | 0xca => Coding::Arithmetic,
            0xc3 | 0xcb => Coding::Other("lossless"),
            _ => Coding::Other("hierarchical"),
        };
        self.precision = precision;
        (self.width, self.height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
        let component = |entry: &[u8; 3]| Component {
            id: entry[0],
            horizontal: entry[1] >> 4,
            vertical: entry[1] & 15,
        };
        let components = components.as_chunks::<3>().0.iter().map(component);
        self.components = components.take(count.into()).collect();
        let legal =
            |c: &Component| (1..=4).contains(&c.horizontal) && (1..=4).contains(&c.vertical);
        let whole = self.components.len() == usize::from(count) && count > 0;
        match whole && self.components.iter().all(legal) {
            true => Ok(()),
            false => Err(damaged(NAME, BAD_HEADER)),
        }
    }

    /// The largest samplings of all components.
    pub(super) fn largest(&self) -> [u8; 2] {
        let largest = |of: fn(&Component) -> u8| self.components.iter().map(of).max().unwrap_or(1);
        [largest(|c| c.horizontal), largest(|c| c.vertical)]
    }

    /// An error if libjpeg reads no such JPEG either.
    pub(super) fn check_supported(&self) -> Result<(), ImageError> {
        let what = if let Coding::Other(name) = self.coding {
            format!("{name} JPEG image")
        } else if self.precision != 8 {
            format!("JPEG image of {} bits a sample", self.precision)
        } else if !matches!(self.components.len(), 1 | 3 | 4) {
            format!("JPEG image of {} components", self.components.len())
        } else if self.height == 0 {
            "JPEG image that tells its height at its end".into()
        } else if self.has_fractions() {
            "JPEG image of colours sampled at a fraction".into()
        } else {
            return Ok(());
        };
        Err(unsupported(what, CONVERT))
    }

    /// Whether a component has to be enlarged by a factor that is no whole number.
    fn has_fractions(&self) -> bool {
        let [horizontal, vertical] = self.largest();
        let is_fraction =
            |c: &Component| horizontal % c.horizontal != 0 || vertical % c.vertical != 0;
        self.components.iter().any(is_fraction)
    }
}

/// The next marker, its parameters, and what follows. Bytes between segments and markers without
/// parameters are passed over.
fn segment(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), ImageError> {
    let mut rest = bytes;
    loop {
        let start = rest.iter().position(|&byte| byte == 0xff).ok_or(ImageError::Truncated)?;
        rest = &rest[start + 1..];
        match rest.first() {
            Some(0xd9) => return Err(damaged(NAME, BAD_HEADER)),
            Some(0x00 | 0x01 | 0xd0..=0xd8 | 0xff) => {}
            Some(&marker) => {
                let size = rest.get(1..3).ok_or(ImageError::Truncated)?;
                let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
                if size < 2 {
                    return Err(damaged(NAME, BAD_HEADER));
                }
                let body = rest.get(3..1 + size).ok_or(ImageError::Truncated)?;
                return Ok((marker, body, &rest[1 + size..]));
            }
            None => return Err(ImageError::Truncated),
        }
    }
}
