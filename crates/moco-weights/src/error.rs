//! What can go wrong, each in one sentence that names the thing and the mend.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Weights that cannot be read or understood.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// Nothing exists at the path.
    #[error("`{}` does not exist; check the path to the weights", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// The system does not read the file.
    #[error("`{}` cannot be read ({source}); check its permissions and the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The bytes are of no format that holds weights.
    #[error(
        "`{}` is no file of weights ({found}); give a .safetensors, a PyTorch .pth, .pt, .ckpt or \
         .bin, or a folder that holds one",
        path.display()
    )]
    NotWeights {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: String,
    },
    /// The file breaks off or contradicts itself.
    #[error("`{}` is damaged ({reason}); download or copy it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file asks whoever opens it to run code.
    #[error(
        "`{}` asks to run code when it is opened ({call}), so it is not read; get the weights from \
         whom you trust, as .safetensors",
        path.display()
    )]
    Code {
        /// The file.
        path: PathBuf,
        /// What it would call.
        call: String,
    },
    /// A sound file of a kind that is not read.
    #[error(
        "`{}` {problem}; open it with torch and save it again by \
         `torch.save(model.state_dict(), \"weights.pth\")`",
        path.display()
    )]
    Resave {
        /// The file.
        path: PathBuf,
        /// What is not read, as the rest of a sentence.
        problem: String,
    },
    /// A tensor's values do not fit into memory, or into the limit on one.
    #[error("`{name}` in `{}` has {bytes} bytes, more than is read of one tensor", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its bytes.
        bytes: u64,
    },
    /// A folder without weights, or with several.
    #[error("`{}` {problem}; its files are {files}; give one of them", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is the matter, as the rest of a sentence.
        problem: String,
        /// What it holds.
        files: String,
    },
    /// The keys are of no known layout.
    #[error(
        "the layout of `{}` is not known: its tensors are named {keys}; the nearest layouts are \
         {nearest}; name one with --as, or convert the file to torchvision's or timm's names",
        path.display()
    )]
    UnknownLayout {
        /// The file.
        path: PathBuf,
        /// Some of its keys.
        keys: String,
        /// Layouts with their first missing keys.
        nearest: String,
    },
    /// No layout has the name that the caller gave.
    #[error("`{name}` is no layout; known are {known}")]
    NoSuchLayout {
        /// The name as given.
        name: String,
        /// All names.
        known: String,
    },
    /// The backbone is not whole.
    #[error(
        "`{}` as {layout} lacks {missing}; {nearest}",
        path.display()
    )]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The layout in words.
        layout: String,
        /// The first missing keys, and how many there are.
        missing: String,
        /// The nearest layouts, or what to do.
        nearest: String,
    },
    /// A tensor's shape does not fit the others.
    #[error(
        "`{name}` in `{}` has the shape {found:?} where {expected} belongs; the file is of another \
         network than its names say",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor, as the file names it.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What belongs there.
        expected: String,
    },
    /// A network of the family that is not built here.
    #[error("the network in `{}` {problem}, which moco does not build; {mend}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it has, as the rest of a sentence.
        problem: String,
        /// What to do instead.
        mend: String,
    },
    /// The file has no network of that name.
    #[error("`{}` has no part `{part}`; it has {parts}", path.display())]
    NoPart {
        /// The file.
        path: PathBuf,
        /// The part that is asked for.
        part: String,
        /// Those that it has.
        parts: String,
    },
    /// The number of attention heads is not in the file and in no table.
    #[error(
        "the number of attention heads of `{}` is not in the file, and no published model of its \
         layout has a width of {width}; say it with --heads ({})",
        path.display(),
        candidates.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
    )]
    Heads {
        /// The file.
        path: PathBuf,
        /// Channels of a token.
        width: usize,
        /// Numbers that divide the width.
        candidates: Vec<usize>,
    },
    /// A source that is no path and no address.
    #[error("`{text}` names no weights; {mend}")]
    Source {
        /// The source as given.
        text: String,
        /// What to write.
        mend: String,
    },
    /// Something has to be fetched, and nothing may be.
    #[error(
        "`{what}` is not in the cache, and HF_HUB_OFFLINE forbids to fetch it; unset that, or fetch \
         it before"
    )]
    Offline {
        /// What is asked for.
        what: String,
    },
    /// Something has to be fetched, in a build without the network.
    #[error(
        "`{what}` is on a server, which this build cannot read; copy it here, or build moco with the \
         feature `remote`"
    )]
    NoNetwork {
        /// What is asked for.
        what: String,
    },
    /// Something has to be kept and there is nowhere to keep it.
    #[error("`{what}` needs a cache folder and this system names none; set MOCO_CACHE to a folder")]
    NoPlace {
        /// What is asked for.
        what: String,
    },
    /// A server that does not answer, or does not give what is asked of it.
    #[error("{reason}")]
    Server {
        /// The whole sentence, which names the server and the mend.
        reason: String,
    },
    /// Heads that do not divide the width.
    #[error("{heads} heads do not divide a width of {width}; pass a --heads that does")]
    HeadsDoNotDivide {
        /// Attention heads as given.
        heads: usize,
        /// Channels of a token.
        width: usize,
    },
}

/// Shorthand of this crate.
pub(crate) type Result<T> = std::result::Result<T, WeightsError>;
