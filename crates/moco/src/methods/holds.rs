//! What a method keeps in memory, as far as its settings say.

use super::spec::Width;

/// What a method keeps in memory besides the backbone that it trains.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// Widths of the head, from the backbone's features to the space of the loss; empty without one.
    pub head: Vec<Width>,
    /// Whether a second network follows the encoder, which takes as many weights once more.
    pub teacher: bool,
    /// Further networks that are trained.
    pub trained: Vec<Weights>,
    /// Queues and banks.
    pub rows: Vec<Rows>,
}

/// Weights, and the setting that their number depends on most.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The setting.
    pub key: &'static str,
    /// Its value.
    pub value: usize,
    /// How many weights.
    pub count: f64,
}

/// Vectors that are kept.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The setting that their number depends on most.
    pub key: &'static str,
    /// Its value.
    pub value: usize,
    /// What it is, as the begin of a sentence: "a queue of 9 keys of 4 values takes".
    pub what: String,
    /// How many values.
    pub count: f64,
}

impl Weights {
    /// The matrices between layers of these widths; each counts for the wider of its two sides.
    pub fn layers(widths: &[Width]) -> impl Iterator<Item = Weights> + '_ {
        widths.windows(2).map(|pair| {
            let wider = if pair[0].0 > pair[1].0 { pair[0] } else { pair[1] };
            Weights { key: wider.1, value: wider.0, count: pair[0].0 as f64 * pair[1].0 as f64 }
        })
    }

    /// A predictor with one hidden layer, from `method.dim` to `method.dim`.
    pub fn predictor(dim: usize, hidden: usize) -> Vec<Weights> {
        let dim = (dim, "method.dim");
        Weights::layers(&[dim, (hidden, "method.hidden"), dim]).collect()
    }
}

impl Rows {
    /// `copies` queues whose length is the setting `key`.
    pub fn queue(key: &'static str, length: usize, dim: usize, copies: f64) -> Rows {
        let what = format!("a queue of {length} keys of {dim} values takes");
        Rows { key, value: length, what, count: copies * length as f64 * dim as f64 }
    }

    /// `copies` banks with a row for each image.
    pub fn bank(images: usize, dim: usize, copies: f64) -> Rows {
        let what = format!("a memory of {images} images with {dim} values each takes");
        Rows { key: "method.dim", value: dim, what, count: copies * images as f64 * dim as f64 }
    }
}
