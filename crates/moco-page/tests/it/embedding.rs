//! The map against umap-learn, on scikit-learn's digits; `golden/embedding.py` says what the numbers
//! are.

use moco_page::Rows;
use moco_page::near::{Neighbours, nearest};
use moco_page::umap::{Graph, NEIGHBOURS, of_distances, trustworthiness, umap};
use safetensors::SafeTensors;

struct Golden(SafeTensors<'static>);

const FILE: &[u8] = include_bytes!("../../../../golden/embedding.safetensors");

impl Golden {
    fn open() -> Golden {
        Golden(SafeTensors::deserialize(FILE).unwrap())
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.0.tensor(name).unwrap().data()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        self.bytes(name).as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }

    fn digits(&self) -> Rows {
        Rows::new(self.bytes("digits").iter().map(|byte| f32::from(*byte)).collect(), 64)
    }

    fn embedding(&self) -> Vec<[f32; 2]> {
        self.f32("embedding").as_chunks::<2>().0.to_vec()
    }
}

/// Neighbours by Euclidean distance, as umap-learn takes them, the rows themselves left out.
fn euclidean(rows: &Rows) -> (Neighbours, Vec<f32>) {
    let k = NEIGHBOURS - 1;
    let mut near = Neighbours { k, ..Neighbours::default() };
    let mut distances = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let distance = |other: &[f32]| {
            row.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
        };
        let mut all: Vec<(f64, usize)> = rows.iter().map(distance).zip(0..).collect();
        all.remove(i);
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (distance, other) in all.into_iter().take(k) {
            near.rows.push(other as u32);
            near.similarities.push(-distance as f32);
            distances.push(distance as f32);
        }
    }
    (near, distances)
}

#[test]
fn the_fuzzy_graph_is_umap_learns() {
    let golden = Golden::open();
    let (near, distances) = euclidean(&golden.digits());
    let graph = Graph::new(&near, &distances);
    assert_eq!(graph.rho, golden.f32("rho"));
    for (found, expected) in graph.sigma.iter().zip(golden.f32("sigma")) {
        // Both stop bisecting when the sum is within 1e-5; theirs is in f32.
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
    }
    for (found, expected) in graph.degrees().iter().zip(golden.f32("degree")) {
        let expected = f64::from(expected);
        // As far as the widths agree.
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
    }
}

#[test]
fn trustworthiness_is_scikit_learns() {
    let golden = Golden::open();
    let found = trustworthiness(&golden.digits(), &golden.embedding(), NEIGHBOURS);
    // Rows at equal distances may be ranked otherwise there.
    assert!((found - golden.f64("trust")[0]).abs() < 1e-4, "{found}");
}

#[test]
fn the_map_is_as_trustworthy_as_umap_learns() {
    let golden = Golden::open();
    let digits = golden.digits();
    let (near, distances) = euclidean(&digits);
    let [theirs, pca, ..] = golden.f64("trust")[..] else { panic!("three figures") };
    for seed in [0, 1, 2] {
        let points = of_distances(&digits, &near, &distances, seed);
        let found = trustworthiness(&digits, &points, NEIGHBOURS);
        // umap-learn's own figure moves by .004 from seed to seed and start to start.
        assert!(found > theirs - 0.006 && found > pca + 0.1, "{found}, umap-learn {theirs}");
        assert_eq!(points, of_distances(&digits, &near, &distances, seed));
    }
}

/// With cosines, as features are compared: of ten digits, the nearest point is of the same one.
#[test]
fn classes_lie_together() {
    let golden = Golden::open();
    let labels = golden.bytes("labels");
    let digits = golden.digits().unit();
    let points = umap(&digits, &nearest(&digits, NEIGHBOURS - 1), 0);
    let of_points = Rows::new(points.iter().flatten().copied().collect(), 2);
    let same = of_points.iter().enumerate().filter(|(i, point)| {
        let squared = |other: &[f32]| (point[0] - other[0]).powi(2) + (point[1] - other[1]).powi(2);
        let others = of_points.iter().enumerate().filter(|(j, _)| j != i);
        let (nearest, _) = others.min_by(|a, b| squared(a.1).total_cmp(&squared(b.1))).unwrap();
        labels[nearest] == labels[*i]
    });
    let share = same.count() as f64 / 600.0;
    assert!(share > 0.9, "{share}");
}

#[test]
fn few_rows_are_laid_out_too() {
    for n in 0..6 {
        let values: Vec<f32> = (0..n * 3).map(|i| (i * i % 7) as f32 - 3.0).collect();
        let rows = Rows::new(values, 3).unit();
        let points = umap(&rows, &nearest(&rows, NEIGHBOURS - 1), 0);
        assert_eq!(points.len(), n);
        assert!(points.iter().flatten().all(|value| value.is_finite()), "{points:?}");
    }
    let equal = Rows::new(vec![0.5; 40 * 3], 3).unit();
    let points = umap(&equal, &nearest(&equal, NEIGHBOURS - 1), 0);
    assert!(points.iter().flatten().all(|value| value.is_finite()), "{points:?}");
}
