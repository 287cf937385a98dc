//! The protocol's names of element types.

use guildhall_protocol::interface::ElementType;

/// The name of elements that are texts or bytes of any length.
pub(super) const BYTES: &str = "BYTES";

/// What the protocol calls a type.
pub(super) const fn name(dtype: ElementType) -> &'static str {
    match dtype {
        ElementType::Bool => "BOOL",
        ElementType::U8 => "UINT8",
        ElementType::I8 => "INT8",
        ElementType::U16 => "UINT16",
        ElementType::I16 => "INT16",
        ElementType::U32 => "UINT32",
        ElementType::I32 => "INT32",
        ElementType::U64 => "UINT64",
        ElementType::I64 => "INT64",
        ElementType::F16 => "FP16",
        ElementType::F32 => "FP32",
        ElementType::F64 => "FP64",
        // A type that is added later travels as what it is: bytes.
        _ => BYTES,
    }
}

/// Every type that has a name here.
const ALL: [ElementType; 13] = [
    ElementType::Bool,
    ElementType::U8,
    ElementType::I8,
    ElementType::U16,
    ElementType::I16,
    ElementType::U32,
    ElementType::I32,
    ElementType::U64,
    ElementType::I64,
    ElementType::F16,
    ElementType::F32,
    ElementType::F64,
    ElementType::Text,
];

/// The type of this name.
pub(super) fn named(text: &str) -> Option<ElementType> {
    ALL.into_iter().find(|dtype| name(*dtype) == text)
}

/// All names, for people.
pub(super) fn names() -> String {
    ALL.map(name).join(", ")
}
