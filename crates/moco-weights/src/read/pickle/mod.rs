//! Pickles as values. Nothing is ever executed: an opcode makes a value or is refused.
//!
//! Values lie in one list and name each other by position, so that shared and circular values need
//! no copies and deep ones no recursion. What a file can make this allocate is bounded by
//! [`MOST_NODES`] and by its own length.
//!
//! Python's `pickletools` is the specification of the opcodes.

mod calls;
mod input;
mod machine;

pub(super) use input::Input;

use crate::tensor::Dtype;

/// Most values of one pickle: several hundred times those of a large checkpoint.
const MOST_NODES: usize = 4 << 20;

/// The position of a value.
pub(super) type Id = u32;

/// A pickle's values.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    /// The value that was pickled.
    pub root: Id,
}

/// A value: small, for a file of a few megabytes can have millions.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Bytes, and whole numbers beyond 64 bits, which nothing asks for.
    Opaque,
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function that is named, `module.name`.
    Global(Box<str>, Box<str>),
    Storage(Box<Storage>),
    Tensor(Box<View>),
    /// An object of a class that is not known here.
    Object(Box<Object>),
}

/// A run of values in the file that a tensor looks into.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub key: String,
    /// `None` in untyped ones, whose length is in bytes.
    pub dtype: Option<Dtype>,
    /// Length in values.
    pub count: u64,
    /// The first value, where it is a part of a larger storage (early files only).
    pub first: u64,
}

/// A tensor: how it looks into its storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub storage: Storage,
    pub dtype: Dtype,
    pub first: u64,
    pub shape: Vec<usize>,
    pub strides: Vec<u64>,
}

/// An object of an unknown class.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    /// `module.name`.
    pub class: String,
    /// Its attributes, usually a dictionary.
    pub state: Option<Id>,
    /// Its items, if it is a kind of dictionary.
    pub items: Vec<(Id, Id)>,
    /// Whether a tensor was among what it is made from.
    pub holds_tensor: bool,
}

impl Pickle {
    /// A value.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// A value, if it is a text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// All values.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

/// Why a pickle is not read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It calls this.
    Code(String),
    /// It breaks its format.
    Damaged(String),
    /// The file cannot be read.
    Io(crate::error::WeightsError),
    /// It is too large, or of a kind that is not read.
    Unread(String),
}

impl From<crate::error::WeightsError> for Refusal {
    fn from(error: crate::error::WeightsError) -> Self {
        Refusal::Io(error)
    }
}

impl Refusal {
    pub(super) fn damaged(reason: impl Into<String>) -> Refusal {
        Refusal::Damaged(reason.into())
    }
}
