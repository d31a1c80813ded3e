//! IDX, the format of MNIST and Fashion-MNIST (LeCun, Cortes and Burges): a magic number, the
//! sizes of the dimensions, and unsigned bytes.
//!
//! Grey images `[N, H, W]`, and colour ones `[N, H, W, 3]` or `[N, 3, H, W]`, with labels `[N]` in
//! a file of their own.

use super::blob::Blob;
use super::entries::Entries;
use super::listing::{Fnv, Labels, Listing, shown_os};
use super::selection::Part;
use super::{Holdings, Raw, Store};
use crate::error::{DataError, ImageError};
use crate::image::Image;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Larger dimensions are damage; it is the limit of [`Image`]s elsewhere.
const MAX_PIXELS: u64 = 178_956_970;

/// A file of images.
pub(super) struct Idx {
    blob: Arc<Blob>,
    start: u64,
    shape: Shape,
}

/// Layout of an image.
#[derive(Clone, Copy)]
struct Shape {
    height: usize,
    width: usize,
    channels: Channels,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Channels {
    Grey,
    Interleaved,
    Planes,
}

/// What the head of a file says.
struct Header {
    dims: Vec<u64>,
    /// Where the values begin.
    start: u64,
}

impl Idx {
    /// Opens images, and their labels if there are any. `class_names` are used if they suffice.
    pub(super) fn open(
        (path, images): (&Path, Arc<Blob>),
        labels: Option<(&Path, Arc<Blob>)>,
        class_names: &[&str],
    ) -> Result<(Listing, Idx), DataError> {
        let damaged = |reason| DataError::Damaged { path: path.into(), reason };
        let header = read_header(path, &images)?;
        let Some(shape) = Shape::of(&header.dims[1..]) else {
            return Err(damaged(format!(
                "its dimensions {:?} are not those of images, [N, H, W] or [N, H, W, 3]",
                header.dims
            )));
        };
        let count = header.dims[0] as usize;
        let mut entries = Entries::default();
        let stem = stem(path);
        for i in 0..count {
            entries.push(&format!("{stem}/{i:05}"), shape.bytes() as u64);
        }
        let labels = match labels {
            Some((path, blob)) => read_labels(path, &blob, count, class_names)?,
            None => Labels::Absent,
        };
        let mut content = Fnv::new();
        content.feed(&images.len().to_le_bytes());
        let holdings = Holdings::of("IDX, as of MNIST");
        let listing =
            Listing { entries, labels, holdings, content: content.0, ..Listing::default() };
        Ok((listing, Idx { blob: images, start: header.start, shape }))
    }
}

impl Store for Idx {
    fn read(&self, i: usize, _: &str) -> Result<Raw<'_>, ImageError> {
        let bytes = self.shape.bytes();
        let values = self.blob.read(self.start + (i * bytes) as u64, bytes)?;
        Ok(Raw::Image(Cow::Owned(self.shape.image(&values))))
    }
}

impl Shape {
    /// From the dimensions of one image; none if these are no image's.
    fn of(dims: &[u64]) -> Option<Shape> {
        let (height, width, channels) = match *dims {
            [height, width] => (height, width, Channels::Grey),
            [height, width, 3] => (height, width, Channels::Interleaved),
            [3, height, width] => (height, width, Channels::Planes),
            _ => return None,
        };
        let pixels = height.checked_mul(width)?;
        let sensible = (1..=MAX_PIXELS).contains(&pixels);
        sensible.then_some(Shape { height: height as usize, width: width as usize, channels })
    }

    fn bytes(self) -> usize {
        self.height * self.width * if self.channels == Channels::Grey { 1 } else { 3 }
    }

    fn image(self, values: &[u8]) -> Image {
        let pixels = match self.channels {
            Channels::Grey => values.iter().flat_map(|&value| [value; 3]).collect(),
            Channels::Interleaved => values.to_vec(),
            Channels::Planes => {
                let plane = values.len() / 3;
                (0..plane).flat_map(|i| [0, 1, 2].map(|c| values[c * plane + i])).collect()
            }
        };
        Image::new(self.width, self.height, pixels)
    }
}

/// How the files of a part begin their names; there are none of validation.
pub(super) fn prefix(part: Part) -> &'static str {
    if part == Part::Test { "t10k" } else { "train" }
}

/// Whether a file begins as IDX of unsigned bytes with several dimensions.
pub(super) fn is_images(blob: &Blob) -> bool {
    blob.read(0, 4).is_ok_and(|magic| matches!(magic[..], [0, 0, 8, 3 | 4]))
}

/// The file of labels that goes with a file of images, after the names that all distributions use.
pub(super) fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
    let path = images.with_file_name(&labels);
    let other = match labels.strip_suffix(".gz") {
        Some(plain) => images.with_file_name(plain),
        None => images.with_file_name(format!("{labels}.gz")),
    };
    (labels != name).then_some([path, other].into_iter().find(|path| path.is_file()))?
}

fn read_header(path: &Path, blob: &Blob) -> Result<Header, DataError> {
    let damaged = |reason: String| DataError::Damaged { path: path.into(), reason };
    let unreadable = |_| damaged("it is shorter than its own header".into());
    let magic = blob.read(0, 4).map_err(unreadable)?;
    let count = match magic[..] {
        [0, 0, 8, count @ 1..=4] => u64::from(count),
        _ => return Err(damaged("it does not begin as IDX of unsigned bytes does".into())),
    };
    let sizes = blob.read(4, 4 * count as usize).map_err(unreadable)?;
    let dims: Vec<u64> = sizes
        .chunks_exact(4)
        .map(|size| u64::from(u32::from_be_bytes([size[0], size[1], size[2], size[3]])))
        .collect();
    let start = 4 + 4 * count;
    let values = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    if values.and_then(|values| values.checked_add(start)) != Some(blob.len()) {
        let bytes = blob.len();
        return Err(damaged(format!("its dimensions {dims:?} do not fit its {bytes} bytes")));
    }
    Ok(Header { dims, start })
}

fn read_labels(
    path: &Path,
    blob: &Blob,
    images: usize,
    class_names: &[&str],
) -> Result<Labels, DataError> {
    let damaged = |reason| DataError::Damaged { path: path.into(), reason };
    let header = read_header(path, blob)?;
    if header.dims != [images as u64] {
        let dims = header.dims;
        return Err(damaged(format!("its dimensions {dims:?} are not [{images}], one per image")));
    }
    let values = blob.read(header.start, images);
    let values = values.map_err(|source| DataError::Unreadable { path: path.into(), source })?;
    let classes = values.iter().max().map_or(0, |&max| usize::from(max) + 1);
    let names = if class_names.len() >= classes {
        class_names.iter().map(|name| name.to_string()).collect()
    } else {
        (0..classes).map(|class| class.to_string()).collect()
    };
    Ok(Labels::Given(values.iter().map(|&label| u32::from(label)).collect(), names))
}

/// `train-images` of `train-images-idx3-ubyte.gz`.
fn stem(path: &Path) -> String {
    let name = shown_os(path.file_name().unwrap_or_default());
    let end = name.find("-idx").or_else(|| name.find(".idx")).or_else(|| name.find('.'));
    name[..end.unwrap_or(name.len())].to_string()
}
