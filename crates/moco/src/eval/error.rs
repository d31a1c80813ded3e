//! Why an encoder cannot be measured.

use moco_data::DataError;

/// Why an encoder cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Features that are infinite or no numbers, and so cannot be compared.
    #[error(
        "the features of {count} of {images} images are no finite numbers, such as that of `{example}`: the encoder's weights are broken, train again with a lower optim.lr"
    )]
    NotFinite {
        /// How many.
        count: usize,
        /// Images that were encoded.
        images: usize,
        /// Name of one of the images.
        example: String,
    },
    /// Another rank cannot go on.
    #[error("rank {rank} on {host}: {reason}")]
    Peer {
        /// Its number.
        rank: usize,
        /// Its machine.
        host: String,
        /// What it says.
        reason: String,
    },
    /// A probe's batches that the ranks cannot share.
    #[error(
        "--batch-size {batch} does not split over {ranks} ranks: set it to a multiple of {ranks}, such as {}",
        (*batch / *ranks).max(1) * *ranks
    )]
    Uneven {
        /// Images of a batch.
        batch: usize,
        /// How many ranks.
        ranks: usize,
    },
    /// The output of a head, of an encoder without one.
    #[error("--feature head: these weights have no projection head, so use backbone")]
    NoHead,
    /// A classifier that was trained for the measurement has broken weights.
    #[error("the scores of the trained classifier are no finite numbers: it diverged, lower --lr")]
    Diverged,
}
