//! Whether bytes are a Python pickle, of any protocol, found by walking its opcodes with their stack.
//!
//! A pickle is a program. Loading it runs whatever it calls before its end is reached, so a pickle whose end is missing
//! or followed by other bytes is one too. Protocols 0 and 1 are made of letters; what keeps texts from being taken for
//! them is that operands must have their form, names must be names, and the stack must never be short.
//! Source of the opcodes: CPython's `Lib/pickletools.py`.

use super::problem::{Checked, Problem};
use super::source::{Reader, Source};

/// Most opcodes walked: a pickle that has called nothing by then is data, and its size shows in the file.
const OPCODES_MAX: u64 = 1 << 20;

/// Most marks open at once; nested lists of a pickle take one each.
const MARKS_MAX: usize = 1_024;

/// Longest operand that ends with its line, bytes.
const LINE_MAX_BYTES: usize = 4_096;

/// Whether this range of a file is a pickle.
pub(crate) fn is_pickle(source: Source<'_>, start: u64, end: u64) -> Checked<bool> {
    let mut walk = Walk {
        reader: source.reader_of(start, end),
        marks: Vec::new(),
        depth: 0,
        found: Found::default(),
    };
    match walk.run() {
        Ok(()) => {}
        // What does not decode ends the walk; what was seen before counts.
        Err(Problem::Refused(_)) => {}
        Err(unreadable) => return Err(unreadable),
    }
    let found = walk.found;
    let is_whole = found.stopped && found.opcodes >= 3;
    Ok(if found.has_protocol {
        found.called || found.stopped
    } else {
        found.called || (is_whole && found.at_end && found.left_one)
    })
}

/// What a walk has seen.
#[derive(Default)]
struct Found {
    opcodes: u64,
    /// It begins with the number of a protocol, which no text does.
    has_protocol: bool,
    /// Something was looked up by name.
    named: bool,
    /// Something looked up was called.
    called: bool,
    stopped: bool,
    /// Nothing but white space follows the stop.
    at_end: bool,
    /// The stop left exactly the result.
    left_one: bool,
}

struct Walk<'a> {
    reader: Reader<'a>,
    /// Height of the stack at each open mark.
    marks: Vec<u64>,
    /// Height of the stack above the last mark and below it together.
    depth: u64,
    found: Found,
}

/// An opcode that does not fit ends the walk.
fn end() -> Problem {
    super::problem::refused("no pickle")
}

impl Walk<'_> {
    fn run(&mut self) -> Checked<()> {
        let mut called = false;
        while self.found.opcodes < OPCODES_MAX {
            let opcode = self.reader.byte()?;
            if self.found.opcodes == 0 && opcode == 0x80 {
                let version = self.reader.byte()?;
                // 0 and 1 write no number, but loaders take it.
                if version > 5 {
                    return Err(end());
                }
                self.found.opcodes = 1;
                self.found.has_protocol = true;
                continue;
            }
            if opcode == b'.' {
                self.stop()?;
                self.found.called |= called;
                return Ok(());
            }
            let calls = self.step(opcode)?;
            // Texts reach these two by chance, and go on with something that is none.
            let is_sure = self.found.has_protocol || !matches!(opcode, b'i' | b'b');
            self.found.called |= called || (calls && is_sure);
            called |= calls;
            self.found.opcodes = self.found.opcodes.saturating_add(1);
        }
        Ok(())
    }

    fn stop(&mut self) -> Checked<()> {
        self.pop(1)?;
        self.found.stopped = true;
        self.found.opcodes = self.found.opcodes.saturating_add(1);
        self.found.left_one = self.depth == 0 && self.marks.is_empty();
        loop {
            match self.reader.next_byte()? {
                None => {
                    self.found.at_end = true;
                    return Ok(());
                }
                Some(byte) if byte.is_ascii_whitespace() => {}
                Some(_) => return Ok(()),
            }
        }
    }

    /// Takes values off the stack, never below the last mark.
    fn pop(&mut self, count: u64) -> Checked<()> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let left = self.depth.checked_sub(count).filter(|left| *left >= floor);
        self.depth = left.ok_or_else(end)?;
        Ok(())
    }

    fn push(&mut self) {
        self.depth = self.depth.saturating_add(1);
    }

    /// Takes everything above the last mark, and the mark; says how much it was.
    fn pop_mark(&mut self) -> Checked<u64> {
        let floor = self.marks.pop().ok_or_else(end)?;
        let above = self.depth.saturating_sub(floor);
        self.depth = floor;
        Ok(above)
    }

    /// Replaces `taken` values by one.
    fn replace(&mut self, taken: u64) -> Checked<()> {
        self.pop(taken)?;
        self.push();
        Ok(())
    }

    fn line(&mut self) -> Checked<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.reader.byte()? {
                b'\n' => break,
                _ if line.len() >= LINE_MAX_BYTES => return Err(end()),
                byte => line.push(byte),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    /// A line that is a Python name, with dots or without.
    fn name(&mut self) -> Checked<()> {
        let line = self.line()?;
        let is_name = line.split(|byte| *byte == b'.').all(|part| {
            part.first().is_some_and(|first| {
                first.is_ascii_alphabetic() || *first == b'_' || *first >= 0x80
            }) && part
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
        });
        if is_name { Ok(()) } else { Err(end()) }
    }

    /// A line that is a number, perhaps with a letter behind it.
    fn number(&mut self, suffix: &[u8]) -> Checked<()> {
        let line = self.line()?;
        let line = line.strip_suffix(suffix).unwrap_or(&line);
        let text = std::str::from_utf8(line).map_err(|_| end())?;
        if text.parse::<f64>().is_ok() { Ok(()) } else { Err(end()) }
    }

    /// A length of so many bytes, and what it announces.
    fn sized(&mut self, width: usize) -> Checked<()> {
        let mut len_bytes = 0_u64;
        for at in 0..width {
            len_bytes |= u64::from(self.reader.byte()?) << (8 * at);
        }
        self.reader.skip(len_bytes)
    }

    /// Takes one opcode; says whether it calls something that was looked up by name.
    fn step(&mut self, opcode: u8) -> Checked<bool> {
        match opcode {
            b'(' if self.marks.len() < MARKS_MAX => self.marks.push(self.depth),
            b'0' | b'a' => self.pop(1)?,
            b's' => self.pop(2)?,
            b'1' => drop(self.pop_mark()?),
            b'e' | 0x90 => {
                self.pop_mark()?;
                self.replace(1)?;
            }
            b'u' => {
                if !self.pop_mark()?.is_multiple_of(2) {
                    return Err(end());
                }
                self.replace(1)?;
            }
            b't' | b'l' | 0x91 => {
                self.pop_mark()?;
                self.push();
            }
            b'd' => {
                if !self.pop_mark()?.is_multiple_of(2) {
                    return Err(end());
                }
                self.push();
            }
            b'2' => {
                self.replace(1)?;
                self.push();
            }
            0x85 => self.replace(1)?,
            0x86 => self.replace(2)?,
            0x87 => self.replace(3)?,
            _ if self.constant(opcode)? => {}
            _ if self.memo(opcode)? => {}
            _ => return self.call(opcode),
        }
        Ok(false)
    }

    /// Opcodes that put one value on the stack.
    fn constant(&mut self, opcode: u8) -> Checked<bool> {
        match opcode {
            b'I' | b'F' => self.number(b"")?,
            b'L' => self.number(b"L")?,
            b'S' => match self.line()?.as_slice() {
                [b'\'', .., b'\''] | [b'"', .., b'"'] => {}
                _ => return Err(end()),
            },
            b'V' => drop(self.line()?),
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f => {}
            b'K' => self.reader.skip(1)?,
            b'M' => self.reader.skip(2)?,
            b'J' => self.reader.skip(4)?,
            b'G' => self.reader.skip(8)?,
            b'U' | b'C' | 0x8a | 0x8c => self.sized(1)?,
            b'T' | b'B' | b'X' | 0x8b => self.sized(4)?,
            0x8d | 0x8e | 0x96 => self.sized(8)?,
            0x97 => {}
            _ => return Ok(false),
        }
        self.push();
        Ok(true)
    }

    /// Opcodes of the memo, and the ones that change nothing.
    fn memo(&mut self, opcode: u8) -> Checked<bool> {
        match opcode {
            b'p' => {
                self.number(b"")?;
                self.replace(1)?;
            }
            b'q' => {
                self.reader.skip(1)?;
                self.replace(1)?;
            }
            b'r' => {
                self.reader.skip(4)?;
                self.replace(1)?;
            }
            0x94 | 0x98 => self.replace(1)?,
            b'g' => {
                self.number(b"")?;
                self.push();
            }
            b'h' => {
                self.reader.skip(1)?;
                self.push();
            }
            b'j' => {
                self.reader.skip(4)?;
                self.push();
            }
            // A frame is a hint for buffers; its content follows like any other.
            0x95 => self.reader.skip(8)?,
            0x80 => {
                self.reader.skip(1)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes that look up or call.
    fn call(&mut self, opcode: u8) -> Checked<bool> {
        match opcode {
            b'c' => {
                self.name()?;
                self.name()?;
                self.push();
                self.found.named = true;
                return Ok(false);
            }
            0x93 => {
                self.replace(2)?;
                self.found.named = true;
                return Ok(false);
            }
            0x82..=0x84 => {
                self.reader.skip(1 << (opcode - 0x82))?;
                self.push();
                self.found.named = true;
                return Ok(false);
            }
            b'P' => {
                drop(self.line()?);
                self.push();
                return Ok(false);
            }
            b'Q' => {
                self.replace(1)?;
                return Ok(false);
            }
            b'i' => {
                self.name()?;
                self.name()?;
                self.pop_mark()?;
                self.push();
                return Ok(true);
            }
            b'o' => {
                if self.pop_mark()? == 0 {
                    return Err(end());
                }
                self.push();
            }
            b'R' | b'b' | 0x81 => self.replace(2)?,
            0x92 => self.replace(3)?,
            _ => return Err(end()),
        }
        Ok(self.found.named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(bytes: &[u8]) -> bool {
        is_pickle(Source::of_bytes(bytes), 0, bytes.len() as u64).unwrap()
    }

    #[test]
    fn pickles_of_every_protocol_are_seen() {
        for bytes in [
            &b"cos\nsystem\n(S'echo'\ntR."[..],
            b"(cos\nsystem\nS'echo'\no.",
            b"(S'echo'\nios\nsystem\n.",
            b"c__builtin__\neval\n(S'1'\ntR1 and then garbage",
            b"(lp0\nI1\naI2\na.",
            b"(dp0\nVa\np1\nI1\ns.\n",
            b"]q\x00(K\x01K\x02e.",
            b"\x80\x02]q\x00(K\x01K\x02e.",
            b"\x80\x04\x95\x1e\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R and garbage",
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        ] {
            assert!(is(bytes), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn texts_and_numbers_are_not_taken_for_pickles() {
        for text in [
            "",
            ".",
            "N.",
            "cat,dog\n2,3\n",
            "config\nbuild\n.env\n",
            "name,age\nBob,3\n",
            "I1\n.",
            "(if\nfoo\nbar",
            "c\nd\n.",
            "]",
            "{}",
            "[1, 2]",
            "(a, b)\n",
            "label\n0\n1\n",
            "P5\n24 24\n255\n",
            "import os\nimport sys\n",
            "V\n.",
            "See the manual.\n",
            "Model.\n",
            "F1\nF2\n.\n",
            "(lambda x: x).",
        ] {
            assert!(!is(text.as_bytes()), "{text:?}");
        }
    }
}
