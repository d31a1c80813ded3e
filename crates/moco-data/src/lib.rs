//! From files to augmented views: everything between the disk and a batch of pixels.
//!
//! ```text
//! path or name ─► Dataset ─► decode ─► View (crop, flip, jitter, ...) ─► Loader ─► Batch
//! ```
//!
//! - [`Dataset`] lists the images of a folder, an archive or a public data set, and decodes one to
//!   RGB8.
//! - [`doctor`] examines a data set and reports what is wrong with it.
//! - [`View`] is an augmentation pipeline, written as text. What it does to an image is a function
//!   of a [`ViewKey`] alone: seed, epoch, image, view.
//! - [`Loader`] decodes and augments on worker threads ahead of the trainer; [`for_each_batch`]
//!   does the same, once and in order, for evaluation.
//! - [`contents`] says what every image is made of, without decoding it.
//! - [`mod@bench`] measures all of this.
//! - [`page`] is what pages of HTML share.
//! - [`synthetic`] draws the data set of the demo.
//!
//! Images are 8-bit RGB, interleaved, row by row. Views leave as `f32` in the layout NHWC. This
//! crate knows no tensors and no training.

pub mod augment;
pub mod bench;
mod caught;
mod decode;
pub mod doctor;
mod error;
mod image;
mod loader;
pub mod page;
mod random;
mod sheet;
mod source;
pub mod synthetic;

pub use augment::{ColorSpace, ParseViewError, View};
pub use caught::panic_is_caught;
pub use decode::{DecodeOptions, ValueRange};
pub use error::{DataError, ImageError};
pub use image::Image;
pub use loader::{
    BadFile, Batch, Content, Contents, EvalBatch, HeaderScan, Loader, LoaderConfig, Share,
    ViewBatch, allowed_bad, contents, epoch_order, for_each_batch, for_each_batch_of_draws,
    scan_headers,
};
pub use random::{Random, ViewKey};
pub use sheet::{PictureFormat, contact_sheet, jpeg, save_png, thumbnail};
pub use source::{
    Changes, Dataset, FileList, Holdings, Notice, OpenOptions, Patience, Skipped, absolute_path,
    cache_dir, without_secrets,
};
#[cfg(feature = "remote")]
pub use source::{Service, ServiceError, answer, basic_authorization, download};
