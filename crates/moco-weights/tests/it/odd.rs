//! What torch can save beside plain dictionaries of tensors.

use crate::common::folder;
use moco_weights::read;

fn names(file: &str) -> (Vec<String>, Vec<String>) {
    let checkpoint = read::open(&folder().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    for (name, tensor) in &checkpoint.tensors {
        let values = tensor.read(name).expect("values").data;
        let counter = name.ends_with("num_batches_tracked");
        assert!(counter || values.iter().all(|&value| value == 0.5), "{file}: {name}");
    }
    let skipped = checkpoint.skipped.into_iter().map(|skipped| skipped.what).collect();
    (checkpoint.tensors.into_keys().collect(), skipped)
}

#[test]
fn a_whole_module_is_its_state_dict() {
    let expected = [
        "0.bias",
        "0.weight",
        "1.bias",
        "1.num_batches_tracked",
        "1.running_mean",
        "1.running_var",
        "1.weight",
    ];
    assert_eq!(names("odd_module.pth").0, expected);
}

#[test]
fn a_default_dictionary_is_a_dictionary() {
    assert_eq!(names("odd_defaultdict.pth").0, ["state_dict.w"]);
}

#[test]
fn a_sparse_tensor_is_left_and_said() {
    let (names, skipped) = names("odd_sparse.pth");
    assert_eq!(names, ["w"]);
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].contains("sparse"), "{skipped:?}");
}
