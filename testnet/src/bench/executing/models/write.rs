//! ONNX files: a graph is written as protocol buffers while it is built.
//!
//! Field numbers are those of `onnx.proto`, version 7 of its file format; operators are those of set 13.

/// Version of the file format.
const FORMAT: u64 = 7;

/// Version of the set of operators: the last in which everything here is written with operators that all engines have.
const OPERATORS: u64 = 13;

/// Types of elements, as ONNX numbers them.
const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// Numbers that look random and are the same for the same seed: xorshift64*, which is fast and needs no library.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) const fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give neighbouring streams, and the state must not be 0.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Between `-bound` and `bound`, all alike.
    pub(super) fn number(&mut self, bound: f32) -> f32 {
        // 24 bits are what a number of 32 bits holds exactly, so that this is the same on every machine.
        let share = (self.next() >> 40) as f32 / 8_388_608.0 - 1.0;
        share * bound
    }

    /// Below `bound`, not quite all alike.
    pub(super) fn below(&mut self, bound: u64) -> i64 {
        i64::try_from((self.next() >> 32) % bound.max(1)).unwrap_or_default()
    }
}

/// An attribute of a node.
pub(in crate::bench::executing) enum Attribute {
    /// One number.
    One(&'static str, i64),
    /// Several.
    Several(&'static str, Vec<i64>),
}

/// A graph with one input `x` and one output, while it is built.
pub(in crate::bench::executing) struct Graph {
    nodes: Vec<u8>,
    weights: Vec<u8>,
    /// How many nodes and weights there are; each is named by its number.
    count: usize,
    noise: Noise,
}

impl Graph {
    pub(in crate::bench::executing) const fn new(seed: u64) -> Self {
        Self { nodes: Vec::new(), weights: Vec::new(), count: 0, noise: Noise::new(seed) }
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("n{}", self.count)
    }

    /// Adds an operator; the name of what it yields.
    pub(in crate::bench::executing) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[Attribute],
    ) -> String {
        let name = self.name();
        let mut node = Vec::new();
        inputs.iter().for_each(|input| text(&mut node, 1, input));
        text(&mut node, 2, &name);
        text(&mut node, 3, &name);
        text(&mut node, 4, operator);
        for attribute in attributes {
            field(&mut node, 5, &attribute.encoded());
        }
        field(&mut self.nodes, 1, &node);
        name
    }

    /// Adds weights between `-bound` and `bound`; their name.
    pub(super) fn weight(&mut self, dims: &[u64], bound: f32) -> String {
        let count = dims.iter().product::<u64>();
        let bytes = (0..count).flat_map(|_| self.noise.number(bound).to_le_bytes()).collect();
        self.tensor(FLOAT, dims, bytes)
    }

    /// Adds the same number everywhere; its name.
    pub(super) fn constant(&mut self, dims: &[u64], number: f32) -> String {
        let count = dims.iter().product::<u64>();
        let bytes = (0..count).flat_map(|_| number.to_le_bytes()).collect();
        self.tensor(FLOAT, dims, bytes)
    }

    /// Adds a list of whole numbers; its name.
    pub(super) fn list(&mut self, numbers: &[i64]) -> String {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.tensor(INT64, &[numbers.len() as u64], bytes)
    }

    fn tensor(&mut self, element: u64, dims: &[u64], bytes: Vec<u8>) -> String {
        let name = self.name();
        let mut tensor = Vec::new();
        dims.iter().for_each(|dim| number(&mut tensor, 1, *dim));
        number(&mut tensor, 2, element);
        text(&mut tensor, 8, &name);
        field(&mut tensor, 9, &bytes);
        drop(bytes);
        field(&mut self.weights, 5, &tensor);
        name
    }

    /// The file, with any number of records of numbers in and so many numbers for each out.
    pub(super) fn finish(self, dims: &[u64], last: &str, outputs: u64) -> Vec<u8> {
        self.file(&value("x", FLOAT, true, dims), last, &value("y", FLOAT, true, &[outputs]))
    }

    /// The same for records of whole numbers.
    pub(super) fn finish_whole(self, dims: &[u64], last: &str, outputs: u64) -> Vec<u8> {
        self.file(&value("x", INT64, true, dims), last, &value("y", FLOAT, true, &[outputs]))
    }

    /// The file, with exactly one record of numbers in and one like it out.
    pub(in crate::bench::executing) fn finish_fixed(self, dims: &[u64], last: &str) -> Vec<u8> {
        self.file(&value("x", FLOAT, false, dims), last, &value("y", FLOAT, false, dims))
    }

    fn file(mut self, input: &[u8], last: &str, output: &[u8]) -> Vec<u8> {
        let mut node = Vec::new();
        for (place, word) in [(1, last), (2, "y"), (3, "y"), (4, "Identity")] {
            text(&mut node, place, word);
        }
        field(&mut self.nodes, 1, &node);
        let mut graph = self.nodes;
        text(&mut graph, 2, "benchmark");
        graph.append(&mut self.weights);
        field(&mut graph, 11, input);
        field(&mut graph, 12, output);
        let mut file = Vec::new();
        number(&mut file, 1, FORMAT);
        field(&mut file, 7, &graph);
        let mut operators = Vec::new();
        number(&mut operators, 2, OPERATORS);
        field(&mut file, 8, &operators);
        file
    }
}

impl Attribute {
    fn encoded(&self) -> Vec<u8> {
        let mut attribute = Vec::new();
        // The last field says which of the others holds the value.
        match self {
            Self::One(name, value) => {
                text(&mut attribute, 1, name);
                number(&mut attribute, 3, value.cast_unsigned());
                number(&mut attribute, 20, 2);
            }
            Self::Several(name, values) => {
                text(&mut attribute, 1, name);
                values.iter().for_each(|value| number(&mut attribute, 8, value.cast_unsigned()));
                number(&mut attribute, 20, 7);
            }
        }
        attribute
    }
}

/// An input or output. `is_batched` puts a dimension of any size before the others.
fn value(name: &str, element: u64, is_batched: bool, dims: &[u64]) -> Vec<u8> {
    let mut shape = Vec::new();
    if is_batched {
        let mut dim = Vec::new();
        text(&mut dim, 2, "N");
        field(&mut shape, 1, &dim);
    }
    for size in dims {
        let mut dim = Vec::new();
        number(&mut dim, 1, *size);
        field(&mut shape, 1, &dim);
    }
    let (mut tensor, mut kind, mut value) = (Vec::new(), Vec::new(), Vec::new());
    number(&mut tensor, 1, element);
    field(&mut tensor, 2, &shape);
    field(&mut kind, 1, &tensor);
    text(&mut value, 1, name);
    field(&mut value, 2, &kind);
    value
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            to.push(low);
            return;
        }
        to.push(low | 0x80);
    }
}

/// A field that is a number.
fn number(to: &mut Vec<u8>, place: u64, value: u64) {
    varint(to, place << 3);
    varint(to, value);
}

/// A field that is bytes, a text or a message.
fn field(to: &mut Vec<u8>, place: u64, bytes: &[u8]) {
    varint(to, (place << 3) | 2);
    varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn text(to: &mut Vec<u8>, place: u64, words: &str) {
    field(to, place, words.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_groups_of_seven_bits() {
        let mut bytes = Vec::new();
        number(&mut bytes, 1, 300);
        field(&mut bytes, 2, b"ab");
        assert_eq!(bytes, [0x08, 0xac, 0x02, 0x12, 0x02, b'a', b'b']);
    }

    #[test]
    fn noise_stays_within_its_bounds_and_fills_them() {
        let mut noise = Noise::new(7);
        let numbers: Vec<f32> = (0..10_000).map(|_| noise.number(2.0)).collect();
        assert!(numbers.iter().all(|number| number.abs() <= 2.0));
        assert!(numbers.iter().any(|number| *number > 1.9));
        assert!(numbers.iter().any(|number| *number < -1.9));
        assert!((0..1_000).all(|_| (0..5).contains(&noise.below(5))));
    }
}
