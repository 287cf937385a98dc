//! What cards and configurations of the Hugging Face Hub say about a model's task, as categories of the vocabulary.

use guildhall_protocol::name::Category;
use guildhall_protocol::vocabulary;

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
    vocabulary::of_hub_task(task)?.category()
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
    fn every_class_has_a_category_of_the_vocabulary() {
        for (class, task) in ARCHITECTURES {
            let category = category_of_class(&format!("Some{class}")).unwrap();
            assert!(vocabulary::is_known(&category), "{class}");
            assert_eq!(Some(category), super::category(task), "{class}");
        }
        assert_eq!(category("text-classification").unwrap().as_str(), "text/classification");
        assert_eq!(category("no-task"), None);
    }
}
