//! Other grids and other channels, against torch and timm.

use moco_weights::{Interpolation, Values, convert_channels, read, resize_positions};
use std::path::Path;

fn golden() -> read::Checkpoint {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    read::open(&path.join("../../golden/weights_resize.safetensors")).expect("a golden file")
}

fn values(checkpoint: &read::Checkpoint, name: &str) -> Values {
    checkpoint.tensors[name].read(name).expect("values")
}

/// Sums of products that were computed in float64 on both sides and rounded once.
fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-6, "{what}: {a} and {b}");
    }
}

#[test]
fn positions_on_another_grid_are_those_of_torch() {
    let golden = golden();
    let table = values(&golden, "table");
    let rules = [
        ("bicubic", Interpolation::Bicubic),
        ("nudged", Interpolation::BicubicNudged { nudge: 0.1 }),
        ("antialias", Interpolation::BicubicAntialias),
    ];
    for (name, rule) in rules {
        for to in [[3, 4], [9, 8], [5, 9], [2, 14]] {
            let expected = values(&golden, &format!("{name}.{}x{}", to[0], to[1]));
            let found = resize_positions(&table.data, 4, [5, 7], to, rule);
            assert_close(&found, &expected.data, &format!("{name} {to:?}"));
        }
        assert_eq!(resize_positions(&table.data, 4, [5, 7], [5, 7], rule), table.data);
    }
}

#[test]
fn channels_are_summed_or_repeated_as_timm_does() {
    let golden = golden();
    let conv = values(&golden, "conv");
    for channels in [1, 2, 4, 7] {
        let expected = values(&golden, &format!("conv.{channels}"));
        let found = convert_channels(&conv, channels);
        assert_eq!(found.shape, expected.shape);
        assert_close(&found.data, &expected.data, &format!("{channels} channels"));
    }
    assert_eq!(convert_channels(&conv, 3), conv);
}
