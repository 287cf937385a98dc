//! What every engine of graphs has to do in the same way, without any runtime's types: which port fits which tensor,
//! records stacked along the batch dimension and taken apart again, tensors that become predictions.
//!
//! A graph tensor with one dimension more than its port has a batch dimension in front. It is open when the graph leaves
//! its size to the caller, and then several records go through in one run. Text, for ports of text, is a tensor whose
//! every dimension is one.

mod prediction;

use guildhall_protocol::interface::{Dim, ElementType, Port, PortType, TensorType};
use guildhall_protocol::wire::PortValue;

use crate::value::{DimSizes, check_tensor};

/// What a graph says of one of its tensors before anything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) kind: FactKind,
    /// Sizes, where the graph fixes them; `None` if it does not even say how many there are.
    pub(crate) dims: Option<Vec<Option<u64>>>,
}

impl Fact {
    /// Whether an output may have a share for each of several records. One whose first dimension the graph fixes has
    /// not, whatever number of them goes in.
    pub(crate) fn may_be_shared(&self) -> bool {
        self.dims.as_ref().is_none_or(|dims| dims.first() == Some(&None))
    }
}

/// What is in such a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FactKind {
    Numbers(ElementType),
    Texts,
    /// A list of maps from class to score, one for each record: what ZipMap yields.
    Scores,
}

impl std::fmt::Display for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            FactKind::Numbers(dtype) => write!(f, "{dtype:?}")?,
            FactKind::Texts => f.write_str("Text")?,
            FactKind::Scores => return f.write_str("list of maps from class to score"),
        }
        let size = |size: &Option<u64>| size.map_or("?".to_owned(), |size| size.to_string());
        match &self.dims {
            Some(dims) => write!(f, " [{}]", dims.iter().map(size).collect::<Vec<_>>().join(",")),
            None => f.write_str(" of any shape"),
        }
    }
}

/// An input of a graph and the port that feeds it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    port: String,
    kind: SlotKind,
    batch: Batch,
}

#[derive(Clone, Debug)]
enum SlotKind {
    Tensor(TensorType),
    /// Text, of which the graph wants this many dimensions of one behind the batch dimension.
    Text {
        inner_rank: usize,
    },
}

/// Whether there is a dimension in front that the port does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    No,
    One,
    Open,
}

/// Records on their way into one input of a graph.
#[derive(Debug)]
pub(crate) struct Stacked<'a> {
    pub(crate) dims: Vec<usize>,
    pub(crate) parts: Parts<'a>,
}

/// The elements of [`Stacked`], record after record.
#[derive(Debug)]
pub(crate) enum Parts<'a> {
    /// Little-endian, together exactly as many bytes as the dimensions ask for.
    Numbers(ElementType, Vec<&'a [u8]>),
    Texts(Vec<&'a str>),
}

impl Slot {
    /// The slot in which graph and port agree.
    pub(crate) fn agree(port: &Port, fact: &Fact) -> Result<Self, String> {
        let (kind, batch) = match &port.port_type {
            PortType::Tensor(tensor) => {
                let batch = agree_on_tensor(tensor, fact)?;
                (SlotKind::Tensor(tensor.clone()), batch)
            }
            PortType::Text => agree_on_text(fact)?,
            other => return Err(format!("a graph takes no {other}")),
        };
        Ok(Self { port: port.name.clone(), kind, batch })
    }

    /// Whether one run can take several records.
    pub(crate) fn is_open(&self) -> bool {
        self.batch == Batch::Open
    }

    /// The value for this slot among those of a record.
    pub(crate) fn value<'a>(&self, values: &'a [PortValue]) -> Result<&'a PortValue, String> {
        values
            .iter()
            .find(|value| value.port == self.port)
            .ok_or_else(|| format!("port `{}` has no value, and graphs need all", self.port))
    }

    /// A value's dimensions, without the batch dimension.
    pub(crate) fn shape(&self, value: &PortValue, sizes: &DimSizes) -> Result<Vec<usize>, String> {
        match &self.kind {
            SlotKind::Tensor(tensor) => check_tensor(tensor, value, &mut sizes.clone()),
            SlotKind::Text { inner_rank } => Ok(vec![1; *inner_rank]),
        }
    }

    /// Values of the same shape, one behind the other. Several only if the slot is open.
    pub(crate) fn stack<'a>(
        &self,
        values: &[&'a PortValue],
        shape: &[usize],
    ) -> Result<Stacked<'a>, String> {
        let batch = (self.batch != Batch::No).then_some(values.len());
        if values.len() != 1 && !self.is_open() {
            return Err(format!("port `{}` takes one record at a time", self.port));
        }
        let dims = batch.into_iter().chain(shape.iter().copied()).collect();
        let parts = match &self.kind {
            SlotKind::Tensor(tensor) => {
                let parts = values.iter().map(|value| value.bytes.as_slice()).collect();
                Parts::Numbers(tensor.dtype, parts)
            }
            SlotKind::Text { .. } => {
                let text = |value: &&'a PortValue| std::str::from_utf8(&value.bytes);
                let texts = values.iter().map(text).collect::<Result<_, _>>();
                Parts::Texts(texts.map_err(|error| format!("not UTF-8: {error}"))?)
            }
        };
        Ok(Stacked { dims, parts })
    }
}

fn agree_on_tensor(port: &TensorType, graph: &Fact) -> Result<Batch, String> {
    if graph.kind != FactKind::Numbers(port.dtype) {
        return Err(format!("the graph takes {graph}, its port {:?}", port.dtype));
    }
    let Some(dims) = &graph.dims else { return Ok(Batch::No) };
    let (batch, dims) = match (dims.len().checked_sub(port.dims.len()), dims.split_first()) {
        (Some(0), _) => (Batch::No, dims.as_slice()),
        (Some(1), Some((None, rest))) => (Batch::Open, rest),
        (Some(1), Some((Some(1), rest))) => (Batch::One, rest),
        (Some(1), Some((Some(size), _))) => {
            return Err(format!("dimension 0 is {size} in the graph, and records come one by one"));
        }
        _ => {
            let (found, wanted) = (dims.len(), port.dims.len());
            return Err(format!("the graph has {found} dimensions, its port {wanted}"));
        }
    };
    same_sizes(dims, &port.dims)?;
    Ok(batch)
}

/// Fails where both sides fix a dimension and differ.
fn same_sizes(graph: &[Option<u64>], port: &[Dim]) -> Result<(), String> {
    for (at, (theirs, ours)) in graph.iter().zip(port).enumerate() {
        if let (Some(theirs), Dim::Fixed(ours)) = (theirs, ours)
            && theirs != ours
        {
            return Err(format!("dimension {at} is {theirs} in the graph and {ours} at its port"));
        }
    }
    Ok(())
}

fn agree_on_text(graph: &Fact) -> Result<(SlotKind, Batch), String> {
    if graph.kind != FactKind::Texts {
        return Err(format!("the graph takes {graph}, its port text"));
    }
    let dims = graph.dims.clone().unwrap_or_else(|| vec![Some(1)]);
    if let Some(size) = dims.iter().flatten().find(|size| **size != 1) {
        return Err(format!("the graph takes {size} texts at once, its port one"));
    }
    let batch = match dims.first() {
        None => Batch::No,
        Some(None) => Batch::Open,
        Some(Some(_)) => Batch::One,
    };
    Ok((SlotKind::Text { inner_rank: dims.len().saturating_sub(1) }, batch))
}

/// What one output of a run holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Yielded {
    Tensor {
        dims: Vec<usize>,
        elements: Elements,
    },
    /// Scores by class, one list for each record.
    Scores(Vec<Vec<(String, f64)>>),
}

/// Elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Elements {
    /// Little-endian.
    Numbers(ElementType, Vec<u8>),
    Texts(Vec<String>),
}

impl Yielded {
    /// The share of each of `count` records; each keeps a batch dimension of one. Fails when the first dimension is not
    /// the batch.
    pub(crate) fn split(self, count: usize) -> Result<Vec<Self>, String> {
        match self {
            Self::Scores(scores) if scores.len() == count => {
                Ok(scores.into_iter().map(|scores| Self::Scores(vec![scores])).collect())
            }
            Self::Tensor { mut dims, elements } if count > 0 && dims.first() == Some(&count) => {
                if let Some(batch) = dims.first_mut() {
                    *batch = 1;
                }
                let share = |elements| Self::Tensor { dims: dims.clone(), elements };
                Ok(elements.split(count).into_iter().map(share).collect())
            }
            other => Err(format!("{count} records went in, and {} came out", other.shown())),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Tensor { dims, .. } => format!("a tensor of shape {dims:?}"),
            Self::Scores(scores) => format!("scores for {}", scores.len()),
        }
    }

    /// The value of this port that it makes.
    pub(crate) fn into_value(self, port: &Port) -> Result<PortValue, String> {
        let (bytes, dims) = match (&port.port_type, self) {
            (PortType::Tensor(tensor), Self::Tensor { dims, elements }) => {
                let (bytes, dims) = tensor_value(tensor, &dims, elements)?;
                (bytes, Some(dims))
            }
            (PortType::Text, Self::Tensor { elements: Elements::Texts(texts), .. }) => {
                match <[String; 1]>::try_from(texts) {
                    Ok([text]) => (text.into_bytes(), None),
                    Err(texts) => return Err(format!("{} texts, its port one", texts.len())),
                }
            }
            (PortType::Prediction(wanted), yielded) => {
                (prediction::to_json(wanted, yielded)?, None)
            }
            (other, yielded) => {
                return Err(format!("the graph gives {}, its port {other}", yielded.shown()));
            }
        };
        Ok(PortValue { port: port.name.clone(), bytes, dims })
    }
}

impl Elements {
    fn split(self, count: usize) -> Vec<Self> {
        match self {
            Self::Numbers(dtype, bytes) => {
                let len_bytes = bytes.len() / count;
                (0..count)
                    .map(|at| bytes.get(at * len_bytes..(at + 1) * len_bytes).unwrap_or_default())
                    .map(|bytes| Self::Numbers(dtype, bytes.to_vec()))
                    .collect()
            }
            Self::Texts(texts) => {
                let len = texts.len() / count;
                let mut texts = texts.into_iter();
                (0..count).map(|_| Self::Texts(texts.by_ref().take(len).collect())).collect()
            }
        }
    }
}

/// The bytes and dimensions of a tensor for a port of tensors.
fn tensor_value(
    port: &TensorType,
    dims: &[usize],
    elements: Elements,
) -> Result<(Vec<u8>, Vec<u64>), String> {
    let Elements::Numbers(dtype, bytes) = elements else {
        return Err(format!("the graph gives text, its port {:?}", port.dtype));
    };
    if dtype != port.dtype {
        return Err(format!("the graph gives {dtype:?}, its port {:?}", port.dtype));
    }
    let own = match (dims.len().checked_sub(port.dims.len()), dims.split_first()) {
        (Some(0), _) => dims,
        (Some(1), Some((1, own))) => own,
        _ => return Err(format!("a tensor of shape {dims:?}, its port wants {}", port.dims.len())),
    };
    Ok((bytes, own.iter().map(|dim| *dim as u64).collect()))
}

/// Checks what can be known of an output before anything runs.
pub(crate) fn check_output(port: &Port, fact: &Fact) -> Result<(), String> {
    match (&port.port_type, fact.kind) {
        (PortType::Tensor(tensor), FactKind::Numbers(dtype)) => {
            if dtype != tensor.dtype {
                return Err(format!("the graph gives {fact}, its port {:?}", tensor.dtype));
            }
            let Some(dims) = &fact.dims else { return Ok(()) };
            let own = match (dims.len().checked_sub(tensor.dims.len()), dims.split_first()) {
                (Some(0), _) => dims.as_slice(),
                (Some(1), Some((None | Some(1), own))) => own,
                _ => {
                    let (found, wanted) = (dims.len(), tensor.dims.len());
                    return Err(format!("the graph gives {found} dimensions, its port {wanted}"));
                }
            };
            same_sizes(own, &tensor.dims)
        }
        (PortType::Text, FactKind::Texts) => Ok(()),
        (PortType::Prediction(wanted), _) => prediction::check(wanted, fact),
        (other, _) => Err(format!("the graph gives {fact}, its port {other}")),
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::interface::{PredictionKind, PredictionType};

    use super::*;

    fn port(port_type: PortType) -> Port {
        Port { name: "p".into(), port_type, optional: false, location: None }
    }

    fn tensor_port(dims: &[Dim]) -> Port {
        port(PortType::Tensor(TensorType { dtype: ElementType::F32, dims: dims.to_vec() }))
    }

    fn class_port(labels: &[&str]) -> Port {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let value = PredictionKind::Class;
        port(PortType::Prediction(PredictionType { value, labels, location: None }))
    }

    fn floats(dims: &[Option<u64>]) -> Fact {
        Fact { kind: FactKind::Numbers(ElementType::F32), dims: Some(dims.to_vec()) }
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn yielded(dims: &[usize], values: &[f32]) -> Yielded {
        let elements = Elements::Numbers(ElementType::F32, f32s(values));
        Yielded::Tensor { dims: dims.to_vec(), elements }
    }

    fn json(port: &Port, yielded: Yielded) -> Result<String, String> {
        yielded.into_value(port).map(|value| String::from_utf8(value.bytes).unwrap())
    }

    #[test]
    fn one_dimension_more_than_the_port_is_the_batch() {
        let port = tensor_port(&[Dim::Fixed(4)]);
        let is_open =
            |dims: &[Option<u64>]| Slot::agree(&port, &floats(dims)).map(|slot| slot.is_open());
        assert_eq!(is_open(&[None, Some(4)]), Ok(true));
        assert_eq!(is_open(&[Some(1), Some(4)]), Ok(false));
        assert_eq!(is_open(&[Some(4)]), Ok(false));
        for wrong in [&[Some(8), Some(4)][..], &[None, Some(5)], &[None, None, None], &[]] {
            assert!(is_open(wrong).is_err(), "{wrong:?}");
        }
        let doubles = Fact { kind: FactKind::Numbers(ElementType::F64), dims: None };
        let why = Slot::agree(&port, &doubles).unwrap_err();
        assert_eq!(why, "the graph takes F64 of any shape, its port F32");
    }

    #[test]
    fn records_are_stacked_and_taken_apart_again() {
        let port = tensor_port(&[Dim::Fixed(2)]);
        let slot = Slot::agree(&port, &floats(&[None, Some(2)])).unwrap();
        let values: Vec<_> = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
            .iter()
            .map(|row| PortValue::new("p", f32s(row)))
            .collect();
        let values: Vec<_> = values.iter().collect();
        let shape = slot.shape(values[0], &DimSizes::new()).unwrap();
        let stacked = slot.stack(&values, &shape).unwrap();
        assert_eq!(stacked.dims, [3, 2]);
        let Parts::Numbers(ElementType::F32, parts) = stacked.parts else { panic!() };
        let back = Yielded::Tensor {
            dims: stacked.dims,
            elements: Elements::Numbers(ElementType::F32, parts.concat()),
        };
        for (share, value) in back.clone().split(3).unwrap().into_iter().zip(values) {
            let found = share.into_value(&port).unwrap();
            assert_eq!((&found.bytes, found.dims.as_deref()), (&value.bytes, Some(&[2][..])));
        }
        let why = back.split(2).unwrap_err();
        assert_eq!(why, "2 records went in, and a tensor of shape [3, 2] came out");
    }

    #[test]
    fn an_output_of_fixed_length_is_no_share_of_anything() {
        assert!(floats(&[None, Some(2)]).may_be_shared());
        assert!(!floats(&[Some(10), Some(2)]).may_be_shared());
        assert!(!floats(&[]).may_be_shared());
        assert!(Fact { kind: FactKind::Scores, dims: None }.may_be_shared());
    }

    #[test]
    fn texts_are_stacked_too_and_only_one_goes_in_for_each_record() {
        let text = port(PortType::Text);
        let fact = |dims: &[Option<u64>]| Fact { kind: FactKind::Texts, dims: Some(dims.to_vec()) };
        let slot = Slot::agree(&text, &fact(&[None, Some(1)])).unwrap();
        let values = [PortValue::new("p", "a"), PortValue::new("p", "b")];
        let stacked = slot.stack(&values.iter().collect::<Vec<_>>(), &[1]).unwrap();
        assert_eq!(stacked.dims, [2, 1]);
        assert!(matches!(stacked.parts, Parts::Texts(texts) if texts == ["a", "b"]));
        assert!(Slot::agree(&text, &fact(&[None, Some(2)])).is_err());
        assert!(Slot::agree(&text, &floats(&[None, Some(1)])).is_err());
    }

    #[test]
    fn classes_are_named_however_the_graph_says_them() {
        let port = class_port(&["cat", "dog"]);
        let rows = json(&port, yielded(&[2, 2], &[0.9, 0.1, 0.25, 0.75])).unwrap();
        assert_eq!(
            rows,
            r#"[{"input":0,"value":{"class":"cat"},"confidence":0.9},{"input":1,"value":{"class":"dog"},"confidence":0.75}]"#
        );
        let dog = r#"[{"input":0,"value":{"class":"dog"}}]"#;
        let one = |elements| Yielded::Tensor { dims: vec![1], elements };
        let texts = Elements::Texts(vec!["dog".into()]);
        assert_eq!(json(&port, one(texts)).unwrap(), dog);
        let whole =
            |number: i64| one(Elements::Numbers(ElementType::I64, number.to_le_bytes().to_vec()));
        assert_eq!(json(&port, whole(1)).unwrap(), dog);
        assert!(json(&port, whole(2)).is_err() && json(&port, whole(-1)).is_err());
        let digits = class_port(&["1", "2"]);
        assert_eq!(
            json(&digits, whole(1)).unwrap(),
            r#"[{"input":0,"value":{"class":"1"}}]"#,
            "a number that is a label is that label"
        );
        let scores = vec![vec![("dog".to_owned(), 0.2), ("cat".to_owned(), 0.8)]];
        assert_eq!(
            json(&port, Yielded::Scores(scores)).unwrap(),
            r#"[{"input":0,"value":{"class":"cat"},"confidence":0.8}]"#
        );
    }

    #[test]
    fn a_port_that_the_output_cannot_fill_is_refused_before_anything_runs() {
        let classes = class_port(&["a", "b"]);
        assert!(check_output(&classes, &floats(&[None, Some(2)])).is_ok());
        assert!(check_output(&classes, &floats(&[None, Some(3)])).is_err());
        assert!(check_output(&class_port(&[]), &floats(&[None, Some(2)])).is_err());
        let scores = Fact { kind: FactKind::Scores, dims: None };
        assert!(check_output(&classes, &scores).is_ok());
        let port = tensor_port(&[Dim::Fixed(2)]);
        assert!(check_output(&port, &scores).is_err());
        assert!(check_output(&port, &floats(&[Some(1), Some(2)])).is_ok());
        assert!(check_output(&port, &floats(&[Some(7), Some(2)])).is_err());
    }
}
