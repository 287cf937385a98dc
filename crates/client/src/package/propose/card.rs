//! Cards: a `README.md` with YAML in front, as the Hugging Face Hub has for models and data, and its prose.
//!
//! A card may come from anywhere, so every step has a limit: the YAML's length, depth, nodes and aliases, and the length
//! of every text that is taken from it. What is not of the expected shape is left out; a card is no description.

use guildhall_protocol::body::AccuracyClaim;
use serde_json::Value;

/// Longest YAML in front of a card, bytes. The hub's longest ones list the results of many benchmarks.
const FRONT_MAX_BYTES: usize = 64 * 1024;

/// Deepest nesting in it: `model-index` needs seven.
const DEPTH_MAX: usize = 16;

/// Most values in it: a value takes two bytes or more, but real ones take ten.
const NODES_MAX: usize = 16 * 1024;

/// Most aliases in it: some write a list once and use it twice.
const ALIASES_MAX: usize = 64;

/// Longest word that is taken from a card, bytes.
const WORD_MAX_BYTES: usize = 128;

/// Most words of one list that are taken.
const WORDS_MAX: usize = 64;

/// Longest summary that is taken from prose, characters: what fits two lines of a terminal.
const SUMMARY_MAX_CHARS: usize = 200;

/// Longest paragraph in which a first sentence is looked for, characters: room for links and emphasis, which go.
const PARAGRAPH_MAX_CHARS: usize = 4 * SUMMARY_MAX_CHARS;

/// Metrics that lie between 0 and 1, higher better, and that cards also give in per cent.
const SHARES: [&str; 12] = [
    "accuracy",
    "auc",
    "auroc",
    "exact_match",
    "f1",
    "iou",
    "map",
    "mean_iou",
    "pass@1",
    "precision",
    "recall",
    "roc_auc",
];

/// What a card says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Card {
    /// The licence's word, and its name where the word is `other`.
    pub(super) licence: Option<(String, Option<String>)>,
    /// `pipeline_tag`, then `task_categories`.
    pub(super) tasks: Vec<String>,
    /// Words to find it by: tags, languages, data sets, base models.
    pub(super) keywords: Vec<String>,
    /// What it is called.
    pub(super) name: Option<String>,
    /// Results that can be claims.
    pub(super) accuracy: Vec<AccuracyClaim>,
    /// It describes data.
    pub(super) is_of_data: bool,
    /// The first sentence of its prose.
    pub(super) summary: Option<String>,
}

impl Card {
    /// Reads a card. A front that cannot be read is an error in words; its prose is there all the same.
    pub(super) fn parse(text: &str) -> (Self, Option<String>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (front, prose) = split(text);
        let mut problem = None;
        let front = front.and_then(|front| match yaml(front) {
            Ok(value) => Some(value),
            Err(why) => {
                problem = Some(why);
                None
            }
        });
        let mut card = front.as_ref().map(Self::of_front).unwrap_or_default();
        card.summary = first_sentence(prose);
        (card, problem)
    }

    fn of_front(front: &Value) -> Self {
        let licence = words(&front["license"]).into_iter().next();
        let mut keywords = Vec::new();
        let tags = words(&front["tags"]).into_iter().filter(|tag| {
            // The hub's own marks, such as `region:us` and `arxiv:1706.03762`, are for machines.
            !tag.contains(':')
        });
        let others = ["language", "library_name", "datasets", "base_model"];
        for word in tags.chain(others.iter().flat_map(|key| words(&front[*key]))) {
            if keywords.len() < WORDS_MAX && !keywords.contains(&word) {
                keywords.push(word);
            }
        }
        let indexed = front["model-index"].get(0).and_then(|model| word(&model["name"]));
        Self {
            licence: licence.map(|word_| (word_, word(&front["license_name"]))),
            tasks: [words(&front["pipeline_tag"]), words(&front["task_categories"])].concat(),
            keywords,
            name: word(&front["model_name"]).or_else(|| word(&front["pretty_name"])).or(indexed),
            accuracy: accuracy(&front["model-index"]),
            is_of_data: ["task_categories", "dataset_info", "size_categories", "configs"]
                .iter()
                .any(|key| !front[*key].is_null()),
            summary: None,
        }
    }
}

/// The YAML in front, if there is any, and the rest.
fn split(text: &str) -> (Option<&str>, &str) {
    let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else {
        return (None, text);
    };
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        let (front, behind) = (rest.get(..at), rest.get(at + line.len()..));
        if line.trim_end() == "---" {
            return (front, behind.unwrap_or_default());
        }
        at += line.len();
    }
    (None, text)
}

fn yaml(front: &str) -> Result<Value, String> {
    if front.len() > FRONT_MAX_BYTES {
        return Err(format!("it is longer than {FRONT_MAX_BYTES} bytes"));
    }
    let mut budget = serde_saphyr::Budget::default();
    budget.max_depth = DEPTH_MAX;
    budget.flow_nesting_limit = DEPTH_MAX;
    budget.max_nodes = NODES_MAX;
    budget.max_events = 2 * NODES_MAX;
    budget.max_aliases = ALIASES_MAX;
    budget.max_anchors = ALIASES_MAX;
    budget.max_recorded_anchor_events = NODES_MAX;
    budget.max_recorded_anchor_bytes = FRONT_MAX_BYTES;
    budget.max_documents = 1;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = NODES_MAX;
    options.with_snippet = false;
    let read = serde_saphyr::from_str_with_options::<Value>(front, options);
    read.map_err(|error| error.to_string().lines().next().unwrap_or("it is no YAML").to_owned())
}

/// A word, or a number where a word is meant.
fn word(value: &Value) -> Option<String> {
    let word = match value {
        Value::String(word) => word.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!word.is_empty() && word.len() <= WORD_MAX_BYTES).then_some(word)
}

/// One word or a list of words.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(word).take(WORDS_MAX).collect(),
        one => word(one).into_iter().collect(),
    }
}

/// The results of a `model-index` that lie between 0 and 1, or are such figures in per cent.
fn accuracy(index: &Value) -> Vec<AccuracyClaim> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut claims = Vec::new();
    for result in list(index).iter().flat_map(|model| list(&model["results"])) {
        let dataset = &result["dataset"];
        let Some(name) = word(&dataset["name"]).or_else(|| word(&dataset["type"])) else {
            continue;
        };
        let split = word(&dataset["split"]).map(|split| format!(", {split}")).unwrap_or_default();
        for metric in list(&result["metrics"]) {
            let Some(kind) = word(&metric["type"]) else { continue };
            let value = match &metric["value"] {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.trim_end_matches('%').trim().parse().ok(),
                _ => None,
            };
            let is_share = SHARES.contains(&kind.to_ascii_lowercase().as_str());
            let value = match value {
                Some(value) if is_share && (0.0..=1.0).contains(&value) => value,
                Some(value) if is_share && (1.0..=100.0).contains(&value) => value / 100.0,
                // Losses, error rates and scores of other scales would read as something they are not.
                _ => continue,
            };
            if claims.len() < WORDS_MAX {
                claims.push(AccuracyClaim {
                    metric: kind,
                    dataset: format!("{name}{split}"),
                    value,
                });
            }
        }
    }
    claims
}

/// The first sentence that is neither heading, badge, table, code nor HTML.
pub(super) fn first_sentence(prose: &str) -> Option<String> {
    let mut paragraph = String::new();
    let (mut in_code, mut in_comment) = (false, false);
    for line in prose.lines() {
        let line = line.trim();
        if line.starts_with("```") || line.starts_with("~~~") {
            in_code = !in_code;
            continue;
        }
        if line.starts_with("<!--") {
            in_comment = true;
        }
        let skipped = in_code || in_comment;
        if line.ends_with("-->") {
            in_comment = false;
        }
        if skipped {
            continue;
        }
        let is_prose = !line.is_empty()
            && !line.starts_with(['#', '<', '|', '>', '=', '!', '*', '+'])
            && !line.starts_with("- ")
            && !line.starts_with("--")
            && !line.starts_with("[!");
        if is_prose || (!paragraph.is_empty() && line.starts_with('*')) {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            // One line may be the whole file; what is looked at more than once below must be short.
            paragraph.extend(line.chars().take(PARAGRAPH_MAX_CHARS));
            if paragraph.chars().count() > PARAGRAPH_MAX_CHARS {
                break;
            }
        } else if paragraph.chars().any(char::is_alphanumeric) {
            break;
        } else {
            paragraph.clear();
        }
    }
    let plain = plain(&paragraph);
    let sentence = match plain.match_indices(". ").find(|(at, _)| is_end(&plain, *at)) {
        Some((at, _)) => plain.get(..=at).unwrap_or_default(),
        None => plain.as_str(),
    };
    let cut = match sentence.char_indices().nth(SUMMARY_MAX_CHARS) {
        // Between two words, if there are any.
        Some((end, _)) => {
            let start = sentence.get(..end).unwrap_or_default();
            start.rsplit_once(' ').map_or(start, |(words, _)| words)
        }
        None => sentence,
    };
    let cut = cut.trim();
    cut.chars().any(char::is_alphanumeric).then(|| cut.to_owned())
}

/// Whether the full stop at `at` ends a sentence, and not `e.g.` or an initial.
fn is_end(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let last = before.rsplit(' ').next().unwrap_or_default();
    last.chars().count() > 2 && !last.contains('.')
}

/// Markdown without its marks: `[text](address)` is its text, emphasis and code lose their signs.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut left = text;
    while let Some(c) = left.chars().next() {
        let link = left.strip_prefix('[').and_then(|inner| {
            let (shown, behind) = inner.split_once("](")?;
            let (_, behind) = behind.split_once(')')?;
            (!shown.contains('[')).then_some((shown, behind))
        });
        if let Some((shown, behind)) = link {
            out.push_str(shown);
            left = behind;
            continue;
        }
        if !matches!(c, '*' | '`') {
            out.push(c);
        }
        left = left.get(c.len_utf8()..).unwrap_or_default();
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = r"---
license: apache-2.0
language:
- en
- de
tags: [vision, region:us, vision]
datasets: imagenet-1k
base_model: google/vit-base
pipeline_tag: image-classification
model-index:
- name: ViT Digits
  results:
  - task: { type: image-classification }
    dataset: { name: ImageNet, type: imagenet-1k, split: validation }
    metrics:
    - { type: accuracy, value: 91.5 }
    - { type: f1, value: '0.9' }
    - { type: loss, value: 0.3 }
---

# Vision transformer

![badge](https://example.org/b.svg)
<div align=center>picture</div>

The **Vision Transformer** ([ViT](https://arxiv.org/abs/1)) sees
pictures, e.g. of digits. It was trained elsewhere.

Second paragraph.
";

    #[test]
    fn a_card_of_the_hub_is_read() {
        let (card, problem) = Card::parse(CARD);
        assert_eq!(problem, None);
        assert_eq!(card.licence, Some(("apache-2.0".into(), None)));
        assert_eq!(card.tasks, ["image-classification"]);
        assert_eq!(card.keywords, ["vision", "en", "de", "imagenet-1k", "google/vit-base"]);
        assert_eq!(card.name.as_deref(), Some("ViT Digits"));
        let claims: Vec<_> = card
            .accuracy
            .iter()
            .map(|c| (c.metric.as_str(), c.dataset.as_str(), c.value))
            .collect();
        assert_eq!(
            claims,
            [("accuracy", "ImageNet, validation", 0.915), ("f1", "ImageNet, validation", 0.9)]
        );
        assert_eq!(
            card.summary.as_deref(),
            Some("The Vision Transformer (ViT) sees pictures, e.g. of digits.")
        );
        assert!(!card.is_of_data);
    }

    #[test]
    fn a_readme_without_front_still_has_a_first_sentence() {
        let (card, problem) = Card::parse("# Title\n\nOne thing. Another.\n");
        assert_eq!((card.summary.as_deref(), problem), (Some("One thing."), None));
        assert_eq!(first_sentence("# only\n## headings\n"), None);
        assert_eq!(first_sentence("```\ncode here\n```\nWords"), Some("Words".into()));
        assert_eq!(first_sentence("<!-- a\nb -->\nWords"), Some("Words".into()));
        for long in ["word ".repeat(1_000), "[x".repeat(100_000)] {
            assert!(first_sentence(&long).unwrap().chars().count() <= SUMMARY_MAX_CHARS);
        }
    }

    #[test]
    fn yaml_that_grows_without_end_is_refused_and_the_prose_stays() {
        let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let nine = vec![before; 9].join(", ");
            laughs.push_str(&format!("a{level}: &a{level} [{nine}]\n"));
        }
        let deep = format!("a: {}{}\n", "[".repeat(1_000), "]".repeat(1_000));
        let long = format!("a: {}\n", "x".repeat(FRONT_MAX_BYTES));
        for front in [laughs, deep, long, "a: [1\nb: }\n".to_owned()] {
            let (card, problem) = Card::parse(&format!("---\n{front}---\nWords.\n"));
            assert!(problem.is_some(), "{front:.80}");
            assert_eq!(card.summary.as_deref(), Some("Words."));
            assert_eq!(card.keywords, Vec::<String>::new());
        }
    }

    #[test]
    fn fields_of_another_shape_are_left_out() {
        let card = "---\nlicense: [mit]\ntags: {a: b}\nmodel-index: 7\nlanguage: [1, [2]]\n\
                    task_categories: [text-classification]\n---\n";
        let (card, problem) = Card::parse(card);
        assert_eq!(problem, None);
        assert_eq!(card.licence, Some(("mit".into(), None)));
        assert_eq!(card.keywords, ["1"]);
        assert!(card.is_of_data && card.summary.is_none());
    }
}
