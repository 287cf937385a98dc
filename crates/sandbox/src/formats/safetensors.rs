//! safetensors: eight bytes of length, a JSON header, then the tensors' bytes without a gap.
//!
//! The header is read, the tensors are not. Rules: <https://github.com/huggingface/safetensors#format>, taken strictly.

use std::collections::BTreeMap;
use std::fmt;

use guildhall_protocol::facts::{FACTS_MAX_ITEMS, Facts, WeightFacts};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use super::problem::{Checked, refused, refused_at};
use super::source::Source;

/// Longest header, bytes. A header of [`TENSORS_MAX`] tensors with long names is shorter; parsers take time with more.
const HEADER_MAX_BYTES: u64 = 4 << 20;

/// Most tensors: the largest published models have a few thousand in one file.
const TENSORS_MAX: usize = 65_536;

/// Most dimensions of a tensor; frameworks stop at 8 to 64.
const RANK_MAX: usize = 64;

/// Bytes of the header's length.
const PREFIX_BYTES: u64 = 8;

const HELP: &str =
    "save the weights again with safetensors.torch.save_file, and publish that file unchanged";

/// Checks a file and counts what is in it.
pub(super) fn check(source: &Source<'_>) -> Checked<Facts> {
    let len_bytes = source.reader().u64().map_err(|problem| problem.help(HELP))?;
    if len_bytes > HEADER_MAX_BYTES {
        let why = format!("its header is {len_bytes} bytes, at most {HEADER_MAX_BYTES} are taken");
        return Err(refused_at(0, why).help(HELP));
    }
    let bytes = source.bytes(PREFIX_BYTES, len_bytes).map_err(|problem| problem.help(HELP))?;
    if bytes.first() != Some(&b'{') {
        return Err(refused_at(PREFIX_BYTES, "its header does not begin with `{`").help(HELP));
    }
    let header: Header = serde_json::from_slice(&bytes).map_err(|error| {
        let column = if error.line() == 1 { error.column() as u64 } else { 0 };
        refused_at(PREFIX_BYTES.saturating_add(column), format!("its header: {error}")).help(HELP)
    })?;
    let data_bytes = source.len_bytes().saturating_sub(PREFIX_BYTES).saturating_sub(len_bytes);
    covers(&header, data_bytes).map_err(|why| refused(why).help(HELP))?;
    Ok(Facts::Safetensors(facts(header)))
}

/// Whether the tensors cover the data: sorted by place, no hole, no overlap, nothing left.
fn covers(header: &Header, data_bytes: u64) -> Result<(), String> {
    let mut places: Vec<_> = header.tensors.iter().collect();
    places.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut end = 0;
    for (name, tensor) in places {
        let [start, stop] = tensor.data_offsets;
        let len_bytes = tensor.len_bytes().map_err(|why| format!("tensor `{name}`: {why}"))?;
        let found = stop.checked_sub(start);
        if found != Some(len_bytes) {
            return Err(format!(
                "tensor `{name}` lies at {start}..{stop}, but its shape takes {len_bytes} bytes"
            ));
        }
        if start != end {
            let what = if start < end { "overlaps the one before" } else { "leaves a hole before" };
            return Err(format!("tensor `{name}` at {start} {what}, which ends at {end}"));
        }
        end = stop;
    }
    if end == data_bytes {
        Ok(())
    } else {
        Err(format!("its tensors take {end} bytes, but {data_bytes} bytes follow the header"))
    }
}

fn facts(header: Header) -> WeightFacts {
    let mut dtypes = BTreeMap::<&str, u64>::new();
    let mut parameters = 0_u64;
    for (_, tensor) in &header.tensors {
        let count = dtypes.entry(&tensor.dtype).or_default();
        *count = count.saturating_add(1);
        parameters = parameters.saturating_add(tensor.elements().unwrap_or(0));
    }
    WeightFacts {
        tensors: header.tensors.len() as u64,
        parameters,
        dtypes: dtypes.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        architecture: None,
        items: header
            .tensors
            .into_iter()
            .take(FACTS_MAX_ITEMS)
            .map(|(name, tensor)| (name, tensor.dtype, tensor.shape))
            .collect(),
    }
}

/// The header. A map would lose that a name stands there twice, which readers resolve differently.
struct Header {
    tensors: Vec<(String, Tensor)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Tensor {
    fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size))
    }

    fn len_bytes(&self) -> Result<u64, String> {
        if self.shape.len() > RANK_MAX {
            return Err(format!("{} dimensions, at most {RANK_MAX} are taken", self.shape.len()));
        }
        let bits = bits(&self.dtype).ok_or_else(|| format!("unknown type `{}`", self.dtype))?;
        let bits = self
            .elements()
            .and_then(|elements| elements.checked_mul(bits))
            .ok_or("its dimensions are too large")?;
        if bits.is_multiple_of(8) { Ok(bits / 8) } else { Err("it does not end at a byte".into()) }
    }
}

/// Bits of one element.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ"
        | "F8_E5M2FNUZ" => 8,
        "U16" | "I16" | "F16" | "BF16" => 16,
        "U32" | "I32" | "F32" => 32,
        "U64" | "I64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("`{name}` is there twice")));
            }
            if name == "__metadata__" {
                map.next_value_seed(Metadata)?;
                continue;
            }
            if tensors.len() >= TENSORS_MAX {
                return Err(A::Error::custom(format_args!("more than {TENSORS_MAX} tensors")));
            }
            tensors.push((name, map.next_value()?));
        }
        Ok(Header { tensors })
    }
}

/// Texts by name, each name once; not kept.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts in `__metadata__`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = std::collections::HashSet::new();
        while let Some((name, _)) = map.next_entry::<String, String>()? {
            if let Some(twice) = seen.replace(name) {
                return Err(A::Error::custom(format_args!("`{twice}` is there twice")));
            }
        }
        Ok(())
    }
}
