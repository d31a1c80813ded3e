//! Formats, told from the first bytes of a file.

/// What a file's first bytes say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Jpeg,
    Png,
    WebP,
    Bmp,
    Gif,
    /// Both the classic form and BigTIFF.
    Tiff,
    /// PBM, PGM, PPM and PAM, as text or binary.
    Pnm,
    /// An image that is not read.
    Unread {
        name: &'static str,
        mend: &'static str,
    },
}

const TO_JPEG: &str = "convert it to JPEG, e.g. with `heif-convert` or ImageMagick";
const TO_PNG: &str = "convert it to PNG, e.g. with ImageMagick";
const DRAW: &str = "draw it as PNG, e.g. with `rsvg-convert` or ImageMagick";
const DEVELOP: &str = "develop it to JPEG or TIFF, e.g. with `dcraw` or darktable";
const EXTRACT: &str = "extract its values to 16-bit PNG or TIFF, e.g. with pydicom";

/// The beginnings of formats that are not read.
const UNREAD: [(&[u8], &str, &str); 14] = [
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL", TO_PNG),
    (b"\xff\x0a", "JPEG XL", TO_PNG),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000", TO_PNG),
    (b"\xff\x4f\xff\x51", "JPEG 2000", TO_PNG),
    (b"II\xbc", "JPEG XR", TO_PNG),
    (b"8BPS", "Photoshop", TO_PNG),
    (b"\x76\x2f\x31\x01", "OpenEXR", TO_PNG),
    (b"#?RADIANCE", "Radiance HDR", TO_PNG),
    (b"qoif", "QOI", TO_PNG),
    (b"DDS ", "DirectDraw", TO_PNG),
    (b"farbfeld", "farbfeld", TO_PNG),
    (b"SIMPLE  =", "FITS", TO_PNG),
    (b"\x00\x00\x01\x00", "icon", TO_PNG),
    (b"FUJIFILMCCD-RAW", "camera raw", DEVELOP),
];

/// Brands of ISO media files that are images, HEIC's and AVIF's; films begin likewise.
const BRANDS: [(&[u8], &str, &str); 9] = [
    (b"avif", "AVIF", TO_JPEG),
    (b"avis", "AVIF", TO_JPEG),
    (b"heic", "HEIC", TO_JPEG),
    (b"heix", "HEIC", TO_JPEG),
    (b"heim", "HEIC", TO_JPEG),
    (b"hevc", "HEIC", TO_JPEG),
    (b"mif1", "HEIC", TO_JPEG),
    (b"msf1", "HEIC", TO_JPEG),
    (b"crx ", "camera raw", DEVELOP),
];

impl Format {
    /// The format of a file that starts with these bytes, of which 256 are enough.
    pub(crate) fn of(bytes: &[u8]) -> Option<Format> {
        let starts = |start: &[u8]| bytes.starts_with(start);
        let read = [
            (starts(b"\xff\xd8\xff"), Format::Jpeg),
            (starts(b"\x89PNG\r\n\x1a\n"), Format::Png),
            (starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"), Format::WebP),
            (starts(b"BM") && is_bmp(bytes), Format::Bmp),
            (starts(b"GIF87a") || starts(b"GIF89a"), Format::Gif),
            (starts(b"II*\0") || starts(b"MM\0*"), Format::Tiff),
            (starts(b"II+\0") || starts(b"MM\0+"), Format::Tiff),
            (is_pnm(bytes), Format::Pnm),
        ];
        let read = read.into_iter().find_map(|(is, format)| is.then_some(format));
        read.or_else(|| Format::unread(bytes))
    }

    fn unread(bytes: &[u8]) -> Option<Format> {
        if bytes.get(4..8) == Some(b"ftyp") {
            return brand(bytes);
        }
        if bytes.get(128..132) == Some(b"DICM") {
            return Some(Format::Unread { name: "DICOM", mend: EXTRACT });
        }
        if is_svg(bytes) {
            return Some(Format::Unread { name: "SVG", mend: DRAW });
        }
        let known = UNREAD.iter().find(|(start, ..)| bytes.starts_with(start));
        known.map(|&(_, name, mend)| Format::Unread { name, mend })
    }

    /// The format's name, as reports have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Bmp => "BMP",
            Format::Gif => "GIF",
            Format::Tiff => "TIFF",
            Format::Pnm => "PNM",
            Format::Unread { name, .. } => name,
        }
    }

    /// Whether a file of this format may have more than 8 bits a sample.
    pub(crate) fn may_be_deep(self) -> bool {
        matches!(self, Format::Png | Format::Tiff | Format::Pnm)
    }

    /// What a file of this name is said to be; nothing if its extension says nothing.
    pub(crate) fn name_of_extension(extension: &str) -> Option<&'static str> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" | "jpe" | "jfif" | "jif" => "JPEG",
            "png" | "apng" => "PNG",
            "webp" => "WebP",
            "bmp" | "dib" => "BMP",
            "gif" => "GIF",
            "tif" | "tiff" => "TIFF",
            "ppm" | "pgm" | "pbm" | "pnm" | "pam" => "PNM",
            "heic" | "heif" => "HEIC",
            "avif" => "AVIF",
            _ => return None,
        })
    }
}

/// The size of the header that follows the file's tells a BMP from a text that starts with `BM`.
fn is_bmp(bytes: &[u8]) -> bool {
    let size = bytes.get(14..18).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes);
    size.is_none_or(|size| matches!(size, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

/// `P1` to `P7` and white space, which is a line's end in PAM.
fn is_pnm(bytes: &[u8]) -> bool {
    match bytes {
        [b'P', b'1'..=b'6', next, ..] => next.is_ascii_whitespace() || *next == b'#',
        [b'P', b'7', b'\n', ..] => true,
        _ => false,
    }
}

/// A text whose first tag, behind declarations and comments, is `svg`.
fn is_svg(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    let head = head.trim_start_matches('\u{feff}').trim_start();
    let is_markup = head.starts_with("<?xml") || head.starts_with("<!") || head.starts_with("<svg");
    is_markup && head.contains("<svg")
}

/// The first brand of an ISO media file that is known, the main one before the compatible ones.
fn brand(bytes: &[u8]) -> Option<Format> {
    let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let brands = bytes.get(8..size.clamp(12, 256).min(bytes.len()))?;
    brands.chunks_exact(4).find_map(|brand| {
        let found = BRANDS.iter().find(|(known, ..)| *known == brand)?;
        Some(Format::Unread { name: found.1, mend: found.2 })
    })
}
