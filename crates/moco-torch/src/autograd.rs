//! Gradients by LibTorch's own autograd.

use crate::ffi::{check, moco_torch_vjp, pointers};
use tch::Tensor;

/// The vector-Jacobian product: for each input the sum over the outputs of the gradient of
/// `<cotangent, output>`; `None` where no path leads to an input. Frees the outputs' graph.
///
/// # Panics
/// If there are not as many cotangents as outputs, or LibTorch fails: an output that needs no
/// gradient, a cotangent of another shape.
pub fn vjp(outputs: &[&Tensor], cotangents: &[&Tensor], inputs: &[&Tensor]) -> Vec<Option<Tensor>> {
    assert_eq!(outputs.len(), cotangents.len(), "a cotangent for each output");
    let outs = pointers(outputs.iter().copied());
    let d_outs = pointers(cotangents.iter().copied());
    let ins = pointers(inputs.iter().copied());
    let mut results = vec![std::ptr::null_mut(); ins.len()];
    // SAFETY: the lists hold as many living tensors as their lengths say, and `results` has room for one
    // pointer for each input.
    let words = unsafe {
        moco_torch_vjp(
            outs.as_ptr(),
            d_outs.as_ptr(),
            outs.len(),
            ins.as_ptr(),
            ins.len(),
            results.as_mut_ptr(),
        )
    };
    // SAFETY: straight from the call.
    unsafe { check(words) };
    // SAFETY: each pointer that is not null is a tensor made for us alone.
    let owned = |p| unsafe { Tensor::from_ptr(p) };
    results.into_iter().map(|p| (!p.is_null()).then(|| owned(p))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::<f64>::try_from(tensor.flatten(0, -1)).unwrap()
    }

    #[test]
    fn a_product_is_weighted_by_its_cotangents() {
        let x = Tensor::from_slice(&[1.0, 2.0, 3.0]).set_requires_grad(true);
        let unused = Tensor::from_slice(&[1.0]).set_requires_grad(true);
        let (square, twice) = (&x * &x, &x * 2.0);
        let d_square = Tensor::from_slice(&[1.0, 10.0, 100.0]);
        let d_twice = Tensor::from_slice(&[0.0, 0.0, 1.0]);
        let found = vjp(&[&square, &twice], &[&d_square, &d_twice], &[&x, &unused]);
        assert_eq!(values(found[0].as_ref().unwrap()), [2.0, 40.0, 602.0]);
        assert!(found[1].is_none());
    }

    #[test]
    #[should_panic(expected = "libtorch: ")]
    fn a_failure_is_a_panic_that_says_whose_it_is() {
        let x = Tensor::from_slice(&[1.0, 2.0]).set_requires_grad(true);
        vjp(&[&(&x * 2.0)], &[&Tensor::from_slice(&[1.0, 2.0, 3.0])], &[&x]);
    }
}
