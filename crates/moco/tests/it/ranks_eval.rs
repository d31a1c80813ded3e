//! What several ranks measure of an encoder is what one measures, to the bit.

use crate::device::device;
use crate::ranks::by;
use crate::runs::{Recorder, config, dataset, options, untrained};
use moco::config::FeatureKind;
use moco::eval::quality::{Quality, two_views};
use moco::eval::{
    Epochs, EvalError, Features, FrozenEncoder, LinearProbe, Logistic, Protocol, features, knn,
    knn_among, linear_sgd, logistic, pixel_features,
};
use moco::features::{Encoding, Vectors, vectors};
use moco::plan::Plan;
use moco::run::RunDir;
use moco::train::{EpochReport, Trainer};
use moco_data::synthetic::{shapes, write_folder};
use moco_data::{BadFile, Dataset};
use moco_peers::Peers;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// So many images, of which one whole batch in the middle and one more cannot be read.
fn damaged(images: usize) -> (TempDir, Arc<Dataset>) {
    let place = tempfile::tempdir().unwrap();
    write_folder(&shapes(images, 16, 7), place.path()).unwrap();
    let data = Dataset::open(place.path()).unwrap();
    for i in (128..256).chain([images - 2]) {
        fs::write(data.file(i).unwrap(), "no image").unwrap();
    }
    (place, Arc::new(data))
}

fn encoder(config: &Plan, peers: Peers) -> FrozenEncoder {
    untrained(config).among(peers)
}

type Found = (Vec<u32>, Vec<usize>, Vec<u32>, Vec<BadFile>);

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn found(features: Features) -> Found {
    (bits(&features.values), features.indices, features.labels, features.bad)
}

/// Fewer batches than ranks, as many, and more.
#[test]
fn features_are_the_same_bits_for_any_number_of_ranks() {
    let (_place, damaged) = damaged(700);
    for data in [damaged, dataset(100), dataset(300)] {
        let config = config(&data, &[]);
        let of = |peers: Peers| {
            let mut heard = Vec::new();
            let mut told = |done, all| heard.push((done, all));
            let mut encoder = encoder(&config, peers);
            let head = features(&mut encoder, &data, FeatureKind::Head, 1, &mut told).unwrap();
            let pixels = pixel_features(&data, &encoder.view, 1, peers).unwrap();
            assert_eq!(heard.last(), Some(&(head.len(), data.len())), "progress is of all ranks");
            (found(head), found(pixels))
        };
        let one = of(Peers::SOLO);
        assert_eq!(one.0.1.len() + one.0.3.len(), data.len());
        for ranks in [2, 3, 5] {
            by(ranks, |comm| comm, of).into_iter().for_each(|many| assert!(many == one, "{ranks}"));
        }
    }
}

#[test]
fn accuracy_and_quality_are_the_same_for_any_number_of_ranks() {
    let data = dataset(700);
    let config = config(&data, &[]);
    let sample = (0..150).map(|i| 4 * i).collect::<Vec<_>>();
    let view = &config.views()[0];
    let of = |peers: Peers| {
        let mut encoder = encoder(&config, peers);
        let none = &mut |_, _| ();
        let all = features(&mut encoder, &data, FeatureKind::Backbone, 1, none).unwrap();
        // Several chunks of queries.
        let accuracy = knn_among(&all, &all, 20, 0.1, peers);
        assert_eq!(accuracy, knn(&all, &all, 20, 0.1), "shared or not");
        let images = (&*data, &sample[..]);
        let (views, dim) =
            two_views(&mut encoder, images, view, FeatureKind::Head, 1, none).unwrap();
        (accuracy, Quality::of(&views, dim), views.map(|view| bits(&view)))
    };
    let one = of(Peers::SOLO);
    assert!(one.0.top1 > 0.0 && one.0.top1 < 1.0, "{:?}", one.0);
    for ranks in [2, 3] {
        by(ranks, |comm| comm, of).into_iter().for_each(|many| assert!(many == one, "{ranks}"));
    }
}

/// The probe sees the same features of the same batches in the same order.
#[test]
fn a_probe_by_gradients_is_the_same_for_any_number_of_ranks() {
    let data = dataset(120);
    let config = config(&data, &[]);
    let probe = |batch| LinearProbe {
        view: "crop(16, 0.2..1) flip normalize(cifar10)".parse().unwrap(),
        protocol: Protocol { batch_size: batch, ..config.probe().over(3) },
        seed: 5,
        threads: 1,
    };
    let of = |batch| {
        let (config, data) = (&config, &data);
        move |peers: Peers| -> Result<Epochs, EvalError> {
            let mut encoder = encoder(config, peers);
            let none = &mut |_, _| ();
            let test = features(&mut encoder, data, FeatureKind::Backbone, 1, none)?;
            linear_sgd(&mut encoder, data.clone(), &test, &probe(batch), none)
        }
    };
    let one = of(24)(Peers::SOLO).unwrap();
    for ranks in [2, 3] {
        let all = by(ranks, |comm| comm, of(24));
        all.into_iter().for_each(|many| assert_eq!(many.unwrap(), one));
    }
    let refused = by(5, |comm| comm, of(24)).swap_remove(1).unwrap_err().to_string();
    assert!(refused.contains("does not split over 5 ranks: set it to a multiple of 5, such as 20"));
}

fn whole(vectors: &Vectors) -> (Vec<u32>, Vec<usize>, Vec<u128>, Vec<BadFile>, usize) {
    let digests = vectors.contents.iter().map(|content| content.digest).collect();
    let Vectors { values, indices, bad, encoded, .. } = vectors;
    (bits(values), indices.clone(), digests, bad.clone(), *encoded)
}

/// Ranks share what is not in rank 0's cache, where all of it is afterwards.
#[test]
fn vectors_are_those_of_one_rank_and_are_kept_by_the_first() {
    let (_place, data) = damaged(500);
    let config = config(&data, &[]);
    let place = tempfile::tempdir().unwrap();
    let of = |cache: Option<PathBuf>| {
        let (config, data) = (&config, &data);
        move |peers: Peers| {
            let mut encoding = Encoding::new(encoder(config, peers), FeatureKind::Head);
            let mut none = |_: &'static str, _, _| ();
            whole(&vectors(&mut encoding, data, cache.as_deref(), 1, &mut none).unwrap())
        }
    };
    let one = of(None)(Peers::SOLO);
    for ranks in [2, 3] {
        let cache = place.path().join(ranks.to_string());
        let many = by(ranks, |comm| comm, of(Some(cache.clone()))).swap_remove(0);
        assert!(many == one, "{ranks} ranks");
        let again = by(ranks, |comm| comm, of(Some(cache))).swap_remove(0);
        assert!(again.0 == many.0, "{ranks} ranks");
        assert_eq!(again.4, 1, "nothing is encoded twice but what cannot be decoded");
    }
}

/// At the end of an epoch all ranks measure the same, which is what one rank measures of the encoder
/// that the run leaves.
#[test]
fn monitors_are_those_of_one_rank() {
    let data = dataset(260);
    let small = ["train.batch_size=26", "train.epochs=1", "monitor.quality_images=200"];
    let config = config(&data, &small);
    let dir = tempfile::tempdir().unwrap();
    let told = |epoch: &EpochReport| (epoch.knn, epoch.probe, epoch.quality);
    let of = |peers: Peers| {
        let mut trainer = Trainer::new(&config, data.clone(), &device(), options(1)).unwrap();
        trainer = trainer.among(peers).unwrap();
        let mut recorder = Recorder::default();
        recorder.train(&mut trainer, dir.path()).unwrap();
        recorder.epochs().iter().map(told).collect::<Vec<_>>()
    };
    let all = by(2, |comm| comm, of);
    assert!(all[0] == all[1] && all[0].len() == 1, "{all:?}");
    let (found, probe, quality) = all[0][0];

    let mut frozen = untrained(&config);
    frozen.load(&RunDir::at(dir.path()).encoder()).unwrap();
    let (kind, none) = (config.monitor.knn_feature, &mut |_, _| ());
    let features = features(&mut frozen, &data, kind, 1, none).unwrap();
    let held_out = |row: usize| row.is_multiple_of(10);
    let (bank, queries) = (features.filter(|row| !held_out(row)), features.filter(held_out));
    let monitor = &config.monitor;
    let accuracy = knn(&bank, &queries, monitor.knn_k, monitor.knn_temperature);
    assert_eq!(found, Some(accuracy.top1));
    let settings = Logistic { l2: 1e-4, iterations: 100 };
    assert_eq!(probe, Some(logistic(&bank, &queries, settings).top1));
    let sample: Vec<usize> = (0..200).map(|i| i * 260 / 200).collect();
    let view = &config.views()[0];
    let (views, dim) = two_views(&mut frozen, (&data, &sample), view, kind, 1, none).unwrap();
    assert_eq!(quality, Some(Quality::of(&views, dim)));
}
