//! A graph of ONNX operations, and the file that it makes.
//!
//! Field numbers are those of ONNX's schema, `onnx.proto`.

use super::proto::Message;
use crate::checkpoint::Texts;
use std::collections::BTreeSet;

/// The version of ONNX's operations that the graphs are written in; the first with
/// `LayerNormalization`.
const OPSET: i64 = 17;
/// The version of the file's form that came with it.
const IR_VERSION: i64 = 8;

/// Kinds of numbers, by ONNX's numbers for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Float = 1,
    Byte = 2,
    Integer = 7,
}

/// A tensor in a graph, by its name: an input, a weight or what an operation gives.
#[derive(Clone, Debug)]
pub(super) struct Value(String);

/// What an operation is told besides its inputs.
pub(super) enum Setting<'a> {
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
}

/// A size of an input or output.
pub(super) enum Size {
    /// Any; the name says of what.
    Any(&'static str),
    Fixed(usize),
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<Message>,
    weights: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
    /// The names that are taken, since two parts of one name are one.
    names: BTreeSet<String>,
}

impl Graph {
    pub(super) fn input(&mut self, name: &str, kind: Kind, sizes: &[Size]) -> Value {
        self.inputs.push(described(name, kind, sizes));
        self.named(name)
    }

    pub(super) fn output(&mut self, value: &Value, name: &str, sizes: &[Size]) {
        let output = self.named(name);
        self.nodes.push(node("Identity", name, &[value], &output, &[]));
        self.outputs.push(described(name, Kind::Float, sizes));
    }

    /// An operation; its name is also that of its result.
    pub(super) fn node(
        &mut self,
        operation: &str,
        name: &str,
        inputs: &[&Value],
        settings: &[(&str, Setting<'_>)],
    ) -> Value {
        let output = self.named(name);
        self.nodes.push(node(operation, name, inputs, &output, settings));
        output
    }

    pub(super) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, Kind::Float, shape, &bytes)
    }

    pub(super) fn integers(&mut self, name: &str, values: &[i64]) -> Value {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, Kind::Integer, &[values.len()], &bytes)
    }

    /// A single whole number without a dimension, as `Gather` takes it to drop one.
    pub(super) fn index(&mut self, name: &str, value: i64) -> Value {
        self.constant(name, Kind::Integer, &[], &value.to_le_bytes())
    }

    fn constant(&mut self, name: &str, kind: Kind, shape: &[usize], bytes: &[u8]) -> Value {
        let sizes: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        let tensor = Message::default().ints(1, &sizes).int(2, kind as i64);
        self.weights.push(tensor.text(8, name).bytes(9, bytes));
        self.named(name)
    }

    /// # Panics
    /// If the name is taken.
    fn named(&mut self, name: &str) -> Value {
        assert!(self.names.insert(name.to_owned()), "two parts of a graph are named {name}");
        Value(name.to_owned())
    }

    /// The bytes of a file with this graph.
    pub(super) fn into_file(self, texts: &Texts) -> Vec<u8> {
        let graph = Message::default()
            .messages(1, &self.nodes)
            .text(2, "encoder")
            .messages(5, &self.weights)
            .messages(11, &self.inputs)
            .messages(12, &self.outputs);
        let said: Vec<Message> = texts
            .iter()
            .map(|(name, text)| Message::default().text(1, name).text(2, text))
            .collect();
        let file = Message::default()
            .int(1, IR_VERSION)
            .text(2, "moco")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph)
            .message(8, &Message::default().text(1, "").int(2, OPSET))
            .messages(14, &said);
        file.as_bytes().to_vec()
    }
}

fn node(
    operation: &str,
    name: &str,
    inputs: &[&Value],
    output: &Value,
    settings: &[(&str, Setting<'_>)],
) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, &input.0));
    let node = node.text(2, &output.0).text(3, name).text(4, operation);
    settings.iter().fold(node, |node, (name, setting)| node.message(5, &attribute(name, setting)))
}

fn attribute(name: &str, setting: &Setting<'_>) -> Message {
    let named = Message::default().text(1, name);
    match setting {
        Setting::Float(value) => named.float(2, *value).int(20, 1),
        Setting::Int(value) => named.int(3, *value).int(20, 2),
        Setting::Ints(values) => named.ints(8, values).int(20, 7),
    }
}

/// An input or output: name, kind of numbers, sizes.
fn described(name: &str, kind: Kind, sizes: &[Size]) -> Message {
    let sizes: Vec<Message> = sizes
        .iter()
        .map(|size| match size {
            Size::Fixed(size) => Message::default().int(1, *size as i64),
            Size::Any(name) => Message::default().text(2, name),
        })
        .collect();
    let shape = Message::default().messages(1, &sizes);
    let tensor = Message::default().int(1, kind as i64).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}
