//! The demo's data set.

use crate::support::names;
use moco_data::synthetic::{SHAPE_CLASSES, shapes, write_folder};
use moco_data::{Dataset, Image};
use tempfile::tempdir;

#[test]
fn shapes_are_balanced_and_reproducible() {
    let images = shapes(83, 32, 1);
    assert_eq!(images, shapes(83, 32, 1));
    let mut counts = [0; SHAPE_CLASSES.len()];
    for (name, label, image) in &images {
        let label = label.unwrap() as usize;
        counts[label] += 1;
        assert!(name.starts_with(SHAPE_CLASSES[label]), "{name}");
        assert_eq!((image.width, image.height), (32, 32));
    }
    assert!(counts.iter().all(|count| (10..=11).contains(count)), "{counts:?}");
    assert_ne!(images[0].2, images[1].2);
    assert_ne!(images[0].2, shapes(83, 32, 2)[0].2);
}

#[test]
fn a_written_folder_opens_as_the_same_data_set() {
    let images = shapes(24, 16, 3);
    let root = tempdir().unwrap();
    write_folder(&images, root.path()).unwrap();
    let opened = Dataset::open(root.path()).unwrap();
    let classes = SHAPE_CLASSES.map(String::from).to_vec();
    let given = Dataset::from_images(images, classes);
    assert_eq!(names(&opened), names(&given));
    assert_eq!(opened.class_names(), given.class_names());
    for i in 0..given.len() {
        assert_eq!(opened.label(i), given.label(i));
        assert_eq!(opened.load(i).unwrap(), given.load(i).unwrap());
    }
}

/// Were it easy on raw pixels, the demo would show nothing: with as many training images as the
/// demo has, the nearest neighbour is of the right class little more often than by chance.
#[test]
fn raw_pixels_say_little_about_the_class() {
    let (train, test) = (shapes(2000, 32, 1), shapes(200, 32, 2));
    let nearest = |image: &Image| {
        let distance = |other: &Image| -> u64 {
            let pairs = image.pixels.iter().zip(&other.pixels);
            pairs.map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum()
        };
        train.iter().min_by_key(|(_, _, other)| distance(other)).unwrap().1
    };
    let right = test.iter().filter(|(_, label, image)| nearest(image) == *label).count();
    assert!(right < 70, "{right} of 200 right, 25 by chance");
}
