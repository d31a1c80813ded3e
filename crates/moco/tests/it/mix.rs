//! Mixup, CutMix and their loss against timm.

use crate::device::device;
use crate::golden::{Golden, assert_close};
use moco::batch::to_host;
use moco::eval::{Mix, soft_cross_entropy};
use moco_peers::Peers;

const SMOOTHING: f64 = 0.1;

/// A few roundings of numbers near the largest: of a product and a sum in a blended image, of
/// what a target is stored as.
const ROUNDINGS: f64 = 3e-7;

/// A log-softmax in f32; torch's own is within 1e-7.
const LOSS: f64 = 1e-6;

fn mix(golden: &Golden, case: &str) -> Mix {
    let share = golden.scalar(&format!("{case}.share"));
    let [_, height, width, _] = golden.shape("x").try_into().unwrap();
    if !golden.names().contains(&format!("{case}.centre")) {
        return Mix::blend(share);
    }
    let centre = golden.indices(&format!("{case}.centre")).try_into().unwrap();
    Mix::paste(share, [height, width], centre)
}

#[test]
fn images_targets_and_loss_match_timm() {
    let golden = Golden::open("mixing");
    let labels: Vec<u32> = golden.indices("labels").iter().map(|&label| label as u32).collect();
    let [_, classes] = golden.shape("logits").try_into().unwrap();
    for case in ["blend", "blend_all", "inside", "above_left", "below_right", "empty", "covered"] {
        let name = |what: &str| format!("{case}.{what}");
        let mix = mix(&golden, case);
        let images = mix.images(golden.tensor("x"), labels.len(), Peers::SOLO);
        match mix.patch() {
            None => assert_close(images, &golden, &name("images"), ROUNDINGS),
            Some([rows, columns]) => {
                let found = [rows.start, rows.end, columns.start, columns.end];
                assert_eq!(found.as_slice(), golden.indices(&name("box")), "{case}");
                assert_eq!(to_host(images), golden.f32(&name("images")), "{case} copies pixels");
            }
        }
        let targets = mix.targets(&labels, classes, SMOOTHING, Peers::SOLO, &device());
        assert_close(targets.clone(), &golden, &name("targets"), ROUNDINGS);

        let logits = golden.tensor::<2>("logits").autodiff().require_grad();
        let loss = soft_cross_entropy(logits.clone(), targets);
        assert_close(loss.clone(), &golden, &name("loss"), LOSS);
        let gradient = logits.grad(&loss.backward()).unwrap();
        assert_close(gradient, &golden, &name("grad"), LOSS);
    }
}
