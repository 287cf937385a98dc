//! Decodes bytes of the accepted form into a type, taking nothing for anything else.
//!
//! ciborium's own decoder reads arrays of numbers as bytes and bytes as field names, and an enum's unit variant with a
//! value beside it, or a value's variant without one, moves it to another place in the bytes than every other decoder.
//! One signed byte string must have one meaning, so decoding is done here: a struct is a map with text keys, bytes are
//! bytes, a float is a float, a variant without content is its name and one with content is a map of one entry.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Error as _, Unexpected, Visitor};

use super::{DecodeError, Offence, Scan};

/// Longest message kept when a type refuses its content, characters: it may repeat what the sender wrote.
const MESSAGE_MAX_CHARS: usize = 200;

/// The byte of `null`.
const NULL: u8 = 0xf6;

/// Reads one item after the other.
pub(super) struct Reader<'de> {
    scan: Scan<'de>,
}

/// One item, of arrays and maps only the head.
enum Item<'de> {
    Unsigned(u64),
    /// Stands for -1 minus this.
    Negative(u64),
    Bytes(&'de [u8]),
    Text(&'de str),
    Array(u64),
    Map(u64),
    Bool(bool),
    Null,
    Float(f64),
}

impl<'de> Reader<'de> {
    /// `bytes` must have passed [`check_form`](super::check_form), which bounds how deep this recurses.
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { scan: Scan { bytes, at: 0 } }
    }

    fn item(&mut self) -> Result<Item<'de>, DecodeError> {
        let start = self.scan.at;
        let offence = |offence| DecodeError::Form { offset: start, offence };
        let first = self.scan.take(1)?.first().copied().unwrap_or_default();
        let (major, info) = (first >> 5, first & 0x1f);
        if major == 7 {
            return Ok(match info {
                20 => Item::Bool(false),
                21 => Item::Bool(true),
                22 => Item::Null,
                25 => Item::Float(half(self.scan.big_endian(2)?)),
                26 => {
                    let bits = u32::try_from(self.scan.big_endian(4)?).unwrap_or_default();
                    Item::Float(f32::from_bits(bits).into())
                }
                27 => Item::Float(f64::from_bits(self.scan.big_endian(8)?)),
                _ => return Err(offence(Offence::Simple)),
            });
        }
        let argument = self.scan.argument(info, start)?;
        Ok(match major {
            0 => Item::Unsigned(argument),
            1 => Item::Negative(argument),
            2 => Item::Bytes(self.scan.take(argument)?),
            3 => {
                let text = std::str::from_utf8(self.scan.take(argument)?);
                Item::Text(text.map_err(|_| offence(Offence::InvalidUtf8))?)
            }
            4 => Item::Array(argument),
            5 => Item::Map(argument),
            _ => return Err(offence(Offence::Tag)),
        })
    }

    fn array<V: Visitor<'de>>(&mut self, len: u64, visitor: V) -> Result<V::Value, DecodeError> {
        let mut rest = Rest { reader: self, left: len };
        let value = visitor.visit_seq(&mut rest)?;
        rest.end().map(|()| value)
    }

    fn map<V: Visitor<'de>>(&mut self, len: u64, visitor: V) -> Result<V::Value, DecodeError> {
        let mut rest = Rest { reader: self, left: len };
        let value = visitor.visit_map(&mut rest)?;
        rest.end().map(|()| value)
    }
}

impl Item<'_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Unsigned(value) => Unexpected::Unsigned(*value),
            Self::Negative(_) => Unexpected::Other("a negative number"),
            Self::Bytes(_) => Unexpected::Other("bytes"),
            Self::Text(text) => Unexpected::Str(text),
            Self::Array(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Null => Unexpected::Unit,
            Self::Float(value) => Unexpected::Float(*value),
        }
    }
}

/// Forwards each named method to the arm that takes this kind of item and refuses every other kind.
macro_rules! only {
    ($($method:ident($pattern:pat => $visit:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match self.item()? {
                $pattern => ($visit)(self, visitor),
                other => Err(DecodeError::invalid_type(other.unexpected(), &visitor)),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.item()? {
            Item::Unsigned(value) => visitor.visit_u64(value),
            Item::Negative(value) => match i64::try_from(value) {
                Ok(value) => visitor.visit_i64(!value),
                Err(_) => visitor.visit_i128(!i128::from(value)),
            },
            Item::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Item::Text(text) => visitor.visit_borrowed_str(text),
            Item::Array(len) => self.array(len, visitor),
            Item::Map(len) => self.map(len, visitor),
            Item::Bool(value) => visitor.visit_bool(value),
            Item::Null => visitor.visit_unit(),
            Item::Float(value) => visitor.visit_f64(value),
        }
    }

    only! {
        deserialize_bool(Item::Bool(value) => |_, visitor: V| visitor.visit_bool(value));
        deserialize_f32(Item::Float(value) => |_, visitor: V| visitor.visit_f64(value));
        deserialize_f64(Item::Float(value) => |_, visitor: V| visitor.visit_f64(value));
        deserialize_char(Item::Text(text) => |_, visitor: V| visitor.visit_borrowed_str(text));
        deserialize_str(Item::Text(text) => |_, visitor: V| visitor.visit_borrowed_str(text));
        deserialize_string(Item::Text(text) => |_, visitor: V| visitor.visit_borrowed_str(text));
        deserialize_identifier(Item::Text(text) => |_, visitor: V| visitor.visit_borrowed_str(text));
        deserialize_bytes(Item::Bytes(bytes) => |_, visitor: V| visitor.visit_borrowed_bytes(bytes));
        deserialize_byte_buf(Item::Bytes(bytes) => |_, visitor: V| visitor.visit_borrowed_bytes(bytes));
        deserialize_unit(Item::Null => |_, visitor: V| visitor.visit_unit());
        deserialize_seq(Item::Array(len) => |reader: &mut Reader<'de>, visitor| reader.array(len, visitor));
        deserialize_map(Item::Map(len) => |reader: &mut Reader<'de>, visitor| reader.map(len, visitor));
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.scan.bytes.get(self.scan.at) == Some(&NULL) {
            self.scan.take(1)?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.item()? {
            Item::Text(name) => visitor.visit_enum(StrDeserializer::<DecodeError>::new(name)),
            Item::Map(1) => visitor.visit_enum(Variant { reader: self }),
            other => Err(DecodeError::invalid_type(other.unexpected(), &visitor)),
        }
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 ignored_any
    }
}

/// What is left of an array or a map.
struct Rest<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: u64,
}

impl Rest<'_, '_> {
    /// Counts one more; `false` when none is left.
    fn step(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn end(&self) -> Result<(), DecodeError> {
        match self.left {
            0 => Ok(()),
            left => Err(DecodeError::custom(format_args!("{left} elements too many"))),
        }
    }

    /// Every element takes a byte at least, so no head can announce more than there is.
    fn hint(&self) -> Option<usize> {
        let rest = self.reader.scan.bytes.len().saturating_sub(self.reader.scan.at);
        Some(usize::try_from(self.left).unwrap_or(usize::MAX).min(rest))
    }
}

impl<'de> de::SeqAccess<'de> for &mut Rest<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        if self.step() { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for &mut Rest<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        if self.step() { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// A variant with content: a map of one entry.
struct Variant<'a, 'de> {
    reader: &'a mut Reader<'de>,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self), DecodeError> {
        let name = seed.deserialize(&mut *self.reader)?;
        Ok((name, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Err(DecodeError::custom("a variant without content is written as its name alone"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_seq(self.reader, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_map(self.reader, visitor)
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let mut message = message.to_string();
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_MAX_CHARS) {
            message.truncate(end);
            message.push_str("...");
        }
        Self::Type(message)
    }
}

/// The value of an IEEE half-precision float's 16 bits.
fn half(bits: u64) -> f64 {
    let bits = u16::try_from(bits).unwrap_or_default();
    let (exponent, mantissa) = (i32::from((bits >> 10) & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => mantissa * 2_f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2_f64.powi(exponent.saturating_sub(25)),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Serialize};

    use crate::cbor::{DecodeError, check_form, decode, encode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Mixed {
        Plain,
        Value(u8),
        Named { x: u8 },
        Pair(u8, u8),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two {
        first: Mixed,
        second: Mixed,
    }

    fn read<T: serde::de::DeserializeOwned>(hex: &str) -> Result<T, DecodeError> {
        let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
        assert_eq!(check_form(&bytes), Ok(()), "only the type decides here");
        decode(&bytes, 1000)
    }

    #[test]
    fn every_half_precision_float_is_read_as_it_was_written() {
        for bits in 0..=u16::MAX {
            let bytes = [&[0xf9], &bits.to_be_bytes()[..]].concat();
            if check_form(&bytes).is_err() {
                assert!(super::half(bits.into()).is_nan());
                continue;
            }
            let value: f64 = decode(&bytes, 3).unwrap();
            assert_eq!(encode(&value), bytes, "{bits:04x}");
            assert!(bits == 0x7e00 || encode(&(value as f32)) == bytes, "{bits:04x}");
        }
    }

    #[test]
    fn integers_are_read_to_their_ends() {
        for value in [i64::MIN, -1_000_000, -25, -24, -1, 0, 23, 24, i64::MAX] {
            assert_eq!(decode(&encode(&value), 9), Ok(value));
        }
        assert_eq!(decode(&encode(&u64::MAX), 9), Ok(u64::MAX));
        assert!(decode::<i64>(&encode(&u64::MAX), 9).is_err());
        assert!(read::<i64>("3bffffffffffffffff").is_err(), "-2^64 is no i64");
        assert_eq!(read::<i128>("3bffffffffffffffff"), Ok(-(1 << 64)));
        assert!(read::<u8>("190100").is_err());
    }

    #[test]
    fn a_variant_is_written_in_one_way() {
        let two = Two { first: Mixed::Named { x: 1 }, second: Mixed::Pair(1, 2) };
        assert_eq!(decode(&encode(&two), 100), Ok(two));
        assert_eq!(decode(&encode(&Mixed::Plain), 100), Ok(Mixed::Plain));
        assert_eq!(decode(&encode(&Mixed::Value(7)), 100), Ok(Mixed::Value(7)));
        for (what, hex) in [
            ("{plain: null}", "a165706c61696ef6"),
            ("value without content", "6576616c7565"),
            ("{plain: 1, value: 2}", "a265706c61696e016576616c756502"),
            ("h'plain'", "45706c61696e"),
            ("[plain]", "8165706c61696e"),
            ("{pair: [1, 2, 3]}", "a1647061697283010203"),
            ("{pair: [1]}", "a164706169728101"),
        ] {
            assert!(read::<Mixed>(hex).is_err(), "{what}");
        }
    }

    /// A decoder that takes a unit variant with content, or a variant without its content, loses its place and reads
    /// these as two variants, `second` of the second being `{value: 7}`.
    #[test]
    fn no_variant_moves_the_reader_to_another_place() {
        let first = "656669727374";
        let second = "667365636f6e64";
        let plain = "65706c61696e";
        let value = "6576616c7565";
        for hex in [
            format!("a2{first}a1{plain}{second}{value}07"),
            format!("a2{first}{plain}{second}a1{plain}07"),
            format!("a2{second}{value}{first}{plain}"),
        ] {
            assert!(read::<Two>(&hex).is_err(), "{hex}");
        }
    }

    #[test]
    fn nothing_is_taken_for_anything_else() {
        assert!(read::<serde_bytes::ByteBuf>("83010203").is_err(), "an array is no bytes");
        assert!(read::<serde_bytes::ByteBuf>("63616263").is_err(), "text is no bytes");
        assert!(read::<String>("43616263").is_err(), "bytes are no text");
        assert!(read::<f64>("01").is_err(), "an integer is no float");
        assert!(read::<u8>("f93c00").is_err(), "a float is no integer");
        assert!(read::<u8>("f5").is_err(), "true is no integer");
        assert!(read::<bool>("01").is_err(), "1 is not true");
        assert!(read::<Vec<u8>>("43010203").is_err(), "bytes are no array");
        assert!(read::<BTreeMap<String, u8>>("80").is_err(), "an array is no map");
        assert!(read::<[u8; 2]>("83010203").is_err(), "three are not two");
        assert_eq!(read::<Option<u8>>("f6"), Ok(None));
        assert_eq!(read::<()>("f6"), Ok(()));
    }

    #[test]
    fn an_error_repeats_only_the_start_of_what_was_sent() {
        let error = decode::<Mixed>(&encode(&"x".repeat(5000)), 10_000).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }
}
