//! The categories of generated listings, and what goes in and out in each.

use guildhall_protocol::interface::{
    Column, Dim, ElementType, Interface, JsonType, LocationKind, MediaTypes, Port, PortType,
    PredictionKind, PredictionType, TableType, TensorType,
};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::Category;

use super::random::Random;

/// A category and its types.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) category: Category,
    /// The task in words.
    pub(super) words: String,
    pub(super) input: Flow,
    pub(super) output: Flow,
}

/// What flows, before media types, labels and columns are chosen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flow {
    Image,
    Audio,
    Video,
    Text,
    Table,
    Json,
    Tensor,
    Predicted(PredictionKind, Option<LocationKind>),
}

const CLASS: Flow = Flow::Predicted(PredictionKind::Class, None);
const BOX: Flow = Flow::Predicted(PredictionKind::Class, Some(LocationKind::Box));
const WINDOW: Flow = Flow::Predicted(PredictionKind::Class, Some(LocationKind::TextWindow));
const FRAMES: Flow = Flow::Predicted(PredictionKind::Class, Some(LocationKind::FrameIndices));
const NUMBER: Flow = Flow::Predicted(PredictionKind::Number, None);
const VECTOR: Flow = Flow::Predicted(PredictionKind::Vector, None);
const ANSWER: Flow = Flow::Predicted(PredictionKind::Text, None);

/// The most frequent first, roughly as on public hubs.
const TASKS: [(&str, Flow, Flow); 60] = [
    ("text/generation", Flow::Text, Flow::Text),
    ("text/classification", Flow::Text, CLASS),
    ("vision/image-classification", Flow::Image, CLASS),
    ("audio/automatic-speech-recognition", Flow::Audio, Flow::Text),
    ("vision/object-detection", Flow::Image, BOX),
    ("text/token-classification", Flow::Text, WINDOW),
    ("vision/text-to-image", Flow::Text, Flow::Image),
    ("text/sentence-similarity", Flow::Text, VECTOR),
    ("text/translation", Flow::Text, Flow::Text),
    ("tabular/classification", Flow::Table, CLASS),
    ("text/fill-mask", Flow::Text, Flow::Tensor),
    ("text/question-answering", Flow::Text, ANSWER),
    ("text/feature-extraction", Flow::Text, VECTOR),
    ("vision/image-segmentation", Flow::Image, Flow::Image),
    ("text/summarization", Flow::Text, Flow::Text),
    ("audio/text-to-speech", Flow::Text, Flow::Audio),
    ("multimodal/image-text-to-text", Flow::Image, Flow::Text),
    ("control/reinforcement-learning", Flow::Tensor, Flow::Tensor),
    ("audio/classification", Flow::Audio, CLASS),
    ("tabular/regression", Flow::Table, NUMBER),
    ("tabular/time-series-forecasting", Flow::Table, Flow::Table),
    ("vision/image-feature-extraction", Flow::Image, VECTOR),
    ("text/zero-shot-classification", Flow::Text, CLASS),
    ("vision/image-to-image", Flow::Image, Flow::Image),
    ("vision/image-to-text", Flow::Image, Flow::Text),
    ("text/ranking", Flow::Text, NUMBER),
    ("vision/video-classification", Flow::Video, CLASS),
    ("vision/depth-estimation", Flow::Image, Flow::Tensor),
    ("control/robotics", Flow::Tensor, Flow::Tensor),
    ("multimodal/visual-question-answering", Flow::Image, ANSWER),
    ("vision/zero-shot-image-classification", Flow::Image, CLASS),
    ("tabular/x-anomaly-detection", Flow::Table, NUMBER),
    ("audio/audio-to-audio", Flow::Audio, Flow::Audio),
    ("multimodal/document-question-answering", Flow::Image, ANSWER),
    ("vision/image-classification/x-ray", Flow::Image, CLASS),
    ("audio/voice-activity-detection", Flow::Audio, FRAMES),
    ("vision/keypoint-detection", Flow::Image, VECTOR),
    ("vision/mask-generation", Flow::Image, Flow::Image),
    ("audio/text-to-audio", Flow::Text, Flow::Audio),
    ("vision/text-to-video", Flow::Text, Flow::Video),
    ("text/retrieval", Flow::Text, Flow::Json),
    ("graph/graph-ml", Flow::Json, CLASS),
    ("vision/zero-shot-object-detection", Flow::Image, BOX),
    ("text/multiple-choice", Flow::Text, CLASS),
    ("multimodal/video-text-to-text", Flow::Video, Flow::Text),
    ("text/table-question-answering", Flow::Table, ANSWER),
    ("multimodal/audio-text-to-text", Flow::Audio, Flow::Text),
    ("vision/image-to-video", Flow::Image, Flow::Video),
    ("vision/unconditional-image-generation", Flow::Tensor, Flow::Image),
    ("text/table-to-text", Flow::Table, Flow::Text),
    ("multimodal/visual-document-retrieval", Flow::Image, VECTOR),
    ("vision/image-to-3d", Flow::Image, Flow::Json),
    ("vision/text-to-3d", Flow::Text, Flow::Json),
    ("tabular/tabular-to-text", Flow::Table, Flow::Text),
    ("multimodal/any-to-any", Flow::Json, Flow::Json),
    ("vision/video-to-video", Flow::Video, Flow::Video),
    ("tabular/x-clustering", Flow::Table, Flow::Table),
    ("multimodal/image-text-to-image", Flow::Image, Flow::Image),
    ("bio/x-variant-effect", Flow::Json, NUMBER),
    ("multimodal/image-text-to-video", Flow::Image, Flow::Video),
];

/// All tasks, the most frequent first.
pub(super) fn all() -> Vec<Task> {
    let task = |(category, input, output): (&str, Flow, Flow)| Task {
        category: category.parse().expect("the categories above are valid"),
        words: category.rsplit('/').next().unwrap_or_default().replace('-', " "),
        input,
        output,
    };
    TASKS.into_iter().map(task).collect()
}

impl Task {
    /// What content of this task and kind takes and yields.
    pub(super) fn interface(&self, kind: Kind, random: &mut Random) -> Interface {
        let mut side = |name: &str, flow: Flow| {
            let port_type = flow.port_type(random);
            vec![Port { name: name.to_owned(), port_type, optional: false, location: None }]
        };
        match kind {
            Kind::Notebook => Interface::default(),
            Kind::Data => Interface { inputs: Vec::new(), outputs: side("record", self.input) },
            Kind::Algorithm => Interface {
                inputs: side("record", self.input),
                outputs: side("weights", Flow::Tensor),
            },
            Kind::Model | Kind::Pipeline => Interface {
                inputs: side("input", self.input),
                outputs: side("output", self.output),
            },
        }
    }
}

impl Flow {
    /// The name of the family, as a query writes it.
    pub(super) const fn family(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Text => "text",
            Self::Table => "table",
            Self::Json => "json",
            Self::Tensor => "tensor",
            Self::Predicted(..) => "prediction",
        }
    }

    /// The media types that ports of this flow name.
    pub(super) const fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Image => &["image/png", "image/jpeg", "image/tiff"],
            Self::Audio => &["audio/wav", "audio/flac"],
            Self::Video => &["video/mp4"],
            _ => &[],
        }
    }

    fn port_type(self, random: &mut Random) -> PortType {
        match self {
            Self::Image => PortType::Image(self.media(random)),
            Self::Audio => PortType::Audio(self.media(random)),
            Self::Video => PortType::Video(self.media(random)),
            Self::Text => PortType::Text,
            Self::Table => PortType::Table(table(random)),
            Self::Json => PortType::Json(JsonType::default()),
            Self::Tensor => PortType::Tensor(tensor(random)),
            Self::Predicted(value, location) => {
                let count = if value == PredictionKind::Class { random.between(2, 8) } else { 0 };
                let labels = (0..count).map(|label| label.to_string()).collect();
                PortType::Prediction(PredictionType { value, labels, location })
            }
        }
    }

    /// Three in four name one media type or two; the others take any.
    fn media(self, random: &mut Random) -> MediaTypes {
        let known = self.media_types();
        let first = random.below(known.len());
        let count = if random.chance(0.25) { 0 } else { random.between(1, 2.min(known.len())) };
        let named = (first..first + count).map(|at| known[at % known.len()].to_owned());
        MediaTypes { media_types: named.collect() }
    }
}

fn table(random: &mut Random) -> TableType {
    const NAMES: [&str; 8] = ["id", "time", "value", "age", "kind", "amount", "place", "score"];
    let count = random.between(2, NAMES.len());
    let column = |name: &&str| Column { name: (*name).to_owned(), dtype: ElementType::F64 };
    TableType { columns: NAMES.iter().take(count).map(column).collect() }
}

fn tensor(random: &mut Random) -> TensorType {
    let fixed = random.one(&[16, 64, 128, 224, 384, 512, 768, 1024]);
    TensorType { dtype: ElementType::F32, dims: vec![Dim::Free, Dim::Fixed(fixed)] }
}
