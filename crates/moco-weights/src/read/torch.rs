//! What `torch.save` writes: a zip, or a stream of pickles with the storages behind them.

use super::bytes::Bytes;
use super::checkpoint::{Checkpoint, Place};
use super::pickle::{Input, Node, Pickle, Refusal, View};
use super::walk::walk;
use super::zip::{Member, Zip};
use super::{Tensor, checkpoint};
use crate::error::{Result, WeightsError};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// How a stream begins: torch's magic number, pickled by protocol 2.
pub(super) const STREAM: [u8; 15] =
    [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

/// Longest pickle within a zip, in bytes.
const LONGEST_PICKLE: u64 = 256 << 20;

/// Where the storages lie, by key.
type Storages = HashMap<String, Member>;

/// Reads the file as a zip.
pub(super) fn zip(bytes: Arc<Bytes>) -> Result<Checkpoint> {
    let zip = Zip::open(&bytes)?;
    let Some(name) = zip.names().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"))
    else {
        return Err(WeightsError::NotWeights {
            path: bytes.path().to_owned(),
            found: "a zip without `data.pkl`, which torch writes into it".into(),
        });
    };
    let root = name.strip_suffix("data.pkl").unwrap_or_default();
    if zip.names().any(|name| name == format!("{root}constants.pkl")) {
        return Err(resave(&bytes, "is a TorchScript program, not a state_dict"));
    }
    if let Some(order) = zip.entry(&format!("{root}byteorder"))
        && bytes.read(order.start, order.length.min(16))?.starts_with(b"big")
    {
        return Err(resave(&bytes, "was written by a big-endian machine"));
    }
    let Some(Member { start, length, .. }) = zip.entry(name) else {
        return Err(bytes.damaged("it has no pickle"));
    };
    if length > LONGEST_PICKLE {
        return Err(resave(&bytes, "holds far more than weights (a pickle of over 256 MB)"));
    }
    let mut input = Input::new(&bytes, start, start + length);
    let pickle = Pickle::read(&mut input).map_err(|refusal| explain(refusal, bytes.path()))?;
    let folder = format!("{root}data/");
    let storage = |name: &str| Some((name.strip_prefix(&folder)?.to_owned(), zip.entry(name)?));
    let storages = zip.names().filter_map(storage).collect();
    finish(&bytes, "PyTorch, zip", &pickle, &storages)
}

/// Reads the file as a stream of pickles, torch's format up to version 1.5.
pub(super) fn stream(bytes: Arc<Bytes>) -> Result<Checkpoint> {
    let mut input = Input::new(&bytes, 0, bytes.length());
    let read = |input: &mut Input<'_>| {
        Pickle::read(input).map_err(|refusal| explain(refusal, bytes.path()))
    };
    read(&mut input)?; // The magic number.
    read(&mut input)?; // The protocol's version, 1001 in all files.
    let machine = read(&mut input)?;
    if little_endian(&machine) == Some(false) {
        return Err(resave(&bytes, "was written by a big-endian machine"));
    }
    let pickle = read(&mut input)?;
    let keys = read(&mut input)?;
    let storages = storages_in_order(&bytes, &mut input, &pickle, &keys)?;
    finish(&bytes, "PyTorch, old format", &pickle, &storages)
}

fn little_endian(machine: &Pickle) -> Option<bool> {
    let Node::Dict(items) = machine.node(machine.root) else { return None };
    let (_, value) = items.iter().find(|(key, _)| machine.text(*key) == Some("little_endian"))?;
    match machine.node(*value) {
        Node::Bool(little) => Some(*little),
        _ => None,
    }
}

/// The storages behind the pickles, each its number of values and then these.
fn storages_in_order(
    bytes: &Bytes,
    input: &mut Input<'_>,
    pickle: &Pickle,
    keys: &Pickle,
) -> Result<Storages> {
    let sizes: HashMap<&str, usize> = pickle
        .nodes()
        .iter()
        .filter_map(|node| match node {
            Node::Storage(storage) => {
                Some((storage.key.as_str(), storage.dtype.map_or(1, crate::Dtype::bytes)))
            }
            _ => None,
        })
        .collect();
    let Node::List(order) = keys.node(keys.root) else {
        return Err(bytes.damaged("it has no list of its storages"));
    };
    let mut storages = Storages::new();
    for &key in order {
        let key = keys.text(key).ok_or_else(|| bytes.damaged("a storage has no name"))?;
        // Of a storage that no tensor looks into the length in bytes is not known.
        let Some(&size) = sizes.get(key) else {
            return Err(resave(bytes, "holds storages that are not read"));
        };
        let start = input.position() + 8;
        let count: [u8; 8] = input.array().map_err(|refusal| explain(refusal, bytes.path()))?;
        let length = u64::try_from(i64::from_le_bytes(count)).ok();
        let length = length.and_then(|count| count.checked_mul(size as u64));
        let end = length.and_then(|length| start.checked_add(length));
        let (Some(length), Some(end)) = (length, end.filter(|&end| end <= bytes.length())) else {
            return Err(bytes.damaged("it ends before its values do"));
        };
        storages.insert(key.to_owned(), Member { start, length, crc32: None });
        input.skip_to(end);
    }
    Ok(storages)
}

/// Names the tensors and says where their values are.
fn finish(
    bytes: &Arc<Bytes>,
    format: &str,
    pickle: &Pickle,
    storages: &Storages,
) -> Result<Checkpoint> {
    let found = walk(pickle).map_err(|refusal| explain(refusal, bytes.path()))?;
    let mut checkpoint = checkpoint::Checkpoint::new(bytes.path(), format);
    checkpoint.skipped = found.skipped;
    checkpoint.metadata = found.metadata;
    for (name, view) in found.tensors {
        let tensor = place(bytes, &name, view, storages)?;
        checkpoint.tensors.insert(name, tensor);
    }
    Ok(checkpoint)
}

fn place(bytes: &Arc<Bytes>, name: &str, view: &View, storages: &Storages) -> Result<Tensor> {
    let Some(&Member { start, length, crc32 }) = storages.get(&view.storage.key) else {
        return Err(bytes.damaged(format!("the values of `{name}` are not in it")));
    };
    let size = view.storage.dtype.map_or(1, crate::Dtype::bytes) as u64;
    let end = view.storage.first.checked_add(view.storage.count);
    if end.and_then(|end| end.checked_mul(size)).is_none_or(|end| end > length) {
        return Err(bytes.damaged(format!("it ends before the values of `{name}` do")));
    }
    let packed = is_packed(view);
    let count: u64 = view.shape.iter().map(|&side| side as u64).product();
    let whole = packed && view.first == 0 && view.storage.first == 0;
    let whole = whole && count * view.dtype.bytes() as u64 == length;
    let place = Place {
        bytes: Arc::clone(bytes),
        start: start + view.storage.first * size,
        first: view.first,
        strides: (!packed).then(|| view.strides.clone()),
        crc32: crc32.filter(|_| whole),
    };
    Ok(Tensor { shape: view.shape.clone(), dtype: view.dtype, place })
}

/// Whether the values lie row by row without gaps.
fn is_packed(view: &View) -> bool {
    let mut next = 1u64;
    view.shape.iter().zip(&view.strides).rev().all(|(&side, &stride)| {
        let packed = side == 1 || stride == next;
        next = next.saturating_mul(side as u64);
        packed
    })
}

fn resave(bytes: &Bytes, problem: &str) -> WeightsError {
    WeightsError::Resave { path: bytes.path().to_owned(), problem: problem.to_owned() }
}

/// The error of a pickle that is not read.
fn explain(refusal: Refusal, path: &Path) -> WeightsError {
    let path = path.to_owned();
    match refusal {
        Refusal::Code(call) => WeightsError::Code { path, call },
        Refusal::Damaged(reason) => WeightsError::Damaged { path, reason },
        Refusal::Io(error) => error,
        Refusal::Unread(problem) => WeightsError::Resave { path, problem },
    }
}
