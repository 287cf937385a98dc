//! One way to read a byte string: the form of CBOR we accept, checked on the bytes before anything is decoded.
//!
//! Accepted (RFC 8949): one item and nothing after it; definite lengths; the shortest head for every integer and
//! length; the shortest float that keeps the value, with `f97e00` as the only NaN; valid UTF-8; map keys that are texts
//! and unique, in any order; `false`, `true` and `null` as the only simple values; no tags; at most
//! [`CBOR_MAX_DEPTH`] nested arrays and maps. Because the form is checked on the bytes, a newer node's unknown fields
//! pass; the decoder skips them.

mod read;

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::CBOR_MAX_DEPTH;

/// Encodes `value`. Our own types always have the accepted form.
///
/// # Panics
/// Never for types of this crate: they hold no unsized sequences and writing to memory does not fail.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    #[expect(
        clippy::expect_used,
        reason = "a Vec takes every write, and our types know their lengths"
    )]
    ciborium::into_writer(value, &mut bytes).expect("our types encode into memory");
    bytes
}

/// Checks length and form of `bytes`, then decodes them.
///
/// # Errors
/// [`DecodeError`], which says at which byte the form was broken or what the type missed.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], max_bytes: usize) -> Result<T, DecodeError> {
    if bytes.len() > max_bytes {
        return Err(DecodeError::TooLong { len_bytes: bytes.len(), max_bytes });
    }
    check_form(bytes)?;
    T::deserialize(&mut read::Reader::new(bytes))
}

/// Decodes bytes that nobody signs, such as the wrapping around signed bytes: only what [`encode`] writes for the value
/// is accepted, so that nobody who passes them on can give one thing a second form.
///
/// # Errors
/// [`DecodeError`]; bytes that [`encode`] would write otherwise are a [`DecodeError::Rule`].
pub fn decode_exact<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    max_bytes: usize,
) -> Result<T, DecodeError> {
    let value = decode(bytes, max_bytes)?;
    if encode(&value) == bytes {
        Ok(value)
    } else {
        Err(DecodeError::Rule {
            what: "wrapping",
            why: "it has fields of its own or in another order".into(),
        })
    }
}

/// Checks that `bytes` are exactly one item of the accepted form.
///
/// # Errors
/// [`DecodeError::Form`] with the offset of the first offence.
pub fn check_form(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut scan = Scan { bytes, at: 0 };
    scan.item(0)?;
    if scan.at == bytes.len() { Ok(()) } else { Err(scan.offence(Offence::TrailingBytes)) }
}

/// A cursor over bytes that only moves forward.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn offence(&self, offence: Offence) -> DecodeError {
        DecodeError::Form { offset: self.at, offence }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        match end.and_then(|end| Some((end, self.bytes.get(self.at..end)?))) {
            Some((end, taken)) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(self.offence(Offence::Truncated)),
        }
    }

    /// Reads one item; `depth` counts the arrays and maps around it.
    fn item(&mut self, depth: usize) -> Result<(), DecodeError> {
        let start = self.at;
        let first = self.take(1)?.first().copied().unwrap_or_default();
        let (major, info) = (first >> 5, first & 0x1f);
        if major == 7 {
            return self.simple_or_float(info, start);
        }
        let argument = self.argument(info, start)?;
        match major {
            0 | 1 => Ok(()),
            2 => self.take(argument).map(drop),
            3 => {
                let text = self.take(argument)?;
                std::str::from_utf8(text)
                    .map(drop)
                    .map_err(|_| DecodeError::Form { offset: start, offence: Offence::InvalidUtf8 })
            }
            4 => {
                let depth = self.deeper(depth)?;
                (0..argument).try_for_each(|_| self.item(depth))
            }
            5 => self.map(argument, depth),
            _ => Err(DecodeError::Form { offset: start, offence: Offence::Tag }),
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, DecodeError> {
        match depth.checked_add(1) {
            Some(depth) if depth <= CBOR_MAX_DEPTH => Ok(depth),
            _ => Err(self.offence(Offence::TooDeep)),
        }
    }

    fn map(&mut self, entries: u64, depth: usize) -> Result<(), DecodeError> {
        let depth = self.deeper(depth)?;
        let mut keys = BTreeSet::new();
        for _ in 0..entries {
            let start = self.at;
            if self.bytes.get(start).is_some_and(|first| first >> 5 != 3) {
                return Err(self.offence(Offence::KeyNotText));
            }
            self.item(depth)?;
            let key = self.bytes.get(start..self.at).unwrap_or_default();
            if !keys.insert(key) {
                return Err(DecodeError::Form { offset: start, offence: Offence::DuplicateKey });
            }
            self.item(depth)?;
        }
        Ok(())
    }

    /// Reads the head's argument and refuses longer heads than the value needs.
    fn argument(&mut self, info: u8, start: usize) -> Result<u64, DecodeError> {
        let (argument, least) = match info {
            0..=23 => return Ok(u64::from(info)),
            24 => (self.big_endian(1)?, 24),
            25 => (self.big_endian(2)?, 0x100),
            26 => (self.big_endian(4)?, 0x1_0000),
            27 => (self.big_endian(8)?, 0x1_0000_0000),
            _ => return Err(DecodeError::Form { offset: start, offence: Offence::Indefinite }),
        };
        if argument < least {
            return Err(DecodeError::Form { offset: start, offence: Offence::NotShortest });
        }
        Ok(argument)
    }

    fn big_endian(&mut self, len: u64) -> Result<u64, DecodeError> {
        Ok(self.take(len)?.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    }

    fn simple_or_float(&mut self, info: u8, start: usize) -> Result<(), DecodeError> {
        let offence = |offence| DecodeError::Form { offset: start, offence };
        let shortest = match info {
            20..=22 => true,
            25 => {
                let bits = self.big_endian(2)?;
                let is_nan = bits & 0x7c00 == 0x7c00 && bits & 0x03ff != 0;
                !is_nan || bits == 0x7e00
            }
            26 => {
                let bits = u32::try_from(self.big_endian(4)?).unwrap_or_default();
                let value = f32::from_bits(bits);
                !value.is_nan() && !fits_half(value)
            }
            27 => {
                let value = f64::from_bits(self.big_endian(8)?);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the round trip is the question"
                )]
                let narrow = value as f32;
                !value.is_nan() && f64::from(narrow).to_bits() != value.to_bits()
            }
            31 => return Err(offence(Offence::Indefinite)),
            _ => return Err(offence(Offence::Simple)),
        };
        if shortest { Ok(()) } else { Err(offence(Offence::NotShortest)) }
    }
}

/// Whether an IEEE half-precision float can hold `value` exactly.
fn fits_half(value: f32) -> bool {
    let bits = value.to_bits();
    let mantissa = bits & 0x007f_ffff;
    // The exponent without its bias of 127; both terms are small.
    let exponent = i32::try_from((bits >> 23) & 0xff).unwrap_or_default().saturating_sub(127);
    match exponent {
        128 => mantissa == 0,
        -127 => mantissa == 0,
        -14..=15 => mantissa.trailing_zeros() >= 13,
        // Subnormal halves are multiples of 2^-24: every bit below that must be zero.
        -24..=-15 => {
            let lost = u32::try_from((-1i32).saturating_sub(exponent)).unwrap_or_default();
            mantissa == 0 || mantissa.trailing_zeros() >= lost.min(23)
        }
        _ => false,
    }
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than the sender may send; nothing was looked at.
    #[error("{len_bytes} bytes, but at most {max_bytes} are accepted")]
    TooLong {
        /// Length found, bytes.
        len_bytes: usize,
        /// Length allowed, bytes.
        max_bytes: usize,
    },
    /// Not the accepted form of CBOR.
    #[error("not the accepted form of CBOR at byte {offset}: {offence}")]
    Form {
        /// Where, in bytes from the start.
        offset: usize,
        /// What.
        offence: Offence,
    },
    /// Well formed, but not the expected type.
    #[error("not the expected content: {0}")]
    Type(String),
    /// Decoded, but a field breaks a rule of its type.
    #[error("{what}: {why}")]
    Rule {
        /// The field.
        what: &'static str,
        /// The rule that it breaks.
        why: String,
    },
}

/// What is wrong with the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Offence {
    /// The item ends before its announced length.
    #[error("the item is cut short")]
    Truncated,
    /// Something follows the item.
    #[error("bytes follow the item")]
    TrailingBytes,
    /// An indefinite or reserved length.
    #[error("indefinite or reserved length")]
    Indefinite,
    /// A longer head or float than the value needs.
    #[error("a number is not in its shortest form")]
    NotShortest,
    /// A map's key is no text.
    #[error("a map has a key that is no text")]
    KeyNotText,
    /// A map holds one key twice.
    #[error("a map has the same key twice")]
    DuplicateKey,
    /// A tag.
    #[error("tags are not accepted")]
    Tag,
    /// A simple value other than false, true and null.
    #[error("an unknown simple value")]
    Simple,
    /// Text that is not UTF-8.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// Nested deeper than [`CBOR_MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn offence(hex: &str) -> Option<Offence> {
        match check_form(&HEXLOWER.decode(hex.as_bytes()).unwrap()) {
            Ok(()) => None,
            Err(DecodeError::Form { offence, .. }) => Some(offence),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_accepted_form_is_accepted() {
        for hex in [
            "00",
            "17",
            "1818",
            "190100",
            "1a00010000",
            "1b0000000100000000",
            "20",
            "40",
            "43010203",
            "60",
            "63616263",
            "80",
            "83010203",
            "a0",
            "a2616101616202",
            "f4",
            "f5",
            "f6",
            "f93c00",
            "f97e00",
            "f97c00",
            "fa47c35000",
            "fb3ff199999999999a",
            "f90001",
            "a2616201616102",
        ] {
            assert_eq!(offence(hex), None, "{hex}");
        }
    }

    #[test]
    fn fourteen_other_forms_are_refused_each_for_its_reason() {
        for (hex, expected) in [
            ("", Offence::Truncated),
            ("4301", Offence::Truncated),
            ("0000", Offence::TrailingBytes),
            ("9f01ff", Offence::Indefinite),
            ("5f4101ff", Offence::Indefinite),
            ("1c", Offence::Indefinite),
            ("1817", Offence::NotShortest),
            ("190001", Offence::NotShortest),
            ("1b00000000ffffffff", Offence::NotShortest),
            ("fa3f800000", Offence::NotShortest),
            ("fb3ff0000000000000", Offence::NotShortest),
            ("f97e01", Offence::NotShortest),
            ("fb7ff8000000000000", Offence::NotShortest),
            ("fa33800000", Offence::NotShortest),
            ("a2616101616102", Offence::DuplicateKey),
            ("a10102", Offence::KeyNotText),
            ("a1416102", Offence::KeyNotText),
            ("a1", Offence::Truncated),
            ("c11a514b67b0", Offence::Tag),
            ("f7", Offence::Simple),
            ("f820", Offence::Simple),
            ("61ff", Offence::InvalidUtf8),
            (&"81".repeat(17), Offence::TooDeep),
            ("9bffffffffffffffff", Offence::Truncated),
        ] {
            assert_eq!(offence(hex), Some(expected), "{hex}");
        }
    }

    #[test]
    fn a_million_levels_are_an_error_and_no_crash() {
        let bytes = vec![0x81; 1_000_000];
        assert!(matches!(
            check_form(&bytes),
            Err(DecodeError::Form { offence: Offence::TooDeep, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _judged = check_form(&bytes);
        }

        #[test]
        fn what_we_encode_has_the_accepted_form(
            ints in proptest::collection::vec(any::<i64>(), 0..9),
            text in ".*",
            single in any::<f32>(),
            double in any::<f64>(),
        ) {
            let bytes = encode(&(ints, text, single, double, Option::<u8>::None, true));
            // ciborium writes a NaN as a half with its payload cut; only the plain one is ours.
            prop_assume!(!single.is_nan() && !double.is_nan());
            prop_assert_eq!(check_form(&bytes), Ok(()));
        }
    }
}
