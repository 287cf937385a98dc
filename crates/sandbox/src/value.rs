//! Whether the bytes of a value are what its port says. Runs in workers only: these are parsers of foreign bytes.

use std::collections::BTreeMap;

use guildhall_protocol::interface::{
    Dim, ElementType, LocationKind, MediaTypes, Port, PortType, Prediction, PredictionKind,
    PredictionType, PredictionValue, TableType, TensorType,
};
use guildhall_protocol::wire::PortValue;

use crate::formats;

/// Sizes of the named dimensions, as far as the record's values settled them.
pub(crate) type DimSizes = BTreeMap<String, u64>;

/// Checks one side of a record: every port that must be there once, nothing else, every value of its type.
pub(crate) fn check_side(
    ports: &[Port],
    values: &[PortValue],
    sizes: &mut DimSizes,
) -> Result<(), String> {
    for (at, value) in values.iter().enumerate() {
        if !ports.iter().any(|port| port.name == value.port) {
            return Err(format!("there is no port `{}`", value.port));
        }
        if values.iter().take(at).any(|earlier| earlier.port == value.port) {
            return Err(format!("port `{}` has two values", value.port));
        }
    }
    for port in ports {
        match values.iter().find(|value| value.port == port.name) {
            Some(value) => check(&port.port_type, value, sizes)
                .map_err(|why| format!("port `{}`: {why}", port.name))?,
            None if port.optional => {}
            None => return Err(format!("port `{}` has no value", port.name)),
        }
    }
    Ok(())
}

/// Checks one value.
pub(crate) fn check(
    port_type: &PortType,
    value: &PortValue,
    sizes: &mut DimSizes,
) -> Result<(), String> {
    let bytes = value.bytes.as_slice();
    if value.dims.is_some() && !matches!(port_type, PortType::Tensor(_)) {
        return Err("only a tensor has dimensions".into());
    }
    match port_type {
        PortType::Tensor(tensor) => check_tensor(tensor, value, sizes).map(drop),
        PortType::Table(table) => check_table(table, bytes),
        PortType::Text => utf8(bytes).map(drop),
        PortType::Json(_) => serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
            .map(drop)
            .map_err(|error| format!("not JSON: {error}")),
        PortType::Prediction(prediction) => check_predictions(prediction, bytes).map(drop),
        PortType::Image(media)
        | PortType::Audio(media)
        | PortType::Video(media)
        | PortType::Bytes(media) => check_media(media, bytes),
        _ => Err("this node does not know the port's type".into()),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))
}

/// The dimensions of a tensor: those that come with it, or those that its length leads to. Without dimensions at most
/// one may be unknown.
pub(crate) fn check_tensor(
    tensor: &TensorType,
    value: &PortValue,
    sizes: &mut DimSizes,
) -> Result<Vec<usize>, String> {
    // Texts have no length of their own: the list's items count as bytes.
    let (element_bytes, len_bytes) = match tensor.dtype.len_bytes() {
        Some(element_bytes) => (element_bytes, value.bytes.len() as u64),
        None => (1, text_count(&value.bytes)?),
    };
    let dims = match &value.dims {
        Some(dims) => given_dims(tensor, dims, sizes)?,
        None => following_dims(tensor, element_bytes, len_bytes, sizes)?,
    };
    let wanted = dims.iter().try_fold(element_bytes, |product, dim| product.checked_mul(*dim));
    if wanted.ok_or(TOO_LARGE)? != len_bytes {
        let wanted = wanted.unwrap_or_default();
        return Err(format!("{len_bytes} bytes, but its type has {wanted}"));
    }
    for (dim, size) in tensor.dims.iter().zip(&dims) {
        if let Dim::Named(name) = dim {
            sizes.insert(name.clone(), *size);
        }
    }
    if tensor.dtype == ElementType::Bool && value.bytes.iter().any(|byte| *byte > 1) {
        return Err("a bool is neither 0 nor 1".into());
    }
    dims.iter().map(|dim| usize::try_from(*dim).map_err(|_| TOO_LARGE.to_owned())).collect()
}

/// How many texts the plain form of a tensor of text holds.
fn text_count(bytes: &[u8]) -> Result<u64, String> {
    let texts: Vec<std::borrow::Cow<'_, str>> = serde_json::from_slice(bytes)
        .map_err(|error| format!("not a JSON list of texts: {error}"))?;
    Ok(texts.len() as u64)
}

const TOO_LARGE: &str = "its dimensions are too large";

/// Dimensions that came with a value, if its type has them.
fn given_dims(tensor: &TensorType, given: &[u64], sizes: &DimSizes) -> Result<Vec<u64>, String> {
    if given.len() != tensor.dims.len() {
        let (found, wanted) = (given.len(), tensor.dims.len());
        return Err(format!("{found} dimensions, but its type has {wanted}"));
    }
    let mut seen = DimSizes::new();
    for (at, (dim, size)) in tensor.dims.iter().zip(given).enumerate() {
        let wanted = match dim {
            Dim::Fixed(wanted) => Some(*wanted),
            Dim::Named(name) => {
                let earlier = sizes.get(name).or(seen.get(name)).copied();
                seen.insert(name.clone(), *size);
                earlier
            }
            Dim::Free => None,
        };
        if let Some(wanted) = wanted.filter(|wanted| wanted != size) {
            return Err(format!("dimension {at} is {size}, but has to be {wanted}"));
        }
    }
    Ok(given.to_vec())
}

/// Dimensions that follow from a value's length.
fn following_dims(
    tensor: &TensorType,
    element_bytes: u64,
    len_bytes: u64,
    sizes: &DimSizes,
) -> Result<Vec<u64>, String> {
    let settled = |dim: &Dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Named(name) => sizes.get(name).copied(),
        Dim::Free => None,
    };
    let mut known = element_bytes;
    let mut unknown: Option<&Dim> = None;
    for dim in &tensor.dims {
        match settled(dim) {
            Some(size) => known = known.checked_mul(size).ok_or(TOO_LARGE)?,
            None if unknown.is_none() => unknown = Some(dim),
            None => {
                return Err("more than one dimension is unknown, so its dimensions have to come \
                            with it"
                    .into());
            }
        }
    }
    let open = match unknown {
        None if len_bytes == known => 0,
        Some(_) if known > 0 && len_bytes.is_multiple_of(known) => len_bytes / known,
        Some(_) => return Err(format!("{len_bytes} bytes are no multiple of {known}")),
        None => return Err(format!("{len_bytes} bytes, but its type has {known}")),
    };
    Ok(tensor.dims.iter().map(|dim| settled(dim).unwrap_or(open)).collect())
}

/// Checks that the header line has every column. Cells are the stages' business.
fn check_table(table: &TableType, bytes: &[u8]) -> Result<(), String> {
    let header = utf8(bytes)?.lines().next().unwrap_or_default();
    let mut found = header.split(',').map(|cell| cell.trim().trim_matches('"'));
    let missing =
        table.columns.iter().find(|column| !found.clone().any(|cell| cell == column.name));
    match missing {
        Some(column) => Err(format!("the header line has no column `{}`", column.name)),
        None if table.columns.is_empty() && found.all(str::is_empty) => {
            Err("there is no header line".into())
        }
        None => Ok(()),
    }
}

/// Checks the first bytes where all the media types that the port takes have known ones.
fn check_media(media: &MediaTypes, bytes: &[u8]) -> Result<(), String> {
    let mut known = media.media_types.iter().map(|name| formats::begins_as(name, bytes));
    if media.media_types.is_empty() || known.any(|begins| begins != Some(false)) {
        return Ok(());
    }
    Err(format!("it does not begin like {}", media.media_types.join(" or ")))
}

/// Parses a prediction value and checks each prediction against its port.
pub(crate) fn check_predictions(
    expected: &PredictionType,
    bytes: &[u8],
) -> Result<Vec<Prediction>, String> {
    let predictions: Vec<Prediction> = serde_json::from_slice(bytes)
        .map_err(|error| format!("not a list of predictions: {error}"))?;
    for prediction in &predictions {
        match (&prediction.value, expected.value) {
            (PredictionValue::Class(class), PredictionKind::Class) => {
                if !expected.labels.is_empty() && !expected.labels.contains(class) {
                    return Err(format!("class `{class}` is not in the label set"));
                }
            }
            (PredictionValue::Text(_), PredictionKind::Text)
            | (PredictionValue::Number(_), PredictionKind::Number)
            | (PredictionValue::Vector(_), PredictionKind::Vector) => {}
            (_, kind) => return Err(format!("a prediction is no {kind:?}")),
        }
        if prediction.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
            return Err("a confidence is not between 0 and 1".into());
        }
        let location = prediction.location.as_ref().map(|location| {
            use guildhall_protocol::interface::Location;
            match location {
                Location::Box(_) => LocationKind::Box,
                Location::TextWindow(_) => LocationKind::TextWindow,
                Location::FrameIndices(_) => LocationKind::FrameIndices,
            }
        });
        if location != expected.location {
            return Err("a prediction's location is not of the declared kind".into());
        }
    }
    Ok(predictions)
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::interface::{Column, JsonType};

    use super::*;

    fn tensor(dims: &[Dim]) -> PortType {
        PortType::Tensor(TensorType { dtype: ElementType::F32, dims: dims.to_vec() })
    }

    #[test]
    fn a_tensor_has_exactly_the_bytes_of_its_dimensions() {
        let check = |port: &PortType, len: usize| {
            check(port, &PortValue::new("x", vec![0; len]), &mut DimSizes::new())
        };
        let fixed = tensor(&[Dim::Fixed(2), Dim::Fixed(3)]);
        assert_eq!(check(&fixed, 24), Ok(()));
        assert!(check(&fixed, 20).is_err() && check(&fixed, 28).is_err());
        let free = tensor(&[Dim::Free, Dim::Fixed(3)]);
        assert_eq!(check(&free, 36), Ok(()));
        assert!(check(&free, 16).is_err());
        assert!(check(&tensor(&[Dim::Free, Dim::Free]), 36).is_err());
        assert!(check(&tensor(&[Dim::Fixed(u64::MAX), Dim::Fixed(2)]), 8).is_err());
        assert!(check(&tensor(&[Dim::Fixed(0), Dim::Free]), 0).is_err());
    }

    #[test]
    fn a_named_dimension_means_one_number_throughout_a_record() {
        let port = |name: &str| Port {
            name: name.into(),
            port_type: tensor(&[Dim::Named("n".into())]),
            optional: false,
            location: None,
        };
        let value = |name: &str, len: usize| PortValue::new(name, vec![0; len]);
        let ports = [port("a"), port("b")];
        let check = |values: &[PortValue]| check_side(&ports, values, &mut DimSizes::new());
        assert_eq!(check(&[value("a", 8), value("b", 8)]), Ok(()));
        assert!(check(&[value("a", 8), value("b", 12)]).is_err());
        assert!(check(&[value("a", 8)]).is_err());
        assert!(check(&[value("a", 8), value("a", 8)]).is_err());
        assert!(check(&[value("a", 8), value("b", 8), value("c", 8)]).is_err());
    }

    #[test]
    fn a_tensor_with_two_open_dimensions_brings_them_along() {
        let port = tensor(&[Dim::Fixed(3), Dim::Free, Dim::Named("w".into())]);
        let check = |dims: &[u64], len: usize| {
            let value =
                PortValue { dims: Some(dims.to_vec()), ..PortValue::new("x", vec![0; len]) };
            let mut sizes = DimSizes::new();
            check(&port, &value, &mut sizes).map(|()| sizes.get("w").copied())
        };
        assert_eq!(check(&[3, 2, 5], 120), Ok(Some(5)));
        assert!(check(&[3, 2, 5], 116).is_err() && check(&[2, 3, 5], 120).is_err());
        assert!(check(&[3, 10], 120).is_err());
        assert!(check(&[3, u64::MAX, 5], 120).is_err());
    }

    #[test]
    fn text_formats_are_parsed_as_far_as_the_port_promises() {
        let mut sizes = DimSizes::new();
        let check = |port: &PortType, bytes: &[u8], sizes: &mut DimSizes| {
            check(port, &PortValue::new("x", bytes), sizes)
        };
        let json = PortType::Json(JsonType::default());
        assert!(check(&json, br#"{"a": [1]}"#, &mut sizes).is_ok());
        assert!(check(&json, br#"{"a": [1}"#, &mut sizes).is_err());
        assert!(check(&json, "[".repeat(100_000).as_bytes(), &mut sizes).is_err());
        assert!(check(&PortType::Text, b"\xff", &mut sizes).is_err());
        let table = PortType::Table(TableType {
            columns: vec![Column { name: "b".into(), dtype: ElementType::F64 }],
        });
        assert!(check(&table, b"a,\"b\"\n1,2\n", &mut sizes).is_ok());
        assert!(check(&table, b"a,c\n1,2\n", &mut sizes).is_err());
    }

    #[test]
    fn a_prediction_stays_inside_its_label_set() {
        let port = PredictionType {
            value: PredictionKind::Class,
            labels: vec!["0".into(), "1".into()],
            location: None,
        };
        for (text, is_right) in [
            (r#"[{"input":0,"value":{"class":"1"},"confidence":0.5}]"#, true),
            (r#"[{"input":0,"value":{"class":"1"}}]"#, true),
            (r#"[{"input":0,"value":{"class":"2"}}]"#, false),
            (r#"[{"input":0,"value":{"number":1}}]"#, false),
            (r#"[{"input":0,"value":{"class":"1"},"confidence":1.5}]"#, false),
            (r#"[{"input":0,"value":{"class":"1"},"location":{"box":[0,0,1,1]}}]"#, false),
            (r#"{"input":0}"#, false),
        ] {
            assert_eq!(check_predictions(&port, text.as_bytes()).is_ok(), is_right, "{text}");
        }
    }
}
