//! UTF-8 in pieces: whether chunk after chunk makes a text, without holding more than one character.

/// Checks chunks one after another.
#[derive(Default)]
pub(crate) struct Utf8 {
    /// The beginning of a character that the last chunk cut.
    cut: Vec<u8>,
}

impl Utf8 {
    /// Checks the next chunk; `Err` is how many of its bytes were still in order.
    pub(crate) fn push(&mut self, mut chunk: &[u8]) -> Result<(), usize> {
        let mut before = 0;
        while !self.cut.is_empty() {
            let Some((byte, rest)) = chunk.split_first() else { return Ok(()) };
            self.cut.push(*byte);
            chunk = rest;
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(before),
            }
            before += 1;
        }
        match std::str::from_utf8(chunk) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                self.cut = chunk.get(error.valid_up_to()..).unwrap_or_default().to_vec();
                Ok(())
            }
            Err(error) => Err(before + error.valid_up_to()),
        }
    }

    /// Whether the last character is whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.cut.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_may_be_cut_anywhere_and_must_be_right() {
        let text = "a\u{e9}\u{20ac}\u{1f600}z".as_bytes();
        for at in 0..=text.len() {
            let mut utf8 = Utf8::default();
            assert_eq!(utf8.push(&text[..at]), Ok(()));
            assert_eq!(utf8.push(&text[at..]), Ok(()));
            assert!(utf8.is_whole());
        }
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"ab\xff"), Err(2));
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"\xe2\x82"), Ok(()));
        assert!(!utf8.is_whole());
        assert_eq!(utf8.push(b"x"), Err(0));
    }
}
