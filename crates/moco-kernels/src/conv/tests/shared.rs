//! A batch that lies on several processes, here threads.

use super::block::Problem;
use super::*;
use crate::norm::Processes;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

/// One of several threads that add up what each of them has.
#[derive(Debug)]
struct Party {
    count: usize,
    barrier: Barrier,
    total: Mutex<Vec<f64>>,
}

impl Processes for Party {
    fn count(&self) -> usize {
        self.count
    }

    fn sum(&self, values: &mut [f64]) {
        {
            let mut total = self.total.lock().unwrap();
            total.resize(values.len(), 0.0);
            total.iter_mut().zip(&*values).for_each(|(sum, value)| *sum += value);
        }
        self.barrier.wait();
        values.copy_from_slice(&self.total.lock().unwrap());
        if self.barrier.wait().is_leader() {
            self.total.lock().unwrap().clear();
        }
        self.barrier.wait();
    }
}

/// What one process has of a block: its output, a mean and variance, and the gradients.
type Part = (BlockOutput, BlockGrads);

fn run(problem: &Problem, isa: Isa, others: Option<&Arc<dyn Processes>>) -> Part {
    let layer = |i: usize| {
        let [weight, gamma, beta] = &problem.parameters[i];
        BlockLayer { shape: problem.shapes[i], weight, gamma, beta }
    };
    let layers: Vec<_> = (0..problem.depth()).map(layer).collect();
    let projection = problem.projection.then(|| layer(problem.depth()));
    let block = Block { layers: &layers, projection, groups: 1, others, eps: 1e-5 };
    let output = block_forward(isa, &problem.x, &block, true);
    let saved = output.saved.as_ref().expect("kept");
    let needs = BlockNeeds { x: true, weights: true, affine: true };
    let (x, out, d_out) = (&problem.x, &output.out, &problem.d_out);
    let grads = block_backward(isa, x, &block, saved, out, d_out, needs);
    (output, grads)
}

/// Images `i`, `i + parts`, ... of a problem.
fn share(problem: &Problem, i: usize, parts: usize) -> Problem {
    let n = problem.shapes[0].n;
    let of = |maps: &[f32]| -> Vec<f32> {
        maps.chunks(maps.len() / n).skip(i).step_by(parts).flatten().copied().collect()
    };
    let shape = |shape: &ConvShape| ConvShape { n: n / parts, ..*shape };
    Problem {
        shapes: problem.shapes.iter().map(shape).collect(),
        projection: problem.projection,
        groups: 1,
        x: of(&problem.x),
        parameters: problem.parameters.clone(),
        d_out: of(&problem.d_out),
    }
}

fn sum(parts: &[Part], of: impl Fn(&Part) -> Option<&Vec<f32>>) -> Vec<f32> {
    let mut parts = parts.iter().map(|part| of(part).expect("asked for").clone());
    let first = parts.next().expect("a part");
    parts.fold(first, |sum, part| sum.iter().zip(&part).map(|(a, b)| a + b).collect())
}

fn holds(found: &[f32], expected: &[f32], what: &str) {
    let error = relative_error(found, &to_f64(expected));
    // Sums in another order; a ReLU on whose edge a value lies would show as 1e-2 or more.
    assert!(error < 2e-5, "{what}: {error}");
}

/// What processes compute of their parts is what one computes of the whole; gradients of parameters are
/// its parts.
#[test]
fn parts_of_a_batch_are_the_batch() {
    let mut rng = Rng::new(77);
    for (parts, kernels, channels, strided) in [
        (2, &[3, 3][..], &[8, 16, 16][..], (0, 2)),
        (3, &[3, 3], &[16, 16, 16], (0, 1)),
        (2, &[1, 3, 1], &[24, 8, 8, 32], (1, 2)),
    ] {
        let whole = Problem::new(&mut rng, [6, 8, 6], kernels, channels, strided, 1);
        for isa in isas() {
            let what = format!("{kernels:?} {channels:?} on {parts}, {isa:?}");
            let (output, grads) = run(&whole, isa, None);
            let party: Arc<dyn Processes> = Arc::new(Party {
                count: parts,
                barrier: Barrier::new(parts),
                total: Mutex::default(),
            });
            let done: Vec<Part> = thread::scope(|scope| {
                let part = |i| {
                    let (party, share) = (&party, share(&whole, i, parts));
                    scope.spawn(move || run(&share, isa, Some(party)))
                };
                let running: Vec<_> = (0..parts).map(part).collect();
                running.into_iter().map(|part| part.join().unwrap()).collect()
            });
            let image = |maps: &[f32]| maps.len() / whole.shapes[0].n;
            for (i, (of_part, grads_of_part)) in done.iter().enumerate() {
                let share = |maps: &[f32]| -> Vec<f32> {
                    maps.chunks(image(maps)).skip(i).step_by(parts).flatten().copied().collect()
                };
                holds(&of_part.out, &share(&output.out), &format!("the output of {what}"));
                let (dx, all) = (grads_of_part.x.as_ref(), grads.x.as_ref());
                holds(dx.unwrap(), &share(all.unwrap()), &format!("the gradient of x of {what}"));
                for (found, expected) in of_part.statistics.iter().zip(&output.statistics) {
                    holds(&found.mean, &expected.mean, &format!("a mean of {what}"));
                    holds(&found.var, &expected.var, &format!("a variance of {what}"));
                }
            }
            for (i, of_layer) in grads.layers.iter().enumerate() {
                let what = format!("layer {i} of {what}");
                let found = sum(&done, |(_, grads)| grads.layers[i].weight.as_ref());
                holds(&found, of_layer.weight.as_ref().unwrap(), &what);
                let found = sum(&done, |(_, grads)| grads.layers[i].gamma.as_ref());
                holds(&found, of_layer.gamma.as_ref().unwrap(), &what);
                let found = sum(&done, |(_, grads)| grads.layers[i].beta.as_ref());
                holds(&found, of_layer.beta.as_ref().unwrap(), &what);
            }
        }
    }
}
