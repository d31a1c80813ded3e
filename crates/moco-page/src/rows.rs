//! Feature vectors, one for each image.

/// Vectors of one width.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    values: Vec<f32>,
    dim: usize,
}

impl Rows {
    /// Rows of width `dim` from `[rows, dim]`, row by row.
    ///
    /// # Panics
    /// If the values do not fill whole rows, or `dim` is 0.
    pub fn new(values: Vec<f32>, dim: usize) -> Self {
        assert!(dim > 0 && values.len().is_multiple_of(dim), "whole rows of width {dim}");
        Self { values, dim }
    }

    /// Each row scaled to unit length, in double precision; rows of zeros stay.
    #[must_use]
    pub fn unit(mut self) -> Self {
        for row in self.values.chunks_exact_mut(self.dim) {
            let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length.max(1e-12)) as f32);
        }
        self
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Width of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }

    /// Every row.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dim)
    }

    /// At most `count` rows, spread evenly over all.
    #[must_use]
    pub fn sample(&self, count: usize) -> Rows {
        let (all, kept) = (self.len(), count.min(self.len()));
        let rows = (0..kept).map(|i| i * all / kept);
        Rows { values: rows.flat_map(|row| self.row(row)).copied().collect(), dim: self.dim }
    }

    /// Mean of every column.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.dim];
        for row in self.iter() {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= self.len().max(1) as f64);
        mean
    }
}
