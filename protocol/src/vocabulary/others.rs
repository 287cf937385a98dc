//! Categories of several kinds of input at once, of tables, of graphs and of acting.

use super::{Entry, entry};

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        "multimodal/image-text-to-text",
        "image-text-to-text",
        "Answers in words to words and pictures.",
        "vlm vision-language-model visual-chat multimodal-llm",
    ),
    entry(
        "multimodal/image-text-to-image",
        "image-text-to-image",
        "Changes a picture as words say.",
        "image-editing instruct-pix2pix",
    ),
    entry(
        "multimodal/image-text-to-video",
        "image-text-to-video",
        "Makes a video of a picture as words say.",
        "guided-image-animation",
    ),
    entry(
        "multimodal/visual-question-answering",
        "visual-question-answering",
        "Answers a question about a picture.",
        "vqa visual-qa",
    ),
    entry(
        "multimodal/document-question-answering",
        "document-question-answering",
        "Answers a question about a scanned page.",
        "docvqa document-qa doc-qa document-understanding",
    ),
    entry(
        "multimodal/visual-document-retrieval",
        "visual-document-retrieval",
        "Finds the pages among many, as pictures, that answer a question.",
        "page-retrieval visual-rag",
    ),
    entry(
        "multimodal/video-text-to-text",
        "video-text-to-text",
        "Answers in words to words and a video.",
        "video-qa video-question-answering video-chat video-captioning",
    ),
    entry(
        "multimodal/audio-text-to-text",
        "audio-text-to-text",
        "Answers in words to words and sound.",
        "audio-qa audio-chat voice-assistant",
    ),
    entry(
        "multimodal/any-to-any",
        "any-to-any",
        "Takes and gives text, pictures and sound in any mix.",
        "omni any2any",
    ),
    entry(
        "tabular/classification",
        "tabular-classification",
        "Says which of a set of classes a row belongs to.",
        "table-classification structured-classification",
    ),
    entry(
        "tabular/classification/risk",
        "",
        "Says how likely something bad happens to the one whom a row describes.",
        "credit-scoring credit-risk churn default-prediction",
    ),
    entry(
        "tabular/classification/anomalies",
        "",
        "Finds rows that are unlike the others.",
        "anomaly-detection outlier-detection outliers fraud-detection",
    ),
    entry(
        "tabular/regression",
        "tabular-regression",
        "Tells a number from a row's other columns.",
        "regression price-prediction",
    ),
    entry(
        "tabular/time-series-forecasting",
        "time-series-forecasting",
        "Goes on with measurements over time.",
        "forecasting forecast time-series timeseries-forecasting",
    ),
    entry(
        "tabular/time-series-forecasting/univariate",
        "univariate-time-series-forecasting",
        "Goes on with one measurement over time.",
        "univariate-forecasting",
    ),
    entry(
        "tabular/time-series-forecasting/multivariate",
        "multivariate-time-series-forecasting",
        "Goes on with several measurements over time that depend on each other.",
        "multivariate-forecasting",
    ),
    entry(
        "tabular/tabular-to-text",
        "tabular-to-text",
        "Says in sentences what rows hold.",
        "rdf-to-text rows-to-text",
    ),
    entry(
        "tabular/clustering",
        "",
        "Puts rows that are alike together.",
        "cluster-analysis segmentation-of-customers customer-segmentation k-means",
    ),
    entry(
        "tabular/recommendation",
        "",
        "Says what somebody will like, from what others liked.",
        "recommender recommender-system recommendations collaborative-filtering",
    ),
    entry(
        "graph/graph-ml",
        "graph-ml",
        "Learns from nodes and edges: labels of them, or edges that are missing.",
        "gnn graph-neural-network graph-learning",
    ),
    entry(
        "graph/graph-ml/nodes",
        "",
        "Says which class each node belongs to.",
        "node-classification",
    ),
    entry(
        "graph/graph-ml/links",
        "",
        "Says which nodes should be joined.",
        "link-prediction knowledge-graph-completion",
    ),
    entry(
        "graph/graph-ml/molecules",
        "",
        "Tells properties of a molecule from its atoms and bonds.",
        "molecular-property-prediction chemistry drug-discovery",
    ),
    entry(
        "control/reinforcement-learning",
        "reinforcement-learning",
        "Acts to be rewarded, and learns from it.",
        "deep-rl rl-agent policy game-playing",
    ),
    entry(
        "control/robotics",
        "robotics",
        "Moves a machine in the world.",
        "robot robot-control manipulation",
    ),
    entry(
        "control/robotics/grasping",
        "grasping",
        "Takes hold of things.",
        "robot-grasping pick-and-place",
    ),
    entry(
        "control/robotics/planning",
        "task-planning",
        "Says which steps lead to a goal.",
        "motion-planning path-planning",
    ),
];
