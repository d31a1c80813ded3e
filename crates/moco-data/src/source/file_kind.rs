//! What a file is, by its name where that tells enough, else by its first bytes.

/// Bytes at the beginning of a file that tell its kind.
pub(super) const HEAD: usize = 512;

const HEIC: &str = "HEIC images";
const AVIF: &str = "AVIF images";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// An image that can be read, as far as name or first bytes tell.
    Image,
    /// An image of a format that is not read; the format's name, in the plural: `HEIC images`.
    Unread(&'static str),
    /// Anything else, in the plural: `texts`.
    Other(&'static str),
}

/// Extensions of images that are read, in lower case.
const IMAGES: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm",
    "pnm", "pam",
];

/// Kinds whose extensions tell enough, so that no such file is opened. Photos as cameras' sensors
/// have them come first: most of them begin as a TIFF does.
const BY_NAME: &[(FileKind, &[&str])] = &[
    (
        FileKind::Unread("RAW images"),
        &[
            "dng", "nef", "nrw", "cr2", "cr3", "crw", "arw", "srf", "sr2", "raf", "orf", "rw2",
            "pef", "srw", "raw", "3fr", "iiq", "x3f", "erf",
        ],
    ),
    (FileKind::Unread("SVG drawings"), &["svg", "svgz"]),
    (FileKind::Unread("TGA images"), &["tga"]),
    (FileKind::Unread("DICOM images"), &["dcm", "dicom"]),
    (FileKind::Other("tars"), &["tar"]),
    (FileKind::Other("Parquet files"), &["parquet"]),
    (FileKind::Other("archives"), &["zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "lz4"]),
    (FileKind::Other("tables"), &["csv", "tsv", "lst", "xls", "xlsx", "ods", "arrow", "feather"]),
    (
        FileKind::Other("texts"),
        &[
            "txt", "json", "jsonl", "ndjson", "xml", "xmp", "md", "rst", "html", "htm", "yaml",
            "yml", "toml", "ini", "cfg", "log", "py", "ipynb", "sh", "js", "css", "cls", "caption",
            "aae", "srt", "rs", "c", "h", "cpp", "m", "tex",
        ],
    ),
    (
        FileKind::Other("arrays"),
        &["npy", "npz", "pt", "pth", "pkl", "pickle", "safetensors", "onnx", "mat", "h5", "hdf5"],
    ),
    (
        FileKind::Other("videos"),
        &["mp4", "mov", "avi", "mkv", "webm", "m4v", "mpg", "mpeg", "wmv", "flv", "3gp", "lrv"],
    ),
    (FileKind::Other("sounds"), &["mp3", "wav", "flac", "ogg", "m4a", "aac", "opus"]),
    (FileKind::Other("documents"), &["pdf", "doc", "docx", "ppt", "pptx", "odt"]),
    // Copies of other files, or parts of them, whatever they begin with.
    (
        FileKind::Other("backup files"),
        &["bak", "tmp", "temp", "part", "partial", "crdownload", "old", "orig", "swp"],
    ),
    (FileKind::Other("thumbnails"), &["thm"]),
];

/// First bytes, at an offset, of formats that are not read.
const BY_BYTES: &[(FileKind, usize, &[u8])] = &[
    (FileKind::Unread("JPEG XL images"), 0, b"\xff\x0a"),
    (FileKind::Unread("JPEG XL images"), 0, b"\0\0\0\x0cJXL \r\n\x87\n"),
    (FileKind::Unread("JPEG 2000 images"), 0, b"\0\0\0\x0cjP  \r\n\x87\n"),
    (FileKind::Unread("JPEG 2000 images"), 0, b"\xff\x4f\xff\x51"),
    (FileKind::Unread("Photoshop images"), 0, b"8BPS"),
    (FileKind::Unread("icons"), 0, b"\0\0\x01\0"),
    (FileKind::Unread("EXR images"), 0, b"\x76\x2f\x31\x01"),
    (FileKind::Unread("HDR images"), 0, b"#?RADIANCE"),
    (FileKind::Unread("DDS images"), 0, b"DDS "),
    (FileKind::Unread("QOI images"), 0, b"qoif"),
    (FileKind::Unread("DICOM images"), 128, b"DICM"),
    (FileKind::Unread("RAW images"), 0, b"FUJIFILMCCD-RAW"),
    (FileKind::Other("tars"), 257, b"ustar"),
    (FileKind::Other("Parquet files"), 0, b"PAR1"),
    (FileKind::Other("tables"), 0, b"ARROW1"),
    (FileKind::Other("archives"), 0, b"PK\x03\x04"),
    (FileKind::Other("archives"), 0, b"\x1f\x8b"),
    (FileKind::Other("archives"), 0, b"BZh"),
    (FileKind::Other("archives"), 0, b"\xfd7zXZ\0"),
    (FileKind::Other("archives"), 0, b"\x28\xb5\x2f\xfd"),
    (FileKind::Other("archives"), 0, b"7z\xbc\xaf\x27\x1c"),
    (FileKind::Other("archives"), 0, b"Rar!"),
    (FileKind::Other("arrays"), 0, b"\x93NUMPY"),
    (FileKind::Other("arrays"), 0, b"\x89HDF\r\n"),
    (FileKind::Other("videos"), 0, b"\x1a\x45\xdf\xa3"),
    (FileKind::Other("documents"), 0, b"%PDF"),
];

/// What a file is. An image's extension decides; so do those of what is clearly no image; of all
/// other files, those without an extension among them, the first bytes decide, [`HEAD`] of which
/// are enough. Where [`told_by_name`] knows the name, `head` may be empty.
pub(super) fn kind_of(name: &str, head: &[u8]) -> FileKind {
    told_by_name(name).unwrap_or_else(|| told_by_bytes(head))
}

/// What the name alone tells, without opening the file.
pub(super) fn told_by_name(name: &str) -> Option<FileKind> {
    if name.ends_with('~') || name.ends_with("_original") {
        return Some(FileKind::Other("backup files"));
    }
    let file = name.rsplit('/').next().unwrap_or(name);
    let (_, extension) = file.rsplit_once('.')?;
    let among = |known: &&[&str]| known.iter().any(|known| extension.eq_ignore_ascii_case(known));
    if among(&IMAGES) {
        return Some(FileKind::Image);
    }
    BY_NAME.iter().find(|(_, extensions)| among(extensions)).map(|(kind, _)| *kind)
}

/// What the first bytes tell.
pub(super) fn told_by_bytes(head: &[u8]) -> FileKind {
    if head.is_empty() {
        return FileKind::Other("empty files");
    }
    if is_image(head) {
        return FileKind::Image;
    }
    let is = |(_, at, bytes): &&(FileKind, usize, &[u8])| {
        head.get(*at..).is_some_and(|rest| rest.starts_with(bytes))
    };
    let known = BY_BYTES.iter().find(is).map(|(kind, ..)| *kind);
    known.or_else(|| box_kind(head)).or_else(|| riff_kind(head)).unwrap_or_else(|| rest_kind(head))
}

/// Whether a kind is one of images whose format is not read.
pub(super) fn is_unread(kind: &str) -> bool {
    let by_name = BY_NAME.iter().map(|(kind, _)| kind);
    let mut kinds = by_name.chain(BY_BYTES.iter().map(|(kind, ..)| kind));
    [HEIC, AVIF].contains(&kind)
        || kinds.any(|known| matches!(known, FileKind::Unread(name) if *name == kind))
}

fn is_image(head: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 8] = [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF87a",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"II+\0",
        b"MM\0+",
    ];
    BEGINNINGS.iter().any(|bytes| head.starts_with(bytes))
        || (head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP"))
        || is_bmp(head)
        || is_pnm(head)
}

/// Two letters are no proof: the size of one of the known headers must follow.
fn is_bmp(head: &[u8]) -> bool {
    let size =
        head.get(14..18).map(|size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
    head.starts_with(b"BM") && matches!(size, Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

/// PBM, PGM and PPM, as text or bytes: after the magic come white space, comments, and a number.
/// PAM has words there.
fn is_pnm(head: &[u8]) -> bool {
    let [b'P', magic @ b'1'..=b'7', rest @ ..] = head else { return false };
    if *magic == b'7' {
        return rest.starts_with(b"\nWIDTH")
            || rest.starts_with(b"\n#")
            || rest.starts_with(b"\nHEI");
    }
    let mut rest = rest;
    if !rest.first().is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'#') {
        return false;
    }
    loop {
        match rest {
            [b'#', ..] => {
                let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                rest = &rest[end..];
            }
            [byte, more @ ..] if byte.is_ascii_whitespace() => rest = more,
            [byte, ..] => return byte.is_ascii_digit(),
            [] => return false,
        }
    }
}

/// Files of ISO's boxes (ISO/IEC 14496-12), by their brands: the main one and those that it is
/// compatible with.
fn box_kind(head: &[u8]) -> Option<FileKind> {
    if head.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = head.get(8..size.min(head.len())).unwrap_or_default();
    let has = |known: &[&[u8; 4]]| {
        brands.chunks_exact(4).any(|brand| known.iter().any(|known| brand == *known))
    };
    Some(if has(&[b"avif", b"avis"]) {
        FileKind::Unread(AVIF)
    } else if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"]) {
        FileKind::Unread(HEIC)
    } else if has(&[b"crx "]) {
        FileKind::Unread("RAW images")
    } else {
        FileKind::Other("videos")
    })
}

fn riff_kind(head: &[u8]) -> Option<FileKind> {
    match head.starts_with(b"RIFF").then(|| head.get(8..12))?? {
        b"AVI " => Some(FileKind::Other("videos")),
        b"WAVE" => Some(FileKind::Other("sounds")),
        _ => None,
    }
}

/// Text has no bytes of control but white space.
fn rest_kind(head: &[u8]) -> FileKind {
    let control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    // A character may be cut at the end of the head.
    let whole = |error: std::str::Utf8Error| error.error_len().is_none();
    if std::str::from_utf8(head).map_or_else(whole, |_| true) && !head.iter().any(control) {
        return FileKind::Other("texts");
    }
    FileKind::Other("other files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_clear() {
        for name in ["a.jpg", "a/b.JPEG", "x.y.PgM", "p.jfif", "p.jpe"] {
            assert_eq!(told_by_name(name), Some(FileKind::Image), "{name}");
        }
        assert_eq!(told_by_name("a.txt"), Some(FileKind::Other("texts")));
        assert_eq!(told_by_name("a.NEF"), Some(FileKind::Unread("RAW images")));
        for copy in ["a.jpg~", "a.jpg_original", "a.jpg.bak"] {
            assert_eq!(kind_of(copy, b"\xff\xd8\xff"), FileKind::Other("backup files"));
        }
        for name in ["0a1b2c3d", "IMG.HEIC", "v1.5/photo", "x.0001"] {
            assert_eq!(told_by_name(name), None, "{name}");
        }
    }

    #[test]
    fn bytes_tell_the_rest() {
        let kind = |head: &[u8]| kind_of("file", head);
        for head in [
            &b"\xff\xd8\xff\xe0"[..],
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\x10\0\0\0WEBPVP8 ",
            b"P5\n# by hand\n12 12\n255\n",
            b"P6 3 3 255\n",
            b"P7\nWIDTH 3\n",
            b"MM\0*",
            b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
        ] {
            assert_eq!(kind(head), FileKind::Image, "{head:?}");
        }
        for (head, expected) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], FileKind::Unread("HEIC images")),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", FileKind::Unread("AVIF images")),
            (b"\0\0\0\x10ftypisom\0\0\0\0", FileKind::Other("videos")),
            (b"\xff\x0a\0", FileKind::Unread("JPEG XL images")),
            (b"P1 is a person", FileKind::Other("texts")),
            (b"BMW is a car of many letters", FileKind::Other("texts")),
            ("caf\u{e9}".as_bytes(), FileKind::Other("texts")),
            (&"caf\u{e9}".as_bytes()[..4], FileKind::Other("texts")),
            (b"\x01\x02\x03", FileKind::Other("other files")),
            (b"", FileKind::Other("empty files")),
        ] {
            assert_eq!(kind(head), expected, "{head:?}");
        }
    }
}
