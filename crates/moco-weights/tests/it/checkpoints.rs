//! Every tensor of every file as torch reads it, bit for bit.

use crate::common::cases;
use moco_weights::read;

#[test]
fn all_tensors_are_those_that_torch_reads() {
    for case in cases() {
        let checkpoint = read::open(&case.file).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut hash = crc32fast::Hasher::new();
        for (name, tensor) in &checkpoint.tensors {
            let values = tensor.read(name).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let shape: Vec<String> = values.shape.iter().map(usize::to_string).collect();
            hash.update(name.as_bytes());
            hash.update(b"\0");
            hash.update(shape.join(",").as_bytes());
            hash.update(b"\0");
            values.data.iter().for_each(|value| hash.update(&value.to_le_bytes()));
        }
        assert_eq!(checkpoint.tensors.len() as u64, case.tensors, "{}", case.name);
        assert_eq!(u64::from(hash.finalize()), case.crc32, "{}", case.name);
    }
}
