//! Encoders and their features.

use crate::error::{Fault, Result};
use crate::worker::{Worker, wait};
use moco::config::FeatureKind;
use moco::device;
use moco::eval::{self, Features};
use moco::run::{TrainedEncoder, open_encoder};
use moco_data::{Dataset, Image, View};
use moco_weights::Options;
use moco_weights::hub::{self, Places, Source};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyArrayDyn, PyReadonlyArray4};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// Images that are encoded at a time; between these, Ctrl-C ends what is left.
const TOGETHER: usize = 512;

/// An image encoder that is no longer trained, from `load_encoder`.
///
/// `view` is what is done to an image before it is encoded, `dim` the width of a feature, `notes`
/// what there is to say of how the weights were read. Threads may share an encoder.
#[pyclass(frozen, module = "moco")]
pub struct Encoder {
    worker: Worker<TrainedEncoder>,
    #[pyo3(get)]
    view: String,
    #[pyo3(get)]
    dim: usize,
    #[pyo3(get)]
    notes: Vec<String>,
    name: String,
}

/// The encoder of a run's folder, or weights of another program.
///
/// `source` is the folder of a run or of `moco import`, a file or folder of weights, an address
/// `https://...`, or `hf://ORG/NAME[@REVISION][/FILE]`, which is looked for in Hugging Face's cache
/// first. Layout and network are told from the file; no pickle is run. Where a file leaves it open,
/// say `layout`, `network` (which of several), `heads` or `stem_padding`. `view` takes the place of
/// the source's own.
///
/// Raises MocoError if it cannot be read or is not understood.
#[pyfunction]
#[pyo3(signature = (
    source, *, layout=None, network=None, heads=None, stem_padding=None, view=None, device="cpu"
))]
pub fn load_encoder(
    py: Python<'_>,
    source: PathBuf,
    layout: Option<&str>,
    network: Option<String>,
    heads: Option<usize>,
    stem_padding: Option<usize>,
    view: Option<&str>,
    device: &str,
) -> PyResult<Encoder> {
    let layout = layout.map(str::parse).transpose().map_err(Fault::from)?;
    let options = Options { layout, part: network, heads, stem_padding };
    let view: Option<View> = view.map(str::parse).transpose().map_err(Fault::from)?;
    let device = device::parse(device).map_err(Fault::from)?;
    let name = source.display().to_string();
    let open = move || -> Result<TrainedEncoder> {
        let source = fetch(&source)?;
        Ok(open_encoder(&source, &options, view.as_ref(), &device)?)
    };
    let worker = py.detach(|| Worker::new(open))?;
    let facts = worker.ask(|opened| {
        let dim = opened.encoder.encoder.width(FeatureKind::Backbone);
        (opened.encoder.view.to_string(), dim, opened.notes.clone())
    })?;
    let (view, dim, notes) = wait(py, facts, |_| Ok(()))?;
    Ok(Encoder { worker, view, dim, notes, name })
}

/// The file on this machine, fetched if it is elsewhere.
pub fn fetch(source: &Path) -> Result<PathBuf> {
    let Some(text) = source.to_str() else { return Ok(source.to_owned()) };
    let places = Places::from_environment(moco_data::OpenOptions::default().cache, None);
    Ok(hub::fetch(&Source::parse(text)?, &places)?)
}

/// What is to be embedded.
#[derive(FromPyObject)]
enum Images<'py> {
    Pixels(PyReadonlyArray4<'py, u8>),
    Path(PathBuf),
    Paths(Vec<PathBuf>),
}

#[pymethods]
impl Encoder {
    /// Features as float32, `[N, F]`.
    ///
    /// `images` is the path of a data set, whose images come in its own order (`moco doctor` lists
    /// what it takes), a list of image files, or pixels as uint8, `[N, H, W, 3]`. `feature` is
    /// "backbone", "head" (of a run), or of transformers "last-blocks" or "class-and-patches".
    /// Ctrl-C ends it; other threads go on meanwhile.
    ///
    /// Raises MocoError if an image cannot be read.
    #[pyo3(signature = (images, feature="backbone"))]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
        feature: &str,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let kind = feature_of(feature)?;
        let images: Images<'_> = images.extract().map_err(|_| {
            Fault::new(
                "embed takes the path of a data set, a list of image files, or a uint8 array \
                 [N, H, W, 3]",
            )
        })?;
        let (values, dim) = match images {
            Images::Path(path) => {
                let whole = Arc::new(py.detach(|| Dataset::open(&path)).map_err(Fault::from)?);
                let part = |part: Range<usize>| Ok(whole.subset(part.collect()));
                self.in_parts(py, whole.len(), kind, part)?
            }
            Images::Paths(paths) => self.in_parts(py, paths.len(), kind, |part| {
                let first = part.start;
                let read = |path: &PathBuf| read(path);
                let images: Result<Vec<_>> = py.detach(|| paths[part].iter().map(read).collect());
                Ok(in_memory(first, images?))
            })?,
            Images::Pixels(pixels) => {
                let count = checked(pixels.as_array().shape())?;
                self.in_parts(py, count, kind, |part| {
                    Ok(in_memory(part.start, part.map(|i| one(&pixels, i)).collect()))
                })?
            }
        };
        let rows = values.len() / dim.max(1);
        let array = Array2::from_shape_vec((rows, dim), values).map_err(Fault::from)?;
        Ok(array.into_pyarray(py))
    }

    /// The backbone's weights as new float32 arrays, under torchvision's names (ResNets) or timm's
    /// (transformers). `torch.from_numpy` takes each without a copy.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let answer = self.worker.ask(|opened| {
            let mut all = Vec::new();
            let backbone = opened.encoder.encoder.backbone();
            moco::nn::for_each_leaf(backbone, |name, leaf| {
                if let moco::nn::Leaf::Param(tensor) | moco::nn::Leaf::Buffer(tensor) = leaf {
                    let values = moco::batch::to_host(tensor.flat());
                    all.push((name.to_owned(), tensor.shape(), values));
                }
            });
            all
        })?;
        let state = PyDict::new(py);
        for (name, shape, values) in wait(py, answer, |py| py.check_signals())? {
            let array = numpy::ndarray::ArrayD::from_shape_vec(shape, values);
            let array: Bound<'py, PyArrayDyn<f32>> = array.map_err(Fault::from)?.into_pyarray(py);
            state.set_item(name, array)?;
        }
        Ok(state)
    }

    fn __repr__(&self) -> String {
        format!("<moco.Encoder of {}, {} values, view \"{}\">", self.name, self.dim, self.view)
    }
}

impl Encoder {
    /// Features of a data set and their width. An image that cannot be read is an error.
    fn features(
        &self,
        py: Python<'_>,
        set: Dataset,
        kind: FeatureKind,
    ) -> PyResult<(Vec<f32>, usize)> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let answer = self.worker.ask(move |opened| -> Result<Features> {
            opened.config.check_feature("feature", kind)?;
            Ok(eval::features(&mut opened.encoder, &set, kind, threads, &mut |_, _| ())?)
        })?;
        let features = wait(py, answer, |py| py.check_signals())??;
        match features.bad.first() {
            Some(bad) => {
                let count = features.bad.len();
                let (name, reason) = (&bad.name, &bad.reason);
                Err(Fault::new(format!("{count} images cannot be read, such as {name}: {reason}"))
                    .into())
            }
            None => Ok((features.values, features.dim)),
        }
    }

    /// Features of the images of the sets that `make` gives, some at a time.
    fn in_parts(
        &self,
        py: Python<'_>,
        count: usize,
        kind: FeatureKind,
        make: impl Fn(Range<usize>) -> Result<Dataset>,
    ) -> PyResult<(Vec<f32>, usize)> {
        let (mut values, mut dim) = (Vec::new(), self.dim);
        for from in (0..count).step_by(TOGETHER) {
            let set = make(from..(from + TOGETHER).min(count))?;
            let part = self.features(py, set, kind)?;
            values.extend(part.0);
            dim = part.1;
        }
        Ok((values, dim))
    }
}

/// A data set of images in memory, named by their numbers from `first`.
fn in_memory(first: usize, images: Vec<Image>) -> Dataset {
    let named = images.into_iter().enumerate();
    let named = named.map(|(i, image)| (format!("image {}", first + i), None, image));
    Dataset::from_images(named.collect(), Vec::new())
}

fn read(path: &Path) -> Result<Image> {
    Image::open(path).map_err(|error| Fault::new(format!("{}: {error}", path.display())))
}

/// The number of images in an array of this shape.
fn checked(shape: &[usize]) -> Result<usize> {
    match *shape {
        [count, height, width, 3] if height > 0 && width > 0 => Ok(count),
        _ => Err(Fault::new(format!("the pixels are {shape:?}: embed takes uint8 [N, H, W, 3]"))),
    }
}

fn one(pixels: &PyReadonlyArray4<'_, u8>, index: usize) -> Image {
    let image = pixels.as_array();
    let image = image.index_axis(numpy::ndarray::Axis(0), index);
    let (height, width) = (image.shape()[0], image.shape()[1]);
    Image::new(width, height, image.iter().copied().collect())
}

fn feature_of(name: &str) -> Result<FeatureKind> {
    let kinds = [
        FeatureKind::Backbone,
        FeatureKind::Head,
        FeatureKind::LastBlocks,
        FeatureKind::ClassAndPatches,
    ];
    kinds.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let known = kinds.map(FeatureKind::name).join(", ");
        Fault::new(format!("there is no feature `{name}`: use one of {known}"))
    })
}
