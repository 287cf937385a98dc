//! Values between their plain form, as they travel between nodes, and the types of `wit/stage.wit`.

use guildhall_protocol::interface::{
    ElementType, Interface, Location, MediaTypes, Port, PortType, Prediction, PredictionValue,
};
use guildhall_protocol::wire::PortValue;
use wasmtime::component::{Resource, ResourceTable};

use super::bindings::types;
use super::blob::{Blob, INLINE_MAX_BYTES};
use crate::value::{DimSizes, check_tensor};

/// Most predictions of one value, in either direction. `wit/stage.wit` says so too.
const PREDICTIONS_MAX: usize = 65_536;

/// The media type of a table's plain form.
const CSV: &str = "text/csv";

/// A record as the guest gets it; the values were checked against the interface.
pub(super) fn to_guest(
    interface: &Interface,
    values: Vec<PortValue>,
    sizes: &DimSizes,
    table: &mut ResourceTable,
) -> Result<Vec<types::NamedValue>, String> {
    let mut named = Vec::with_capacity(values.len());
    // In the order of the interface, so that a stage with one port can take the first.
    let mut values = values;
    for port in &interface.inputs {
        let Some(at) = values.iter().position(|value| value.port == port.name) else { continue };
        let value = values.swap_remove(at);
        let value = value_to_guest(&port.port_type, value, sizes, table)
            .map_err(|why| format!("port `{}`: {why}", port.name))?;
        named.push(types::NamedValue { port: port.name.clone(), value, location: None });
    }
    Ok(named)
}

fn value_to_guest(
    port_type: &PortType,
    value: PortValue,
    sizes: &DimSizes,
    table: &mut ResourceTable,
) -> Result<types::Value, String> {
    let full = |_| "the call has too many values".to_owned();
    Ok(match port_type {
        PortType::Tensor(tensor) => {
            let shape = check_tensor(tensor, &value, &mut sizes.clone())?;
            let shape = shape.into_iter().map(|size| size as u64).collect();
            let dtype = element_to_guest(tensor.dtype).ok_or("a tensor of text")?;
            let data = content(value.bytes, table).map_err(full)?;
            types::Value::Tensor(types::Tensor { dtype, shape, data })
        }
        PortType::Table(_) => types::Value::Table(types::Media {
            media_type: CSV.into(),
            data: content(value.bytes, table).map_err(full)?,
        }),
        PortType::Text => types::Value::Text(text(value.bytes, table)?),
        PortType::Json(_) => types::Value::Json(text(value.bytes, table)?),
        PortType::Image(media) => types::Value::Image(media_value(media, value.bytes, table)?),
        PortType::Audio(media) => types::Value::Audio(media_value(media, value.bytes, table)?),
        PortType::Video(media) => types::Value::Video(media_value(media, value.bytes, table)?),
        PortType::Bytes(media) => types::Value::Bytes(media_value(media, value.bytes, table)?),
        PortType::Prediction(_) => {
            let list: Vec<Prediction> =
                serde_json::from_slice(&value.bytes).map_err(|error| error.to_string())?;
            if list.len() > PREDICTIONS_MAX {
                return Err(too_many(list.len()));
            }
            types::Value::Prediction(list.into_iter().map(prediction_to_guest).collect())
        }
        _ => return Err("this node does not know the port's type".into()),
    })
}

fn too_many(count: usize) -> String {
    format!("{count} predictions, at most {PREDICTIONS_MAX} are taken")
}

fn content(
    bytes: Vec<u8>,
    table: &mut ResourceTable,
) -> Result<types::Content, wasmtime_wasi::ResourceTableError> {
    Ok(if bytes.len() <= INLINE_MAX_BYTES {
        types::Content::Inline(bytes)
    } else {
        types::Content::Blob(table.push(Blob::Input(bytes))?)
    })
}

fn text(bytes: Vec<u8>, table: &mut ResourceTable) -> Result<types::Text, String> {
    if bytes.len() <= INLINE_MAX_BYTES {
        let text = String::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
        return Ok(types::Text::Inline(text));
    }
    let blob = table.push(Blob::Input(bytes)).map_err(|error| error.to_string())?;
    Ok(types::Text::Blob(blob))
}

fn media_value(
    media: &MediaTypes,
    bytes: Vec<u8>,
    table: &mut ResourceTable,
) -> Result<types::Media, String> {
    let media_type = match media.media_types.as_slice() {
        [only] => only.clone(),
        _ => String::new(),
    };
    let data = content(bytes, table).map_err(|error| error.to_string())?;
    Ok(types::Media { media_type, data })
}

fn prediction_to_guest(prediction: Prediction) -> types::Prediction {
    types::Prediction {
        input: prediction.input,
        value: match prediction.value {
            PredictionValue::Text(text) => types::PredictionValue::Text(text),
            PredictionValue::Class(class) => types::PredictionValue::Class(class),
            PredictionValue::Number(number) => types::PredictionValue::Number(number),
            PredictionValue::Vector(vector) => types::PredictionValue::Vector(vector),
        },
        location: prediction.location.map(|location| match location {
            Location::Box([left, top, width, height]) => {
                types::Location::Box((left, top, width, height))
            }
            Location::TextWindow([first, end]) => types::Location::TextWindow((first, end)),
            Location::FrameIndices(frames) => types::Location::FrameIndices(frames),
        }),
        confidence: prediction.confidence,
    }
}

/// A record as it travels on. The caller checks it against the interface like any engine's.
///
/// Blobs of what is not returned here stay in the table and end with the call.
pub(super) fn from_guest(
    interface: &Interface,
    values: Vec<types::NamedValue>,
    table: &mut ResourceTable,
) -> Result<Vec<PortValue>, String> {
    let mut taken: Vec<PortValue> = Vec::new();
    for named in values {
        let port = interface
            .outputs
            .iter()
            .find(|port| port.name == named.port)
            .ok_or_else(|| format!("there is no port `{}`", named.port))?;
        // Told apart here, so that a guest cannot make the list longer than the interface.
        if taken.iter().any(|value| value.port == port.name) {
            return Err(format!("port `{}` has two values", port.name));
        }
        if named.location.is_some() {
            return Err(format!("port `{}`: outputs have no location of their own", port.name));
        }
        let value = value_from_guest(port, named.value, table)
            .map_err(|why| format!("port `{}`: {why}", port.name))?;
        taken.push(value);
    }
    Ok(taken)
}

fn value_from_guest(
    port: &Port,
    value: types::Value,
    table: &mut ResourceTable,
) -> Result<PortValue, String> {
    let mut dims = None;
    let bytes = match (&port.port_type, value) {
        (PortType::Tensor(tensor), types::Value::Tensor(value)) => {
            if element_to_guest(tensor.dtype) != Some(value.dtype) {
                let (found, wanted) = (value.dtype, tensor.dtype);
                return Err(format!("its elements are {found:?}, but the port has {wanted}"));
            }
            // Whether they fit the type and the length is checked with every engine's outputs.
            dims = Some(value.shape);
            bytes(value.data, table)?
        }
        (PortType::Table(_), types::Value::Table(value)) if value.media_type == CSV => {
            bytes(value.data, table)?
        }
        (PortType::Table(_), types::Value::Table(value)) => {
            return Err(format!("a table is `{CSV}` here, not `{}`", value.media_type));
        }
        (PortType::Text, types::Value::Text(text))
        | (PortType::Json(_), types::Value::Json(text)) => match text {
            types::Text::Inline(text) => inline(text.into_bytes())?,
            types::Text::Blob(blob) => taken(blob, table)?,
        },
        (PortType::Image(media), types::Value::Image(value))
        | (PortType::Audio(media), types::Value::Audio(value))
        | (PortType::Video(media), types::Value::Video(value))
        | (PortType::Bytes(media), types::Value::Bytes(value)) => {
            check_media(media, &value.media_type)?;
            bytes(value.data, table)?
        }
        (PortType::Prediction(_), types::Value::Prediction(list)) => predictions(list)?,
        (port_type, value) => {
            return Err(format!("it is {}, but the port is {port_type}", case(&value)));
        }
    };
    Ok(PortValue { port: port.name.clone(), bytes, dims })
}

fn check_media(media: &MediaTypes, said: &str) -> Result<(), String> {
    let takes = &media.media_types;
    if said.is_empty() || takes.is_empty() || takes.iter().any(|one| one == said) {
        return Ok(());
    }
    Err(format!("its media type is `{said}`, but the port has {}", takes.join(", ")))
}

fn bytes(content: types::Content, table: &mut ResourceTable) -> Result<Vec<u8>, String> {
    match content {
        types::Content::Inline(bytes) => inline(bytes),
        types::Content::Blob(blob) => taken(blob, table),
    }
}

fn inline(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.len() <= INLINE_MAX_BYTES {
        return Ok(bytes);
    }
    Err(format!(
        "{} bytes inline, at most {INLINE_MAX_BYTES} are taken: longer values are blobs",
        bytes.len()
    ))
}

fn taken(blob: Resource<Blob>, table: &mut ResourceTable) -> Result<Vec<u8>, String> {
    table.delete(blob).map(Blob::into_bytes).map_err(|error| error.to_string())
}

fn predictions(list: Vec<types::Prediction>) -> Result<Vec<u8>, String> {
    if list.len() > PREDICTIONS_MAX {
        return Err(too_many(list.len()));
    }
    let list: Vec<Prediction> =
        list.into_iter().map(prediction_from_guest).collect::<Result<_, _>>()?;
    serde_json::to_vec(&list).map_err(|error| error.to_string())
}

fn prediction_from_guest(prediction: types::Prediction) -> Result<Prediction, String> {
    // JSON has no words for the others.
    let finite = |number: f64| match number.is_finite() {
        true => Ok(number),
        false => Err("a prediction has a number that is not finite".to_owned()),
    };
    Ok(Prediction {
        input: prediction.input,
        value: match prediction.value {
            types::PredictionValue::Text(text) => PredictionValue::Text(text),
            types::PredictionValue::Class(class) => PredictionValue::Class(class),
            types::PredictionValue::Number(number) => PredictionValue::Number(finite(number)?),
            types::PredictionValue::Vector(vector) => {
                PredictionValue::Vector(vector.into_iter().map(finite).collect::<Result<_, _>>()?)
            }
        },
        location: match prediction.location {
            None => None,
            Some(types::Location::Box((left, top, width, height))) => {
                Some(Location::Box([finite(left)?, finite(top)?, finite(width)?, finite(height)?]))
            }
            Some(types::Location::TextWindow((first, end))) => {
                Some(Location::TextWindow([first, end]))
            }
            Some(types::Location::FrameIndices(frames)) => Some(Location::FrameIndices(frames)),
        },
        confidence: prediction.confidence.map(finite).transpose()?,
    })
}

/// What a value is, in words.
const fn case(value: &types::Value) -> &'static str {
    match value {
        types::Value::Tensor(_) => "a tensor",
        types::Value::Table(_) => "a table",
        types::Value::Text(_) => "a text",
        types::Value::Json(_) => "json",
        types::Value::Image(_) => "an image",
        types::Value::Audio(_) => "audio",
        types::Value::Video(_) => "a video",
        types::Value::Bytes(_) => "bytes",
        types::Value::Prediction(_) => "a list of predictions",
    }
}

/// `None` for text, which no tensor has.
const fn element_to_guest(element: ElementType) -> Option<types::ElementType> {
    Some(match element {
        ElementType::Bool => types::ElementType::Bool,
        ElementType::U8 => types::ElementType::U8,
        ElementType::I8 => types::ElementType::I8,
        ElementType::U16 => types::ElementType::U16,
        ElementType::I16 => types::ElementType::I16,
        ElementType::U32 => types::ElementType::U32,
        ElementType::I32 => types::ElementType::I32,
        ElementType::U64 => types::ElementType::U64,
        ElementType::I64 => types::ElementType::I64,
        ElementType::F16 => types::ElementType::F16,
        ElementType::F32 => types::ElementType::F32,
        ElementType::F64 => types::ElementType::F64,
        _ => return None,
    })
}
