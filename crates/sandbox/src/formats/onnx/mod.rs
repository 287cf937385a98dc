//! ONNX: the model's messages walked to their leaves, weights passed over.
//!
//! Source: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. Whether an engine can run the graph is another
//! question, and the engine's.

mod meaning;
mod proto;
mod tensor;

use std::collections::{BTreeSet, HashSet};

use guildhall_protocol::facts::{FACTS_MAX_ITEMS, Facts, OnnxFacts, TensorFacts};
use guildhall_protocol::interface::TensorType;
use guildhall_protocol::limits::LABELS_MAX;

use self::meaning::{Meaning, Seen};
use self::proto::{Field, Message, Range, Value, packed};
use super::pickle;
use super::problem::{Checked, refused, refused_at};
use super::source::Source;

/// Longest name of anything, bytes; exporters build them from paths of modules and reach some 300.
const NAME_MAX_BYTES: u64 = 4_096;

/// Most inputs or outputs of the graph, weights not counted; people wire each of them.
const ENDS_MAX: usize = FACTS_MAX_ITEMS;

/// Most initialisers, as many as tensors in other formats.
const INITIALIZERS_MAX: u64 = 65_536;

/// Most files beside the graph.
const EXTERNAL_MAX: usize = 1_024;

/// Deepest nesting of graphs in attributes: loops in branches in loops.
const DEPTH_MAX: u32 = 16;

/// Operators that call Python where they are known.
const PYTHON_OPERATORS: [&str; 4] = ["PyOp", "PyCustomOp", "PythonOp", "PythonOpGrad"];

const HELP: &str = "export the model again, for example with torch.onnx.export, and check it with \
                    onnx.checker.check_model";

/// Checks a model and lists what goes in and comes out.
pub(super) fn check(source: &Source<'_>) -> Checked<Facts> {
    Walk::new(source).model().map(Facts::Onnx).map_err(|problem| problem.help(HELP))
}

struct Walk<'a> {
    source: Source<'a>,
    facts: OnnxFacts,
    /// Names of the weights of the outermost graph.
    initializers: HashSet<String>,
    initializer_count: u64,
    operators: BTreeSet<String>,
    meaning: Meaning,
}

impl<'a> Walk<'a> {
    fn new(source: &Source<'a>) -> Self {
        let facts = OnnxFacts {
            inputs: Vec::new(),
            outputs: Vec::new(),
            opset: 0,
            producer: String::new(),
            nodes: 0,
            parameters: 0,
            external: Vec::new(),
            operators: Vec::new(),
            classifier: None,
            number: None,
        };
        Self {
            source: *source,
            facts,
            initializers: HashSet::new(),
            initializer_count: 0,
            operators: BTreeSet::new(),
            meaning: Meaning::default(),
        }
    }

    fn message(&self, range: Range) -> Message<'a> {
        Message::new(&self.source, range)
    }

    fn text(&self, field: &Field) -> Checked<String> {
        let range = field.range()?;
        if range.len_bytes() > NAME_MAX_BYTES {
            let why = format!("a name of {} bytes", range.len_bytes());
            return Err(refused_at(field.at, why));
        }
        let bytes = self.source.bytes(range.start, range.len_bytes())?;
        String::from_utf8(bytes).map_err(|_| refused_at(field.at, "a name is not UTF-8"))
    }

    fn model(mut self) -> Checked<OnnxFacts> {
        let mut seen = 0_u64;
        let mut message = self.message(Range { start: 0, end: self.source.len_bytes() });
        let mut opset = None;
        while let Some(field) = message.next()? {
            // What may stand there once: version, producer, domain, graph and so on.
            if matches!(field.number, 1..=7) {
                if seen & (1 << field.number) != 0 {
                    let why = format!("field {} of the model is there twice", field.number);
                    return Err(refused_at(field.at, why));
                }
                seen |= 1 << field.number;
            }
            match field.number {
                1 => drop(field.integer()?),
                2 => self.facts.producer = self.text(&field)?,
                7 => self.graph(field.range()?, 0)?,
                8 => {
                    let (domain, version) = self.opset(field.range()?)?;
                    if matches!(domain.as_str(), "" | "ai.onnx") {
                        opset = Some(version);
                    }
                }
                25 => self.function(field.range()?)?,
                _ => {}
            }
        }
        if seen & (1 << 7) == 0 {
            return Err(refused("it has no graph"));
        }
        self.facts.opset = opset
            .filter(|version| *version > 0)
            .ok_or_else(|| refused("it does not say which operator set it uses"))?;
        if self.facts.outputs.is_empty() {
            return Err(refused("its graph has no output"));
        }
        let initializers = &self.initializers;
        self.facts.inputs.retain(|input| !initializers.contains(&input.name));
        self.facts.operators = self.operators.into_iter().collect();
        self.facts.classifier = self.meaning.classifier(&self.facts.outputs);
        if self.facts.classifier.is_none() {
            self.facts.number = self.meaning.number(&self.facts.outputs, &self.facts.producer);
        }
        Ok(self.facts)
    }

    fn opset(&self, range: Range) -> Checked<(String, i64)> {
        let mut message = self.message(range);
        let (mut domain, mut version) = (String::new(), 0);
        while let Some(field) = message.next()? {
            match field.number {
                1 => domain = self.text(&field)?,
                2 => version = field.integer()?,
                _ => {}
            }
        }
        Ok((domain, version))
    }

    fn graph(&mut self, range: Range, depth: u32) -> Checked<()> {
        if depth > DEPTH_MAX {
            return Err(refused_at(range.start, "graphs are nested too deeply"));
        }
        let is_outermost = depth == 0;
        let mut message = self.message(range);
        while let Some(field) = message.next()? {
            match field.number {
                1 => {
                    self.facts.nodes = self.facts.nodes.saturating_add(1);
                    self.node(field.range()?, depth)?;
                }
                5 => self.initializer(&field, is_outermost)?,
                11 | 12 => {
                    let end = self.value_info(field.range()?)?;
                    let side = match field.number {
                        11 => &mut self.facts.inputs,
                        _ => &mut self.facts.outputs,
                    };
                    // Old exporters repeat every weight among the inputs.
                    if is_outermost && side.len() >= ENDS_MAX + self.initializers.len() {
                        return Err(refused_at(field.at, format!("more than {ENDS_MAX} inputs")));
                    }
                    if is_outermost {
                        side.push(end);
                    }
                }
                15 => self.sparse(field.range()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn initializer(&mut self, field: &Field, is_outermost: bool) -> Checked<()> {
        self.initializer_count = self.initializer_count.saturating_add(1);
        if self.initializer_count > INITIALIZERS_MAX {
            return Err(refused_at(field.at, format!("more than {INITIALIZERS_MAX} weights")));
        }
        let found = self.tensor(field.range()?)?;
        if is_outermost && !self.initializers.insert(found.name.clone()) {
            let why = format!("two weights are named `{}`", found.name);
            return Err(refused_at(field.at, why));
        }
        self.facts.parameters = self.facts.parameters.saturating_add(found.elements);
        Ok(())
    }

    fn node(&mut self, range: Range, depth: u32) -> Checked<()> {
        let mut message = self.message(range);
        let mut seen = Seen::default();
        let mut domain = String::new();
        while let Some(field) = message.next()? {
            match field.number {
                1 => seen.inputs.push(self.text(&field)?),
                2 => seen.outputs.push(self.text(&field)?),
                3 => drop(self.text(&field)?),
                4 => {
                    seen.operator = self.text(&field)?;
                    if PYTHON_OPERATORS.contains(&seen.operator.as_str()) {
                        let why = format!("its operator `{}` calls Python", seen.operator);
                        return Err(refused_at(field.at, why));
                    }
                }
                5 => {
                    if let Some(labels) = self.attribute(field.range()?, depth)? {
                        seen.labels = labels;
                    }
                }
                7 => domain = self.text(&field)?,
                _ => {}
            }
        }
        if self.operators.len() < FACTS_MAX_ITEMS {
            self.operators.insert(match domain.as_str() {
                "" | "ai.onnx" => seen.operator.clone(),
                domain => format!("{domain}.{}", seen.operator),
            });
        }
        if depth == 0 {
            self.meaning.see(seen);
        }
        Ok(())
    }

    /// Checks an attribute; returns the class labels, if it holds them.
    fn attribute(&mut self, range: Range, depth: u32) -> Checked<Option<Vec<String>>> {
        let mut message = self.message(range);
        let mut labels: Option<Vec<String>> = None;
        while let Some(field) = message.next()? {
            match field.number {
                1 => {
                    let name = self.text(&field)?;
                    labels = name.starts_with("classlabels_").then(Vec::new);
                }
                8 => {
                    if let Some(labels) = &mut labels {
                        self.number_labels(&field, labels)?;
                    }
                }
                4 | 9 => {
                    let range = field.range()?;
                    if pickle::is_pickle(self.source, range.start, range.end)? {
                        return Err(refused_at(range.start, "an attribute is a Python pickle"));
                    }
                    if let Some(labels) = labels.as_mut().filter(|_| field.number == 9) {
                        labels.push(self.text(&field)?);
                    }
                }
                5 | 10 => {
                    let found = self.tensor(field.range()?)?;
                    self.facts.parameters = self.facts.parameters.saturating_add(found.elements);
                }
                6 | 11 => self.graph(field.range()?, depth + 1)?,
                22 | 23 => self.sparse(field.range()?)?,
                _ => {}
            }
            // More than a port takes are none.
            if labels.as_ref().is_some_and(|labels| labels.len() > LABELS_MAX) {
                labels = None;
            }
        }
        Ok(labels.filter(|labels| !labels.is_empty()))
    }

    /// Adds the numbers of a field of integers as text; too many of them are none.
    fn number_labels(&self, field: &Field, labels: &mut Vec<String>) -> Checked<()> {
        match field.value {
            Value::Varint(value) => labels.push(value.cast_signed().to_string()),
            Value::Range(range) if range.len_bytes() <= 10 * LABELS_MAX as u64 => {
                let numbers = packed(&self.source, range, 10 * LABELS_MAX)?;
                labels.extend(numbers.iter().map(ToString::to_string));
            }
            _ => {}
        }
        Ok(())
    }

    fn sparse(&mut self, range: Range) -> Checked<()> {
        let mut message = self.message(range);
        while let Some(field) = message.next()? {
            if matches!(field.number, 1 | 2) {
                let found = self.tensor(field.range()?)?;
                if field.number == 1 {
                    self.facts.parameters = self.facts.parameters.saturating_add(found.elements);
                }
            }
        }
        Ok(())
    }

    /// A function of the model's own: nodes with a name.
    fn function(&mut self, range: Range) -> Checked<()> {
        let mut message = self.message(range);
        while let Some(field) = message.next()? {
            match field.number {
                7 => self.node(field.range()?, 1)?,
                11 => drop(self.attribute(field.range()?, 0)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn tensor(&mut self, range: Range) -> Checked<tensor::Tensor> {
        let found = tensor::read(&self.source, range)?;
        if let Some(location) = &found.location {
            if !is_plain(location) {
                let why = format!("weights lie at `{location}`, which is no name beside the graph");
                return Err(refused_at(range.start, why));
            }
            if !self.facts.external.contains(location) {
                if self.facts.external.len() >= EXTERNAL_MAX {
                    let why = format!("weights in more than {EXTERNAL_MAX} files");
                    return Err(refused_at(range.start, why));
                }
                self.facts.external.push(location.clone());
            }
        }
        Ok(found)
    }

    fn value_info(&self, range: Range) -> Checked<TensorFacts> {
        let mut message = self.message(range);
        let mut found = TensorFacts { name: String::new(), tensor: None };
        while let Some(field) = message.next()? {
            match field.number {
                1 => found.name = self.text(&field)?,
                2 => found.tensor = self.type_of(field.range()?)?,
                _ => {}
            }
        }
        if found.name.is_empty() {
            return Err(refused_at(range.start, "an input or output has no name"));
        }
        Ok(found)
    }

    /// The tensor type, or none for sequences and maps.
    fn type_of(&self, range: Range) -> Checked<Option<TensorType>> {
        let mut message = self.message(range);
        let mut found = None;
        while let Some(field) = message.next()? {
            if field.number != 1 {
                continue;
            }
            let (mut dtype, mut dims) = (None, None);
            let mut inside = self.message(field.range()?);
            while let Some(field) = inside.next()? {
                match field.number {
                    1 => dtype = tensor::element_type(field.integer()?),
                    2 => dims = Some(self.shape(field.range()?)?),
                    _ => {}
                }
            }
            found = dtype.zip(dims).map(|(dtype, dims)| TensorType { dtype, dims });
        }
        Ok(found)
    }

    fn shape(&self, range: Range) -> Checked<Vec<guildhall_protocol::interface::Dim>> {
        let mut message = self.message(range);
        let mut dims = Vec::new();
        while let Some(field) = message.next()? {
            if field.number != 1 {
                continue;
            }
            if dims.len() >= tensor::RANK_MAX {
                return Err(refused_at(field.at, "a shape of too many dimensions"));
            }
            let mut size = tensor::Size::Free;
            let mut inside = self.message(field.range()?);
            while let Some(field) = inside.next()? {
                match (field.number, field.value) {
                    (1, Value::Varint(value)) => size = tensor::Size::Fixed(value.cast_signed()),
                    (2, _) => size = tensor::Size::Named(self.text(&field)?),
                    _ => {}
                }
            }
            dims.push(size.into_dim());
        }
        Ok(dims)
    }
}

/// Whether a file's place is a relative name that stays beside the graph.
fn is_plain(location: &str) -> bool {
    !location.is_empty()
        && location.len() <= 255
        && !location.contains(['\\', ':', '\0'])
        && location.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
