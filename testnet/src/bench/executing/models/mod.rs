//! Graphs of the shapes of well-known models, with weights at random from a fixed seed. What they say means nothing, but
//! it takes as long as if it did.
//!
//! ```text
//! write        ONNX: a graph and its weights as protocol buffers
//! pictures     ResNet-50 and SqueezeNet 1.1
//! words        MiniLM, six layers of 384
//! ```

mod pictures;
mod words;
mod write;

pub(super) use self::write::Graph;

/// What one record of a model is.
pub(super) enum Input {
    /// Numbers of 32 bits of these dimensions.
    Numbers(&'static [u64]),
    /// So many words of a text, as places in a vocabulary.
    Words { count: u64, vocabulary: u64 },
}

/// A model that is measured.
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) input: Input,
    /// Numbers that come out for a record.
    pub(super) outputs: u64,
    pub(super) write: fn() -> Vec<u8>,
}

/// All of them, the smallest first.
pub(super) const MODELS: [Model; 3] = [
    Model {
        name: "squeezenet",
        input: Input::Numbers(&pictures::PICTURE),
        outputs: pictures::CLASSES,
        write: pictures::squeezenet,
    },
    Model {
        name: "minilm",
        input: Input::Words { count: words::WORDS, vocabulary: words::VOCABULARY },
        outputs: words::WIDTH,
        write: words::minilm,
    },
    Model {
        name: "resnet50",
        input: Input::Numbers(&pictures::PICTURE),
        outputs: pictures::CLASSES,
        write: pictures::resnet50,
    },
];

impl Model {
    /// Type of its input, as a description writes it.
    pub(super) fn input_type(&self) -> String {
        let (dtype, dims) = match self.input {
            Input::Numbers(dims) => ("f32", dims.to_vec()),
            Input::Words { count, .. } => ("i64", vec![count]),
        };
        format!("{{ tensor = {{ dtype = \"{dtype}\", dims = {dims:?} }} }}")
    }

    /// Type of its output, as a description writes it.
    pub(super) fn output_type(&self) -> String {
        format!("{{ tensor = {{ dtype = \"f32\", dims = [{}] }} }}", self.outputs)
    }

    /// Dimensions of a record, and what its elements are called in numpy.
    pub(super) fn dims(&self) -> (&'static str, Vec<u64>) {
        match self.input {
            Input::Numbers(dims) => ("<f4", dims.to_vec()),
            Input::Words { count, .. } => ("<i8", vec![count]),
        }
    }

    /// The record with this number, as bytes.
    pub(super) fn record(&self, number: u64) -> Vec<u8> {
        let mut noise = write::Noise::new(number.wrapping_add(1_000));
        match self.input {
            Input::Numbers(dims) => {
                let count = dims.iter().product::<u64>();
                (0..count).flat_map(|_| noise.number(1.0).to_le_bytes()).collect()
            }
            Input::Words { count, vocabulary } => {
                (0..count).flat_map(|_| noise.below(vocabulary).to_le_bytes()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of a graph or of its weights changes what all figures before were measured with.
    #[test]
    fn graphs_are_the_same_every_time() {
        let found = MODELS.map(|model| {
            let graph = (model.write)();
            let hash = blake3::hash(&graph).to_hex().as_str()[..16].to_owned();
            (model.name, graph.len(), hash)
        });
        let expected = [
            ("squeezenet", 4_946_794, "68c993b014ec825a"),
            ("minilm", 89_682_887, "e68bb5aa95cd8f10"),
            ("resnet50", 102_131_196, "c6ea6be7f2af8af8"),
        ];
        assert_eq!(found, expected.map(|(name, len, hash)| (name, len, hash.to_owned())));
        let [squeezenet, minilm, _] = &MODELS;
        assert_eq!(squeezenet.record(3).len(), 3 * 224 * 224 * 4);
        assert_eq!(minilm.record(3).len(), 128 * 8);
        assert_ne!(minilm.record(3), minilm.record(4));
    }
}
