//! The tasks of the Hugging Face Hub and the categories they stand for.

use guildhall_protocol::name::Category;

/// Every task that the hub lists, older names included, with its category: the modality, then the task without a
/// repetition of the modality. By modality, as the hub shows them.
const TASKS: &[(&str, &str)] = &[
    ("text-classification", "text/classification"),
    ("token-classification", "text/token-classification"),
    ("table-question-answering", "text/table-question-answering"),
    ("question-answering", "text/question-answering"),
    ("zero-shot-classification", "text/zero-shot-classification"),
    ("translation", "text/translation"),
    ("summarization", "text/summarization"),
    ("feature-extraction", "text/feature-extraction"),
    ("text-generation", "text/generation"),
    ("text2text-generation", "text/generation"),
    ("conversational", "text/generation"),
    ("fill-mask", "text/fill-mask"),
    ("sentence-similarity", "text/sentence-similarity"),
    ("text-ranking", "text/ranking"),
    ("text-retrieval", "text/retrieval"),
    ("multiple-choice", "text/multiple-choice"),
    ("table-to-text", "text/table-to-text"),
    ("text-to-speech", "audio/text-to-speech"),
    ("text-to-audio", "audio/text-to-audio"),
    ("automatic-speech-recognition", "audio/automatic-speech-recognition"),
    ("audio-to-audio", "audio/audio-to-audio"),
    ("audio-classification", "audio/classification"),
    ("voice-activity-detection", "audio/voice-activity-detection"),
    ("depth-estimation", "vision/depth-estimation"),
    ("image-classification", "vision/image-classification"),
    ("object-detection", "vision/object-detection"),
    ("image-segmentation", "vision/image-segmentation"),
    ("text-to-image", "vision/text-to-image"),
    ("image-to-text", "vision/image-to-text"),
    ("image-to-image", "vision/image-to-image"),
    ("image-to-video", "vision/image-to-video"),
    ("unconditional-image-generation", "vision/unconditional-image-generation"),
    ("video-classification", "vision/video-classification"),
    ("text-to-video", "vision/text-to-video"),
    ("video-to-video", "vision/video-to-video"),
    ("zero-shot-image-classification", "vision/zero-shot-image-classification"),
    ("mask-generation", "vision/mask-generation"),
    ("zero-shot-object-detection", "vision/zero-shot-object-detection"),
    ("text-to-3d", "vision/text-to-3d"),
    ("image-to-3d", "vision/image-to-3d"),
    ("image-feature-extraction", "vision/image-feature-extraction"),
    ("keypoint-detection", "vision/keypoint-detection"),
    ("audio-text-to-text", "multimodal/audio-text-to-text"),
    ("image-text-to-text", "multimodal/image-text-to-text"),
    ("image-text-to-image", "multimodal/image-text-to-image"),
    ("image-text-to-video", "multimodal/image-text-to-video"),
    ("video-text-to-text", "multimodal/video-text-to-text"),
    ("visual-question-answering", "multimodal/visual-question-answering"),
    ("document-question-answering", "multimodal/document-question-answering"),
    ("visual-document-retrieval", "multimodal/visual-document-retrieval"),
    ("any-to-any", "multimodal/any-to-any"),
    ("reinforcement-learning", "control/reinforcement-learning"),
    ("robotics", "control/robotics"),
    ("tabular-classification", "tabular/classification"),
    ("tabular-regression", "tabular/regression"),
    ("tabular-to-text", "tabular/tabular-to-text"),
    ("time-series-forecasting", "tabular/time-series-forecasting"),
    ("graph-ml", "graph/graph-ml"),
];

/// How the names of classes in `transformers` end, and the task of a model of that class.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("ForAudioClassification", "audio-classification"),
    ("ForCausalLM", "text-generation"),
    ("ForCTC", "automatic-speech-recognition"),
    ("ForDepthEstimation", "depth-estimation"),
    ("ForImageClassification", "image-classification"),
    ("ForMaskedLM", "fill-mask"),
    ("ForMultipleChoice", "multiple-choice"),
    ("ForObjectDetection", "object-detection"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForSemanticSegmentation", "image-segmentation"),
    ("ForSequenceClassification", "text-classification"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition"),
    ("ForTokenClassification", "token-classification"),
    ("ForVideoClassification", "video-classification"),
];

/// The category of a task of the hub.
pub(super) fn category(task: &str) -> Option<Category> {
    let (_, category) = TASKS.iter().find(|(known, _)| *known == task)?;
    category.parse().ok()
}

/// The category of a model of this class.
pub(super) fn category_of_class(class: &str) -> Option<Category> {
    let (_, task) = ARCHITECTURES.iter().find(|(ending, _)| class.ends_with(ending))?;
    category(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_a_category_that_may_be_one() {
        for (task, written) in TASKS {
            assert_eq!(category(task).unwrap().as_str(), *written);
        }
        for (class, task) in ARCHITECTURES {
            assert_eq!(category_of_class(&format!("Some{class}")), category(task), "{class}");
        }
        assert_eq!(
            category("image-classification").unwrap().as_str(),
            "vision/image-classification"
        );
        assert_eq!(category("no-task"), None);
    }
}
