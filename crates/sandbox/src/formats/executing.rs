//! What runs code when its usual reader opens it: pickles and everything that wraps them, Keras and R files, programs.
//! Refused in packages of every kind, under any name.

use super::known::Format;
use super::pickle;
use super::problem::{Checked, Problem, refused, refused_at};
use super::source::Source;
use super::zip;

const TO_SAFETENSORS: &str = "save weights with safetensors.torch.save_file, models with torch.onnx.export, and tables \
                              as Parquet or CSV";
const TO_ONNX: &str = "convert the model to ONNX, for example with tf2onnx or skl2onnx";
const TO_TABLE: &str = "save the table as Parquet or CSV";
const TO_WASM: &str =
    "compile the program to WebAssembly (target wasm32-wasip1) and publish it as an algorithm";

/// File name endings whose usual reader executes what is in the file, and what to use instead.
const ENDINGS: [(&str, &str); 29] = [
    (".pkl", TO_SAFETENSORS),
    (".pickle", TO_SAFETENSORS),
    (".pck", TO_SAFETENSORS),
    (".joblib", TO_ONNX),
    (".dill", TO_SAFETENSORS),
    (".cloudpickle", TO_SAFETENSORS),
    (".pt", TO_SAFETENSORS),
    (".pth", TO_SAFETENSORS),
    (".pt2", TO_SAFETENSORS),
    (".ptl", TO_SAFETENSORS),
    (".ckpt", TO_SAFETENSORS),
    (".mar", TO_ONNX),
    (".h5", TO_ONNX),
    (".hdf5", TO_ONNX),
    (".keras", TO_ONNX),
    ("saved_model.pb", TO_ONNX),
    ("saved_model.pbtxt", TO_ONNX),
    ("keras_metadata.pb", TO_ONNX),
    (".rds", TO_TABLE),
    (".rda", TO_TABLE),
    (".rdata", TO_TABLE),
    (".exe", TO_WASM),
    (".dll", TO_WASM),
    (".so", TO_WASM),
    (".dylib", TO_WASM),
    (".msi", TO_WASM),
    (".scr", TO_WASM),
    (".jar", TO_WASM),
    (".class", TO_WASM),
];

/// Endings of what wraps other files.
const WRAPPERS: [&str; 10] =
    [".gz", ".bz2", ".xz", ".zst", ".lz4", ".lzma", ".z", ".zip", ".7z", ".rar"];

/// Most headers of a tar that are looked at; the ones that give a PyTorch file away come first.
const TAR_HEADERS_MAX: u64 = 4_096;

/// Bytes of a tar's block.
const TAR_BLOCK_BYTES: u64 = 512;

/// The ending that runs, if the name has one, and what to use instead.
fn ending_of(name: &str) -> Option<(&'static str, &'static str)> {
    let mut rest = name;
    while let Some(inside) = WRAPPERS.iter().find_map(|wrapper| rest.strip_suffix(wrapper)) {
        rest = inside;
    }
    ENDINGS.into_iter().find(|(ending, _)| rest.ends_with(ending))
}

/// Refuses names whose usual reader executes what is in the file; `name` is in small letters.
pub(super) fn check_name(name: &str) -> Checked<()> {
    match ending_of(name) {
        Some((ending, help)) => {
            let why = format!("files named `{ending}` can execute code when they are read");
            Err(refused(why).help(help))
        }
        None => Ok(()),
    }
}

/// Refuses content that executes when it is read, whatever its name.
pub(super) fn check_content(source: &Source<'_>, head: &[u8]) -> Checked<()> {
    check_programs(head)?;
    for at in [0, 512, 1024, 2048] {
        if head.get(at..).is_some_and(|rest| rest.starts_with(b"\x89HDF\r\n\x1a\n")) {
            let why = "it is an HDF5 file, in which Keras models can carry code";
            return Err(refused_at(at as u64, why).help(TO_ONNX));
        }
    }
    let r_beginnings: [&[u8]; 7] =
        [b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n", b"X\n\0\0\0\x02", b"X\n\0\0\0\x03", b"RDB3\n"];
    if r_beginnings.into_iter().any(|start| head.starts_with(start)) {
        return Err(
            refused_at(0, "it is an R file, which can execute code when it is read").help(TO_TABLE)
        );
    }
    let is_short_of_one =
        matches!(head, [0x80, 2..=5, ..]) && source.tail(1)?.1.first() == Some(&b'.');
    if is_short_of_one || pickle::is_pickle(*source, 0, source.len_bytes())? {
        let why = "it is a Python pickle, which can execute code when it is read";
        return Err(refused_at(0, why).help(TO_SAFETENSORS));
    }
    if head.get(257..262) == Some(b"ustar") || head.starts_with(b"sys_info\0") {
        check_tar(source)?;
    }
    Ok(())
}

fn check_programs(head: &[u8]) -> Checked<()> {
    let pe_at =
        head.get(0x3c..0x40).and_then(|at| at.first_chunk()).copied().map(u32::from_le_bytes);
    let is_pe = head.starts_with(b"MZ")
        && pe_at.and_then(|at| usize::try_from(at).ok()).is_some_and(|at| {
            // A header beyond what was read is taken for one: 64 KiB of text do not begin with MZ.
            head.get(at..)
                .map_or(at < 65_536, |rest| rest.is_empty() || rest.starts_with(b"PE\0\0"))
        });
    let what = match head {
        [0x7f, b'E', b'L', b'F', ..] => "a Linux program",
        _ if is_pe => "a Windows program",
        [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] => {
            "a macOS program"
        }
        [0xca, 0xfe, 0xba, 0xbe, ..] => "a macOS program or a Java class",
        [b'd', b'e', b'x', b'\n', b'0', ..] => "an Android program",
        _ => return Ok(()),
    };
    Err(refused_at(0, format!("it is {what}")).help(TO_WASM))
}

/// Refuses a zip archive that holds what executes; its entries, for whoever needs them.
pub(super) fn check_zip(source: &Source<'_>) -> Checked<Vec<zip::Entry>> {
    let entries = zip::entries(source)?;
    let ends = |ending: &str| entries.iter().any(|entry| entry.name.ends_with(ending));
    if ends("data.pkl") || ends("constants.pkl") {
        return Err(refused("it is a PyTorch archive around a Python pickle").help(TO_SAFETENSORS));
    }
    if ends("config.json") && ends(".h5") {
        return Err(refused("it is a Keras model, which can carry code").help(TO_ONNX));
    }
    if ends("meta-inf/manifest.mf") && ends(".class") {
        return Err(refused("it is a Java program").help(TO_WASM));
    }
    for entry in &entries {
        if let Some((ending, help)) = ending_of(&entry.name) {
            let why =
                format!("it holds `{}`, and files named `{ending}` can execute code", entry.name);
            return Err(refused(why).help(help));
        }
        if let Some(head) = zip::head(source, entry, 4_096)?
            && is_pickle_head(&head)?
        {
            let why = format!("it holds `{}`, which is a Python pickle", entry.name);
            return Err(refused_at(entry.at, why).help(TO_SAFETENSORS));
        }
    }
    Ok(entries)
}

fn is_pickle_head(head: &[u8]) -> Checked<bool> {
    pickle::is_pickle(Source::of_bytes(head), 0, head.len() as u64)
}

/// Refuses a tar that holds what executes, such as PyTorch's oldest format.
fn check_tar(source: &Source<'_>) -> Checked<()> {
    let mut at = 0_u64;
    for _ in 0..TAR_HEADERS_MAX {
        if at.saturating_add(TAR_BLOCK_BYTES) > source.len_bytes() {
            return Ok(());
        }
        let header = source.bytes(at, TAR_BLOCK_BYTES)?;
        let name = header.get(..100).unwrap_or_default();
        let name: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
        if name.is_empty() {
            return Ok(());
        }
        let name = String::from_utf8_lossy(&name).to_ascii_lowercase();
        let is_torch = matches!(name.trim_start_matches("./"), "pickle" | "storages");
        let start = at.saturating_add(TAR_BLOCK_BYTES);
        let inside = source.bytes(start, source.len_bytes().saturating_sub(start).min(4_096))?;
        if is_torch || ending_of(&name).is_some() || is_pickle_head(&inside)? {
            let why = format!("it holds `{name}`, which is or may be a Python pickle");
            return Err(refused_at(at, why).help(TO_SAFETENSORS));
        }
        let size = header.get(124..136).unwrap_or_default();
        let digits = size.iter().filter(|byte| matches!(byte, b'0'..=b'7'));
        let size = digits.fold(0_u64, |size, digit| {
            size.saturating_mul(8).saturating_add(u64::from(digit.saturating_sub(b'0')))
        });
        let Some(next) = size.checked_next_multiple_of(TAR_BLOCK_BYTES) else { return Ok(()) };
        at = start.saturating_add(next);
    }
    Ok(())
}

/// Refuses a file that is an archive when it is read from its end.
pub(super) fn check_tail(source: &Source<'_>, format: Format) -> Checked<()> {
    if matches!(format, Format::Archive | Format::NumpyArchive) {
        return Ok(());
    }
    match zip::hidden_at(source)? {
        Some(at) => {
            let what = format.describe();
            let problem: Problem =
                refused_at(at, format!("a zip archive is hidden at the end of {what}"));
            Err(problem.help("publish the two files on their own"))
        }
        None => Ok(()),
    }
}
