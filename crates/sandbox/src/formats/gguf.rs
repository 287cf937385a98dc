//! GGUF, versions 2 and 3: settings, then descriptions of tensors, then the tensors' bytes at aligned places.
//!
//! Source of the format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Settings are walked, not kept.

use std::collections::{BTreeMap, HashSet};

use guildhall_protocol::facts::{FACTS_MAX_ITEMS, Facts, WeightFacts};

use super::problem::{Checked, Problem, refused_at};
use super::source::{Reader, Source};

/// Most tensors and, apart from them, most settings; published files have below 2,000 and below 100.
const ITEMS_MAX: u64 = 65_536;

/// Longest key or tensor name, bytes: the format's own bound for keys.
const NAME_MAX_BYTES: u64 = 65_535;

/// Longest text, bytes: chat templates reach some 100 KiB.
const TEXT_MAX_BYTES: u64 = 16 << 20;

/// Most elements of an array: vocabularies have some 300,000.
const ARRAY_MAX: u64 = 16 << 20;

/// Deepest nesting of arrays; no writer nests at all.
const DEPTH_MAX: u32 = 4;

/// Most dimensions of a tensor: ggml's own bound.
const RANK_MAX: u32 = 4;

/// Alignment when the file says nothing, bytes.
const ALIGNMENT: u64 = 32;

const HELP: &str = "convert the model again with llama.cpp's convert_hf_to_gguf.py, and publish that file unchanged";

/// Checks a file and counts what is in it.
pub(super) fn check(source: &Source<'_>) -> Checked<Facts> {
    Walk { reader: source.reader(), alignment: ALIGNMENT, architecture: None }
        .file(source.len_bytes())
        .map(Facts::Gguf)
        .map_err(|problem| problem.help(HELP))
}

struct Walk<'a> {
    reader: Reader<'a>,
    alignment: u64,
    architecture: Option<String>,
}

struct Tensor {
    name: String,
    kind: u32,
    shape: Vec<u64>,
    elements: u64,
    offset: u64,
    /// Unknown for types that this version does not know.
    len_bytes: Option<u64>,
}

impl Walk<'_> {
    fn file(&mut self, len_bytes: u64) -> Checked<WeightFacts> {
        if self.reader.array()? != *b"GGUF" {
            return Err(refused_at(0, "it does not begin like GGUF"));
        }
        let version = self.reader.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(refused_at(4, format!("GGUF version {version}; 2 and 3 are taken")));
        }
        let tensors = self.count("tensors", ITEMS_MAX)?;
        let settings = self.count("settings", ITEMS_MAX)?;
        let mut names = HashSet::new();
        for _ in 0..settings {
            let at = self.reader.position();
            let key = self.text(NAME_MAX_BYTES)?;
            self.setting(&key)?;
            if let Some(twice) = names.replace(key) {
                return Err(refused_at(at, format!("setting `{twice}` is there twice")));
            }
        }
        names.clear();
        let mut found = Vec::new();
        for _ in 0..tensors {
            let at = self.reader.position();
            let tensor = self.tensor()?;
            if !names.insert(tensor.name.clone()) {
                return Err(refused_at(at, format!("tensor `{}` is there twice", tensor.name)));
            }
            found.push(tensor);
        }
        let start = up(self.reader.position(), self.alignment);
        self.covers(&found, start, len_bytes)?;
        Ok(self.facts(found))
    }

    fn count(&mut self, what: &str, max: u64) -> Checked<u64> {
        let at = self.reader.position();
        let count = self.reader.u64()?;
        if count > max {
            return Err(refused_at(at, format!("{count} {what}, at most {max} are taken")));
        }
        Ok(count)
    }

    fn text(&mut self, max_bytes: u64) -> Checked<String> {
        let len_bytes = self.reader.u64()?;
        let at = self.reader.position();
        String::from_utf8(self.reader.vector(len_bytes, max_bytes)?)
            .map_err(|_| refused_at(at, "a text is not UTF-8"))
    }

    fn setting(&mut self, key: &str) -> Checked<()> {
        let kind = self.reader.u32()?;
        let at = self.reader.position();
        match (key, kind) {
            ("general.alignment", 4) => {
                self.alignment = self.reader.u32()?.into();
                if !self.alignment.is_power_of_two() || self.alignment > 1 << 20 {
                    return Err(refused_at(at, format!("an alignment of {}", self.alignment)));
                }
                Ok(())
            }
            ("general.alignment", _) => Err(refused_at(at, "its alignment is no number")),
            ("general.architecture", 8) => {
                self.architecture = Some(self.text(NAME_MAX_BYTES)?);
                Ok(())
            }
            _ => self.value(kind, 0),
        }
    }

    fn value(&mut self, kind: u32, depth: u32) -> Checked<()> {
        let at = self.reader.position();
        match kind {
            0 | 1 => self.reader.skip(1),
            2 | 3 => self.reader.skip(2),
            4..=6 => self.reader.skip(4),
            10..=12 => self.reader.skip(8),
            7 => match self.reader.byte()? {
                0 | 1 => Ok(()),
                other => Err(refused_at(at, format!("a truth value of {other}"))),
            },
            8 => {
                let len_bytes = self.reader.u64()?;
                if len_bytes > TEXT_MAX_BYTES {
                    let why =
                        format!("a text of {len_bytes} bytes, at most {TEXT_MAX_BYTES} are taken");
                    return Err(refused_at(at, why));
                }
                self.reader.skip(len_bytes)
            }
            9 if depth < DEPTH_MAX => {
                let kind = self.reader.u32()?;
                let count = self.count("elements", ARRAY_MAX)?;
                match width(kind) {
                    Some(width) => self.reader.skip(count.saturating_mul(width)),
                    None => (0..count).try_for_each(|_| self.value(kind, depth + 1)),
                }
            }
            9 => Err(refused_at(at, format!("arrays nested more than {DEPTH_MAX} deep"))),
            other => Err(refused_at(at, format!("a value of the unknown type {other}"))),
        }
    }

    fn tensor(&mut self) -> Checked<Tensor> {
        let name = self.text(NAME_MAX_BYTES)?;
        let at = self.reader.position();
        let wrong = |why: String| -> Problem { refused_at(at, format!("tensor `{name}`: {why}")) };
        let rank = self.reader.u32()?;
        if rank > RANK_MAX {
            return Err(wrong(format!("{rank} dimensions, at most {RANK_MAX} are taken")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(self.reader.u64()?);
        }
        let kind = self.reader.u32()?;
        let offset = self.reader.u64()?;
        let elements = shape
            .iter()
            .try_fold(1_u64, |product, size| product.checked_mul(*size))
            .ok_or_else(|| wrong("its dimensions are too large".into()))?;
        let len_bytes = match block(kind) {
            Some((_, per_block, block_bytes)) => {
                let row = shape.first().copied().unwrap_or(1);
                if !row.is_multiple_of(per_block) {
                    return Err(wrong(format!("rows of {row} are no multiple of {per_block}")));
                }
                let len_bytes = (elements / per_block).checked_mul(block_bytes);
                Some(len_bytes.ok_or_else(|| wrong("its dimensions are too large".into()))?)
            }
            None if kind < TYPES_MAX => None,
            None => return Err(wrong(format!("unknown type {kind}"))),
        };
        if !offset.is_multiple_of(self.alignment) {
            return Err(wrong(format!("offset {offset} is not aligned to {}", self.alignment)));
        }
        Ok(Tensor { name, kind, shape, elements, offset, len_bytes })
    }

    /// Whether the tensors lie inside the file, each in its own place, with nothing but padding behind the last.
    fn covers(&self, tensors: &[Tensor], start: u64, file_bytes: u64) -> Checked<()> {
        let mut places: Vec<&Tensor> = tensors.iter().collect();
        places.sort_by_key(|tensor| (tensor.offset, tensor.len_bytes));
        let mut end = start;
        let mut is_known = true;
        for tensor in places {
            let at = start.saturating_add(tensor.offset);
            let wrong = |why: &str| {
                refused_at(at.min(file_bytes), format!("tensor `{}` {why}", tensor.name))
            };
            if at < end {
                return Err(wrong("overlaps another"));
            }
            if is_known && at > up(end, self.alignment) {
                return Err(wrong("leaves a hole before it"));
            }
            is_known = tensor.len_bytes.is_some();
            end = at.saturating_add(tensor.len_bytes.unwrap_or(0));
            if end > file_bytes {
                return Err(wrong("reaches beyond the end of the file"));
            }
        }
        if is_known && !tensors.is_empty() && file_bytes > up(end, self.alignment) {
            return Err(refused_at(end, "other bytes follow the last tensor"));
        }
        if tensors.is_empty() && file_bytes > start {
            return Err(refused_at(start, "other bytes follow the settings"));
        }
        Ok(())
    }

    fn facts(&mut self, tensors: Vec<Tensor>) -> WeightFacts {
        let mut dtypes = BTreeMap::<String, u64>::new();
        let mut parameters = 0_u64;
        for tensor in &tensors {
            let count = dtypes.entry(type_name(tensor.kind)).or_default();
            *count = count.saturating_add(1);
            parameters = parameters.saturating_add(tensor.elements);
        }
        WeightFacts {
            tensors: tensors.len() as u64,
            parameters,
            dtypes: dtypes.into_iter().collect(),
            architecture: self.architecture.take(),
            items: tensors
                .into_iter()
                .take(FACTS_MAX_ITEMS)
                .map(|tensor| (tensor.name, type_name(tensor.kind), tensor.shape))
                .collect(),
        }
    }
}

/// The next multiple of `alignment`.
fn up(position: u64, alignment: u64) -> u64 {
    position.checked_next_multiple_of(alignment).unwrap_or(u64::MAX)
}

/// Bytes of an array's element, for types of one length whose every value is right.
const fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Numbers from here on are no tensor type; below, some are newer than this version.
const TYPES_MAX: u32 = 64;

fn type_name(kind: u32) -> String {
    block(kind).map_or_else(|| format!("type {kind}"), |(name, _, _)| name.to_owned())
}

/// Name, elements of a block and bytes of a block, as ggml has them.
const fn block(kind: u32) -> Option<(&'static str, u64, u64)> {
    Some(match kind {
        0 => ("F32", 1, 4),
        1 => ("F16", 1, 2),
        2 => ("Q4_0", 32, 18),
        3 => ("Q4_1", 32, 20),
        6 => ("Q5_0", 32, 22),
        7 => ("Q5_1", 32, 24),
        8 => ("Q8_0", 32, 34),
        9 => ("Q8_1", 32, 40),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        12 => ("Q4_K", 256, 144),
        13 => ("Q5_K", 256, 176),
        14 => ("Q6_K", 256, 210),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        24 => ("I8", 1, 1),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        28 => ("F64", 1, 8),
        29 => ("IQ1_M", 256, 56),
        30 => ("BF16", 1, 2),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        39 => ("MXFP4", 32, 17),
        40 => ("NVFP4", 64, 36),
        41 => ("Q1_0", 128, 18),
        _ => return None,
    })
}
