//! ONNX graphs computed by loops in double precision, as the descriptions of the operations say.

use super::proto::{Array, Model, Node};
use std::collections::BTreeMap;

impl Array {
    pub fn new(shape: &[usize], values: Vec<f64>) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>());
        Self { shape: shape.to_vec(), values }
    }

    /// An array whose value at each place is `at(place)`.
    fn filled(shape: &[usize], at: impl FnMut(&[usize]) -> f64) -> Self {
        Self::new(shape, places(shape).map_values(at))
    }

    fn at(&self, place: &[usize]) -> f64 {
        let index = place.iter().zip(&self.shape).fold(0, |index, (at, size)| {
            assert!(at < size, "{place:?} in {:?}", self.shape);
            index * size + at
        });
        self.values[index]
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::new(&self.shape, self.values.iter().map(|value| f(*value)).collect())
    }
}

trait MapValues {
    fn map_values(self, at: impl FnMut(&[usize]) -> f64) -> Vec<f64>;
}

impl<I: Iterator<Item = Vec<usize>>> MapValues for I {
    fn map_values(self, mut at: impl FnMut(&[usize]) -> f64) -> Vec<f64> {
        self.map(|place| at(&place)).collect()
    }
}

/// All places of an array, row by row.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product()).map(move |mut index: usize| {
        let mut place = vec![0; shape.len()];
        for (at, size) in place.iter_mut().zip(&shape).rev() {
            (*at, index) = (index % size, index / size);
        }
        place
    })
}

/// The output of a graph for `images`.
pub fn run(model: &Model, images: Array) -> Array {
    let mut values: BTreeMap<String, Array> = model.weights.clone();
    values.insert(model.input.0.clone(), images);
    for node in &model.nodes {
        let inputs: Vec<&Array> = node.inputs.iter().map(|name| &values[name]).collect();
        let output = compute(node, &inputs);
        assert!(values.insert(node.output.clone(), output).is_none(), "{} twice", node.output);
    }
    values.remove(&model.output.0).expect("the output is computed")
}

fn compute(node: &Node, x: &[&Array]) -> Array {
    match (node.operation.as_str(), x) {
        ("Identity" | "Cast", [x]) => (*x).clone(),
        ("Relu", [x]) => x.map(|value| value.max(0.0)),
        ("Sqrt", [x]) => x.map(f64::sqrt),
        ("Erf", [x]) => x.map(erf),
        ("Sigmoid", [x]) => x.map(|value| 1.0 / (1.0 + (-value).exp())),
        ("Add", [a, b]) => elementwise(a, b, |a, b| a + b),
        ("Sub", [a, b]) => elementwise(a, b, |a, b| a - b),
        ("Mul", [a, b]) => elementwise(a, b, |a, b| a * b),
        ("Div", [a, b]) => elementwise(a, b, |a, b| a / b),
        ("MatMul", [a, b]) => matmul(a, b),
        ("Gemm", [x, weight, bias @ ..]) => gemm(node, x, weight, bias),
        ("Conv", [x, weight, bias @ ..]) => conv(node, x, weight, bias),
        ("MaxPool", [x]) => max_pool(node, x),
        ("AveragePool", [x]) => average_pool(node, x),
        ("GlobalAveragePool", [x]) => {
            let [n, c, h, w] = x.shape[..] else { panic!("{:?}", x.shape) };
            let map =
                |n, c| places(&[h, w]).map(move |at| x.at(&[n, c, at[0], at[1]])).sum::<f64>();
            Array::filled(&[n, c, 1, 1], |at| map(at[0], at[1]) / (h * w) as f64)
        }
        ("BatchNormalization", [x, scale, shift, mean, var]) => {
            let epsilon = f64::from(node.floats["epsilon"]);
            Array::filled(&x.shape, |at| {
                let of = |values: &Array| values.values[at[1]];
                (x.at(at) - of(mean)) / (of(var) + epsilon).sqrt() * of(scale) + of(shift)
            })
        }
        ("LayerNormalization", [x, scale, shift]) => layer_norm(node, x, scale, shift),
        ("Softmax", [x]) => {
            assert_eq!(node.ints["axis"], [-1]);
            rows(x, |row| {
                let top = row.iter().fold(f64::MIN, |a, b| a.max(*b));
                let sum: f64 = row.iter().map(|value| (value - top).exp()).sum();
                row.iter().map(|value| (value - top).exp() / sum).collect()
            })
        }
        ("ReduceMean" | "ReduceSumSquare", [x]) => reduce(node, x),
        ("Flatten", [x]) => {
            assert_eq!(node.ints["axis"], [1]);
            Array::new(&[x.shape[0], x.shape[1..].iter().product()], x.values.clone())
        }
        ("Reshape", [x, sizes]) => reshape(x, sizes),
        ("Transpose", [x]) => {
            let order: Vec<usize> = node.ints["perm"].iter().map(|axis| *axis as usize).collect();
            let shape: Vec<usize> = order.iter().map(|axis| x.shape[*axis]).collect();
            Array::filled(&shape, |at| {
                let mut from = vec![0; at.len()];
                order.iter().zip(at).for_each(|(axis, at)| from[*axis] = *at);
                x.at(&from)
            })
        }
        ("Slice", [x, start, end, axis]) => slice(x, start, end, axis),
        ("Gather", [x, index]) => {
            assert_eq!((node.ints["axis"][0], index.shape.len()), (1, 0));
            let shape = [&x.shape[..1], &x.shape[2..]].concat();
            let index = index.values[0] as usize;
            Array::filled(&shape, |at| x.at(&[&at[..1], &[index], &at[1..]].concat()))
        }
        ("Concat", parts) => concat(node.ints["axis"][0] as usize, parts),
        ("Shape", [x]) => {
            let (start, end) = (node.ints["start"][0] as usize, node.ints["end"][0] as usize);
            let sizes = x.shape[start..end].iter().map(|size| *size as f64);
            Array::new(&[end - start], sizes.collect())
        }
        ("Expand", [x, shape]) => {
            let shape: Vec<usize> = shape.values.iter().map(|size| *size as usize).collect();
            elementwise(x, &Array::new(&shape, vec![0.0; shape.iter().product()]), |a, b| a + b)
        }
        (other, _) => panic!("{} is {other} of {} inputs", node.name, x.len()),
    }
}

/// 2/√π exp(-x²) Σ 2ⁿ x²ⁿ⁺¹ / (2n + 1)!!, whose terms all have one sign (Abramowitz & Stegun 7.1.6).
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, 0.0);
    for n in 1..400 {
        sum += term;
        term *= 2.0 * x * x / f64::from(2 * n + 1);
    }
    sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI
}

/// One value from each of two arrays, sizes of 1 and missing ones in front repeated.
fn elementwise(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    let rank = a.shape.len().max(b.shape.len());
    let padded = |shape: &[usize]| [vec![1; rank - shape.len()], shape.to_vec()].concat();
    let [one, other] = [a, b].map(|x| Array::new(&padded(&x.shape), x.values.clone()));
    let sizes = one.shape.iter().zip(&other.shape);
    let shape: Vec<usize> = sizes.map(|(a, b)| *a.max(b)).collect();
    let at = |x: &Array, place: &[usize]| {
        let inside = place.iter().zip(&x.shape).map(|(at, size)| if *size == 1 { 0 } else { *at });
        x.at(&inside.collect::<Vec<_>>())
    };
    Array::filled(&shape, |place| f(at(&one, place), at(&other, place)))
}

fn matmul(a: &Array, b: &Array) -> Array {
    let (rank, inner) = (a.shape.len(), a.shape[a.shape.len() - 1]);
    let shape = [&a.shape[..rank - 1], &b.shape[b.shape.len() - 1..]].concat();
    Array::filled(&shape, |at| {
        let (front, column) = (&at[..rank - 1], at[rank - 1]);
        let batch = if b.shape.len() == 2 { &[][..] } else { &at[..rank - 2] };
        let term = |k| a.at(&[front, &[k]].concat()) * b.at(&[batch, &[k, column]].concat());
        (0..inner).map(term).sum()
    })
}

fn gemm(node: &Node, x: &Array, weight: &Array, bias: &[&Array]) -> Array {
    assert_eq!(node.ints["transB"], [1]);
    Array::filled(&[x.shape[0], weight.shape[0]], |at| {
        let term = |k| x.at(&[at[0], k]) * weight.at(&[at[1], k]);
        let bias = bias.first().map_or(0.0, |bias| bias.values[at[1]]);
        (0..x.shape[1]).map(term).sum::<f64>() + bias
    })
}

/// The window at an output's place: offsets in the kernel and the input's place, if it is inside.
fn window(
    node: &Node,
    [h, w]: [usize; 2],
    [row, column]: [usize; 2],
) -> Vec<([usize; 2], [usize; 2])> {
    let int = |name: &str| node.ints[name][0] as usize;
    assert!(node.ints["pads"].iter().all(|pad| *pad == node.ints["pads"][0]));
    let (kernel, stride, pad) = (int("kernel_shape"), int("strides"), int("pads"));
    let inside = |at: usize, size: usize| at.checked_sub(pad).filter(|at| *at < size);
    let taps = places(&[kernel, kernel]).filter_map(|tap| {
        let y = inside(row * stride + tap[0], h)?;
        let x = inside(column * stride + tap[1], w)?;
        Some(([tap[0], tap[1]], [y, x]))
    });
    taps.collect()
}

fn map_size(node: &Node, size: usize) -> usize {
    let int = |name: &str| node.ints[name][0] as usize;
    (size + 2 * int("pads") - int("kernel_shape")) / int("strides") + 1
}

fn conv(node: &Node, x: &Array, weight: &Array, bias: &[&Array]) -> Array {
    let [n, c, h, w] = x.shape[..] else { panic!("{:?}", x.shape) };
    let shape = [n, weight.shape[0], map_size(node, h), map_size(node, w)];
    Array::filled(&shape, |at| {
        let taps = window(node, [h, w], [at[2], at[3]]);
        let over = |c: usize| {
            let tap = |([i, j], [y, z]): &([usize; 2], [usize; 2])| {
                x.at(&[at[0], c, *y, *z]) * weight.at(&[at[1], c, *i, *j])
            };
            taps.iter().map(tap).sum::<f64>()
        };
        (0..c).map(over).sum::<f64>() + bias.first().map_or(0.0, |bias| bias.values[at[1]])
    })
}

fn max_pool(node: &Node, x: &Array) -> Array {
    let [n, c, h, w] = x.shape[..] else { panic!("{:?}", x.shape) };
    Array::filled(&[n, c, map_size(node, h), map_size(node, w)], |at| {
        let taps = window(node, [h, w], [at[2], at[3]]);
        taps.iter().fold(f64::MIN, |top, (_, [y, z])| top.max(x.at(&[at[0], at[1], *y, *z])))
    })
}

/// The mean of a window of 2x2, whose border is behind the last row and column.
fn average_pool(node: &Node, x: &Array) -> Array {
    let [n, c, h, w] = x.shape[..] else { panic!("{:?}", x.shape) };
    assert_eq!(
        (&node.ints["kernel_shape"][..], &node.ints["pads"][..]),
        (&[2, 2][..], &[0, 0, 1, 1][..])
    );
    let stride = node.ints["strides"][0] as usize;
    let border_counts = node.ints["count_include_pad"] == [1];
    let size = |size: usize| (size + 1 - 2) / stride + 1;
    Array::filled(&[n, c, size(h), size(w)], |at| {
        let inside = |at: usize, size: usize| {
            [at * stride, at * stride + 1].into_iter().filter(move |i| *i < size)
        };
        let taps = inside(at[2], h).flat_map(|y| inside(at[3], w).map(move |x| [y, x]));
        let values: Vec<f64> = taps.map(|[y, z]| x.at(&[at[0], at[1], y, z])).collect();
        values.iter().sum::<f64>() / if border_counts { 4.0 } else { values.len() as f64 }
    })
}

/// Each row of the last dimension on its own.
fn rows(x: &Array, f: impl Fn(&[f64]) -> Vec<f64>) -> Array {
    let width = x.shape[x.shape.len() - 1];
    Array::new(&x.shape, x.values.chunks(width).flat_map(f).collect())
}

fn layer_norm(node: &Node, x: &Array, scale: &Array, shift: &Array) -> Array {
    assert_eq!(node.ints["axis"], [-1]);
    let epsilon = f64::from(node.floats["epsilon"]);
    rows(x, |row| {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let var = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / row.len() as f64;
        let normed = row.iter().map(|value| (value - mean) / (var + epsilon).sqrt());
        let affine = scale.values.iter().zip(&shift.values);
        normed.zip(affine).map(|(value, (scale, shift))| value * scale + shift).collect()
    })
}

fn reduce(node: &Node, x: &Array) -> Array {
    assert_eq!(node.ints["axes"], [1]);
    let count = x.shape[1];
    let keep = node.ints["keepdims"][0] == 1;
    let front = if keep { vec![x.shape[0], 1] } else { vec![x.shape[0]] };
    let shape = [&front[..], &x.shape[2..]].concat();
    Array::filled(&shape, |at| {
        let rest = if keep { &at[2..] } else { &at[1..] };
        let values = (0..count).map(|k| x.at(&[&at[..1], &[k], rest].concat()));
        match node.operation.as_str() {
            "ReduceMean" => values.sum::<f64>() / count as f64,
            _ => values.map(|value| value * value).sum(),
        }
    })
}

fn reshape(x: &Array, sizes: &Array) -> Array {
    let mut shape: Vec<usize> = Vec::new();
    for (i, size) in sizes.values.iter().enumerate() {
        shape.push(match *size as i64 {
            0 => x.shape[i],
            -1 => 0,
            size => size as usize,
        });
    }
    if let Some(free) = shape.iter().position(|size| *size == 0) {
        let known: usize = shape.iter().filter(|size| **size > 0).product();
        shape[free] = x.values.len() / known;
    }
    Array::new(&shape, x.values.clone())
}

fn slice(x: &Array, start: &Array, end: &Array, axis: &Array) -> Array {
    let axis = axis.values[0] as usize;
    let start = start.values[0] as usize;
    let mut shape = x.shape.clone();
    shape[axis] = (end.values[0] as usize).min(shape[axis]) - start;
    Array::filled(&shape, |at| {
        let mut from = at.to_vec();
        from[axis] += start;
        x.at(&from)
    })
}

fn concat(axis: usize, parts: &[&Array]) -> Array {
    let mut shape = parts[0].shape.clone();
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    Array::filled(&shape, |at| {
        let mut from = at.to_vec();
        for part in parts {
            match from[axis].checked_sub(part.shape[axis]) {
                Some(rest) => from[axis] = rest,
                None => return part.at(&from),
            }
        }
        unreachable!("a place within the parts")
    })
}
