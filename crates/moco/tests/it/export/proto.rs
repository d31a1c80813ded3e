//! ONNX files read back: messages of protocol buffers, then nodes and weights.

use std::collections::BTreeMap;

/// What follows a field's number.
enum Field<'a> {
    Int(u64),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// Fields by number, in the order of the file.
struct Message<'a>(Vec<(u64, Field<'a>)>);

impl<'a> Message<'a> {
    fn parse(mut bytes: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let field = match key & 7 {
                0 => Field::Int(varint(&mut bytes)),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    Field::Bytes(bytes.split_off(..length).expect("a whole field"))
                }
                5 => Field::Four(bytes.split_off(..4).unwrap().try_into().unwrap()),
                kind => panic!("a field of kind {kind}"),
            };
            fields.push((key >> 3, field));
        }
        Self(fields)
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &Field<'a>> {
        self.0.iter().filter(move |(field, _)| *field == number).map(|(_, field)| field)
    }

    fn bytes(&self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        self.all(number).map(move |field| match field {
            Field::Bytes(bytes) => *bytes,
            _ => panic!("field {number} is no bytes"),
        })
    }

    fn messages(&self, number: u64) -> impl Iterator<Item = Message<'a>> {
        self.bytes(number).map(Message::parse)
    }

    fn message(&self, number: u64) -> Message<'a> {
        self.messages(number).next().unwrap_or_else(|| panic!("no field {number}"))
    }

    fn texts(&self, number: u64) -> Vec<String> {
        self.bytes(number).map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    }

    fn text(&self, number: u64) -> String {
        self.texts(number).into_iter().next().unwrap_or_default()
    }

    fn ints(&self, number: u64) -> Vec<i64> {
        let int = |field: &Field| match field {
            Field::Int(value) => value.cast_signed(),
            _ => panic!("field {number} is no integer"),
        };
        self.all(number).map(int).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = *bytes.split_off_first().expect("a whole number");
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// Numbers of any kind, with their sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub operation: String,
    pub name: String,
    pub inputs: Vec<String>,
    pub output: String,
    /// Whole numbers, one or several.
    pub ints: BTreeMap<String, Vec<i64>>,
    pub floats: BTreeMap<String, f32>,
}

/// A file as it was read.
pub struct Model {
    pub nodes: Vec<Node>,
    pub weights: BTreeMap<String, Array>,
    /// Name, kind of numbers, sizes of the input; a size that is free by its name.
    pub input: (String, i64, Vec<String>),
    pub output: (String, i64, Vec<String>),
    pub texts: BTreeMap<String, String>,
    pub opset: i64,
    pub ir_version: i64,
}

impl Model {
    pub fn parse(bytes: &[u8]) -> Self {
        let file = Message::parse(bytes);
        let graph = file.message(7);
        Self {
            nodes: graph.messages(1).map(|node| node_of(&node)).collect(),
            weights: graph.messages(5).map(|tensor| (tensor.text(8), array(&tensor))).collect(),
            input: described(&graph.message(11)),
            output: described(&graph.message(12)),
            texts: file.messages(14).map(|text| (text.text(1), text.text(2))).collect(),
            opset: file.message(8).ints(2)[0],
            ir_version: file.ints(1)[0],
        }
    }
}

fn node_of(message: &Message) -> Node {
    let mut node = Node {
        operation: message.text(4),
        name: message.text(3),
        inputs: message.texts(1),
        output: message.text(2),
        ..Node::default()
    };
    for attribute in message.messages(5) {
        let name = attribute.text(1);
        match attribute.ints(20)[..] {
            [1] => {
                let Some(Field::Four(bytes)) = attribute.all(2).next() else { panic!("no float") };
                node.floats.insert(name, f32::from_le_bytes(*bytes));
            }
            [2] => drop(node.ints.insert(name, attribute.ints(3))),
            [7] => drop(node.ints.insert(name, attribute.ints(8))),
            ref kind => panic!("an attribute of kind {kind:?}"),
        }
    }
    node
}

fn array(tensor: &Message) -> Array {
    let shape: Vec<usize> = tensor.ints(1).into_iter().map(|size| size as usize).collect();
    let data = tensor.bytes(9).next().expect("raw data");
    let values: Vec<f64> = match tensor.ints(2)[..] {
        [1] => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        [7] => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        ref kind => panic!("numbers of kind {kind:?}"),
    };
    assert_eq!(values.len(), shape.iter().product::<usize>(), "{}", tensor.text(8));
    Array { shape, values }
}

fn described(value: &Message) -> (String, i64, Vec<String>) {
    let tensor = value.message(2).message(1);
    let shape = tensor.message(2);
    let sizes = shape.messages(1).map(|size| match size.ints(1).first() {
        Some(fixed) => fixed.to_string(),
        None => size.text(2),
    });
    let sizes = sizes.collect();
    (value.text(1), tensor.ints(1)[0], sizes)
}
