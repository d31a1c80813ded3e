//! Extended headers: records `LENGTH KEY=VALUE\n`, of which a value may hold any byte, line breaks
//! too. (The crate `tar` cuts at line breaks and refuses such headers.)

/// The records before a member.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// Takes up more records; false if they are damaged.
    pub(super) fn read(&mut self, mut text: &[u8]) -> bool {
        while !text.is_empty() && text[0] != 0 {
            let Some((key, value, rest)) = record(text) else { return false };
            self.0.push((key.to_vec(), value.to_vec()));
            text = rest;
        }
        true
    }

    /// The last value of a key; one without a byte takes back those before it.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        let last = self.0.iter().rev().find(|(known, _)| known == key.as_bytes());
        last.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Key and value of the first record, and what follows it.
fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = text.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = str::from_utf8(&text[..space]).ok()?.parse().ok()?;
    let (record, rest) = text.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_any_byte() {
        let mut records = Records::default();
        assert!(records.read(b"13 path=a\nb\n\n6 x=1\n6 x=2\n10 y=\xff=\0\n\n\0\0"));
        assert_eq!(records.get("path"), Some(&b"a\nb\n"[..]));
        assert_eq!(records.get("x"), Some(&b"2"[..]));
        assert_eq!(records.get("y"), Some(&b"\xff=\0\n"[..]));
        assert_eq!(records.get("z"), None);
    }

    #[test]
    fn an_empty_value_takes_back_and_damage_is_told() {
        let mut records = Records::default();
        assert!(records.read(b"6 x=1\n5 x=\n"));
        assert_eq!(records.get("x"), None);
        for wrong in
            [&b"7 x=1\n"[..], b"6 x=1", b" x=1\n", b"99999999999999999999 x=1\n", b"5 xx\n"]
        {
            assert!(!Records::default().read(wrong), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
