//! kNN and the logistic probe against loops and scikit-learn.

use crate::golden::Golden;
use moco::eval::{Features, Logistic, knn, logistic};

fn features(golden: &Golden, part: &str) -> Features {
    let shape = golden.shape(part);
    Features {
        values: golden.f32(part),
        dim: shape[1],
        indices: (0..shape[0]).collect(),
        labels: golden.indices(&format!("{part}_labels")).iter().map(|&l| l as u32).collect(),
        bad: Vec::new(),
    }
}

/// The same images, labelled with what the reference predicted: all must agree. The closest
/// decision of the reference is far wider than f32 rounding (golden/MANIFEST.json).
fn relabelled(test: &Features, golden: &Golden, name: &str) -> Features {
    let labels = golden.indices(name).iter().map(|&l| l as u32).collect();
    Features { labels, ..test.clone() }
}

#[test]
fn knn_predicts_what_the_loops_predict() {
    let golden = Golden::open("knn");
    let (train, test) = (features(&golden, "train"), features(&golden, "test"));
    for (k, temperature) in [(20, 0.1), (200, 0.07)] {
        let reference = relabelled(&test, &golden, &format!("k{k}.predictions"));
        assert_eq!(knn(&train, &reference, k, temperature).top1, 1.0, "k = {k}");
        let accuracy = knn(&train, &test, k, temperature);
        assert!(accuracy.top1 > 0.3 && accuracy.top1 < 1.0, "a test that both can fail");
        assert!(accuracy.top5 >= accuracy.top1);
    }
}

#[test]
fn more_neighbours_than_images_means_all_images() {
    let golden = Golden::open("knn");
    let (train, test) = (features(&golden, "train"), features(&golden, "test"));
    assert_eq!(knn(&train, &test, 200, 0.07), knn(&train, &test, 5000, 0.07));
}

#[test]
fn logistic_probe_predicts_what_scikit_learn_predicts() {
    let golden = Golden::open("logistic");
    let (train, test) = (features(&golden, "train"), features(&golden, "test"));
    let l2 = 1.0 / (0.5 * train.len() as f64); // C = 0.5
    let config = Logistic { l2, iterations: 1000 };
    let reference = relabelled(&test, &golden, "predictions");
    assert_eq!(logistic(&train, &reference, config).top1, 1.0);
    let accuracy = logistic(&train, &test, config).top1;
    assert!(accuracy > 0.3 && accuracy < 1.0, "{accuracy}");
}
