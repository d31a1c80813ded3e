//! The opcodes.

use super::calls::{self, Call};
use super::{Id, Input, MOST_NODES, Node, Pickle, Refusal};
use std::collections::HashMap;

/// Most arguments of a call; torch's own have up to eight.
const MOST_ARGUMENTS: usize = 64;

/// The stack machine that a pickle is written for.
struct Machine<'a, 'b> {
    input: &'a mut Input<'b>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Items of dictionaries that calls made of lists, which stay.
    copied: usize,
}

impl Pickle {
    /// Reads one pickle and leaves the input behind it.
    pub fn read(input: &mut Input<'_>) -> Result<Pickle, Refusal> {
        let (nodes, stack, marks, memo) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        let mut machine = Machine { input, nodes, stack, marks, memo, copied: 0 };
        loop {
            let opcode = machine.input.byte()?;
            if opcode == b'.' {
                let root = machine.pop()?;
                return Ok(Pickle { nodes: machine.nodes, root });
            }
            machine.step(opcode)?;
        }
    }
}

impl Machine<'_, '_> {
    fn step(&mut self, opcode: u8) -> Result<(), Refusal> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.input.array::<8>().map(drop),
            b'(' => self.mark(),
            b'0' => self.pop_any(),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = *self.stack.last().ok_or_else(underflow)?;
                self.push_id(top)
            }
            b'g' | b'h' | b'j' => {
                let key = self.memo_key(opcode)?;
                let id = self.memo.get(&key).copied();
                self.push_id(id.ok_or_else(|| Refusal::damaged("its pickle names no value"))?)
            }
            b'p' | b'q' | b'r' => {
                let key = self.memo_key(opcode)?;
                self.remember(key)
            }
            0x94 => self.remember(self.memo.len() as u32),
            b'N' | 0x88 | 0x89 | b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'F' | b'G' => {
                let node = self.number(opcode)?;
                self.push(node)
            }
            b'V' | b'X' | 0x8c | 0x8d | b'S' | b'T' | b'U' => {
                let text = self.text(opcode)?;
                self.push(Node::Text(text))
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let count = self.length(opcode)?;
                self.input.bytes(count)?;
                self.push(Node::Opaque)
            }
            b')' | b']' | b'}' | 0x8f | b't' | b'l' | b'd' | 0x91 | 0x85..=0x87 => {
                let node = self.collection(opcode)?;
                self.push(node)
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode),
            b'c' | 0x93 | b'Q' | b'P' | b'R' | b'b' | b'i' | b'o' | 0x81 | 0x92 => {
                self.object(opcode)
            }
            _ => Err(Refusal::damaged(format!("its pickle has an opcode {opcode:#04x}"))),
        }
    }

    fn protocol(&mut self) -> Result<(), Refusal> {
        match self.input.byte()? {
            0..=5 => Ok(()),
            other => Err(Refusal::Unread(format!("is a pickle of protocol {other}"))),
        }
    }

    fn push(&mut self, node: Node) -> Result<(), Refusal> {
        if self.nodes.len() >= MOST_NODES {
            return Err(Refusal::Unread(format!("holds more than {MOST_NODES} values")));
        }
        self.nodes.push(node);
        self.push_id(self.nodes.len() as Id - 1)
    }

    fn push_id(&mut self, id: Id) -> Result<(), Refusal> {
        if self.stack.len() >= MOST_NODES {
            return Err(Refusal::Unread(format!("holds more than {MOST_NODES} values")));
        }
        self.stack.push(id);
        Ok(())
    }

    /// The topmost value, of those above the last mark.
    fn pop(&mut self) -> Result<Id, Refusal> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_any(&mut self) -> Result<(), Refusal> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn mark(&mut self) -> Result<(), Refusal> {
        if self.marks.len() >= MOST_NODES {
            return Err(Refusal::Unread(format!("holds more than {MOST_NODES} values")));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// The values above the last mark, and the mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Refusal> {
        let floor = self.marks.pop().ok_or_else(underflow)?;
        Ok(self.stack.split_off(floor.min(self.stack.len())))
    }

    fn memo_key(&mut self, opcode: u8) -> Result<u32, Refusal> {
        match opcode {
            b'g' | b'p' => self.input.line()?.trim().parse().map_err(|_| not_a_number()),
            b'h' | b'q' => Ok(u32::from(self.input.byte()?)),
            _ => Ok(u32::from_le_bytes(self.input.array()?)),
        }
    }

    fn remember(&mut self, key: u32) -> Result<(), Refusal> {
        let top = *self.stack.last().ok_or_else(underflow)?;
        if self.memo.len() >= MOST_NODES {
            return Err(Refusal::Unread(format!("holds more than {MOST_NODES} values")));
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn number(&mut self, opcode: u8) -> Result<Node, Refusal> {
        Ok(match opcode {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i64::from(i32::from_le_bytes(self.input.array()?))),
            b'K' => Node::Int(i64::from(self.input.byte()?)),
            b'M' => Node::Int(i64::from(u16::from_le_bytes(self.input.array()?))),
            b'G' => Node::Float(f64::from_be_bytes(self.input.array()?)),
            b'F' => Node::Float(self.input.line()?.trim().parse().map_err(|_| not_a_number())?),
            0x8a | 0x8b => {
                let count = match opcode {
                    0x8a => u64::from(self.input.byte()?),
                    _ => u64::from(u32::from_le_bytes(self.input.array()?)),
                };
                long(&self.input.bytes(count)?)
            }
            _ => match self.input.line()?.trim().trim_end_matches('L') {
                "00" if opcode == b'I' => Node::Bool(false),
                "01" if opcode == b'I' => Node::Bool(true),
                line => line.parse().map_or(Node::Opaque, Node::Int),
            },
        })
    }

    fn text(&mut self, opcode: u8) -> Result<String, Refusal> {
        match opcode {
            b'V' => self.input.line(),
            b'S' => Ok(self.input.line()?.trim_matches(['\'', '"']).to_owned()),
            _ => {
                let count = self.length(opcode)?;
                self.input.text(count)
            }
        }
    }

    /// The length in front of a text or of bytes.
    fn length(&mut self, opcode: u8) -> Result<u64, Refusal> {
        match opcode {
            0x8c | b'U' | b'C' => Ok(u64::from(self.input.byte()?)),
            0x8d | 0x8e | 0x96 => Ok(u64::from_le_bytes(self.input.array()?)),
            _ => Ok(u64::from(u32::from_le_bytes(self.input.array()?))),
        }
    }

    fn collection(&mut self, opcode: u8) -> Result<Node, Refusal> {
        Ok(match opcode {
            b')' => Node::Tuple(Vec::new()),
            b']' | 0x8f => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b't' => Node::Tuple(self.pop_mark()?),
            b'l' | 0x91 => Node::List(self.pop_mark()?),
            b'd' => Node::Dict(pairs(&self.pop_mark()?)?),
            _ => {
                let mut items = Vec::new();
                for _ in 0x85..=opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                Node::Tuple(items)
            }
        })
    }

    /// Adds to a list or dictionary.
    fn fill(&mut self, opcode: u8) -> Result<(), Refusal> {
        let mut items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let target = *self.stack.last().ok_or_else(underflow)?;
        match &mut self.nodes[target as usize] {
            Node::List(list) if matches!(opcode, b'a' | b'e' | 0x90) => list.append(&mut items),
            Node::Dict(dict) if matches!(opcode, b's' | b'u') => dict.extend(pairs(&items)?),
            Node::Object(object) if matches!(opcode, b's' | b'u') => {
                object.items.extend(pairs(&items)?);
            }
            Node::Object(_) => {}
            _ => return Err(Refusal::damaged("its pickle fills what holds nothing")),
        }
        Ok(())
    }

    fn object(&mut self, opcode: u8) -> Result<(), Refusal> {
        match opcode {
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let node = calls::global(&module, &name)?;
                self.push(node)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.node(module), self.node(name)) {
                    (Node::Text(module), Node::Text(name)) => {
                        let node = calls::global(module, name)?;
                        self.push(node)
                    }
                    _ => Err(Refusal::damaged("its pickle names a class by no text")),
                }
            }
            b'P' => Err(Refusal::Unread("is of torch's oldest format".into())),
            b'Q' => {
                let id = self.pop()?;
                let node = calls::persistent(&self.nodes, id)?;
                self.push(node)
            }
            b'b' => self.build(),
            _ => self.call(opcode),
        }
    }

    /// Gives an object its attributes. Those of dictionaries are of no interest.
    fn build(&mut self) -> Result<(), Refusal> {
        let state = self.pop()?;
        let target = *self.stack.last().ok_or_else(underflow)?;
        if let Node::Object(object) = &mut self.nodes[target as usize] {
            object.state = Some(state);
        }
        Ok(())
    }

    fn call(&mut self, opcode: u8) -> Result<(), Refusal> {
        let (callee, args) = match opcode {
            b'i' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                (calls::global(&module, &name)?, self.pop_mark()?)
            }
            b'o' => {
                let items = self.pop_mark()?;
                let (&callee, args) = items.split_first().ok_or_else(underflow)?;
                (callable(self.node(callee)), args.to_vec())
            }
            _ => {
                if opcode == 0x92 {
                    self.pop()?; // Arguments by name.
                }
                let (args, callee) = (self.pop()?, self.pop()?);
                let Node::Tuple(args) = self.node(args) else {
                    return Err(Refusal::damaged("its pickle calls with what is no tuple"));
                };
                if args.len() > MOST_ARGUMENTS {
                    return Err(Refusal::damaged("its pickle calls with too many arguments"));
                }
                (callable(self.node(callee)), args.clone())
            }
        };
        let how = if matches!(opcode, 0x81 | 0x92) { Call::New } else { Call::Function };
        let Node::Global(module, name) = callee else {
            return Err(Refusal::damaged("its pickle calls what is neither class nor function"));
        };
        match calls::call(&self.nodes, &module, &name, &args, how)? {
            calls::Made::Same(id) => self.push_id(id),
            calls::Made::Node(Node::Dict(items)) => {
                self.copied += items.len();
                if self.copied > MOST_NODES {
                    return Err(Refusal::Unread(format!("holds more than {MOST_NODES} values")));
                }
                self.push(Node::Dict(items))
            }
            calls::Made::Node(node) => self.push(node),
        }
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}

/// What is called, without the attributes that an object in its place has.
fn callable(node: &Node) -> Node {
    match node {
        Node::Global(module, name) => Node::Global(module.clone(), name.clone()),
        Node::Object(object) => Node::Global(object.class.as_str().into(), "__call__".into()),
        _ => Node::None,
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Refusal> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Refusal::damaged("its pickle has a key without a value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// A whole number of two's complement, little end first.
fn long(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::Opaque;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}

fn underflow() -> Refusal {
    Refusal::damaged("its pickle takes more values than it has")
}

fn not_a_number() -> Refusal {
    Refusal::damaged("its pickle has a number that is none")
}
