//! Arrays as numpy writes them into `.npy`: versions 1 to 3, little-endian, in C order.
//!
//! Format: the magic bytes `\x93NUMPY`, a version of two bytes, the length of the header (two bytes little-endian in
//! version 1, four since), and the header, a Python dictionary of `descr`, `fortran_order` and `shape`. The elements
//! follow. <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use data_encoding::BASE64;
use guildhall_protocol::interface::{Dim, ElementType, Port, PortType, TensorType};
use guildhall_protocol::values::to_json;
use guildhall_protocol::wire::PortValue;
use serde_json::{Value, json};

use super::form::Target;
use super::record::{Entry, Given};
use crate::cli::table::counted;
use crate::cli::{Failure, exit};

/// What every file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header, bytes: what version 1 could say.
const HEADER_MAX_BYTES: usize = 65_535;

/// Most dimensions: what numpy has.
const RANK_MAX: usize = 64;

/// An array.
struct Array<'b> {
    dtype: ElementType,
    shape: Vec<u64>,
    bytes: &'b [u8],
}

/// The arrays of a file: along the first axis when there is one axis more than the port has, or else the whole.
pub(super) fn records(
    name: &str,
    bytes: &[u8],
    target: &Target<'_>,
) -> Result<(Vec<Entry>, String), Failure> {
    let bad = |why: String| Failure::new(exit::USAGE, format!("{name}: {why}"));
    let port_name = target.single(name)?;
    let tensor = match &target.port {
        Some(Port { port_type: PortType::Tensor(tensor), .. }) => tensor,
        Some(port) => {
            return Err(bad(format!(
                "an array of numpy, and port {port_name} is {}",
                port.port_type
            )));
        }
        None => return Err(bad("no port takes it".to_owned())),
    };
    let array = parse(bytes).map_err(|(why, help)| bad(why).with_help_if(help))?;
    let shape = shown(&array.shape);
    let of = format!("{} array of {shape}", array.dtype);
    if !is_split(tensor, &array.shape) {
        let given = Given::Json(value(&array, tensor.dtype));
        return Ok((vec![Entry::one(name, name, port_name, given)], format!(", the whole {of}")));
    }
    let (count, inner) = array.shape.split_first().unwrap_or((&0, &[]));
    let count = usize::try_from(*count).unwrap_or(usize::MAX);
    let len = array.bytes.len().checked_div(count).unwrap_or_default();
    if len == 0 {
        return Err(bad(format!("an array of {shape} holds nothing")));
    }
    let record = |(at, bytes): (usize, &[u8])| {
        let part = Array { dtype: array.dtype, shape: inner.to_vec(), bytes };
        let given = Given::Json(value(&part, tensor.dtype));
        Entry::one(&format!("{name}[{at}]"), &format!("{name}[{at}]"), port_name, given)
    };
    let entries: Vec<_> = array.bytes.chunks_exact(len).enumerate().map(record).collect();
    Ok((entries, format!(" along the first axis of the {of}")))
}

/// Whether the first axis counts records.
fn is_split(tensor: &TensorType, shape: &[u64]) -> bool {
    if shape.len() == tensor.dims.len().saturating_add(1) {
        return true;
    }
    // A batch of one, of which the file has many.
    let is_batch = tensor.dims.first() == Some(&Dim::Fixed(1));
    is_batch && shape.len() == tensor.dims.len() && shape.first().is_some_and(|count| *count > 1)
}

/// An array as a value: its bytes, or, where the port has another type of elements, its numbers.
fn value(array: &Array<'_>, wanted: ElementType) -> Value {
    if array.dtype == wanted {
        return json!({ "shape": array.shape, "base64": BASE64.encode(array.bytes) });
    }
    let tensor = TensorType { dtype: array.dtype, dims: vec![Dim::Free] };
    let numbers = to_json(&PortType::Tensor(tensor), &PortValue::new("", array.bytes));
    match numbers {
        Value::Array(_) => json!({ "shape": array.shape, "data": numbers }),
        // So many that they come as an object with bytes of the other type, which is then said.
        other => other,
    }
}

fn shown(shape: &[u64]) -> String {
    match shape {
        [] => "no dimensions".to_owned(),
        shape => shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x"),
    }
}

type Refused = (String, Option<String>);

fn parse(bytes: &[u8]) -> Result<Array<'_>, Refused> {
    let bad = |why: &str| (why.to_owned(), None);
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("it is no array of numpy"))?;
    let (header, elements) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => {
            let len = u32::from_le_bytes([*a, *b, *c, *d]);
            (usize::try_from(len).unwrap_or(usize::MAX), rest)
        }
        [version, ..] => return Err(bad(&format!("version {version} of the format is not known"))),
        [] => return Err(bad("it ends within its header")),
    };
    if header > HEADER_MAX_BYTES {
        return Err(bad("its header is too long"));
    }
    let (header, elements) =
        elements.split_at_checked(header).ok_or_else(|| bad("it ends within its header"))?;
    let header = std::str::from_utf8(header).map_err(|_| bad("its header is no text"))?;
    let (dtype, shape) = read_header(header)?;
    let wanted =
        shape.iter().try_fold(dtype.len_bytes().unwrap_or(1), |len, size| len.checked_mul(*size));
    if wanted != u64::try_from(elements.len()).ok() {
        let (found, shape) = (counted(elements.len(), "byte"), shown(&shape));
        return Err(bad(&format!("{found} of elements do not make {dtype} of {shape}")));
    }
    Ok(Array { dtype, shape, bytes: elements })
}

/// The dictionary of a header, whose keys may stand in any order.
fn read_header(header: &str) -> Result<(ElementType, Vec<u64>), Refused> {
    let broken = || ("its header cannot be read".to_owned(), None);
    let field = |name: &str| {
        let (_, rest) = header.split_once(&format!("'{name}':"))?;
        Some(rest.trim_start())
    };
    let descr = field("descr").ok_or_else(broken)?;
    let order = field("fortran_order").ok_or_else(broken)?;
    let shape = field("shape").ok_or_else(broken)?;
    let Some((descr, _)) = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) else {
        let help = "save each column by itself: numpy.save('x.npy', a['NAME'])";
        return Err(("it holds records of several columns".to_owned(), Some(help.to_owned())));
    };
    let dtype = dtype(descr)?;
    if !order.starts_with("False") {
        let help = "numpy.save('x.npy', numpy.ascontiguousarray(a))";
        return Err(("it is in Fortran order".to_owned(), Some(help.to_owned())));
    }
    let (inside, _) =
        shape.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(broken)?;
    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes: Vec<u64> =
        sizes.take(RANK_MAX + 1).map(str::parse).collect::<Result<_, _>>().map_err(|_| broken())?;
    match sizes.len() > RANK_MAX {
        true => Err(broken()),
        false => Ok((dtype, sizes)),
    }
}

fn dtype(descr: &str) -> Result<ElementType, Refused> {
    let Some((order, kind)) = descr.split_at_checked(1) else {
        return Err((format!("elements of `{descr}` are not known"), None));
    };
    let dtype = match kind {
        "b1" => ElementType::Bool,
        "u1" => ElementType::U8,
        "i1" => ElementType::I8,
        "u2" => ElementType::U16,
        "i2" => ElementType::I16,
        "u4" => ElementType::U32,
        "i4" => ElementType::I32,
        "u8" => ElementType::U64,
        "i8" => ElementType::I64,
        "f2" => ElementType::F16,
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        _ => {
            let what = match kind.chars().next() {
                Some('O') => "Python objects",
                Some('U' | 'S') => "texts",
                Some('c') => "complex numbers",
                Some('M' | 'm') => "times",
                _ => "something else than numbers",
            };
            let help = "numpy.save('x.npy', a.astype('float32'))".to_owned();
            return Err((format!("its elements are {what} (`{descr}`)"), Some(help)));
        }
    };
    match order {
        "<" | "|" | "=" => Ok(dtype),
        _ => {
            let help = format!("numpy.save('x.npy', a.astype('<{kind}'))");
            Err((format!("its elements are big-endian (`{descr}`)"), Some(help)))
        }
    }
}
