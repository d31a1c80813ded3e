//! SimCLR's parts against google-research/simclr: loss and LARS.

use super::{Official, STEPS};
use crate::device::device;
use crate::golden::{difference, tensor};
use burn::tensor::Tensor;
use moco::batch::to_host;
use moco::config::{DecayScope, LarsFlavor, RuleConfig};
use moco::loss::{l2_normalize, nt_xent};
use moco::nn::{Module, Param, Visitor, for_each_param};
use moco::optim::{NamedGradients, Optimizer};

/// The published loss is the sum of both views' means, twice the mean over all views. TensorFlow
/// computes in f32, so both sides round.
#[test]
fn the_loss_is_the_published_one() {
    let official = Official::open("simclr_loss");
    let cases = official.facts["cases"].as_array().expect("a list of cases").clone();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let number = &case["case"];
        let hidden = official.tensors.tensor::<2>(&format!("{number}.hidden"));
        let hidden = hidden.autodiff().require_grad();
        let z = match case["hidden_norm"] == true {
            true => l2_normalize(hidden.clone()),
            false => hidden.clone(),
        };
        let temperature = case["temperature"].as_f64().expect("a temperature");
        let loss = nt_xent(z, None, temperature).loss * 2.0;
        // A loss near 0 is a difference of logits near 1/T, on both sides.
        let expected = official.tensors.scalar(&format!("{number}.loss"));
        let found = f64::from(to_host(loss.clone())[0]);
        assert!((found - expected).abs() < 1e-6 * expected.max(1.0), "{found} is not {expected}");
        // Likewise a gradient: it is a share near 0 or 1, less 0 or 1, over T.
        let gradient = to_host(hidden.grad(&loss.backward()).unwrap());
        let expected = official.tensors.values(&format!("{number}.grad_hidden"));
        let scale = expected.iter().fold(0f64, |scale, g| scale.max(g.abs()));
        let off = difference(&gradient, &expected) * scale;
        assert!(off < 1e-5 * scale + 1e-7 / temperature, "{number}: gradient off by {off:.1e}");
    }
}

/// The form that SimCLR trains with. Its others, Nesterov's and "popular" momentum, are used by no
/// recipe and not built.
#[test]
fn lars_is_the_published_one() {
    let official = Official::open("simclr_lars");
    for (case, scope) in [("classic", DecayScope::Matrices), ("all_adapted", DecayScope::All)] {
        let mut parts = Parts::of(&official);
        let rule = RuleConfig::Lars { momentum: 0.9, trust: 0.001, flavor: LarsFlavor::Inside };
        let mut lars = Optimizer::of_rule(rule, scope, None, &mut parts);
        after(&official, &mut parts, &mut lars, case, 0.01, 5e-6);
    }
}

/// The parameters of a published optimiser's run, by their names: vectors, and whatever has more
/// dimensions as a matrix.
pub struct Parts(Vec<(String, Part)>);

enum Part {
    Vector(Param<1>),
    Matrix(Param<2>),
}

impl Parts {
    pub fn of(official: &Official) -> Self {
        let names = official.tensors.names();
        let parts = names.iter().filter_map(|name| name.strip_prefix("initial.")).map(|name| {
            let key = format!("initial.{name}");
            let (values, shape) = (official.tensors.f32(&key), official.tensors.shape(&key));
            let n = values.len();
            let part = match shape[..] {
                [_] => Part::Vector(Param::new(tensor::<1>(values, [n]).autodiff())),
                _ => {
                    let rows = shape[0];
                    let matrix = tensor::<2>(values, [rows, n / rows]).autodiff();
                    Part::Matrix(Param::new(matrix))
                }
            };
            (name.to_owned(), part)
        });
        Self(parts.collect())
    }
}

impl Module for Parts {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        for (name, part) in &mut self.0 {
            match part {
                Part::Vector(param) => visitor.child(name, param),
                Part::Matrix(param) => visitor.child(name, param),
            }
        }
    }
}

/// Moves the parts by the file's gradients; they must be the published ones after one step and
/// after four.
pub fn after(
    official: &Official,
    parts: &mut Parts,
    optimizer: &mut Optimizer,
    case: &str,
    weight_decay: f64,
    tolerance: f64,
) {
    let rates = official.tensors.values("lr");
    for step in 0..STEPS {
        let mut loss = Tensor::<1>::zeros([1], &device().autodiff());
        for (name, part) in &parts.0 {
            let all = official.tensors.f32(&format!("grad.{name}"));
            let count = all.len() / STEPS;
            let gradient: Tensor<1> = tensor(all[step * count..][..count].to_vec(), [count]);
            let values = match part {
                Part::Vector(vector) => vector.val(),
                Part::Matrix(matrix) => matrix.val().flatten(0, 1),
            };
            loss = loss + (values * gradient).sum(); // whose gradient is `gradient`
        }
        let gradients = NamedGradients::of(parts, &loss.backward());
        optimizer.step(parts, gradients, weight_decay, |_| Some(rates[step]));
        if step == 0 || step == STEPS - 1 {
            for_each_param(parts, |name, param| {
                let name = format!("{case}.after{}.{name}", step + 1);
                let off = difference(&to_host(param.flat()), &official.tensors.values(&name));
                assert!(off < tolerance, "{name}: off by {off:.1e}");
            });
        }
    }
}
