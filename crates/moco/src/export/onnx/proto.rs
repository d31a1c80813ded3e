//! Messages of protocol buffers, as far as ONNX's schema asks for them.
//!
//! A message is a sequence of fields. Each begins with a number that holds the field's number and the
//! kind of what follows: 0 for a variable-length integer, 2 for a length and so many bytes, 5 for four
//! bytes.

/// A message under construction. Fields are written in the order of the calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn int(mut self, field: u32, value: i64) -> Self {
        self.key(field, 0);
        // Negative numbers take the ten bytes of their two's complement.
        self.varint(value.cast_unsigned());
        self
    }

    pub(super) fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub(super) fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(super) fn message(self, field: u32, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }

    /// Writes a field once for each of `values`.
    pub(super) fn ints(self, field: u32, values: &[i64]) -> Self {
        values.iter().fold(self, |message, value| message.int(field, *value))
    }

    /// Writes a field once for each of `messages`.
    pub(super) fn messages(self, field: u32, messages: &[Message]) -> Self {
        messages.iter().fold(self, |whole, message| whole.message(field, message))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn key(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have the eighth bit.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the protocol buffers' own description of the encoding.
    #[test]
    fn fields_have_the_documented_bytes() {
        assert_eq!(Message::default().int(1, 150).as_bytes(), [0x08, 0x96, 0x01]);
        let text = Message::default().text(2, "testing");
        assert_eq!(text.as_bytes(), b"\x12\x07testing");
        let inner = Message::default().int(1, 150);
        assert_eq!(Message::default().message(3, &inner).as_bytes(), [0x1a, 3, 0x08, 0x96, 0x01]);
        let negative = Message::default().int(1, -2);
        let expected = [&[0x08, 0xfe][..], &[0xff; 8], &[0x01]].concat();
        assert_eq!(negative.as_bytes(), expected);
        assert_eq!(Message::default().float(2, 1.0).as_bytes(), [0x15, 0, 0, 0x80, 0x3f]);
        assert_eq!(Message::default().int(20, 1).as_bytes(), [0xa0, 0x01, 0x01]);
    }
}
