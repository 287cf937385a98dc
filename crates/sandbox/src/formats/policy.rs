//! Which formats a package of each kind may hold. A list of what is allowed: what is not on it is refused.

use guildhall_protocol::manifest::Kind;

use super::known::Format;
use super::problem::{Checked, refused};
use crate::message::Role;

/// Refuses a format that has no place in packages of this kind.
pub(super) fn admit(kind: Kind, role: Role, format: Format) -> Checked<()> {
    if is_allowed(kind, role, format) {
        return Ok(());
    }
    let why = format!("{} has no place in a package of kind {kind}", format.describe());
    Err(refused(why).help(help(kind, format)))
}

fn is_allowed(kind: Kind, role: Role, format: Format) -> bool {
    let is_named = role != Role::Plain;
    let is_documentation = matches!(
        format,
        Format::Text
            | Format::Json
            | Format::JsonLines
            | Format::Csv(_)
            | Format::Png
            | Format::Gif
            | Format::Jpeg
            | Format::Image
            | Format::Pdf
    );
    match kind {
        // Opaque files and archives are content here, never unpacked. A script is content when it is a record.
        Kind::Data => format != Format::Script || is_named,
        Kind::Pipeline => format.is_text() && format != Format::Script,
        Kind::Notebook => !matches!(format, Format::Archive | Format::Tflite),
        Kind::Algorithm | Kind::Model => match format {
            _ if is_documentation => true,
            Format::Onnx | Format::Safetensors | Format::Gguf | Format::Wasm | Format::Notebook => {
                true
            }
            Format::Script => kind == Kind::Algorithm || is_named,
            // What else a test vector is, the interface says.
            Format::Archive => kind == Kind::Algorithm && is_named,
            Format::Tflite => false,
            _ => is_named,
        },
    }
}

const fn help(kind: Kind, format: Format) -> &'static str {
    match (kind, format) {
        (_, Format::Tflite) => "convert the model to ONNX, for example with tf2onnx --tflite",
        (Kind::Pipeline, _) => "publish it as a data package, and name that where it is needed",
        (_, Format::Script) => "publish code as an algorithm or in a notebook",
        (_, Format::Archive | Format::NumpyArchive) => {
            "publish the files on their own instead of an archive; archives may stand in data packages"
        }
        (_, Format::Parquet | Format::Arrow | Format::Numpy | Format::Media) => {
            "publish data as a data package, or name the file in a unit test"
        }
        _ => "publish weights as ONNX, safetensors or GGUF, and name test vectors in a unit test",
    }
}
