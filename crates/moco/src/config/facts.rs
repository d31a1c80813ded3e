//! What a data set is like, as far as defaults depend on it.

use super::ConfigError;
use moco_data::Dataset;

/// What a data set is like, as far as defaults depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFacts {
    /// Number of images.
    pub images: usize,
    /// Typical width in pixels.
    pub width: usize,
    /// Typical height in pixels.
    pub height: usize,
    /// Whether the images are in class folders.
    pub labelled: bool,
}

/// Images that are decoded to find the typical size.
const SAMPLE: usize = 64;

impl DataFacts {
    /// Looks at a data set; the typical size is the median over a sample spread over all images.
    ///
    /// # Errors
    /// No images, or none of the sample can be read.
    pub fn of(dataset: &Dataset) -> Result<DataFacts, ConfigError> {
        let images = dataset.len();
        if images == 0 {
            return Err(ConfigError::Invalid("the data set has no images: add some".to_owned()));
        }
        let sample = images.min(SAMPLE);
        let (mut widths, mut heights, mut complaint) = (Vec::new(), Vec::new(), String::new());
        for index in (0..sample).map(|i| i * images / sample) {
            match dataset.load(index) {
                Ok(image) => {
                    widths.push(image.width);
                    heights.push(image.height);
                }
                Err(error) => complaint = format!("{}: {error}", dataset.name(index)),
            }
        }
        let (Some(width), Some(height)) = (median(widths), median(heights)) else {
            return Err(ConfigError::Invalid(format!(
                "none of {sample} images looked at can be read, for example {complaint}; point \
                 --data at JPEG, PNG, WebP, BMP, GIF, TIFF or PNM \
                 images"
            )));
        };
        Ok(DataFacts { images, width, height, labelled: dataset.class_names().len() > 1 })
    }
}

fn median(mut values: Vec<usize>) -> Option<usize> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
