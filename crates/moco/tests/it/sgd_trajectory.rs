//! Five steps of SGD from the weights and views that PyTorch started from: what the methods with
//! one linear layer for a head share.

use crate::golden::{Golden, assert_close, set_tensors, tensor, torch_name};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::{DecayScope, RuleConfig};
use moco::methods::{Method, Step, StepOutput};
use moco::nn::{Leaf, Module, for_each_leaf};
use moco::optim::{NamedGradients, Optimizer};

/// Steps of every trajectory.
const STEPS: usize = 5;

/// The view called `name` at a step, `[N, H, W, 3]`.
pub fn view(golden: &Golden, name: &str, step: usize) -> Tensor<4> {
    let [_, n, h, w, c] = golden.shape(name).try_into().expect("a view for each step");
    let count = n * h * w * c;
    let bytes = &golden.values(name)[step * count..][..count];
    tensor(bytes.iter().map(|byte| ((byte - 128.0) / 64.0) as f32).collect(), [n, h, w, c])
}

/// PyTorch's name of a tensor of an encoder with a linear head, trained as `encoder`.
pub fn encoder_name(name: &str) -> String {
    format!("encoder.{}", torch_name(name, false))
}

/// Gives a student the weights that PyTorch's started from.
pub fn set_initial(student: &mut dyn Module, golden: &Golden, rename: impl Fn(&str) -> String) {
    set_tensors(student, |name| {
        let initial = || golden.f32(&format!("initial.{}", rename(name)));
        (!name.contains("running_")).then(initial)
    });
}

/// Five steps of SGD at the rates of the file; fails at the first loss that is not PyTorch's.
///
/// torch's own f32 stays within 1e-6 of its f64 in the losses and 3e-6 in the final state
/// (golden/MANIFEST.json): the starts were chosen so that no ReLU comes near its kink. Sums in
/// another order may go several times as far: 5e-6 here and 2e-5 in [`check_final`].
pub fn check_losses<M: Method>(
    method: &mut M,
    golden: &Golden,
    kind: &str,
    weight_decay: f64,
    loss: impl Fn(&mut M, usize) -> StepOutput,
) {
    let rule = RuleConfig::Sgd { momentum: 0.9 };
    let mut sgd = Optimizer::of_rule(rule, DecayScope::All, None, method.student());
    let (expected, rates) = (golden.values(&format!("{kind}.loss")), golden.values("lr"));
    assert_eq!(expected.len(), STEPS);
    for step in 0..STEPS {
        let output = loss(method, step);
        let found = f64::from(to_host(output.loss.clone())[0]);
        let off = (found - expected[step]).abs() / expected[step].abs();
        assert!(off < 5e-6, "{kind}, step {step}: loss {found}, off by {off:.1e}");
        let gradients = NamedGradients::of(method.student(), &output.loss.backward());
        sgd.step(method.student(), gradients, weight_decay, |_| Some(rates[step]));
        method.after_update(&at(step));
    }
}

/// Fails unless every tensor of a student is the final one of PyTorch's.
pub fn check_final(
    student: &mut dyn Module,
    golden: &Golden,
    kind: &str,
    rename: impl Fn(&str) -> String,
) {
    for_each_leaf(student, |name, leaf| {
        if let Leaf::Param(found) | Leaf::Buffer(found) = leaf {
            assert_close(found.flat(), golden, &format!("{kind}.final.{}", rename(name)), 2e-5);
        }
    });
}

/// A step of the trajectory.
pub fn at(index: usize) -> Step {
    Step { index, total: STEPS, per_epoch: STEPS, seed: 3, part: 0 }
}
