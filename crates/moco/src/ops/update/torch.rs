//! Updates by LibTorch, of many parameters at once.

use super::{Moving, Rule};
use crate::ops::torch::{exclusive, plain, shared};
use burn::tensor::Tensor;
use moco_kernels::optim::{LarsConfig, TrustNorm};
use moco_torch::update::{self, Adam, Adapted, Lars, Sgd};

pub(super) fn average_all(pairs: Vec<(Tensor<1>, Tensor<1>)>, m: f64) -> Vec<Tensor<1>> {
    let own = |(theta, target)| (exclusive::<1>(theta), shared::<1>(target));
    let (thetas, targets): (Vec<_>, Vec<_>) = pairs.into_iter().map(own).unzip();
    update::average(&thetas, &targets, m);
    thetas.into_iter().map(plain).collect()
}

pub(super) fn step_all(parameters: Vec<Moving>, rule: Rule) -> Vec<Moving> {
    let [mut p, mut g, mut first, mut second] = [(); 4].map(|()| Vec::new());
    let mut steps = Vec::new();
    for moving in parameters {
        p.push(exclusive(moving.p));
        g.push(shared(moving.g));
        first.push(exclusive(moving.first));
        second.extend(moving.second.map(exclusive));
        steps.push(moving.steps);
    }
    match rule {
        Rule::Sgd { rates: [lr, momentum, weight_decay], nesterov } => {
            update::sgd(&p, &g, &first, Sgd { lr, momentum, weight_decay, nesterov });
        }
        Rule::Adam { config, decoupled } => {
            let betas = [config.beta1, config.beta2];
            let (weight_decay, epsilon) = (config.weight_decay, config.eps);
            let numbers = Adam { lr: config.lr, betas, weight_decay, epsilon, decoupled };
            update::adam(&p, &g, [&first, &second], &steps, numbers);
        }
        Rule::Lars(config) => update::lars(&p, &g, &first, lars(config)),
    }
    let mut second = second.into_iter();
    let parts = p.into_iter().zip(g).zip(first).zip(steps);
    parts
        .map(|(((p, g), first), steps)| {
            let second = second.next().map(plain);
            Moving { p: plain(p), g: plain(g), first: plain(first), second, steps }
        })
        .collect()
}

/// In place where the memory is theirs alone, which Burn's own assignment never is on LibTorch: it holds a
/// second handle.
pub(super) fn replace_rows(rows: Tensor<2>, places: &[i32], new: Tensor<2>) -> Tensor<2> {
    let mut rows = exclusive(rows);
    let places: Vec<i64> = places.iter().map(|place| i64::from(*place)).collect();
    let places = tch::Tensor::from_slice(&places).to_device(rows.device());
    let _ = rows.index_copy_(0, &places, &shared(new));
    plain(rows)
}

fn lars(config: LarsConfig) -> Lars {
    let adapted = config.trust.map(|trust| Adapted {
        weight_decay: f64::from(config.weight_decay),
        trust: f64::from(trust.coefficient),
        sum: (trust.norm == TrustNorm::Sum).then_some(f64::from(trust.eps)),
        limited: trust.clip,
    });
    let (lr, momentum) = (f64::from(config.lr), f64::from(config.momentum));
    Lars { lr, momentum, adapted, rate_inside: config.lr_in_buffer }
}

/// Divides gradients, in place where the memory is theirs alone; whether all values are finite.
pub(super) fn divide<'a>(gradients: impl Iterator<Item = &'a mut Tensor<1>>, factor: f64) -> bool {
    let (mut slots, mut own) = (Vec::new(), Vec::new());
    for gradient in gradients {
        let empty = Tensor::empty([0], &gradient.device());
        own.push(exclusive(std::mem::replace(gradient, empty)));
        slots.push(gradient);
    }
    if own.is_empty() {
        return true;
    }
    let found = moco_torch::precision::unscale(&own, factor.recip());
    slots.into_iter().zip(own).for_each(|(slot, tensor)| *slot = plain(tensor));
    f64::try_from(&found).is_ok_and(|found| found == 0.0)
}
